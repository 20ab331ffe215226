"""Token counts of chat and completions: read wherever they are, shown where OpenAI has them, and only to who asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway import Usage
from tests.unit.backends.answers.asking import DONE, ENDS, SEPARATORS, TIGHT, Writer, feed, meter, payloads

USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 7,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
READ = Usage(prompt_tokens=5, cached_tokens=3, completion_tokens=7, reasoning_tokens=2)


@pytest.fixture(params=[(style, end) for style in SEPARATORS for end in ENDS], ids="-".join)
def writer(request: pytest.FixtureRequest) -> Writer:
    return Writer(*request.param)


def test_usage_is_read_and_hidden_from_a_client_that_did_not_ask(writer: Writer) -> None:
    reading = meter()
    kept = writer.chunk() + writer.chunk("", "stop")
    assert reading.feed_events(kept + writer.usage(USAGE) + writer.done) == kept + writer.done
    assert reading.usage == READ
    assert reading.end_events() is None


def test_and_shown_to_one_that_did(writer: Writer) -> None:
    reading = meter(wants_usage=True)
    events = writer.chunk("", "stop") + writer.usage(USAGE) + writer.done
    assert reading.feed_events(events) == events
    assert (reading.usage, reading.transforms) == (READ, [])


def test_what_the_engine_does_not_say_is_unknown_not_zero(writer: Writer) -> None:
    reading = meter()
    reading.feed_events(writer.usage({**USAGE, "prompt_tokens_details": None, "completion_tokens_details": None}))
    assert reading.usage == Usage(prompt_tokens=5, completion_tokens=7)


def test_usage_beside_content_is_read_and_hidden_alone(writer: Writer) -> None:
    reading = meter()
    seen = payloads(reading.feed_events(writer.chunk("x", usage=USAGE)))
    assert seen == payloads(writer.chunk("x"))
    assert reading.usage == READ


def test_and_left_in_place_for_a_client_that_asked(writer: Writer) -> None:
    reading = meter(wants_usage=True)
    assert reading.feed_events(writer.chunk(usage=USAGE)) == writer.chunk(usage=USAGE)


def test_the_latest_count_of_each_class_is_kept(writer: Writer) -> None:
    # vLLM's continuous usage leaves out what is cached; a stream that is cut off has only that.
    reading = meter()
    reading.feed_events(writer.chunk(usage={**USAGE, "completion_tokens": 1}))
    reading.feed_events(writer.chunk(usage={"prompt_tokens": 5, "completion_tokens": 2}))
    assert reading.usage == Usage(prompt_tokens=5, cached_tokens=3, completion_tokens=2, reasoning_tokens=2)
    reading.feed_events(writer.usage(USAGE))
    assert reading.usage == READ


def test_null_usage_is_no_usage(writer: Writer) -> None:
    reading = meter()
    assert reading.feed_events(writer.chunk(usage=None)) == writer.chunk(usage=None)
    assert reading.usage is None


@pytest.mark.parametrize("usage", [{"prompt_tokens": "many"}, [1], "x", {"prompt_tokens_details": 3}])
def test_usage_that_cannot_be_read_is_unknown_and_no_error(usage: Any) -> None:
    reading = meter(wants_usage=True)
    feed(reading, [TIGHT.chunk(), TIGHT.event({"choices": [], "usage": usage}), TIGHT.chunk("", "stop"), DONE])
    assert (reading.usage, reading.error, reading.end_events()) == (None, None, None)


def test_usage_in_a_choice_is_moved_to_where_openai_has_it(writer: Writer) -> None:
    # Moonshot's own API ends a stream so.
    reading = meter(wants_usage=True)
    last = writer.choice({"delta": {}, "finish_reason": "stop", "usage": USAGE})
    seen = payloads(reading.feed_events(writer.chunk() + last + writer.done))
    assert seen[1:] == [
        *payloads(last),
        {"id": "x", "object": "chat.completion.chunk", "created": 7, "model": "kimi-k2", "choices": [], "usage": USAGE},
        "[DONE]",
    ]
    assert (reading.usage, reading.transforms) == (READ, ["usage_place"])


def test_and_hidden_from_a_client_that_did_not_ask(writer: Writer) -> None:
    reading = meter()
    last = {"delta": {}, "finish_reason": "stop"}
    seen = payloads(reading.feed_events(writer.choice({**last, "usage": USAGE}) + writer.done))
    assert seen == [*payloads(writer.choice(last)), "[DONE]"]
    assert (reading.usage, reading.transforms) == (READ, [])


def test_usage_in_the_last_chunk_alone_is_given_in_one_of_its_own() -> None:
    reading = meter(wants_usage=True)
    seen = feed(reading, [TIGHT.chunk(), TIGHT.chunk("", "stop", usage=USAGE), DONE])
    assert seen[2]["choices"] == []
    assert seen[2]["usage"] == USAGE


@pytest.mark.parametrize("stream", [True, False])
def test_details_are_put_where_openai_has_them(stream: bool) -> None:
    # KTransformers writes reasoning tokens at the top alone, Moonshot cached ones.
    flat = {"prompt_tokens": 5, "completion_tokens": 7, "cached_tokens": 3, "reasoning_tokens": 2}
    reading = meter(stream=stream, wants_usage=True)
    body = (
        reading.feed_events(TIGHT.usage(flat))[6:]
        if stream
        else reading.read_body(json.dumps({"choices": [], "usage": flat}).encode())
    )
    seen = json.loads(body)["usage"]
    details = {"prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 2}}
    assert seen == {**flat, **details}
    assert (reading.usage, reading.transforms) == (READ, ["usage_place"])


def test_a_zero_that_sglang_writes_wherever_it_counts_no_reasoning_is_unknown() -> None:
    reading = meter()
    reading.feed_events(TIGHT.usage({"prompt_tokens": 5, "completion_tokens": 7, "reasoning_tokens": 0}))
    assert reading.usage == Usage(prompt_tokens=5, completion_tokens=7)
