from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway import Call, Decision, Operation, Outcome, Principal
from gateway.errors import Unauthenticated
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.in_process import CHAT, config, running
from tests.unit.gateway.plugin_modules import extension, plugin


class ByHeader:
    """Knows whoever sends its header; refuses whoever sends `wrong`."""

    def __init__(self, name: str, log: list[str] | None = None) -> None:
        self.name, self.log = name, log

    def authenticate(self, headers: Mapping[bytes, bytes]) -> Principal | None:
        if self.log is not None:
            self.log.append(self.name)
        sent = headers.get(f"x-{self.name}".encode())
        if sent == b"wrong":
            raise Unauthenticated("This key is not valid.")
        scopes = frozenset({"metrics"}) if sent == b"metrics" else frozenset({"inference"})
        models = frozenset({"other"}) if sent == b"other-model" else None
        operations = frozenset({Operation.MESSAGES}) if sent == b"other-operation" else None
        return (
            Principal(self.name, self.name, self.name, scopes=scopes, models=models, operations=operations)
            if sent
            else None
        )


class Keeps:
    def __init__(self) -> None:
        self.callers: list[str] = []

    async def record(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        self.callers.append(call.principal.key_id)


LOG: list[str] = []
KEEPS = Keeps()
BRINGS = plugin(
    moegate_authenticators=lambda: [extension("one", ByHeader("one", LOG)), extension("two", ByHeader("two", LOG))],
    moegate_recorders=lambda: [extension("keeps", KEEPS)],
)
SETTINGS = config(plugins=[{"use": "two"}, {"use": "one"}, {"use": "keeps"}], server={})


@pytest.mark.parametrize(
    ("headers", "asked", "caller"),
    [
        ({"x_one": "1"}, ["two", "one"], "one"),
        ({"x_two": "1"}, ["two"], "two"),
        ({"x_one": "1", "x_two": "1"}, ["two"], "two"),
    ],
)
async def test_they_are_asked_in_the_order_of_the_configuration_and_the_first_that_knows_wins(
    headers: dict[str, str], asked: list[str], caller: str
) -> None:
    LOG.clear()
    KEEPS.callers.clear()
    async with running(BRINGS, settings=SETTINGS, replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        answer = await gateway.ask(**headers)
    assert answer.status == 200
    assert (LOG, KEEPS.callers) == (asked, [caller])


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/v1/models/kimi-k2"])
async def test_whom_nobody_knows_is_refused_everywhere(path: str) -> None:
    async with running(BRINGS, settings=SETTINGS) as gateway:
        answer = await gateway.ask(path, method="POST" if path == CHAT else "GET")
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert len(answer.headers["x-moegate-call-id"]) == 32
    assert gateway.asked == []


async def test_what_one_refuses_another_may_know() -> None:
    LOG.clear()
    async with running(BRINGS, settings=SETTINGS, replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        assert (await gateway.ask(x_two="wrong", x_one="right")).status == 200
        refused = await gateway.ask(x_two="wrong", x_one="wrong")
    assert (refused.status, refused.error["message"]) == (401, "This key is not valid.")
    assert LOG == ["two", "one", "two", "one"]


async def test_a_key_without_the_scope_may_not_ask_engines() -> None:
    async with running(BRINGS, settings=SETTINGS) as gateway:
        answer = await gateway.ask(x_one="metrics")
    assert (answer.status, answer.error["code"]) == (403, "rejected")


async def test_the_key_is_looked_at_before_the_body() -> None:
    async with running(BRINGS, settings=SETTINGS) as gateway:
        assert (await gateway.ask(body=b"nonsense")).status == 401
        assert (await gateway.ask(body=b"nonsense", x_one="1")).status == 400


async def test_a_crash_in_one_refuses_the_caller_and_says_nothing() -> None:
    class Wild:
        def authenticate(self, headers: Mapping[bytes, bytes]) -> Principal | None:
            raise KeyError("inside")

    brings = plugin(moegate_authenticators=lambda: [extension("wild", Wild())])
    async with running(brings, settings=config(plugins=[{"use": "wild"}])) as gateway:
        answers = [await gateway.ask(), await gateway.ask("/v1/models", method="GET")]
    for answer in answers:
        assert (answer.status, answer.error["code"]) == (500, "internal_error")
        assert "inside" not in answer.body.decode()
        assert len(answer.headers["x-moegate-call-id"]) == 32


@pytest.mark.parametrize("sent", ["other-model", "other-operation"])
async def test_a_key_is_kept_to_its_models_and_operations(sent: str) -> None:
    async with running(BRINGS, settings=SETTINGS) as gateway:
        answer = await gateway.ask(x_one=sent)
        shown = await gateway.ask("/v1/models", method="GET", x_one=sent)
    assert (answer.status, answer.headers["x-moegate-error"], gateway.asked) == (403, "rejected", [])
    assert (b"kimi-k2" in shown.body) == (sent == "other-operation")
