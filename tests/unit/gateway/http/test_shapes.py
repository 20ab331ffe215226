from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.dataplane import sse
from gateway.http.endpoints import ENDPOINTS, shape_at
from gateway.http.shapes import ANTHROPIC, OPENAI, RESPONSES, Shape, Told

CALL_ID = "0" * 32


def told(**changes: Any) -> Told:
    fields = {"status": 400, "type": "invalid_request_error", "code": "invalid_request", "message": "No: 月 \n."}
    return Told(**{**fields, **changes})


def event_of(shape: Shape, error: Told, events: int = 0) -> tuple[str | None, dict[str, Any]]:
    """The event's name and what it holds; it must be exactly one."""
    (event,) = sse.split(shape.event(error, CALL_ID, events))
    payload = sse.data(event)
    assert payload is not None
    name = event.split(b"\n")[0].removeprefix(b"event: ").decode() if event.startswith(b"event: ") else None
    found: dict[str, Any] = json.loads(payload)
    return name, found


@pytest.mark.parametrize("shape", [OPENAI, RESPONSES])
def test_openai_s_body(shape: Shape) -> None:
    assert json.loads(shape.body(told(param="model"), CALL_ID)) == {
        "error": {
            "message": "No: 月 \n.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "invalid_request",
        }
    }


def test_anthropic_s_body() -> None:
    assert json.loads(ANTHROPIC.body(told(param="model"), CALL_ID)) == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "No: 月 \n."},
        "request_id": CALL_ID,
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (408, "invalid_request_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
        (507, "api_error"),
    ],
)
def test_anthropic_s_type_goes_by_the_status_whatever_the_engine_called_it(status: int, kind: str) -> None:
    assert json.loads(ANTHROPIC.body(told(status=status, type="NotFoundError"), CALL_ID))["error"]["type"] == kind


def test_the_last_event_of_a_stream_is_in_the_words_of_its_api() -> None:
    error = told(status=502, type="server_error", code="upstream_broken")
    assert event_of(OPENAI, error) == (None, json.loads(OPENAI.body(error, CALL_ID)))
    assert event_of(ANTHROPIC, error) == ("error", json.loads(ANTHROPIC.body(error, CALL_ID)))
    assert event_of(RESPONSES, error, 7) == (
        "error",
        {
            "type": "error",
            "code": "upstream_broken",
            "message": "No: 月 \n.",
            "param": None,
            "sequence_number": 7,
        },
    )


@pytest.mark.parametrize("shape", [OPENAI, RESPONSES, ANTHROPIC])
def test_what_is_for_the_log_is_shown_where_it_is_set_and_nowhere_else(shape: Shape) -> None:
    open_, closed = told(debug="the detail"), told()
    for write in (lambda error: shape.body(error, CALL_ID), lambda error: shape.event(error, CALL_ID, 0)):
        assert b'"debug":"the detail"' in write(open_)
        assert b"debug" not in write(closed)


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/messages", ANTHROPIC),
        ("/v1/messages/", ANTHROPIC),
        ("/v1/messages/count_tokens", ANTHROPIC),
        ("/v1/messages/batches/1", ANTHROPIC),
        ("/v1/messagesx", OPENAI),
        ("/v1/responses/resp_1", RESPONSES),
        ("/v1/chat/completions", OPENAI),
        ("/v1/models", OPENAI),
        ("/tokenize", OPENAI),
        ("/", OPENAI),
        ("", OPENAI),
    ],
)
def test_a_path_s_shape(path: str, shape: Shape) -> None:
    assert shape_at(path) is shape


def test_every_endpoint_s_own_path_has_its_shape() -> None:
    for path, endpoint in ENDPOINTS.items():
        assert shape_at(path) is endpoint.errors
