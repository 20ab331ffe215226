"""The policy in a whole gateway: fallbacks to other weights, refusals, bodies, `/v1/models`, the public routes, a reload."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import policies.attribution.model_licence
from gateway import Call, Decision, Outcome
from gateway.errors import ConfigError, UpstreamOverloaded
from gateway.http.edge import Edge
from policies.attribution.model_licence.emitted import parse
from policies.attribution.model_licence.service import LicenceService
from tests.unit.builders import BODY
from tests.unit.fakes import EVENT_STREAM, FakeResponse
from tests.unit.gateway.in_process import STREAMED, Answer, Gateway, config, replica, running
from tests.unit.gateway.plugin_modules import extension, plugin

US = policies.attribution.model_licence
K2_5 = {"id": "us/perturbed", "derived_from": "moonshotai/Kimi-K2.5", "context_length": 131_072}
FULL = UpstreamOverloaded("full")
PUBLIC = {"/v1/attribution", "/licences"}


class Kept:
    """Keeps what was recorded."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def append(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        self.outcomes.append(outcome)


def books() -> tuple[ModuleType, Kept]:
    kept = Kept()
    return plugin(moegate_journals=lambda: [extension("kept", kept)]), kept


def licensed(folder: Path, *replicas: dict[str, Any], **policy: Any) -> dict[str, Any]:
    """A gateway with a replica `a` under kimi-k2 and a replica `b` under kimi-k2.5, if no others are named."""
    return config(
        replicas=list(replicas) or [replica("a"), replica("b", checkpoint=K2_5)],
        policies={"attribution": [{"use": "model_licence", "poll_seconds": 60, **policy}]},
        database=f"sqlite:///{folder / 'moegate.db'}",
    )


@contextlib.asynccontextmanager
async def at_work(
    *plugins: ModuleType, settings: dict[str, Any], replies: tuple[Any, ...] = ()
) -> AsyncIterator[Gateway]:
    """A gateway that has read its products; it does not look again before the test is over."""
    async with running(US, *plugins, settings=settings, replies=replies) as gateway:
        await read(gateway)
        yield gateway


async def read(gateway: Gateway) -> None:
    service = gateway.runtime.service("model_licence")
    assert isinstance(service, LicenceService)
    assert service.desk is not None
    await service.desk.refreshing.read()
    assert service.not_ready is None


def answered(body: bytes = b'{"choices":[]}') -> FakeResponse:
    return FakeResponse(pieces=[body])


