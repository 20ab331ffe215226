from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.openai_compatible import OpenAICompatible
from gateway import Meter, UpstreamRequest, Usage
from gateway.dataplane import sse
from gateway.errors import UpstreamBroken, UpstreamOverloaded, UpstreamRefused
from tests.unit.builders import make_call

REQUEST = UpstreamRequest("/v1/chat/completions", (), b"{}")
DONE = b"data: [DONE]\n\n"
USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 7,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
READ = Usage(prompt_tokens=5, cached_tokens=3, completion_tokens=7, reasoning_tokens=2)

# vLLM writes no blanks, others do, and some end their lines in CRLF.
WRITERS = {"tight": (",", ":"), "spaced": (", ", ": ")}
ENDS = {"lf": "\n\n", "crlf": "\r\n\r\n"}


def meter(*, stream: bool = True, wants_usage: bool = False) -> Meter:
    return OpenAICompatible().new_meter(make_call(stream=stream, wants_usage=wants_usage), REQUEST)


class Writer:
    """Writes events as one kind of engine does."""

    def __init__(self, style: str, end: str) -> None:
        self.separators, self.end = WRITERS[style], ENDS[end]

    def event(self, payload: Any) -> bytes:
        return f"data: {json.dumps(payload, separators=self.separators)}{self.end}".encode()

    def chunk(self, text: str = "a", finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
        return self.event({"id": "x", "choices": [choice], **more})

    def usage(self, **more: Any) -> bytes:
        return self.event({"id": "x", "choices": [], "usage": {**USAGE, **more}})

    @property
    def done(self) -> bytes:
        return f"data: [DONE]{self.end}".encode()


@pytest.fixture(params=[(style, end) for style in WRITERS for end in ENDS], ids="-".join)
def writer(request: pytest.FixtureRequest) -> Writer:
    return Writer(*request.param)


TIGHT = Writer("tight", "lf")


# Usage


def test_usage_is_read_and_hidden_from_a_client_that_did_not_ask(writer: Writer) -> None:
    reading = meter()
    assert reading.feed_events(writer.chunk() + writer.usage() + writer.done) == writer.chunk() + writer.done
    assert reading.usage == READ
    assert reading.end_events() is None


def test_and_shown_to_one_that_did(writer: Writer) -> None:
    reading = meter(wants_usage=True)
    assert reading.feed_events(writer.usage()) == writer.usage()
    assert reading.usage == READ


def test_what_the_engine_does_not_say_is_unknown_not_zero(writer: Writer) -> None:
    reading = meter()
    reading.feed_events(writer.usage(prompt_tokens_details=None, completion_tokens_details=None))
    assert reading.usage == Usage(prompt_tokens=5, completion_tokens=7)


def test_usage_beside_content_is_read_and_left_in_place(writer: Writer) -> None:
    reading = meter()
    assert reading.feed_events(writer.chunk(usage=USAGE)) == writer.chunk(usage=USAGE)
    assert reading.usage == READ


def test_the_last_usage_counts(writer: Writer) -> None:
    reading = meter()
    reading.feed_events(writer.chunk(usage={**USAGE, "completion_tokens": 1}))
    reading.feed_events(writer.usage())
    assert reading.usage == READ


def test_null_usage_is_no_usage(writer: Writer) -> None:
    reading = meter()
    assert reading.feed_events(writer.chunk(usage=None)) == writer.chunk(usage=None)
    assert reading.usage is None


# Ends


def test_the_reason_of_the_end_is_noted(writer: Writer) -> None:
    reading = meter()
    reading.feed_events(writer.chunk("a") + writer.chunk("", finish="tool_calls"))
    assert reading.finish_reason == "tool_calls"


def test_a_stream_without_done_was_cut_short(writer: Writer) -> None:
    reading = meter()
    reading.feed_events(writer.chunk("", finish="stop"))
    assert isinstance(reading.end_events(), UpstreamBroken)
    reading.feed_events(writer.done)
    assert reading.end_events() is None


def test_an_aborted_answer_is_an_error(writer: Writer) -> None:
    reading = meter()
    reading.feed_events(writer.chunk("", finish="abort"))
    assert isinstance(reading.error, UpstreamBroken)


# Errors


def test_an_error_event_is_an_error_and_hides_what_follows(writer: Writer) -> None:
    reading = meter()
    error = writer.event({"error": {"message": "out of memory", "type": "x", "code": 500}})
    assert reading.feed_events(writer.chunk() + error + writer.chunk("b") + writer.done) == writer.chunk()
    assert isinstance(reading.error, UpstreamBroken)
    assert reading.events == 1


def test_an_error_of_null_is_none(writer: Writer) -> None:
    reading = meter()
    assert reading.feed_events(writer.chunk(error=None)) == writer.chunk(error=None)
    assert reading.error is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (503, UpstreamOverloaded),
        ("429", UpstreamOverloaded),
        (400, UpstreamRefused),
        (None, UpstreamBroken),
        ("x", UpstreamBroken),
    ],
)
def test_the_code_in_an_error_event_says_what_kind_it_is(code: Any, kind: type[Exception]) -> None:
    event = TIGHT.event({"error": {"message": "m", "code": code}})
    first = OpenAICompatible().read_first_event(event)
    assert type(first) is kind
    reading = meter()
    reading.feed_events(event)
    assert type(reading.error) is kind


