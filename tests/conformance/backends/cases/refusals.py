"""Errors in one shape whatever engine they come from: what the client did wrong, what the engine refuses, and overload."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from tests.conformance.backends.asking import CHAT, HELLO, PRIVATE, SUM, Json, faulty
from tests.conformance.backends.case import Need, add, case
from tests.conformance.backends.target import Target

LONG = [{"role": "user", "content": "a 1 " * 20_000}]


def check_error(answer: httpx.Response, status: int, code: str | None = None) -> Json:
    """OpenAI's shape, our headers, and nothing private."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text[:300]}"
    assert answer.headers["content-type"].startswith("application/json")
    error: Json = answer.json()["error"]
    assert set(answer.json()) == {"error"}
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["code"] == answer.headers["x-moegate-error"]
    assert code in (None, error["code"])
    assert len(answer.headers["x-moegate-call-id"]) == 32
    shown = answer.text + str(answer.headers)
    assert [text for text in PRIVATE if text in shown] == []
    return error


@case("errors")
def a_body_that_is_no_json(target: Target) -> None:
    check_error(target.post(CHAT, b'{"model": "' + target.model.encode() + b'", "messages": ['), 400, "invalid_request")


@case("errors")
def a_body_without_messages(target: Target) -> None:
    assert check_error(target.post(CHAT, {"model": target.model}), 400)["param"] == "messages"


@case("errors")
def a_field_of_the_wrong_type(target: Target) -> None:
    assert check_error(target.post(CHAT, target.body(max_tokens="many")), 400)["param"] == "max_tokens"


@case("errors")
def a_value_out_of_bounds(target: Target) -> None:
    for name, value in {"temperature": -5, "top_p": 7, "max_tokens": 0, "n": 0}.items():
        assert check_error(target.post(CHAT, target.body(**{name: value})), 400)["param"] == name


@case("errors")
def a_model_that_is_not_there(target: Target) -> None:
    error = check_error(target.post(CHAT, target.body(model="no-such-model")), 404, "model_not_found")
    assert error["param"] == "model"


@case("errors")
def a_key_that_is_wrong(target: Target) -> None:
    check_error(target.post(CHAT, target.body(), authorization="Bearer nobody"), 401, "invalid_api_key")


@case("errors")
def a_prompt_that_is_too_long(target: Target) -> None:
    for stream in (False, True):
        check_error(target.post(CHAT, target.body(LONG, stream=stream)), 400)


@case("errors")
def what_the_engine_itself_refuses(target: Target) -> None:
    """Whoever refuses it, and in whatever shape the engine does."""
    for stream in (False, True):
        error = check_error(target.post(CHAT, target.body(HELLO, stream=stream, **target.declaration.refuses)), 400)
        assert any(name in error["message"] for name in target.declaration.refuses)


@case("errors")
def a_refusal_is_the_sdks_own_exception(target: Target) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        target.chat(HELLO, **target.declaration.refuses)
    assert raised.value.code == raised.value.response.headers["x-moegate-error"]


# -- what a scripted engine is told to answer -------------------------------------------------------------------------

# What the engine says, in its own shape or in another's: status and code for the client, and whether it may come again.
OUTCOMES: dict[str, tuple[int, str, bool]] = {
    "error_context": (400, "context_length_exceeded", False),
    "error_400": (400, "upstream_refused", False),
    "error_flat": (400, "upstream_refused", False),
    "error_detail": (400, "upstream_refused", False),
    "error_leaks": (400, "upstream_refused", False),
    "error_plain": (502, "upstream_broken", False),
    "error_429": (503, "upstream_overloaded", True),
    "error_500": (502, "upstream_broken", False),
    "queue_full": (503, "upstream_overloaded", True),
    "queue_full_503": (503, "upstream_overloaded", True),
    "queue_full_in_200": (503, "upstream_overloaded", True),
}


def _outcome(fault: str, stream: bool) -> Any:
    status, code, again = OUTCOMES[fault]

    def check(target: Target) -> None:
        answer = target.post(CHAT, target.body(faulty(fault), stream=stream))
        error = check_error(answer, status, code)
        assert ("retry-after" in answer.headers) is again
        assert not again or int(answer.headers["retry-after"]) >= 1
        assert not error["type"].isdigit()
        assert answer.headers["x-moegate-backend"] == target.engine
        assert target.scripted.wait(running=0)["seen"] == 1

    return check


for _fault in OUTCOMES:
    for _stream in (False, True):
        add(f"errors.{_fault}{'_of_a_stream' if _stream else ''}", _outcome(_fault, _stream), Need.DOOR)


@case("errors", Need.DOOR)
def an_engine_that_drains_is_no_fault_of_the_clients(target: Target) -> None:
    for stream in (False, True):
        answer = target.post(CHAT, target.body(faulty("drain"), stream=stream))
        assert answer.status_code in (200, 502, 503), answer.text  # some serve to the end whatever comes
        if answer.status_code != 200:
            check_error(answer, answer.status_code)


@case("errors", Need.DOOR)
def a_call_to_an_engine_that_drains_is_served(target: Target) -> None:
    """By it, or elsewhere."""
    for stream in (False, True):
        asked = target.body(faulty(f"drain,only={target.engine}"), model=target.variants["pair"], stream=stream)
        answer = target.post(CHAT, asked)
        assert answer.status_code == 200, answer.text


@case("errors", Need.DOOR)
def a_full_queue_sends_the_call_elsewhere(target: Target) -> None:
    for stream in (False, True):
        asked = target.body(faulty(f"queue_full,only={target.engine}"), model=target.variants["pair"], stream=stream)
        answer = target.post(CHAT, asked)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-moegate-attempts"] == "2"


@case("errors", Need.DOOR)
def a_refusal_is_not_tried_elsewhere(target: Target) -> None:
    asked = target.body(faulty(f"error_400,only={target.engine}", SUM), model=target.variants["pair"])
    assert check_error(target.post(CHAT, asked), 400, "upstream_refused")
