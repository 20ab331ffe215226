from __future__ import annotations

from typing import Any

from msgspec import Struct

from gateway import BuildContext, Extension
from tests.unit.fakes import FakeBackend, FakeResponse
from tests.unit.gateway.in_process import config, replica, running
from tests.unit.gateway.plugin_modules import extension, plugin


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    flavour: str = "plain"


async def test_a_registered_backend_speaks_to_the_replicas_that_name_it() -> None:
    class Mine(FakeBackend):
        kind = "mine"

    mine = plugin(moegate_backends=lambda: [extension("mine", Mine())])
    settings = config(replicas=[replica("a", backend="mine")])
    async with running(mine, settings=settings, replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        answer = await gateway.ask()
    assert (answer.status, answer.headers["x-moegate-backend"], answer.headers["x-moegate-replica"]) == (
        200,
        "mine",
        "a",
    )
    assert gateway.connections.sent[0].target == b"/generate"


async def test_it_is_built_once_per_replica_with_that_replica_s_options() -> None:
    built: list[str] = []

    def build(options: Options, _: BuildContext) -> FakeBackend:
        built.append(options.flavour)
        return FakeBackend()

    mine = plugin(moegate_backends=lambda: [Extension("mine", Options, build)])
    settings = config(
        replicas=[replica("a", backend="mine"), replica("b", backend="mine", options={"flavour": "strong"})]
    )
    async with running(mine, settings=settings):
        assert built == ["plain", "strong"]


async def test_it_is_probed_before_it_serves() -> None:
    backend = FakeBackend()
    mine: Any = plugin(moegate_backends=lambda: [extension("mine", backend)])
    async with running(mine, settings=config(replicas=[replica("a", backend="mine")])):
        assert backend.probed == ["a"]
