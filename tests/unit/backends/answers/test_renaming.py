"""The model's name and the field of what it thought: what the engine calls them, and what the client gets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.backends.answers.asking import DONE, ENDS, SEPARATORS, TIGHT, Writer, feed, meter, payloads

BOTH = ("reasoning_content", "reasoning")


@pytest.fixture(params=[(style, end) for style in SEPARATORS for end in ENDS], ids="-".join)
def style(request: pytest.FixtureRequest) -> Any:
    return request.param


# The model


def test_the_served_name_takes_the_place_of_the_engines(style: Any) -> None:
    engine, served = Writer(*style, model="/weights/k2"), Writer(*style)
    texts = ["a", "b", 'say "model":"/weights/k2"', "c\\", "d\n"]
    reading = meter(wants_usage=True)
    events = [*[engine.chunk(text) for text in texts], engine.chunk("", "stop"), engine.usage({}), engine.done]
    expected = [*[served.chunk(text) for text in texts], served.chunk("", "stop"), served.usage({}), served.done]
    assert [reading.feed_events(event) for event in events] == expected
    assert reading.transforms == []


def test_also_in_events_that_come_together() -> None:
    engine = Writer(model="other")
    reading = meter()
    assert reading.feed_events(engine.chunk("a") + engine.chunk("b")) == TIGHT.chunk("a") + TIGHT.chunk("b")


def test_a_name_that_needs_escapes_is_found_as_the_engine_writes_it() -> None:
    engine = Writer(model='a "b" \\ é')
    reading = meter()
    assert feed(reading, [engine.chunk("x"), engine.chunk("y")]) == payloads(TIGHT.chunk("x") + TIGHT.chunk("y"))


def test_a_name_with_needless_escapes_is_found_too() -> None:
    # Legal JSON, though not how most write it.
    reading = meter()
    events = [b'data: {"model":"a\\/b","choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n' % n for n in range(3)]
    assert [chunk["model"] for chunk in feed(reading, events)] == ["kimi-k2"] * 3


def test_a_key_that_ends_like_it_is_another() -> None:
    event = b'data: {"a\\"model":"e","model":"%s","choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n'
    reading = meter()
    assert [reading.feed_events(event % (b"e", n)) for n in range(3)] == [event % (b"kimi-k2", n) for n in range(3)]


def test_an_engine_that_names_no_model_is_left_alone() -> None:
    event = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
    reading = meter()
    assert [reading.feed_events(event) for _ in range(3)] == [event] * 3


def test_the_name_at_the_top_is_meant_and_no_other() -> None:
    reading = meter(stream=False)
    body = {"metadata": {"model": "x"}, "model": "x", "choices": [{"finish_reason": "stop", "message": {"model": "x"}}]}
    assert json.loads(reading.read_body(json.dumps(body).encode())) == {**body, "model": "kimi-k2"}


def test_numbers_beside_it_stay_as_they_are_written() -> None:
    reading = meter(stream=False)
    body = b'{"model":"x","created":12345678901234567890123,"choices":[],"p":-0.10000000000000000001}'
    assert reading.read_body(body) == body.replace(b'"x"', b'"kimi-k2"')


# What the model thought


def thought(style: Any, text: str | None, *names: str) -> bytes:
    return Writer(*style).delta(**dict.fromkeys(names, text))


@pytest.mark.parametrize("key", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("wanted", [("reasoning_content",), ("reasoning",), BOTH, ("thinking",), ()])
def test_the_client_gets_it_under_the_names_it_wants(
    style: Any, key: str, known: bool, wanted: tuple[str, ...]
) -> None:
    reading = meter(reasoning_key=key if known else None, reasoning_fields=wanted)
    texts = ["a", "b", 'c "reasoning":', "d"]
    seen = feed(reading, [thought(style, text, key) for text in texts])
    assert [chunk["choices"][0]["delta"] for chunk in seen] == [dict.fromkeys(wanted, text) for text in texts]
    assert reading.transforms == ([] if wanted == (key,) else ["reasoning_fields"])


def test_right_names_pass_byte_for_byte(style: Any) -> None:
    reading = meter(reasoning_key="reasoning_content")
    events = [Writer(*style).delta(content=None, reasoning_content=text) for text in ("a", None, "b")]
    assert [reading.feed_events(event) for event in events] == events


@pytest.mark.parametrize("empty", ["", None])
@pytest.mark.parametrize("wanted", [("reasoning_content",), ("reasoning",), BOTH])
def test_of_two_fields_the_one_that_says_something_counts(empty: str | None, wanted: tuple[str, ...]) -> None:
    for full, other in (BOTH, BOTH[::-1]):
        reading = meter(reasoning_fields=wanted)
        seen = feed(reading, [TIGHT.delta(**{other: empty, full: "x"}), TIGHT.delta(**{full: "y", other: empty})])
        assert [chunk["choices"][0]["delta"] for chunk in seen] == [dict.fromkeys(wanted, text) for text in "xy"]


def test_what_stood_in_the_other_field_is_not_put_before_later_text() -> None:
    reading = meter()
    deltas = [{"reasoning": "x", "reasoning_content": text} for text in ("", "y", "z")]
    seen = feed(reading, [TIGHT.delta(**delta) for delta in deltas])
    assert [chunk["choices"][0]["delta"] for chunk in seen] == [{"reasoning_content": text} for text in "xyz"]


def test_thinking_and_speaking_take_turns() -> None:
    reading = meter(reasoning_key="reasoning")
    deltas = [{"reasoning": "a"}, {"reasoning": "b"}, {"content": "c"}, {"content": "d"}, {"reasoning": "e"}]
    seen = [chunk["choices"][0]["delta"] for chunk in feed(reading, [TIGHT.delta(**delta) for delta in deltas])]
    assert seen == [{name.replace("reasoning", "reasoning_content"): text for name, text in d.items()} for d in deltas]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ({"content": "a", "reasoning": "b"}, {"content": "a", "reasoning_content": "b"}),
        ({"content": "a", "reasoning_content": None, "reasoning": "b"}, {"content": "a", "reasoning_content": "b"}),
        ({"content": "a", "reasoning_content": "b", "reasoning": None}, {"content": "a", "reasoning_content": "b"}),
        ({"content": "a", "reasoning_content": "b", "reasoning": ""}, {"content": "a", "reasoning_content": "b"}),
    ],
)
def test_so_it_is_in_a_plain_answer(message: dict[str, Any], shown: dict[str, Any]) -> None:
    reading = meter(stream=False)
    body = {"choices": [{"finish_reason": "stop", "message": message}]}
    assert json.loads(reading.read_body(json.dumps(body).encode()))["choices"][0]["message"] == shown
    assert reading.transforms == ["reasoning_fields"]


@pytest.mark.parametrize("blank", [b"", b" ", b"\n\t"])
def test_a_plain_answer_in_which_nothing_is_thought_is_not_taken_apart(blank: bytes) -> None:
    message = b'{"role":"assistant","reasoning"%b:%bnull,"reasoning_content":%bnull,"content":"\\"reasoning\\": x"}'
    usage = b'{"prompt_tokens":3,"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":0}}'
    body = b'{"model":"%b","choices":[{"finish_reason":"stop","message":%b}],"usage":%b}'
    answer = body % (b"kimi-k2", message % ((blank,) * 3), usage)
    assert meter(stream=False).read_body(answer) is answer
    other = body % (b"/weights/k2", message % ((blank,) * 3), usage)
    assert json.loads(meter(stream=False).read_body(other)) == json.loads(answer)


@pytest.mark.parametrize("wanted", [("reasoning_content",), ("reasoning",), BOTH, ()])
@pytest.mark.parametrize(
    "empty", [{"reasoning": None}, {"reasoning_content": None}, {"reasoning_content": None, "reasoning": None}]
)
def test_what_tells_nothing_stays_where_the_engine_wrote_it(wanted: tuple[str, ...], empty: dict[str, Any]) -> None:
    body = json.dumps({"choices": [{"finish_reason": "stop", "message": {"content": "a", **empty}}]}).encode()
    assert meter(stream=False, reasoning_fields=wanted).read_body(body) is body
    reading = meter(reasoning_fields=wanted)
    events = [TIGHT.delta(content=text, **empty) for text in "abc"]
    assert [reading.feed_events(event) for event in events] == events
    assert reading.transforms == []


def test_a_text_that_speaks_of_reasoning_is_only_text() -> None:
    reading = meter(reasoning_key="reasoning")
    events = [TIGHT.chunk('"reasoning":"x"'), TIGHT.chunk('{"reasoning": 1}'), TIGHT.chunk("", "stop"), DONE]
    assert [reading.feed_events(event) for event in events] == events
