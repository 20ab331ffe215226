from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar, Router, get
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.testing import TestClient

from gateway import errors
from gateway.http import errors as rendering
from gateway.http.shapes import Told


def headers(error: errors.GatewayError) -> dict[bytes, bytes]:
    return dict(rendering.headers_of(error))


def test_what_a_client_may_know_of_an_error() -> None:
    assert rendering.told(errors.InvalidRequest("It is wrong.", param="model")) == Told(
        status=400, type="invalid_request_error", code="invalid_request", message="It is wrong.", param="model"
    )


def test_what_went_wrong_inside_is_for_the_log_unless_debugging() -> None:
    error = errors.UpstreamBroken("secret detail")
    assert "secret detail" not in str(rendering.told(error))
    assert rendering.told(error, debug=True).debug == "secret detail"


def test_a_refusal_passes_on_the_engine_s_status_and_type() -> None:
    told = rendering.told(errors.UpstreamRefused("too long", engine_status=422, engine_type="BadRequestError"))
    assert (told.status, told.type, told.code) == (422, "BadRequestError", "upstream_refused")


def test_a_refusal_without_a_type_has_ours() -> None:
    assert rendering.told(errors.UpstreamRefused("no", engine_status=400)).type == "invalid_request_error"


@pytest.mark.parametrize(("seconds", "header"), [(None, None), (0.01, b"1"), (1.0, b"1"), (1.2, b"2"), (30.0, b"30")])
def test_when_to_try_again_is_said_in_whole_seconds(seconds: float | None, header: bytes | None) -> None:
    assert headers(errors.QuotaExceeded("no", retry_after_seconds=seconds)).get(b"retry-after") == header


def test_a_401_names_its_scheme() -> None:
    assert headers(errors.Unauthenticated("who?"))[b"www-authenticate"] == b"Bearer"
    assert b"www-authenticate" not in headers(errors.Rejected("no"))


def test_a_code_stands_in_a_header_too() -> None:
    assert headers(errors.ModelNotFound("no"))[b"x-moegate-error"] == b"model_not_found"


@get("/refused")
async def refused() -> None:
    raise errors.Rejected("Not for you.")


@get("/crash")
async def crash() -> None:
    raise RuntimeError("a path: /etc/passwd")


@get("/teapot")
async def teapot() -> None:
    raise HTTPException(status_code=418, detail="I am a teapot.")


@get("/broken")
async def broken() -> None:
    raise HTTPException(status_code=507, detail="a path: /etc/passwd")


@get("/unknown")
async def unknown() -> None:
    raise NotAuthorizedException(detail="who?")


@pytest.fixture(scope="module")
def client() -> Any:
    app = Litestar(
        [refused, crash, teapot, broken, unknown, Router("/v1/messages", route_handlers=[refused, crash, broken])],
        exception_handlers={
            errors.GatewayError: rendering.handle_gateway_error,
            HTTPException: rendering.handle_http_exception,
            Exception: rendering.handle_crash,
        },
        openapi_config=None,
        logging_config=None,
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "message"),
    [
        ("GET", "/refused", 403, "rejected", "Not for you."),
        ("GET", "/crash", 500, "internal_error", "The gateway failed to handle this request."),
        ("GET", "/teapot", 418, "invalid_request", "I am a teapot."),
        ("GET", "/broken", 507, "internal_error", "The gateway failed."),
        ("GET", "/absent", 404, "not_found", "There is no /absent here."),
        ("POST", "/refused", 405, "method_not_allowed", "POST is not allowed on /refused."),
    ],
)
def test_an_ordinary_route_answers_in_the_same_shape(
    client: TestClient[Litestar], method: str, path: str, status: int, code: str, message: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-moegate-error"] == code
    error = answer.json()["error"]
    assert (error["message"], error["code"]) == (message, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"] == "server_error") == (status >= 500)


def test_a_wrong_method_is_told_the_right_one(client: TestClient[Litestar]) -> None:
    assert "GET" in client.post("/refused").headers["allow"]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/messages/batches", 404, "not_found_error"),
        ("POST", "/v1/messages", 404, "not_found_error"),
        ("POST", "/v1/messages/refused", 405, "invalid_request_error"),
        ("GET", "/v1/messages/broken", 507, "api_error"),
        ("GET", "/v1/messages/crash", 500, "api_error"),
        ("GET", "/v1/messages/refused", 403, "permission_error"),
    ],
)
def test_below_anthropic_s_endpoints_it_is_in_anthropic_s_shape(
    client: TestClient[Litestar], method: str, path: str, status: int, kind: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["x-moegate-error"]
    error = answer.json()
    assert set(error) == {"type", "error", "request_id"}
    assert (error["type"], error["error"]["type"]) == ("error", kind)
    assert "/etc/passwd" not in answer.text
