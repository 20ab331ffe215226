from __future__ import annotations

import asyncio

import pytest
from msgspec import Struct

from gateway import BuildContext, Extension
from gateway.composition.runtime import MAX_RESTART_SECONDS
from tests.unit.builders import until
from tests.unit.gateway.in_process import config, running
from tests.unit.gateway.plugin_modules import extension, plugin


class Service:
    """Crashes as often as it is told to, then works until it is cancelled."""

    def __init__(self, crashes: int = 0) -> None:
        self.starts: list[float] = []
        self.crashes = crashes
        self.cancelled = False

    async def run(self) -> None:
        self.starts.append(asyncio.get_running_loop().time())
        if len(self.starts) <= self.crashes:
            raise RuntimeError("no luck")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    @property
    def pauses(self) -> list[float]:
        return [round(after - before) for before, after in zip(self.starts, self.starts[1:], strict=False)]


async def test_a_named_service_runs_with_the_runtime_and_is_cancelled_with_it() -> None:
    service = Service()
    brings = plugin(moegate_services=lambda: [extension("mine", service)])
    async with running(brings, settings=config(plugins=[{"use": "mine"}])):
        await until(lambda: len(service.starts) == 1)
        assert not service.cancelled
    assert service.cancelled


async def test_one_that_is_not_named_does_not_run() -> None:
    service = Service()
    async with running(plugin(moegate_services=lambda: [extension("mine", service)])):
        await asyncio.sleep(10)
    assert service.starts == []


async def test_one_that_crashes_is_started_again_ever_more_slowly() -> None:
    service = Service(crashes=8)
    brings = plugin(moegate_services=lambda: [extension("mine", service)])
    async with running(brings, settings=config(plugins=[{"use": "mine"}])) as gateway:
        await asyncio.sleep(200)
        assert service.pauses == [1, 2, 4, 8, 16, *[MAX_RESTART_SECONDS] * 3]
        assert (await gateway.ask("/healthz", method="GET")).status == 200
    assert service.cancelled


async def test_one_that_is_not_ready_keeps_the_gateway_from_being_ready() -> None:
    class Loads(Service):
        not_ready: str | None = "the keys are not loaded yet"

    service = Loads()
    brings = plugin(moegate_services=lambda: [extension("loads", service), extension("other", Service())])
    async with running(brings, settings=config(plugins=[{"use": "loads"}, {"use": "other"}])) as gateway:
        answer = await gateway.ask("/readyz", method="GET")
        assert answer.status == 503
        assert b'"services":{"loads":"the keys are not loaded yet"}' in answer.body
        service.not_ready = None
        assert (await gateway.ask("/readyz", method="GET")).status == 200


async def test_one_that_is_done_is_done() -> None:
    runs: list[int] = []

    class Once:
        async def run(self) -> None:
            runs.append(1)

    brings = plugin(moegate_services=lambda: [extension("once", Once())])
    async with running(brings, settings=config(plugins=[{"use": "once"}])):
        await asyncio.sleep(100)
    assert runs == [1]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    seconds: int = 15


@pytest.mark.parametrize(("named", "seconds"), [([], 15), ([{"use": "always", "seconds": 3}], 3)])
async def test_an_automatic_one_runs_unasked_with_its_defaults_and_once(
    named: list[dict[str, object]], seconds: int
) -> None:
    built: list[int] = []
    service = Service()

    def build(settings: Settings, _: BuildContext) -> Service:
        built.append(settings.seconds)
        return service

    brings = plugin(moegate_services=lambda: [Extension("always", Settings, build, automatic=True)])
    async with running(brings, settings=config(plugins=named)):
        await until(lambda: len(service.starts) == 1)
    assert built == [seconds]
    assert service.cancelled


async def test_it_sees_the_fleet() -> None:
    seen: list[str] = []

    def build(_: object, context: BuildContext) -> Service:
        seen.extend(replica.name for replica in context.fleet.replicas())
        seen.extend(model.name for model in context.models)
        return Service()

    brings = plugin(moegate_services=lambda: [extension("mine", build=build)])
    async with running(brings, settings=config("a", "b", plugins=[{"use": "mine"}])):
        assert seen == ["a", "b", "kimi-k2"]
