"""Answers of the Messages API: usage, ends and errors."""

from __future__ import annotations

import json

import pytest

from gateway import Usage
from gateway.errors import UpstreamBroken, UpstreamOverloaded, UpstreamRefused
from tests.unit.backends.answers.asking import ENDS, SEPARATORS, payloads
from tests.unit.backends.answers.messages import M, Message, put_together, reading


@pytest.fixture(params=[(style, end) for style in SEPARATORS for end in ENDS], ids="-".join)
def message(request: pytest.FixtureRequest) -> Message:
    return Message(*request.param)


def test_a_message_passes_as_it_is_and_its_tokens_are_counted(message: Message) -> None:
    events = [message.start(input_tokens=77, output_tokens=0), message.open(), *map(message.add, ["a", "b <", "|x"])]
    events += [message.event("ping"), message.close()]
    events += [message.end("max_tokens", input_tokens=77, output_tokens=12), message.stop]
    read = reading()
    assert [read.feed_events(event) for event in events] == events
    assert (read.usage, read.events) == (Usage(prompt_tokens=77, completion_tokens=12), len(events))
    assert (read.finish_reason, read.error, read.end_events()) == ("max_tokens", None, None)


@pytest.mark.parametrize("tools", [False, True])
@pytest.mark.parametrize("sequence", ["=", "", None])
def test_what_a_stop_sequence_ended_says_so(message: Message, *, tools: bool, sequence: str | None) -> None:
    # llama.cpp names the sequence, and all the same says that the turn was over.
    ending = {"stop_reason": "end_turn", "stop_sequence": sequence}
    read = reading(tools=tools)
    read.feed_events(message.start())
    (shown,) = payloads(read.feed_events(message.event("message_delta", delta=ending, usage={"output_tokens": 2})))
    wanted = "stop_sequence" if sequence else "end_turn"
    assert shown["delta"] == {**ending, "stop_reason": wanted}
    assert shown["usage"] == {"output_tokens": 2}
    plain = reading(tools=tools, stream=False)
    body = {"type": "message", "model": "kimi-k2", "content": [], **ending}
    assert json.loads(plain.read_body(json.dumps(body).encode())) == {**body, "stop_reason": wanted}
    for each in (read, plain):
        assert each.finish_reason == wanted
        assert each.transforms == (["finish_reason"] if sequence else [])


def test_with_tools_a_text_may_be_cut_otherwise_but_is_the_same(message: Message) -> None:
    events = [message.start(), message.open(), *map(message.add, ["a", "b <", "|x"]), message.close()]
    events += [message.end("max_tokens"), message.stop]
    read = reading(tools=True)
    assert put_together(b"".join([read.feed_events(event) for event in events]))["content"] == ["ab <|x"]
    assert (read.transforms, read.end_events()) == ([], None)


@pytest.mark.parametrize(
    ("start", "end", "usage"),
    [
        # vLLM: all of the prompt at first, then what was not cached.
        (
            {"input_tokens": 77, "output_tokens": 0},
            {"input_tokens": 13, "cache_read_input_tokens": 64, "output_tokens": 9},
            Usage(prompt_tokens=77, cached_tokens=64, completion_tokens=9),
        ),
        # SGLang: the prompt at first alone.
        (
            {"input_tokens": 13, "cache_read_input_tokens": 64, "output_tokens": 0},
            {"output_tokens": 9},
            Usage(prompt_tokens=77, cached_tokens=64, completion_tokens=9),
        ),
        (
            {"input_tokens": 3, "cache_creation_input_tokens": 4, "cache_read_input_tokens": 0},
            {"output_tokens": 9},
            Usage(prompt_tokens=7, cached_tokens=0, completion_tokens=9),
        ),
        # Zeros of engines that did not know.
        ({"input_tokens": 0, "output_tokens": 0}, {"output_tokens": 0}, Usage()),
        ({}, {"input_tokens": 5, "output_tokens": 2}, Usage(prompt_tokens=5, completion_tokens=2)),
    ],
)
def test_the_prompt_is_all_of_it_cached_or_not(start: dict[str, int], end: dict[str, int], usage: Usage) -> None:
    read = reading()
    read.feed_events(M.start(**start) + M.end(**end))
    assert read.usage == usage


def test_a_stream_cut_before_its_end_does_not_know_what_was_generated() -> None:
    read = reading()
    read.feed_events(M.start(input_tokens=5, output_tokens=1) + M.open() + M.add("a"))
    assert isinstance(read.end_events(), UpstreamBroken)


def test_a_message_that_stops_for_no_reason_was_aborted() -> None:
    # vLLM writes so when it is told to shut down.
    read = reading()
    shown = read.feed_events(M.start() + M.end(None) + M.stop)
    assert (shown, type(read.error)) == (M.start() + M.end(None), UpstreamBroken)
    plain = reading(stream=False)
    plain.read_body(b'{"type":"message","content":[],"stop_reason":null}')
    assert isinstance(plain.error, UpstreamBroken)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "overloaded_error", "message": "full"}, UpstreamOverloaded),
        ({"type": "invalid_request_error", "message": "no"}, UpstreamRefused),
        ({"type": "internal_error", "message": "x"}, UpstreamBroken),
    ],
)
def test_an_error_says_by_its_type_what_it_is(message: Message, error: dict[str, str], kind: type) -> None:
    read = reading()
    assert read.feed_events(message.start() + message.event("error", error=error) + message.stop) == message.start()
    assert type(read.error) is kind
    assert read.feed_events(message.add("a")) == b""
    plain = reading(stream=False)
    plain.read_body(json.dumps({"type": "error", "error": error}).encode())
    assert type(plain.error) is kind


def test_llama_cpps_flat_error_is_one() -> None:
    read = reading()
    event = b'event: error\ndata: {"code":503,"message":"full","type":"unavailable_error"}\n\n'
    assert read.feed_events(M.start() + event + M.add("a")) == M.start()
    assert isinstance(read.error, UpstreamOverloaded)


@pytest.mark.parametrize(
    "event", [b"event: message_start\ndata: {\n\n", b'event: message_start\ndata: {"type":"message_start"}\n\n']
)
def test_what_cannot_be_read_is_an_error(event: bytes) -> None:
    read = reading()
    assert read.feed_events(event + M.add("a")) == b""
    assert isinstance(read.error, UpstreamBroken)
    plain = reading(stream=False)
    plain.read_body(b"[]")
    assert isinstance(plain.error, UpstreamBroken)


def test_the_served_name_is_in_the_first_event(message: Message) -> None:
    engine = Message(model="/weights/x")
    assert payloads(reading().feed_events(engine.start(input_tokens=5))) == payloads(M.start(input_tokens=5))


def test_a_plain_answer_is_read_and_stays_as_it_is() -> None:
    usage = {"input_tokens": 13, "cache_read_input_tokens": 64, "output_tokens": 9}
    body = json.dumps({"type": "message", "model": "kimi-k2", "content": [], "stop_reason": "end_turn", "usage": usage})
    for tools in (False, True):
        read = reading(stream=False, tools=tools)
        assert read.read_body(as_bytes := body.encode()) is as_bytes
        assert read.usage == Usage(prompt_tokens=77, cached_tokens=64, completion_tokens=9)
    assert json.loads(reading(stream=False).read_body(body.replace("kimi-k2", "x").encode())) == json.loads(body)
