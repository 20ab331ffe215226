from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from gateway import Call, Replica
from gateway.errors import UpstreamOverloaded
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.in_process import config, running
from tests.unit.gateway.plugin_modules import extension, plugin


class Reverse:
    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica]:
        return list(reversed(replicas))


class DropFirst:
    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica]:
        return replicas[1:]


BRINGS = plugin(moegate_routing_policies=lambda: [extension("reverse", Reverse()), extension("drop", DropFirst())])


@pytest.mark.parametrize(
    ("order", "asked"),
    [([], "abc"), (["reverse"], "cba"), (["reverse", "drop"], "ba"), (["drop", "reverse"], "cb"), (["drop"], "bc")],
)
async def test_policies_run_in_the_order_of_the_configuration(order: list[str], asked: str) -> None:
    settings = config("a", "b", "c", policies={"routing": [{"use": name} for name in order]})
    replies = (UpstreamOverloaded("full"),) * len(asked)
    async with running(BRINGS, settings=settings, replies=replies) as gateway:
        answer = await gateway.ask()
    assert gateway.asked == list(asked)
    assert (answer.status, answer.headers["x-moegate-attempts"]) == (503, str(len(asked)))


async def test_the_first_of_the_list_serves() -> None:
    settings = config("a", "b", policies={"routing": [{"use": "reverse"}]})
    async with running(BRINGS, settings=settings, replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        answer = await gateway.ask()
    assert (answer.headers["x-moegate-replica"], answer.headers["x-moegate-attempts"]) == ("b", "1")


async def test_a_crash_refuses_the_call() -> None:
    class Wild:
        def rank(self, call: Call, replicas: Sequence[Replica]) -> Any:
            raise KeyError("inside")

    brings = plugin(moegate_routing_policies=lambda: [extension("wild", Wild())])
    async with running(brings, settings=config(policies={"routing": [{"use": "wild"}]})) as gateway:
        answer = await gateway.ask()
    assert (answer.status, answer.error["code"], gateway.asked) == (500, "policy_failed", [])
