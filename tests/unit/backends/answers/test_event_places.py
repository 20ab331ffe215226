"""Events of the Responses API from an engine that neither numbers nor places them."""

from __future__ import annotations

from typing import Any

import pytest

from backends.sent import Sent
from gateway import Meter, Operation
from tests.unit.backends.answers.asking import ENDS, SEPARATORS, Writer, feed, meter


def reading() -> Meter:
    fields = {"tools": [{"type": "function", "name": "search"}]}
    return meter(Operation.RESPONSES, fields=fields, sent=Sent(engine_model="x", next_call_index=4))


def event(writer: Writer, kind: str, **fields: Any) -> bytes:
    return writer.event({"type": f"response.{kind}", **fields}, name=f"response.{kind}")


MESSAGE = {"type": "message", "id": "msg_1", "content": []}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_x", "name": "search", "arguments": ""}
BEGUN = {"id": "r", "object": "response", "status": "in_progress"}
ENDED = {**BEGUN, "status": "completed", "model": "x", "output": [MESSAGE]}


def stream(writer: Writer) -> list[bytes]:
    return [
        event(writer, "created", response=BEGUN),
        event(writer, "output_item.added", item=MESSAGE),
        event(writer, "content_part.added", item_id="msg_1", part={}),
        event(writer, "output_text.delta", item_id="msg_1", delta="a"),
        event(writer, "output_item.added", item=CALL),
        event(writer, "function_call_arguments.delta", item_id="fc_1", delta="{}"),
        event(writer, "output_text.done", item_id="msg_1", text="a"),
        event(writer, "output_item.done", item=CALL),
        event(writer, "completed", response=ENDED),
    ]


@pytest.mark.parametrize("style", SEPARATORS)
@pytest.mark.parametrize("end", ENDS)
def test_they_are_numbered_and_placed(style: str, end: str) -> None:
    read = reading()
    seen = feed(read, stream(Writer(style, end)))
    assert [each["sequence_number"] for each in seen] == list(range(9))
    places = [(each.get("output_index"), each.get("content_index")) for each in seen]
    message, call, nowhere = (0, None), (1, None), (None, None)
    assert places == [nowhere, message, (0, 0), (0, 0), call, call, (0, 0), call, nowhere]
    assert (read.transforms, read.error, read.end_events()) == (["event_places", "tool_ids"], None, None)


def test_in_one_packet_as_well() -> None:
    writer = Writer()
    apart, together = reading(), reading()
    assert b"".join(map(apart.feed_events, stream(writer))) == together.feed_events(b"".join(stream(writer)))


def test_what_a_beginning_leaves_out_is_said() -> None:
    created = feed(reading(), stream(Writer())[:1])[0]
    assert created["response"] == {**BEGUN, "model": "kimi-k2", "output": []}


def test_what_is_no_event_of_the_api_stays() -> None:
    read, writer = reading(), Writer()
    read.feed_events(stream(writer)[0])
    for other in (b": a comment\n\n", writer.done, writer.event({"a": 1})):
        assert read.feed_events(other) == other


def test_an_engine_that_numbers_them_is_left_alone() -> None:
    read, writer = reading(), Writer()
    events = [
        event(writer, "created", response={**BEGUN, "model": "kimi-k2"}, sequence_number=0),
        event(writer, "output_text.delta", item_id="msg_1", delta="a", output_index=3, sequence_number=1),
    ]
    assert [read.feed_events(each) for each in events] == events
    assert read.transforms == []
