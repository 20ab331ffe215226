"""Ends and errors of chat and completions, and that plain events pass as they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import Operation, Usage
from gateway.dataplane import sse
from gateway.errors import UpstreamBroken, UpstreamOverloaded, UpstreamRefused
from tests.unit.backends.answers.asking import DONE, ENDS, SEPARATORS, TIGHT, Writer, meter, payloads

USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 7,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
READ = Usage(prompt_tokens=5, cached_tokens=3, completion_tokens=7, reasoning_tokens=2)
SGLANG_STOPPED = {"type": "stop", "matched": 163586}
SGLANG_ABORTED = {"type": "abort", "message": "queue full", "status_code": 503}


@pytest.fixture(params=[(style, end) for style in SEPARATORS for end in ENDS], ids="-".join)
def writer(request: pytest.FixtureRequest) -> Writer:
    return Writer(*request.param)


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


def test_done_before_any_choice_ended_is_an_error_and_not_passed_on(writer: Writer) -> None:
    # SGLang ends a stream so whose request it lost: a client could not tell it from a whole answer.
    reading = meter()
    assert reading.feed_events(writer.chunk() + writer.done) == writer.chunk()
    assert isinstance(reading.error, UpstreamBroken)
    assert reading.end_events() is not None


@pytest.mark.parametrize("word", ["abort", "error"])
def test_an_answer_that_the_engine_gave_up_is_an_error(writer: Writer, word: str) -> None:
    reading = meter()
    assert reading.feed_events(writer.chunk() + writer.chunk("b", finish=word) + writer.done) == writer.chunk()
    assert isinstance(reading.error, UpstreamBroken)


def test_a_reason_in_sglangs_own_form_becomes_a_word(writer: Writer) -> None:
    reading = meter()
    seen = payloads(reading.feed_events(writer.choice({"delta": {}, "finish_reason": SGLANG_STOPPED}) + writer.done))
    assert seen == [*payloads(writer.choice({"delta": {}, "finish_reason": "stop"})), "[DONE]"]
    assert (reading.finish_reason, reading.transforms) == ("stop", ["finish_reason"])


def test_and_an_abort_in_that_form_tells_its_status(writer: Writer) -> None:
    reading = meter()
    reading.feed_events(writer.choice({"delta": {}, "finish_reason": SGLANG_ABORTED}))
    assert isinstance(reading.error, UpstreamOverloaded)


# Errors


def test_an_error_event_is_an_error_and_hides_what_follows(writer: Writer) -> None:
    reading = meter()
    error = writer.event({"error": {"message": "out of memory", "type": "x", "code": 500}})
    chunks = [writer.chunk(text) for text in "abc"]
    assert reading.feed_events(b"".join([*chunks, error, writer.chunk("d"), writer.done])) == b"".join(chunks)
    assert isinstance(reading.error, UpstreamBroken)
    assert reading.events == 3
    assert reading.feed_events(writer.chunk("e")) == b""


def test_an_error_of_null_is_none(writer: Writer) -> None:
    reading = meter()
    assert reading.feed_events(writer.chunk(error=None)) == writer.chunk(error=None)
    assert reading.error is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [(503, UpstreamOverloaded), ("429", UpstreamOverloaded), (400, UpstreamRefused), (None, UpstreamBroken)],
)
@pytest.mark.parametrize("shape", ["nested", "flat", "named", "named_flat", "field"])
def test_whatever_its_shape_the_code_says_what_kind_of_error_it_is(shape: str, code: Any, kind: type) -> None:
    error = {"message": "m", "code": code}
    events = {
        "nested": TIGHT.event({"error": error}),
        "flat": TIGHT.event({"object": "error", **error}),
        "named": TIGHT.event({"error": error}, name="error"),
        "named_flat": TIGHT.event(error, name="error"),
        "field": f"error: {json.dumps(error)}\n\n".encode(),  # llama.cpp, before it wrote data
    }
    reading = meter()
    assert reading.feed_events(TIGHT.chunk() + events[shape] + TIGHT.chunk("b")) == TIGHT.chunk()
    assert type(reading.error) is kind


def test_an_error_field_that_is_no_json_is_an_error_all_the_same() -> None:
    reading = meter()
    assert reading.feed_events(b"error: out of memory\n\n") == b""
    assert isinstance(reading.error, UpstreamBroken)


def test_an_event_that_is_not_json_is_an_error_where_it_is_looked_into() -> None:
    reading = meter()
    assert reading.feed_events(b'data: {"finish_reason":"\n\n') == b""
    assert isinstance(reading.error, UpstreamBroken)


# Plain events


def test_comments_and_bare_event_names_pass_uncounted(writer: Writer) -> None:
    reading = meter()
    events = b": ping\n\n" + writer.chunk() + b"event: x\n\n" + b": error:\n\n" + writer.chunk("", "stop")
    assert reading.feed_events(events + writer.done) == events + writer.done
    assert reading.events == 2


@given(
    st.lists(st.text(max_size=8), min_size=1, max_size=8),
    st.sampled_from(list(SEPARATORS)),
    st.sampled_from(list(ENDS)),
    st.sampled_from([Operation.CHAT, Operation.COMPLETIONS]),
)
def test_content_passes_byte_by_byte_and_is_counted(
    texts: list[str], style: str, end: str, operation: Operation
) -> None:
    """Whatever the text says: marks of usage, ends and errors inside a string are only text."""
    writer, reading = Writer(style, end), meter(operation)
    if operation is Operation.CHAT:
        events = [writer.chunk(text) for text in texts]
    else:
        events = [writer.choice({"text": text, "finish_reason": None}) for text in texts]
    assert [reading.feed_events(event) for event in events] == events
    assert (reading.events, reading.error, reading.finish_reason) == (len(texts), None, None)


@pytest.mark.parametrize(
    "text",
    ['"usage":{', '"finish_reason":"stop"', "data: [DONE]", '"error"', '": "', "\n\n", "error: x", '"', "\\", '\\"'],
)
def test_marks_inside_a_text_change_nothing(text: str, writer: Writer) -> None:
    reading = meter()
    for piece in ("a", text, "b", text + "c"):
        assert reading.feed_events(writer.chunk(piece)) == writer.chunk(piece)
    assert (reading.usage, reading.error, reading.finish_reason) == (None, None, None)
    assert isinstance(reading.end_events(), UpstreamBroken)


@given(st.data())
def test_how_events_are_packed_does_not_matter(data: st.DataObject) -> None:
    chunks = [TIGHT.chunk(text) for text in "abcd"]
    events = [*chunks, TIGHT.chunk("", finish="stop"), b": x\n\n", TIGHT.usage(USAGE), DONE]
    packing = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)))
    reading, seen, packet = meter(), b"", b""
    for event, flush in zip(events, packing, strict=True):
        packet += event
        if flush:
            seen, packet = seen + reading.feed_events(packet), b""
    seen += reading.feed_events(packet) if packet else b""
    assert list(sse.split(seen)) == [*events[:6], DONE]
    assert (reading.events, reading.usage, reading.finish_reason) == (5, READ, "stop")
    assert reading.end_events() is None


def test_an_event_of_several_data_lines_is_read_as_one() -> None:
    reading = meter()
    lines = b'data: {"choices":\ndata: [{"finish_reason":\ndata: "stop"}]}\n\n'
    assert reading.feed_events(lines + DONE) == lines + DONE
    assert (reading.finish_reason, reading.end_events()) == ("stop", None)


# Plain answers


def answer(**more: Any) -> bytes:
    return json.dumps({"choices": [{"finish_reason": "stop", "message": {}}], **more}).encode()


def test_a_plain_answer_is_read_and_stays_as_it_is() -> None:
    reading, body = meter(stream=False), answer(usage=USAGE, model="kimi-k2")
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
@pytest.mark.parametrize("flat", [True, False])
def test_an_error_in_a_200_is_what_its_code_says(code: int | None, kind: type[Exception], flat: bool) -> None:
    reading = meter(stream=False)
    error = {"message": "queue full", "code": code}
    reading.read_body(json.dumps({"object": "error", **error} if flat else {"error": error}).encode())
    assert type(reading.error) is kind


@pytest.mark.parametrize("reason", ['"abort"', '"error"', '{"type": "abort"}'])
def test_an_aborted_plain_answer_is_an_error(reason: str) -> None:
    reading = meter(stream=False)
    reading.read_body(b'{"choices": [{"finish_reason": %s}]}' % reason.encode())
    assert isinstance(reading.error, UpstreamBroken)


def test_null_content_and_empty_tool_calls_stay_as_engines_write_them() -> None:
    body = b'{"choices":[{"index":0,"message":{"content":null,"tool_calls":[]},"finish_reason":"stop"}]}'
    reading = meter(stream=False, fields={"tools": []})
    assert reading.read_body(body) is body
