from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway import BuildContext, NoSettings
from gateway.errors import ConfigError
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.in_process import config, replica, running
from tests.unit.gateway.plugin_modules import extension, plugin


def settings(**mirror: Any) -> dict[str, Any]:
    """A model with replicas `a` and `a-new`, whose calls are copied, and one called `shadow` with `b`."""
    found = config("a", "a-new", plugins=[{"use": "looks"}], policies={"routing": []})
    checkpoint = found["models"][0]["checkpoint"]
    found["models"][0]["mirror"] = {"to": "shadow", "share": 1, **mirror}
    found["models"].append({"name": "shadow", "checkpoint": checkpoint, "replicas": [replica("b")]})
    return found


def reply() -> FakeResponse:
    return FakeResponse(pieces=[b"{}"])


class Looks:
    """A service that does nothing, and shows what its gateway has counted."""

    def __init__(self) -> None:
        self.context: BuildContext
        self.plugin = plugin(moegate_services=lambda: [extension("looks", build=self._build)])

    def _build(self, _: NoSettings, context: BuildContext) -> Looks:
        self.context = context
        return self

    async def run(self) -> None:
        pass

    def counted(self, name: str) -> float:
        (found,) = (metric for metric in self.context.metrics() if metric.name == name)
        return sum(value for value in found.samples.values() if isinstance(value, (int, float)))


@pytest.mark.parametrize(
    ("mirror", "expected"),
    [
        ({"to": "shadwo"}, "models[0].mirror.to: there is no model 'shadwo'; did you mean 'shadow'? (line "),
        ({"to": "kimi-k2"}, "models[0].mirror.replicas: missing; a model's calls can be copied to some of its own"),
        ({"replicas": ["b", "c*"]}, "models[0].mirror.replicas[1]: no replica of shadow is named 'c*' (line "),
        ({"share": 0}, "models[0].mirror.share: expected"),
        ({"share": 2}, "models[0].mirror.share: expected"),
        ({"sahre": 1}, "models[0].mirror.sahre: unknown setting; did you mean 'share'?"),
    ],
)
async def test_faults_name_their_place(mirror: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with running(Looks().plugin, settings=settings(**mirror)):
            pass
    (found,) = caught.value.problems
    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("mirror", "copied_to"),
    [({}, "b"), ({"replicas": ["b*"]}, "b"), ({"to": "kimi-k2", "replicas": ["*-new"]}, "a-new")],
)
async def test_calls_are_copied_to_what_is_named(mirror: dict[str, Any], copied_to: str) -> None:
    async with running(Looks().plugin, settings=settings(**mirror), replies=(reply(), reply())) as gateway:
        assert (await gateway.ask()).status == 200
        await asyncio.sleep(1)  # of virtual time
        assert gateway.asked == ["a", copied_to]


async def test_counts_go_on_over_a_reload_which_ends_the_copies_of_before() -> None:
    looks, hangs = Looks(), asyncio.Event()
    replies = (reply(), hangs, reply(), reply())
    async with running(looks.plugin, settings=settings(), replies=replies) as gateway:
        assert (await gateway.ask()).status == 200
        await asyncio.sleep(1)  # of virtual time
        assert looks.counted("moegate_mirror_in_flight") == 1
        before, gateway.runtime = gateway.runtime, await gateway.build(settings())
        gateway.runtime.start()
        gateway.edge.current = gateway.runtime
        await before.retire()
        assert (looks.counted("moegate_mirror_sent"), looks.counted("moegate_mirror_ended")) == (1, 1)
        while gateway.runtime.fleet.not_ready():
            await gateway.runtime.fleet.wait_for_change()
        assert (await gateway.ask()).status == 200
        await asyncio.sleep(1)  # of virtual time
        assert (looks.counted("moegate_mirror_sent"), looks.counted("moegate_mirror_ended")) == (2, 2)
