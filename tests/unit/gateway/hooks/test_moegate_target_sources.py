from __future__ import annotations

import asyncio

import pytest
from msgspec import Struct

from gateway import BuildContext, Extension, Target, TargetListener
from gateway.errors import ConfigError
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.in_process import config, running
from tests.unit.gateway.plugin_modules import plugin


class DialSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`begin`: what every host's name begins with."""

    begin: str


class Dial:
    """A source that knows one engine, and tells of it once it is asked to."""

    def __init__(self, settings: DialSettings) -> None:
        self._begin = settings.begin
        self.go = asyncio.Event()
        self.ended = False

    async def run(self, listener: TargetListener) -> None:
        try:
            await self.go.wait()
            listener.found([Target(url=f"http://{self._begin}-1", name="one")])
            await asyncio.Event().wait()
        finally:
            self.ended = True


async def test_a_source_is_built_with_its_settings_told_of_and_ended_with_the_last_runtime() -> None:
    built: list[Dial] = []

    def build(settings: DialSettings, _: BuildContext) -> Dial:
        built.append(Dial(settings))
        return built[-1]

    brings = plugin(moegate_target_sources=lambda: [Extension("dial", DialSettings, build)])
    settings = config("a")
    entry = {"use": "dial", "begin": "engine", "replica": {"backend": "fake"}, "change_seconds": 1}
    settings["models"][0]["targets"] = [entry]
    async with running(brings, settings=settings, replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        assert [each.name for each in gateway.runtime.fleet.replicas()] == ["a"]
        built[0].go.set()
        await asyncio.sleep(1.5)  # of virtual time: a change is not taken sooner
        assert gateway.runtime.fleet.sources.changed
        again = await gateway.build(settings)
        assert [each.name for each in again.fleet.replicas()] == ["a", "kimi-k2-one"]
        assert again.fleet.replicas()[0] is gateway.runtime.fleet.replicas()[0]
        await again.stop()
        assert not built[0].ended
    assert built[0].ended
    assert len(built) == 1


async def test_faults_of_its_settings_name_their_place() -> None:
    brings = plugin(moegate_target_sources=lambda: [Extension("dial", DialSettings, lambda _, __: None)])
    settings = config("a")
    settings["models"][0]["targets"] = [{"use": "dial", "begin": 3, "replica": {"backend": "fake"}}]
    with pytest.raises(ConfigError) as caught:
        async with running(brings, settings=settings):
            pass
    assert caught.value.problems[0].startswith("models[0].targets[0].begin: expected text, got a whole number")
