"""Streams that are odd but sound: the client gets the whole answer as if nothing were odd, usage asked for or not."""

from __future__ import annotations

import json

from tests.conformance.backends.asking import HELLO, faulty, payloads
from tests.conformance.backends.case import Check, Need, add, case
from tests.conformance.backends.cases.answers import check_usage, text
from tests.conformance.backends.target import Target
from tests.support.scripted_engine.fault_streams import MULTIBYTE

ODD = (
    "crlf",
    "comments",
    "two_events_one_packet",
    "event_across_packets",
    "one_byte_packets",
    "no_length",
    "stream_with_length",
    "continue_100",
)


def _odd(fault: str) -> Check:
    def check(target: Target) -> None:
        wanted = target.chat().choices[0].message.content
        asked = faulty(fault)
        chunks = list(target.chat(asked, stream=True))
        assert text(chunks) == wanted
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert all(chunk.usage is None for chunk in chunks)
        assert {chunk.model for chunk in chunks} == {target.model}
        *_, last = target.chat(asked, stream=True, stream_options={"include_usage": True})
        check_usage(last.usage)
        assert payloads(target.stream_bytes(asked).content)[-1] == b"[DONE]"

    return check


for _fault in ODD:
    add(f"odd streams.{_fault}", _odd(_fault), Need.DOOR)


@case("odd streams", Need.DOOR)
def characters_cut_in_the_middle(target: Target) -> None:
    asked = faulty("utf8_split", HELLO)
    assert text(list(target.chat(asked, stream=True))) == MULTIBYTE + "!"
    assert target.chat(asked).choices[0].message.content == MULTIBYTE + "!"


@case("odd streams", Need.DOOR)
def missing_usage_stays_unknown(target: Target) -> None:
    asked = faulty("missing_usage", HELLO)
    chunks = list(target.chat(asked, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    assert target.chat(asked).usage is None


@case("odd streams", Need.DOOR)
def a_wrong_count_is_passed_on_as_it_is(target: Target) -> None:
    """It is a finding of whoever compares engines, not for the gateway to hide."""
    assert target.chat(faulty("wrong_prompt_tokens")).usage.prompt_tokens == 7


@case("odd streams", Need.DOOR)
def one_event_of_a_megabyte(target: Target) -> None:
    chunks = list(target.chat(faulty("huge_event,kib=1024", HELLO), stream=True))
    assert text(chunks) == "x" * 1024 * 1024


@case("odd streams", Need.DOOR)
def comments_are_no_events(target: Target) -> None:
    answer = target.stream_bytes(faulty("comments", HELLO))
    assert all(payload == b"[DONE]" or json.loads(payload)["choices"] for payload in payloads(answer.content))


@case("odd streams", Need.DOOR)
def what_a_reader_of_events_skips_is_no_error(target: Target) -> None:
    answer = target.stream_bytes(faulty("garbage_in_stream", HELLO))
    *chunks, done = payloads(answer.content)
    said = "".join(json.loads(chunk)["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert (said, done) == (target.chat(HELLO).choices[0].message.content, b"[DONE]")


@case("odd streams", Need.DOOR)
def no_event_is_held_back(target: Target) -> None:
    """Three pieces of text reach the client while the engine waits before the fourth."""
    body = target.body(faulty("slow,after=3,gate=held", HELLO), stream=True)
    with target.http.stream("POST", "/v1/chat/completions", json=body) as response:
        received, arriving = b"", response.iter_raw()
        while sum(b'"content":"' in each and b'"content":""' not in each for each in payloads(received)) < 3:
            received += next(arriving)
        assert target.scripted.wait(waiting=1)["running"] == 1
        target.scripted.release("held")
