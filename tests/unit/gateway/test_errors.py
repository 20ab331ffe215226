from __future__ import annotations

import inspect
import re

import pytest

from gateway import errors
from gateway.errors import ClientError, ConfigError, GatewayError, UpstreamError, UpstreamRefused
from gateway.http import errors as rendering
from gateway.http.shapes import ANTHROPIC, OPENAI, RESPONSES

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, GatewayError)]
LEAVES = [kind for kind in TREE if not kind.__subclasses__()]

# Bases that are also raised as they are, and one leaf that shares its base's code because it says no more.
SHARED_CODES = {"invalid_request": {"ClientError", "InvalidRequest"}}


def make(kind: type[GatewayError]) -> GatewayError:
    if kind is UpstreamRefused:
        return UpstreamRefused("the words", engine_status=422)
    return kind("the words")


def drawn_tree() -> dict[str, str | None]:
    """Name → parent, as the module's docstring draws it."""
    parents: dict[str, str | None] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"    ([│├└─ ]*)([A-Z]\w+).*", line)
        if match is None:
            continue
        depth = len(match[1]) // 4
        parents[match[2]] = above[depth - 1] if depth else None
        above[depth:] = [match[2]]
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    actual = {kind.__name__: kind.__bases__[0].__name__ if kind is not GatewayError else None for kind in TREE}
    assert drawn_tree() == actual


@pytest.mark.parametrize("kind", [kind for kind in LEAVES if kind not in (ConfigError, UpstreamRefused)])
def test_the_status_in_the_docstring_is_the_class_s(kind: type[GatewayError]) -> None:
    line = next(line for line in (errors.__doc__ or "").splitlines() if f" {kind.__name__} " in line)
    numbers = re.findall(r"\b[45]\d\d\b", line)
    assert numbers == [str(kind.status)]
    assert ("retryable" in line) == kind.retryable


@pytest.mark.parametrize("kind", TREE)
def test_every_class_has_a_status_a_code_and_a_level(kind: type[GatewayError]) -> None:
    assert 400 <= kind.status <= 599
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code)
    assert kind.log_level in {"info", "warning", "error"}
    assert kind.type.endswith("_error")


def test_codes_are_unique() -> None:
    by_code: dict[str, set[str]] = {}
    for kind in TREE:
        by_code.setdefault(kind.code, set()).add(kind.__name__)
    shared = {code: names for code, names in by_code.items() if len(names) > 1}
    assert shared == SHARED_CODES


def test_only_failures_that_another_replica_may_not_have_are_retryable() -> None:
    assert {kind.__name__ for kind in TREE if kind.retryable} == {
        "UpstreamUnreachable",
        "UpstreamOverloaded",
        "UpstreamTimeout",
        "EmptyAnswer",
        "ContextTooLong",
    }


@pytest.mark.parametrize("kind", [kind for kind in TREE if issubclass(kind, ClientError)])
def test_a_client_reads_what_it_can_mend(kind: type[GatewayError]) -> None:
    assert make(kind).public_message == "the words"
    assert 400 <= kind.status < 500


@pytest.mark.parametrize("kind", [kind for kind in TREE if issubclass(kind, UpstreamError)])
def test_a_client_never_reads_why_an_engine_failed_unless_it_was_refused(kind: type[GatewayError]) -> None:
    assert ("the words" in make(kind).public_message) == issubclass(kind, UpstreamRefused)


@pytest.mark.parametrize("kind", [GatewayError, ConfigError, errors.PolicyFailed])
def test_a_client_never_reads_what_went_wrong_inside(kind: type[GatewayError]) -> None:
    assert "the words" not in make(kind).public_message


@pytest.mark.parametrize("kind", TREE)
def test_every_error_can_be_rendered_with_its_code(kind: type[GatewayError]) -> None:
    error = make(kind)
    told = rendering.told(error)
    for shape in (OPENAI, RESPONSES):
        assert f'"code":"{kind.code}"'.encode() in shape.body(told, "id")
        assert f'"code":"{kind.code}"'.encode() in shape.event(told, "id", 0)
    assert b'"request_id":"id"' in ANTHROPIC.body(told, "id")
    assert dict(rendering.headers_of(error))[b"x-moegate-error"] == kind.code.encode()


def test_a_config_error_keeps_its_problems_apart() -> None:
    error = ConfigError("models: missing", "plugins: missing")
    assert error.problems == ("models: missing", "plugins: missing")
    assert str(error) == "models: missing\nplugins: missing"


def test_a_refusal_keeps_the_engine_s_status_and_type() -> None:
    error = UpstreamRefused("too long", engine_status=413, engine_type="BadRequestError", param="messages")
    assert (error.engine_status, error.engine_type, error.param) == (413, "BadRequestError", "messages")
    assert rendering.status_of(error) == 413