@pytest.mark.parametrize("event", [TIGHT.chunk('"error"'), TIGHT.chunk(error=None), b': "error"\n\n', DONE])
def test_an_event_that_only_speaks_of_errors_is_none(event: bytes) -> None:
    assert OpenAICompatible().read_first_event(event) is None


def test_an_event_that_is_not_json_is_an_error_where_it_is_looked_into() -> None:
    reading = meter()
    assert reading.feed_events(b'data: {"finish_reason":"\n\n') == b""
    assert isinstance(reading.error, UpstreamBroken)
    assert isinstance(OpenAICompatible().read_first_event(b'data: "error" nonsense\n\n'), UpstreamBroken)


# Plain events


def test_comments_and_bare_event_names_pass_uncounted(writer: Writer) -> None:
    reading = meter()
    events = b": ping\n\n" + writer.chunk() + b"event: x\n\n"
    assert reading.feed_events(events + writer.done) == events + writer.done
    assert reading.events == 1


@given(
    st.lists(st.text(max_size=8), min_size=1, max_size=5), st.sampled_from(list(WRITERS)), st.sampled_from(list(ENDS))
)
def test_content_passes_byte_by_byte_and_is_counted(texts: list[str], style: str, end: str) -> None:
    """Whatever the text says: marks of usage, ends and errors inside a string are only text."""
    writer, reading = Writer(style, end), meter()
    events = [writer.chunk(text) for text in texts]
    assert reading.feed_events(b"".join(events)) == b"".join(events)
    assert (reading.events, reading.error, reading.finish_reason) == (len(texts), None, None)


@pytest.mark.parametrize("text", ['"usage":{', '"finish_reason":"stop"', "data: [DONE]", '"error"', '": "', "\n\n"])
def test_marks_inside_a_text_change_nothing(text: str, writer: Writer) -> None:
    reading = meter()
    event = writer.chunk(text)
    assert reading.feed_events(event) == event
    assert (reading.usage, reading.error, reading.finish_reason) == (None, None, None)
    assert isinstance(reading.end_events(), UpstreamBroken)


@given(st.data())
def test_how_events_are_packed_does_not_matter(data: st.DataObject) -> None:
    events = [TIGHT.chunk("a"), TIGHT.chunk("", finish="stop"), b": x\n\n", TIGHT.usage(), DONE]
    packing = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)))
    reading, seen, packet = meter(), b"", b""
    for event, flush in zip(events, packing, strict=True):
        packet += event
        if flush:
            seen, packet = seen + reading.feed_events(packet), b""
    seen += reading.feed_events(packet) if packet else b""
    assert list(sse.split(seen)) == [events[0], events[1], events[2], DONE]
    assert (reading.events, reading.usage, reading.finish_reason) == (2, READ, "stop")
    assert reading.end_events() is None


# Plain answers


def answer(**more: Any) -> bytes:
    return json.dumps({"choices": [{"finish_reason": "stop", "message": {}}], **more}).encode()


def test_a_plain_answer_is_read_and_stays_as_it_is() -> None:
    reading, body = meter(stream=False), answer(usage=USAGE)
    assert reading.read_body(body) is body
    assert (reading.usage, reading.finish_reason, reading.error) == (READ, "stop", None)


def test_an_answer_without_usage_is_an_answer() -> None:
    reading = meter(stream=False)
    reading.read_body(answer())
    assert (reading.usage, reading.error) == (None, None)


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'{"choices": 3}'])
def test_an_answer_that_is_no_answer_is_an_error(body: bytes) -> None:
    reading = meter(stream=False)
    reading.read_body(body)
    assert isinstance(reading.error, UpstreamBroken)


@pytest.mark.parametrize(("code", "kind"), [(503, UpstreamOverloaded), (400, UpstreamRefused), (None, UpstreamBroken)])
def test_an_error_in_a_200_is_what_its_code_says(code: int | None, kind: type[Exception]) -> None:
    reading = meter(stream=False)
    reading.read_body(json.dumps({"error": {"message": "queue full", "code": code}}).encode())
    assert type(reading.error) is kind


def test_an_aborted_plain_answer_is_an_error() -> None:
    reading = meter(stream=False)
    reading.read_body(b'{"choices": [{"finish_reason": "abort"}]}')
    assert isinstance(reading.error, UpstreamBroken)
