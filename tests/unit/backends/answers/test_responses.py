"""Answers of the Responses API: usage, ends, errors and call ids."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backends.answers.tool_leaks import CALL_BEGIN
from backends.sent import Sent
from gateway import Meter, Operation, Usage
from gateway.errors import UpstreamBroken, UpstreamOverloaded
from tests.unit.backends.answers.asking import ENDS, SEPARATORS, Writer, meter, payloads

USAGE = {
    "input_tokens": 5,
    "input_tokens_details": {"cached_tokens": 3},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 12,
}
READ = Usage(prompt_tokens=5, cached_tokens=3, completion_tokens=7, reasoning_tokens=2)
LATER = Sent(engine_model="x", next_call_index=4)


@pytest.fixture(params=[(style, end) for style in SEPARATORS for end in ENDS], ids="-".join)
def writer(request: pytest.FixtureRequest) -> Writer:
    return Writer(*request.param)


TIGHT = Writer()


def response(writer: Writer, kind: str, *, model: str = "kimi-k2", **fields: Any) -> bytes:
    held = {"id": "r", "object": "response", "model": model, "metadata": {"model": model}, "output": [], **fields}
    return writer.event({"type": f"response.{kind}", "response": held, "sequence_number": 1}, name=f"response.{kind}")


def delta(writer: Writer, text: str) -> bytes:
    kind = "response.output_text.delta"
    return writer.event({"type": kind, "item_id": "m", "delta": text, "sequence_number": 2}, name=kind)


def reading(*, tools: bool = False, stream: bool = True, sent: Sent | None = LATER) -> Meter:
    fields = {"tools": [{"type": "function", "name": "search"}]} if tools else None
    return meter(Operation.RESPONSES, stream=stream, fields=fields, sent=sent)


def test_a_response_passes_as_it_is_and_its_tokens_are_counted(writer: Writer) -> None:
    read = reading()
    events = [response(writer, "created", usage=None), delta(writer, "a"), delta(writer, '"error"')]
    events += [response(writer, "completed", status="completed", usage=USAGE)]
    assert [read.feed_events(event) for event in events] == events
    assert (read.usage, read.finish_reason, read.events, read.transforms) == (READ, "completed", 4, [])
    assert (read.error, read.end_events()) == (None, None)


def test_a_zero_that_the_api_asks_for_is_unknown() -> None:
    # The KTransformers fork writes 0 cached tokens into streams of which it cached nearly all.
    read = reading()
    zeros = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    read.feed_events(response(TIGHT, "completed", status="completed", usage={**USAGE, **zeros}))
    assert read.usage == Usage(prompt_tokens=5, completion_tokens=7)


NOTHING = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "input_tokens_details": {"cached_tokens": 0}}


def test_a_complete_response_for_which_nothing_was_done_is_no_answer() -> None:
    # All that the KTransformers fork says in a stream when its queue is full.
    read = reading()
    assert read.feed_events(response(TIGHT, "completed", status="completed", usage=NOTHING)) == b""
    assert (type(read.error), read.usage) == (UpstreamBroken, None)
    plain = reading(stream=False)
    plain.read_body(body(output=[], usage=NOTHING))
    assert isinstance(plain.error, UpstreamBroken)


@pytest.mark.parametrize(
    "fields",
    [
        {"usage": {**NOTHING, "input_tokens": 5}},
        {"usage": NOTHING, "output": [{"type": "message"}]},
        {"usage": None},
        {"usage": NOTHING, "status": "incomplete"},
    ],
)
def test_but_an_empty_one_may_be(fields: dict[str, Any]) -> None:
    read = reading()
    event = response(TIGHT, "completed", **{"status": "completed", **fields})
    assert read.feed_events(event) == event
    assert read.error is None


def test_an_incomplete_one_says_why(writer: Writer) -> None:
    read = reading()
    details = {"reason": "max_output_tokens"}
    event = response(writer, "incomplete", status="incomplete", incomplete_details=details, usage=USAGE)
    assert read.feed_events(event) == event
    assert (read.usage, read.finish_reason, read.end_events()) == (READ, "max_output_tokens", None)


def test_a_stream_without_its_last_response_was_cut_short(writer: Writer) -> None:
    read = reading()
    read.feed_events(response(writer, "created", status="in_progress") + delta(writer, "a"))
    assert isinstance(read.end_events(), UpstreamBroken)


def test_a_failed_response_is_an_error(writer: Writer) -> None:
    read = reading()
    error = {"code": "server_error", "message": "x"}
    event = response(writer, "failed", status="failed", error=error, usage=USAGE)
    assert read.feed_events(delta(writer, "a") + event + delta(writer, "b")) == delta(writer, "a")
    assert isinstance(read.error, UpstreamBroken)
    assert isinstance(read.end_events(), UpstreamBroken)


@pytest.mark.parametrize("shape", ["event", "nested", "flat"])
def test_errors_of_every_shape(shape: str) -> None:
    error = {"message": "full", "code": 503}
    event = {
        "event": TIGHT.event({"type": "error", **error, "sequence_number": 3}, name="error"),
        "nested": TIGHT.event({"error": error}),  # llama.cpp, without the event's name
        "flat": TIGHT.event({"object": "error", **error}),
    }[shape]
    read = reading()
    assert read.feed_events(delta(TIGHT, "a") + event + delta(TIGHT, "b")) == delta(TIGHT, "a")
    assert isinstance(read.error, UpstreamOverloaded)
    assert read.feed_events(delta(TIGHT, "b")) == b""


def test_the_served_name_takes_the_place_of_the_engines_at_the_top_alone(writer: Writer) -> None:
    read = reading()
    for kind, status in (("created", "in_progress"), ("completed", "completed")):
        shown = payloads(read.feed_events(response(writer, kind, model="x", status=status)))[0]
        assert shown["response"]["model"] == "kimi-k2"
        assert shown["response"]["metadata"] == {"model": "x"}
        assert shown["sequence_number"] == 1
    assert read.finish_reason == "completed"


def call(call_id: str, name: str = "search") -> dict[str, str]:
    return {"type": "function_call", "id": "fc_1", "call_id": call_id, "name": name, "arguments": "{}"}


def item(kind: str, call_id: str) -> bytes:
    kind = f"response.output_item.{kind}"
    return TIGHT.event({"type": kind, "item": call(call_id)}, name=kind)


def test_calls_get_the_conversations_ids_everywhere_the_same() -> None:
    read = reading(tools=True)
    output = [{"type": "message"}, call("call_a"), call("call_b")]
    last = response(TIGHT, "completed", status="completed", output=output)
    events = [item("added", "call_a"), item("done", "call_a"), item("added", "call_b"), item("done", "call_b"), last]
    seen = [payloads(read.feed_events(event))[0] for event in events]
    assert [event["item"] for event in seen[:4]] == [call(f"functions.search:{at}") for at in (4, 4, 5, 5)]
    assert seen[4]["response"]["output"] == [{"type": "message"}, *[call(f"functions.search:{at}") for at in (4, 5)]]
    assert (read.transforms, read.events) == (["tool_ids"], 5)


def test_without_knowing_what_was_sent_ids_stay() -> None:
    read = reading(tools=True, sent=None)
    assert read.feed_events(item("added", "call_a")) == item("added", "call_a")


@pytest.mark.parametrize("tools", [True, False])
def test_a_call_left_in_text_is_counted(tools: bool) -> None:
    read = reading(tools=tools)
    output = [{"type": "message", "content": [{"type": "output_text", "text": CALL_BEGIN}]}]
    event = response(TIGHT, "completed", status="completed", output=output)
    assert read.feed_events(event) == event
    assert read.transforms == (["tool_leak"] if tools else [])


def body(**fields: Any) -> bytes:
    return json.dumps(
        {"object": "response", "model": "kimi-k2", "status": "completed", "error": None, **fields}
    ).encode()


def test_a_plain_answer_is_read_and_stays_as_it_is() -> None:
    read, answer = reading(stream=False), body(usage=USAGE)
    assert read.read_body(answer) is answer
    assert (read.usage, read.finish_reason, read.error) == (READ, "completed", None)
    assert json.loads(reading(stream=False).read_body(body(model="x"))) == json.loads(body())


@pytest.mark.parametrize("answer", [b"[]", body(error={"message": "x"}), body(status="failed"), b'{"error": "x"}'])
def test_a_plain_answer_that_is_none_is_an_error(answer: bytes) -> None:
    read = reading(stream=False)
    assert read.read_body(answer) == answer
    assert isinstance(read.error, UpstreamBroken)


def test_an_event_that_is_not_json_is_an_error() -> None:
    read = reading()
    assert read.feed_events(b"event: response.created\ndata: {\n\n" + delta(TIGHT, "a")) == b""
    assert isinstance(read.error, UpstreamBroken)


def test_comments_and_a_done_of_no_use_pass_uncounted() -> None:
    read = reading()
    assert read.feed_events(b": ping\n\ndata: [DONE]\n\n") == b": ping\n\ndata: [DONE]\n\n"
    assert read.events == 0
