"""The routes as a client sees them, on a whole gateway in this process."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gateway import ReplicaState, Target, TargetListener
from plugins import replicas
from tests.unit.builders import until
from tests.unit.gateway.in_process import config, replica
from tests.unit.gateway.plugin_modules import extension, plugin
from tests.unit.plugins.admin import CALLER, READER, WRITER, administered

USE: list[dict[str, Any]] = [{"use": "replicas"}]
NAMES = ("a", "team/b")
PATH = "/admin/v1/replicas"
SOURCES = "/admin/v1/targets"


async def states(client: httpx.AsyncClient) -> dict[str, str]:
    answer = await client.get(PATH, headers=READER)
    return {each["name"]: each["state"] for each in answer.json()["data"]}


async def test_all_replicas_are_listed_as_they_are() -> None:
    async with administered(replicas, use=USE) as (gateway, client):
        gateway.runtime.fleet.report(gateway.runtime.fleet.replicas()[1], ReplicaState.UNREACHABLE, "refused")
        first, second = (await client.get(PATH, headers=READER)).json()["data"]
        assert first.pop("since_seconds") >= 0
        assert first == {
            "name": "a", "model": "kimi-k2", "backend": "fake", "state": "ready", "reason": "", "drained": False,
            "breaker": "closed", "in_flight": 0, "slots": 256, "max_concurrent": 256,
            "weight": 1.0, "tier": 0, "labels": {},
        }  # fmt: skip
        assert (second["state"], second["reason"]) == ("unreachable", "refused")
        assert "http" not in (await client.get(PATH, headers=READER)).text


@pytest.mark.parametrize("name", NAMES)
async def test_a_replica_is_drained_and_resumed(name: str) -> None:
    async with administered(replicas, use=USE, names=NAMES) as (_, client):
        drained = (await client.post(f"{PATH}/{name}/drain", headers=WRITER)).json()
        assert (drained["name"], drained["state"], drained["drained"]) == (name, "draining", True)
        assert (await client.post(f"{PATH}/{name}/drain", headers=WRITER)).json()["drained"]
        assert await states(client) == {each: "draining" if each == name else "ready" for each in NAMES}
        assert (await client.get(f"{PATH}/{name}", headers=READER)).json()["state"] == "draining"
        assert (await client.post(f"{PATH}/{name}/resume", headers=WRITER)).json()["state"] == "ready"
        assert set((await states(client)).values()) == {"ready"}


async def test_a_drain_survives_a_reload_even_of_a_changed_replica() -> None:
    async with administered(replicas, use=USE, names=NAMES) as (gateway, client):
        await client.post(f"{PATH}/a/drain", headers=WRITER)
        changed = [replica("a", max_concurrent=7), replica("team/b")]
        plugins: list[dict[str, Any]] = [{"use": "callers"}, *USE]
        runtime = await gateway.build(config(replicas=changed, server={}, plugins=plugins))
        try:
            a, b = runtime.fleet.replicas()
            assert (a.drained, b.drained) == (True, False)
            runtime.fleet.report(a, ReplicaState.READY)
            assert a.state is ReplicaState.DRAINING
        finally:
            await runtime.stop()


@pytest.mark.parametrize("target", ["gone/drain", "a/restart", "a", "drain"])
async def test_what_is_not_there_is_not_found(target: str) -> None:
    async with administered(replicas, use=USE) as (_, client):
        answer = await client.post(f"{PATH}/{target}", headers=WRITER)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "replica_not_found")
        assert set((await states(client)).values()) == {"ready"}


async def test_each_route_wants_its_scope() -> None:
    async with administered(replicas, use=USE) as (_, client):
        assert (await client.get(PATH, headers=CALLER)).status_code == 403
        assert (await client.get(f"{PATH}/a", headers=CALLER)).status_code == 403
        assert (await client.post(f"{PATH}/a/drain", headers=READER)).status_code == 403
        assert (await client.get(PATH)).status_code == 401
        assert set((await states(client)).values()) == {"ready"}


async def test_the_sources_of_targets_are_listed() -> None:
    source = plugin(moegate_target_sources=lambda: [extension("told", Told())])
    async with administered(replicas, source, use=USE) as (gateway, client):
        assert (await client.get(SOURCES, headers=READER)).json() == {"data": []}
        assert (await client.get(SOURCES, headers=CALLER)).status_code == 403
        plugins: list[dict[str, Any]] = [{"use": "callers"}, *USE]
        settings = config(server={}, plugins=plugins)
        settings["models"][0]["targets"] = [{"use": "told", "replica": {"backend": "fake"}}]
        before, gateway.runtime = gateway.runtime, await gateway.build(settings)
        gateway.runtime.start()
        gateway.edge.current = gateway.runtime
        await before.retire()
        await until(lambda: gateway.runtime.fleet.target_sources()[0].failures > 0)
        (found,) = (await client.get(SOURCES, headers=READER)).json()["data"]
        assert found == {
            "model": "kimi-k2", "source": "told-0", "condition": "failing", "reason": "it ended",
            "targets": 1, "changes": 0, "failures": 1, "age_seconds": found["age_seconds"],
        }  # fmt: skip


class Told:
    """A source that tells of one target and ends."""

    async def run(self, listener: TargetListener) -> None:
        listener.found([Target(url="http://x")])