def streamed() -> FakeResponse:
    return FakeResponse(headers=EVENT_STREAM, pieces=[b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n"])


async def get(gateway: Gateway, path: str) -> Answer:
    return await gateway.ask(path, b"", method="GET")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_fallback_to_other_weights_changes_the_string(tmp_path: Path, stream: bool) -> None:
    journal, kept = books()
    answer = streamed if stream else answered
    body = STREAMED if stream else BODY
    settings = {**licensed(tmp_path), "plugins": [{"use": "kept"}]}
    async with at_work(journal, settings=settings, replies=(answer(), FULL, answer())) as gateway:
        first, second = await gateway.ask(body=body), await gateway.ask(body=body)
        assert gateway.asked == ["a", "a", "b"]
    assert first.headers["x-moegate-attribution"] == "Kimi K2"
    assert second.headers["x-moegate-attribution"] == "Kimi K2.5"
    assert second.headers["x-moegate-licence"] == "kimi-k2.5; state=unknown"
    assert [name for name, _ in second.header_list].count("x-moegate-attribution") == 1
    written = [parse("; ".join(outcome.attribution)) for outcome in kept.outcomes]
    assert [each.shown for each in written if each is not None] == ["Kimi K2", "Kimi K2.5"]


async def test_a_refused_call_reaches_no_engine_and_is_written_down(tmp_path: Path) -> None:
    journal, kept = books()
    settings = {**licensed(tmp_path, modes={"unknown": "block"}), "plugins": [{"use": "kept"}]}
    async with at_work(journal, settings=settings) as gateway:
        refused = await gateway.ask()
        assert gateway.asked == []
    assert (refused.status, refused.headers["x-moegate-error"]) == (403, "attribution_required")
    assert refused.headers["x-moegate-attribution"] == "Kimi K2"
    assert "assigned to a product" in refused.error["message"]
    (outcome,) = kept.outcomes
    written = parse("; ".join(outcome.attribution))
    assert written is not None
    assert written.refused == "attribution_required"


async def test_with_its_ack_a_call_is_served(tmp_path: Path) -> None:
    settings = licensed(tmp_path, modes={"unknown": "require_ack"})
    async with at_work(settings=settings, replies=(answered(),)) as gateway:
        without = await gateway.ask()
        acknowledged = await gateway.ask(x_moegate_attribution_ack="Kimi K2")
    assert (without.status, without.headers["x-moegate-error"]) == (403, "attribution_ack_required")
    assert acknowledged.status == 200


@pytest.mark.parametrize("body", [b'{"choices":[]}', b'{ "choices": [ ] }\n', b"{}"])
async def test_who_asks_gets_it_in_the_answers_body(tmp_path: Path, body: bytes) -> None:
    replies = (answered(body), answered(body))
    async with at_work(settings=licensed(tmp_path), replies=replies) as gateway:
        plain = await gateway.ask()
        asked = await gateway.ask(x_moegate_attribution_in_answer="true")
    assert plain.body == body
    assert asked.headers["content-length"] == str(len(asked.body))
    content = json.loads(asked.body)
    assert content.pop("moegate")["attribution"]["display"] == "Kimi K2"
    assert content == json.loads(body)


async def test_who_asks_gets_a_comment_after_the_last_event_of_a_stream(tmp_path: Path) -> None:
    async with at_work(settings=licensed(tmp_path), replies=(streamed(), streamed())) as gateway:
        plain = await gateway.ask(body=STREAMED)
        asked = await gateway.ask(body=STREAMED, x_moegate_attribution_in_answer="true")
    assert asked.body.startswith(plain.body)
    comment = asked.body.removeprefix(plain.body)
    assert comment.startswith(b": moegate.attribution {")
    assert comment.endswith(b"}\n\n")
    assert json.loads(comment.removeprefix(b": moegate.attribution "))["display"] == "Kimi K2"


async def test_models_tell_their_licences(tmp_path: Path) -> None:
    async with at_work(settings=licensed(tmp_path)) as gateway:
        listed = json.loads((await get(gateway, "/v1/models")).body)["data"]
        shown = json.loads((await get(gateway, "/v1/models/kimi-latest")).body)
    assert [each["id"] for each in listed] == ["kimi-k2", "kimi-latest"]
    assert [each["id"] for each in shown["licences"]] == ["kimi-k2", "kimi-k2.5"]
    assert shown["licences"][0]["display"] == "Kimi K2"
    assert shown["licences"][0]["url"].endswith("/LICENSE")
    assert listed[0]["licences"] == shown["licences"]


async def test_without_the_policy_all_is_as_it_was() -> None:
    settings = config(replicas=[replica("a", checkpoint={"id": "us/own", "context_length": 9})])
    async with running(US, settings=settings, replies=(answered(),)) as gateway:
        answer = await gateway.ask(x_moegate_attribution_in_answer="true")
        models = json.loads((await get(gateway, "/v1/models")).body)["data"]
        routes = [(await get(gateway, path)).status for path in sorted(PUBLIC)]
    assert answer.body == b'{"choices":[]}'
    assert not any(name.startswith("x-moegate-attribution") for name in answer.headers)
    assert "licences" not in models[0]
    assert routes == [404, 404]


@pytest.mark.parametrize(
    ("checkpoint", "policy", "says"),
    [
        ({"id": "us/own"}, {}, "checkpoint us/own: no record covers it"),
        ({"id": "us/own", "licence": "kimi-k22"}, {}, "did you mean 'kimi-k2"),
        ({"id": "us/own", "derived_from": "us/own"}, {}, "cycle in lineage"),
        ({"id": "us/own", "licence": "mit"}, {"records": "nowhere"}, "nowhere: cannot be read"),
        ({"id": "us/own", "licence": "mit"}, {"modes": {"above": "warn"}}, "modes"),
    ],
)
async def test_what_cannot_be_told_stops_the_start(
    tmp_path: Path, checkpoint: dict[str, Any], policy: dict[str, Any], says: str
) -> None:
    of_replica = replica("a", checkpoint={**checkpoint, "context_length": 9})
    with pytest.raises(ConfigError, match=says):
        async with running(US, settings=licensed(tmp_path, of_replica, **policy)):
            raise AssertionError("it has started")


async def test_none_recorded_starts(tmp_path: Path) -> None:
    of_replica = replica("a", checkpoint={"id": "us/own", "licence": "none-recorded", "context_length": 9})
    async with at_work(settings=licensed(tmp_path, of_replica), replies=(answered(),)) as gateway:
        answer = await gateway.ask()
        assert (await get(gateway, "/licences")).status == 200
    assert answer.headers["x-moegate-licence"] == "none-recorded; state=not_applicable"
    assert "x-moegate-attribution" not in answer.headers


async def test_it_stands_once(tmp_path: Path) -> None:
    settings = {**licensed(tmp_path), "policies": {"attribution": [{"use": "model_licence"}] * 2}}
    with pytest.raises(ConfigError, match="it stands twice"):
        async with running(US, settings=settings):
            raise AssertionError("it has started")


async def test_the_routes_want_a_key_unless_they_are_public(tmp_path: Path) -> None:
    for public, status in ((False, 401), (True, 200)):
        settings = {**licensed(tmp_path, public=public), "server": {"anonymous": False}}
        settings["plugins"] = [{"use": "nobody"}]

        class Nobody:
            def authenticate(self, headers: Any) -> None:
                return None

        known = plugin(moegate_authenticators=lambda: [extension("nobody", Nobody())])
        async with at_work(known, settings=settings) as gateway:
            assert (await get(gateway, "/licences")).status == status
            assert (await get(gateway, "/v1/models")).status == 401


async def test_a_reload_goes_by_what_is_known(tmp_path: Path) -> None:
    async with at_work(settings=licensed(tmp_path), replies=(answered(), answered())) as gateway:
        before = await gateway.ask()
        swapped = licensed(tmp_path, replica("a", checkpoint=K2_5))
        old, gateway.runtime = gateway.runtime, await gateway.build(swapped)
        service = gateway.runtime.service("model_licence")
        assert isinstance(service, LicenceService)
        assert service.not_ready is None  # before it has read anything itself
        gateway.runtime.start()
        gateway.edge = Edge(gateway.runtime)
        while gateway.runtime.fleet.not_ready():
            await gateway.runtime.fleet.wait_for_change()
        await read(gateway)
        await old.retire()
        after = await gateway.ask()
    assert before.headers["x-moegate-attribution"] == "Kimi K2"
    assert after.headers["x-moegate-attribution"] == "Kimi K2.5"
