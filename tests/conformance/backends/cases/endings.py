"""Streams and answers that break: an error instead of an answer, or an error event and no `[DONE]`; never a quiet half of one."""

from __future__ import annotations

import json

import openai
import pytest

from tests.conformance.backends.asking import CHAT, HELLO, PRIVATE, faulty, payloads
from tests.conformance.backends.case import Check, Need, add, case
from tests.conformance.backends.cases.refusals import check_error
from tests.conformance.backends.target import Target

# In the middle of a stream, after some text.
BROKEN = (
    "midstream_cut",
    "midstream_reset",
    "midstream_error_event",
    "aborted",
    "finish_abort",
    "no_done",
    "no_finish",
    "bad_chunk_size",
)
# Before anything that the client could see: its status and code, plain and streamed. None where that form is sound.
EARLY: dict[str, tuple[tuple[int, str] | None, tuple[int, str] | None]] = {
    "refuses": ((502, "upstream_unreachable"), (502, "upstream_unreachable")),
    "closes": ((502, "upstream_unreachable"), (502, "upstream_unreachable")),
    "garbage": ((502, "upstream_broken"), (502, "upstream_broken")),
    "wrong_content_type": ((502, "upstream_broken"), (502, "upstream_broken")),
    "json_for_stream": (None, (502, "upstream_broken")),
    "length_too_long": ((502, "upstream_broken"), None),
    "midstream_cut": ((502, "upstream_broken"), None),
    "midstream_error_event": ((502, "upstream_broken"), None),
    "finish_abort": ((502, "upstream_broken"), None),
    "huge_header": ((502, "upstream_broken"), (502, "upstream_broken")),
}
SLOW = ("first_byte_stall", "hang_after_headers")


def _broken(fault: str) -> Check:
    def check(target: Target) -> None:
        asked = faulty(f"{fault},gate=g", HELLO)
        content = target.broken_off(CHAT, target.body(asked, stream=True))
        *events, last = payloads(content)
        assert b"[DONE]" not in events
        error = json.loads(last)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"] == "upstream_broken"
        assert [text for text in PRIVATE if text.encode() in content] == []
        assert any(json.loads(event)["choices"][0]["delta"].get("content") for event in events)
        stream = target.chat(asked, stream=True)
        next(stream)
        target.release()
        with pytest.raises(openai.APIError) as raised:
            list(stream)
        assert raised.value.code == "upstream_broken"

    return check


for _fault in BROKEN:
    add(f"broken streams.{_fault}", _broken(_fault), Need.DOOR)


def _early(fault: str, expected: tuple[int, str], *, stream: bool) -> Check:
    def check(target: Target) -> None:
        check_error(target.post(CHAT, target.body(faulty(fault, HELLO), stream=stream)), *expected)
        assert target.scripted.wait(running=0)["violations"] == 0

    return check


for _fault, (_plain, _streamed) in EARLY.items():
    if _plain is not None:
        add(f"broken answers.{_fault}", _early(_fault, _plain, stream=False), Need.DOOR)
    if _streamed is not None:
        add(f"broken answers.{_fault}_of_a_stream", _early(_fault, _streamed, stream=True), Need.DOOR)


def _slow(fault: str, *, stream: bool) -> Check:
    def check(target: Target) -> None:
        asked = target.body(faulty(f"{fault},gate=never", HELLO), model=target.variants["hasty"], stream=stream)
        check_error(target.post(CHAT, asked), 504, "upstream_timeout")
        assert target.scripted.wait(running=0)["aborted"] == 1

    return check


for _fault in SLOW:
    for _stream in (False, True):
        add(f"slow engines.{_fault}{'_of_a_stream' if _stream else ''}", _slow(_fault, stream=_stream), Need.DOOR)


@case("slow engines", Need.DOOR)
def a_pause_that_is_too_long_in_a_stream(target: Target) -> None:
    answer = target.stream_bytes(faulty("slow,after=2,gate=never", HELLO), model=target.variants["hasty"])
    *events, last = payloads(answer.content)
    assert json.loads(last)["error"]["code"] == "upstream_timeout"
    assert b"[DONE]" not in events
    assert target.scripted.wait(running=0)["aborted"] == 1


@case("broken answers", Need.DOOR)
def another_replica_is_tried_while_nothing_was_said(target: Target) -> None:
    for fault in ("refuses", "closes"):
        for stream in (False, True):
            asked = faulty(f"{fault},only={target.engine}", HELLO)
            answer = target.post(CHAT, target.body(asked, model=target.variants["pair"], stream=stream))
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-moegate-replica"].startswith("spare")
