from __future__ import annotations

from typing import Any

import pytest
from litestar import get

from gateway import Extension, NoSettings
from gateway.errors import ConfigError
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.in_process import config, running
from tests.unit.gateway.plugin_modules import extension, plugin


class RecordsAndShows:
    """A recorder that gives a route which shows what it recorded."""

    def __init__(self) -> None:
        self.seen = 0

    async def record(self, *_: Any) -> None:
        self.seen += 1

    @property
    def handlers(self) -> list[Any]:
        @get("/seen", opt={"public": True}, sync_to_thread=False)
        def seen() -> str:
            return str(self.seen)

        return [seen]


def built_once(*, automatic: bool = False) -> tuple[Any, list[RecordsAndShows]]:
    """A plugin that gives one Extension object through two hooks, and the list of what was built of it."""
    built: list[RecordsAndShows] = []

    def build(_: Any, __: Any) -> RecordsAndShows:
        built.append(RecordsAndShows())
        return built[-1]

    both = Extension("both", NoSettings, build, automatic=automatic)
    return plugin(moegate_recorders=lambda: [both], moegate_routes=lambda: [both]), built


@pytest.mark.parametrize(("automatic", "named"), [(False, [{"use": "both"}]), (True, [{"use": "both"}]), (True, [])])
async def test_an_extension_from_two_hooks_is_built_once_and_serves_as_both(automatic: bool, named: list[Any]) -> None:
    brings, built = built_once(automatic=automatic)
    replies = (FakeResponse(pieces=[b"{}"]),)
    async with running(brings, settings=config(plugins=named), replies=replies) as gateway:
        await gateway.ask()
        await gateway.runtime._recording.flush(1)
        shown = await gateway.ask("/seen", method="GET")
    assert len(built) == 1
    assert (built[0].seen, shown.body) == (1, b"1")


async def test_two_extensions_of_one_name_are_built_apart() -> None:
    built: list[str] = []

    def build(what: str) -> Any:
        def make(_: Any, __: Any) -> RecordsAndShows:
            built.append(what)
            return RecordsAndShows()

        return make

    brings = plugin(
        moegate_recorders=lambda: [extension("same", build=build("recorder"))],
        moegate_routes=lambda: [extension("same", build=build("routes"))],
    )
    async with running(brings, settings=config(plugins=[{"use": "same"}])):
        pass
    assert built == ["recorder", "routes"]


async def test_an_extension_of_a_kind_that_is_named_elsewhere_cannot_be_automatic() -> None:
    brings = plugin(moegate_routing_policies=lambda: [extension("always", object(), automatic=True)])
    with pytest.raises(ConfigError, match="automatic"):
        async with running(brings):
            pass


async def test_plugins_keep_the_order_of_the_configuration() -> None:
    order: list[str] = []

    class Recorder:
        def __init__(self, name: str) -> None:
            self.name = name

        async def record(self, *_: Any) -> None:
            order.append(self.name)

    brings = plugin(moegate_recorders=lambda: [extension(name, Recorder(name)) for name in "abc"])
    settings = config(plugins=[{"use": "c"}, {"use": "a"}, {"use": "b"}])
    async with running(brings, settings=settings, replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        await gateway.ask()
    assert order == ["c", "a", "b"]
