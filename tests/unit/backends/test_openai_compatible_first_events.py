from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.openai_compatible import OpenAICompatible
from gateway.errors import UpstreamBroken, UpstreamError, UpstreamOverloaded, UpstreamRefused

BACKEND = OpenAICompatible()


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (
            {"error": {"object": "error", "message": "The request queue is full.", "type": "x", "code": 503}},
            UpstreamOverloaded,
        ),
        ({"error": {"message": "no", "type": "BadRequestError", "param": None, "code": 400}}, UpstreamRefused),
        ({"error": {"message": "no", "code": "503"}}, UpstreamOverloaded),
        ({"error": {"message": "no", "code": "1234567890"}}, UpstreamBroken),
        ({"error": {"message": "no", "code": True}}, UpstreamBroken),
        ({"object": "error", "message": "no", "type": "BadRequest", "param": None, "code": 400}, UpstreamRefused),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, UpstreamOverloaded),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}, UpstreamRefused),
        ({"type": "error", "error": {"type": "api_error", "message": "no"}}, UpstreamBroken),
        ({"type": "error", "code": "server_error", "message": "no", "param": None}, UpstreamBroken),
        ({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "no"}}}, UpstreamBroken),
        ({"error": "no"}, UpstreamBroken),
        ({"error": []}, UpstreamBroken),
        (None, None),
    ],
)
def test_the_first_event_may_be_an_error_in_any_shape(
    event: dict[str, Any] | None, kind: type[UpstreamError] | None
) -> None:
    found = BACKEND.read_first_event(f"data: {json.dumps(event)}\n\n".encode())
    assert (type(found) if found is not None else None) is kind


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"delta":{"content":"\\"error\\" is a word"}}]}\n\n',
        b'data: {"choices":[],"error":null}\n\n',
        b'event: response.created\ndata: {"type":"response.created","response":{"error":null}}\n\n',
        b'data: {"choices":[]}\n\n',
        b"data: [DONE]\n\n",
        b": error\n\n",
    ],
)
def test_but_is_none_because_of_a_word(event: bytes) -> None:
    assert BACKEND.read_first_event(event) is None


@given(st.binary(max_size=60))
def test_any_first_event_can_be_read(payload: bytes) -> None:
    found = BACKEND.read_first_event(b'data: {"error":' + payload + b"\n\n")
    assert found is None or isinstance(found, UpstreamError)
