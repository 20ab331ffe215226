"""Completions' log-probabilities in chat's form get the form that completions have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway import Meter, Operation
from tests.unit.backends.answers.asking import DONE, TIGHT, Writer, feed, meter


def token(text: str, logprob: float | None, **others: float) -> dict[str, Any]:
    found = {"id": 4, "token": text, "bytes": list(text.encode()), "logprob": logprob}
    top = [{"id": 5, "token": name, "bytes": [], "logprob": value} for name, value in others.items()]
    return {**found, "top_logprobs": top}


FIRST = {"content": [token("él", -0.5, él=-0.5, l=-3.0)]}
SECOND = {"content": [token("lo", -0.25, lo=-0.25), token("!", None)]}
FIRST_SHOWN = {
    "tokens": ["él"],
    "token_logprobs": [-0.5],
    "top_logprobs": [{"él": -0.5, "l": -3.0}],
    "text_offset": [0],
}
SECOND_SHOWN = {
    "tokens": ["lo", "!"],
    "token_logprobs": [-0.25, None],
    "top_logprobs": [{"lo": -0.25}, {}],
    "text_offset": [2, 4],
}


def reading(*, stream: bool = True, **fields: Any) -> Meter:
    return meter(Operation.COMPLETIONS, stream=stream, fields={"logprobs": 2, **fields})


def piece(writer: Writer, text: str, logprobs: Any, index: int = 0, finish: str | None = None) -> bytes:
    return writer.choice({"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish})


@pytest.mark.parametrize("style", ["tight", "spaced"])
def test_in_a_stream_each_choice_counts_its_own_text(style: str) -> None:
    read, writer = reading(), Writer(style)
    events = [
        piece(writer, "él", FIRST),
        piece(writer, "él", FIRST, index=1),
        piece(writer, "lo!", SECOND),
        piece(writer, "", None, finish="stop"),
        DONE,
    ]
    shown = [chunk["choices"][0]["logprobs"] for chunk in feed(read, events)[:-1]]
    assert shown == [FIRST_SHOWN, FIRST_SHOWN, SECOND_SHOWN, None]
    assert (read.transforms, read.error, read.end_events()) == (["logprobs_form"], None, None)


def test_in_a_whole_answer() -> None:
    read = reading(stream=False)
    logprobs = {"content": FIRST["content"] + SECOND["content"]}
    body = {
        "model": "kimi-k2",
        "choices": [{"text": "éllo!", "index": 0, "logprobs": logprobs, "finish_reason": "stop"}],
    }
    shown = json.loads(read.read_body(json.dumps(body).encode()))["choices"][0]["logprobs"]
    assert shown == {name: FIRST_SHOWN[name] + SECOND_SHOWN[name] for name in FIRST_SHOWN}
    assert read.transforms == ["logprobs_form"]


@pytest.mark.parametrize("logprobs", [FIRST_SHOWN, None, {"content": 3}, "x"])
def test_any_other_form_passes_as_it_is(logprobs: Any) -> None:
    read = reading()
    event = piece(TIGHT, "a", logprobs)
    assert read.feed_events(event) == event
    assert read.transforms == []


@pytest.mark.parametrize("fields", [{"logprobs": None}, {}])
def test_nobody_looks_for_them_where_none_were_asked_for(fields: dict[str, Any]) -> None:
    read = meter(Operation.COMPLETIONS, fields=fields)
    event = piece(TIGHT, "él", FIRST)
    assert read.feed_events(event) == event


def test_two_tokens_that_read_the_same_leave_the_likelier() -> None:
    read = reading()
    twins = token("�", -0.5)
    twins["top_logprobs"] = [{"token": "�", "logprob": -0.5}, {"token": "�", "logprob": -1.0}]
    (shown,) = feed(read, [piece(TIGHT, "", {"content": [twins]})])
    assert shown["choices"][0]["logprobs"]["top_logprobs"] == [{"�": -0.5}]
