"""Answers that only count."""

from __future__ import annotations

import json

import pytest

from gateway import Operation, Usage
from gateway.errors import UpstreamBroken, UpstreamRefused
from tests.unit.backends.answers.asking import meter


@pytest.mark.parametrize(
    ("operation", "answer", "count"),
    [
        (Operation.COUNT_TOKENS, {"input_tokens": 77, "context_management": {"original_input_tokens": 77}}, 77),
        (Operation.TOKENIZE, {"count": 2, "max_model_len": 8192, "tokens": [256, 319]}, 2),
    ],
)
def test_the_count_is_the_prompts_and_nothing_is_said_of_an_answer(
    operation: Operation, answer: object, count: int
) -> None:
    reading, body = meter(operation, stream=False), json.dumps(answer).encode()
    assert reading.read_body(body) is body
    assert (reading.usage, reading.error) == (Usage(prompt_tokens=count), None)


@pytest.mark.parametrize("answer", [b'{"tokens": [1, 2]}', b'{"count": null}', b'{"count": "two"}', b'{"count": -1}'])
def test_where_no_count_is_none_is_known(answer: bytes) -> None:
    reading = meter(Operation.TOKENIZE, stream=False)
    assert reading.read_body(answer) is answer
    assert (reading.usage, reading.error) == (None, None)


def test_the_served_name_takes_the_place_of_the_engines() -> None:
    reading = meter(Operation.TOKENIZE, stream=False)
    assert reading.read_body(b'{"model": "x", "count": 2}') == b'{"model":"kimi-k2","count":2}'


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"nonsense", UpstreamBroken),
        (b"[]", UpstreamBroken),
        (b'{"error": {"code": 400, "message": "x"}}', UpstreamRefused),
    ],
)
def test_an_error_is_one(answer: bytes, kind: type) -> None:
    reading = meter(Operation.COUNT_TOKENS, stream=False)
    assert reading.read_body(answer) is answer
    assert type(reading.error) is kind


def test_a_stream_is_not_understood() -> None:
    reading = meter(Operation.TOKENIZE)
    reading.feed_events(b"data: {}\n\n")
    assert isinstance(reading.error, UpstreamBroken)
    assert reading.end_events() is reading.error
