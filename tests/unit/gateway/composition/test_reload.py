from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import BuildContext, ReplicaState
from gateway.errors import ConfigError
from tests.unit.builders import until
from tests.unit.fakes import EVENT_STREAM, FakeResponse
from tests.unit.gateway.in_process import STREAMED, Gateway, config, replica, running
from tests.unit.gateway.plugin_modules import extension, plugin


class Counter:
    def __init__(self) -> None:
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


class Keeps:
    """A recorder whose counter outlives a reload."""

    def __init__(self, context: BuildContext) -> None:
        self.counter = context.shared(("counter",), Counter)

    async def record(self, *_: Any) -> None: ...


BUILT: list[Keeps] = []


def build(_: Any, context: BuildContext) -> Keeps:
    BUILT.append(Keeps(context))
    return BUILT[-1]


BRINGS = plugin(moegate_recorders=lambda: [extension("keeps", build=build)])
SETTINGS = config("a", "b", plugins=[{"use": "keeps"}])


async def reload(gateway: Gateway, settings: dict[str, Any]) -> asyncio.Task[None]:
    """As `app.Application.reload` does; the task is the old runtime's retirement."""
    old, new = gateway.runtime, await gateway.build(settings)
    new.start()
    gateway.runtime = gateway.edge.current = new
    return asyncio.create_task(old.retire())


@pytest.fixture(autouse=True)
def forget() -> None:
    BUILT.clear()


async def test_what_is_shared_survives_and_is_closed_with_the_last_runtime() -> None:
    async with running(BRINGS, settings=SETTINGS) as gateway:
        await (await reload(gateway, SETTINGS))
        first, second = BUILT
        assert first.counter is second.counter
        assert first.counter.closed == 0
        assert not gateway.connections.closed
    assert first.counter.closed == 1


async def test_an_unchanged_replica_keeps_its_state_and_a_changed_one_starts_anew() -> None:
    async with running(BRINGS, settings=SETTINGS) as gateway:
        before = gateway.runtime.fleet.replicas()
        before[0].in_flight = 2
        changed = config(replicas=[replica("a"), replica("b", max_concurrent=1)])
        retiring = await reload(gateway, changed)
        after = gateway.runtime.fleet.replicas()
        assert after[0] is before[0]
        assert (after[0].state, after[0].in_flight) == (ReplicaState.READY, 2)
        assert after[1] is not before[1]
        assert after[1].state is ReplicaState.STARTING
        await retiring


async def test_a_call_stays_with_its_runtime_and_the_old_one_waits_for_it() -> None:
    gate = asyncio.Event()
    response = FakeResponse(headers=EVENT_STREAM, pieces=[b"data: a\n\n", gate, b"data: [DONE]\n\n"])
    async with running(BRINGS, settings=SETTINGS, replies=(response, FakeResponse(pieces=[b"{}"]))) as gateway:
        asking = asyncio.create_task(gateway.ask(body=STREAMED))
        await until(lambda: len(response.waits) == 2)
        retiring = await reload(gateway, config("a"))
        assert (await gateway.ask()).status == 200
        assert not retiring.done()
        gate.set()
        answer = await asking
        assert answer.body.endswith(b"[DONE]\n\n")
        await retiring
    assert BUILT[0].counter.closed == 1


async def test_services_of_the_old_runtime_end_at_once() -> None:
    states: list[str] = []

    class Service:
        async def run(self) -> None:
            states.append("begins")
            try:
                await asyncio.Event().wait()
            finally:
                states.append("ends")

    brings = plugin(moegate_services=lambda: [extension("works", Service())])
    settings = config(plugins=[{"use": "works"}])
    async with running(brings, settings=settings) as gateway:
        await until(lambda: states == ["begins"])
        await (await reload(gateway, config()))
        assert states == ["begins", "ends"]


async def test_a_configuration_that_cannot_be_built_leaves_the_old_one_as_it_was() -> None:
    async with running(BRINGS, settings=SETTINGS, replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        with pytest.raises(ConfigError):
            await gateway.build(config("a", "a", plugins=[{"use": "keeps"}]))
        assert BUILT[0].counter.closed == 0
        assert (await gateway.ask()).status == 200


async def test_a_retired_runtime_without_calls_goes_at_once() -> None:
    async with running(BRINGS, settings=SETTINGS) as gateway:
        retiring = await reload(gateway, config("a"))
        before = asyncio.get_running_loop().time()
        await retiring
        assert asyncio.get_running_loop().time() - before < 1
        assert BUILT[0].counter.closed == 1
