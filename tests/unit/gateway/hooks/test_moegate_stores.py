from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import pytest

from gateway import BudgetStore, BuildContext, Call, Exchange, Extension, Grant, NoSettings, StoreSettings
from gateway.errors import ConfigError
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.in_process import config, running
from tests.unit.gateway.plugin_modules import extension, plugin


class Shelf:
    """A store that keeps what it was built with, and whether it was closed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.closed = False

    async def exchange(self, exchanges: Sequence[Exchange]) -> Sequence[Grant]:
        return [Grant(granted=each.wanted, free=0, held=each.wanted, lease_seconds=1.0) for each in exchanges]

    async def aclose(self) -> None:
        self.closed = True


class Spends:
    async def admit(self, call: Call) -> None:
        return None


def brought(built: list[Shelf], asked: list[BudgetStore]) -> ModuleType:
    def build_store(settings: StoreSettings, _: BuildContext) -> Shelf:
        built.append(Shelf(settings.url.reveal()))
        return built[-1]

    def build_policy(_: NoSettings, context: BuildContext) -> Spends:
        asked.append(context.store)
        return Spends()

    return plugin(
        moegate_stores=lambda: [Extension("shelf", StoreSettings, build_store)],
        moegate_admission_policies=lambda: [extension("spends", build=build_policy)],
    )


async def test_the_scheme_of_the_state_names_the_store_and_it_outlives_a_reload() -> None:
    built: list[Shelf] = []
    asked: list[BudgetStore] = []
    settings = config(state="shelf://top/1", policies={"admission": [{"use": "spends"}]})
    brings = brought(built, asked)
    async with running(brings, settings=settings, replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        again = await gateway.build(settings)
        assert (await gateway.ask()).status == 200
        await again.stop()
        assert not built[0].closed
    assert [store.url for store in built] == ["shelf://top/1"]
    assert asked == [built[0], built[0]]
    assert built[0].closed


async def test_a_store_that_nobody_asks_for_is_not_built() -> None:
    built: list[Shelf] = []
    async with running(brought(built, []), settings=config(state="shelf://top/1")):
        pass
    assert built == []


async def test_an_unknown_scheme_is_refused_without_showing_the_password() -> None:
    settings = config(state="shelv://user:hunter2@top/1", policies={"admission": [{"use": "spends"}]})
    with pytest.raises(ConfigError, match="'shelv' in stores; did you mean 'shelf'") as caught:
        async with running(brought([], []), settings=settings):
            pass
    assert "hunter2" not in str(caught.value)
