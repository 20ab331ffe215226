"""What extensions count reaches whoever exports it, whatever kind they are, and whoever of them is at fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

import plugins.memory_store
import plugins.prometheus
from gateway import BuildContext, Extension, Histogram, Metric, NoSettings
from gateway.composition.metrics import Meters
from gateway.contracts.metrics import counter, gauge, histogram
from gateway.contracts.store import Exchange, Grant, StoreSettings
from tests.unit.gateway.in_process import Gateway, config, running
from tests.unit.gateway.plugin_modules import extension, plugin


class Counting:
    """Whatever extension, with metrics; `shown` may raise."""

    def __init__(self, *shown: Metric) -> None:
        self.shown: Sequence[Metric] = shown
        self.fault: Exception | None = None

    def metrics(self) -> Sequence[Metric]:
        if self.fault is not None:
            raise self.fault
        return self.shown

    async def run(self) -> None:
        """Be a service."""

    async def exchange(self, exchanges: Sequence[Exchange]) -> Sequence[Grant]:
        """Be a store."""
        raise NotImplementedError

    async def admit(self, call: Any) -> None:
        """Be a policy."""


def names(meters: Meters) -> list[str]:
    return [metric.name for metric in meters.gather()]


def test_what_several_show_under_one_name_is_added_up() -> None:
    meters = Meters()
    times = Histogram((1.0,))
    times.observe(0.5)
    for which in ("a", "b"):
        both = (
            counter("moegate_c", "C.", {(which,): 1, ("both",): 2}, "which"),
            histogram("moegate_h", "H.", {(): times}),
        )
        meters.add("engine", Counting(*both))
    number, classes = meters.gather()
    assert number.samples == {("a",): 1, ("b",): 1, ("both",): 4}
    sample = classes.samples[()]
    assert isinstance(sample, Histogram)
    assert (sample.counts, sample.sum) == ([2, 0], 1.0)
    assert times.counts == [1, 0]


def test_one_object_is_asked_once_and_what_counts_nothing_never() -> None:
    meters, counting = Meters(), Counting(counter("moegate_c", "C.", 1))
    for built in (counting, counting, object()):
        meters.add("x", built)
    assert [metric.samples for metric in meters.gather()] == [{(): 1}]


@pytest.mark.parametrize(
    "other",
    [
        gauge("moegate_c", "As another kind.", 1),
        counter("moegate_c", "With a label.", {("a",): 1}, "which"),
    ],
)
def test_whoever_is_at_fault_is_left_out_and_named_once(other: Metric) -> None:
    meters, late = Meters(), Counting(counter("moegate_c", "C.", 1))
    broken = Counting()
    broken.fault = RuntimeError("no luck")
    for name, built in (("broken", broken), ("first", late), ("second", Counting(other))):
        meters.add(name, built)
    with capture_logs() as logged:
        for _ in range(3):
            assert [metric.help for metric in meters.gather()] == ["C."]
    assert [entry["extension"] for entry in logged] == ["broken", "second"]
    broken.fault = None
    broken.shown = [counter("moegate_back", "Back.", 1)]
    assert names(meters) == ["moegate_back", "moegate_c"]


def exported(*things: Extension[Any]) -> Any:
    """A plugin of a stranger's: a policy, a service and a store, all of which count."""
    policy, service, store = things
    return plugin(
        moegate_admission_policies=lambda: [policy],
        moegate_services=lambda: [service],
        moegate_stores=lambda: [store],
    )


async def page(gateway: Gateway) -> list[str]:
    answer = await gateway.ask("/metrics", b"", method="GET")
    assert answer.status == 200
    return answer.body.decode().splitlines()


async def test_a_stranger_s_policy_service_and_store_are_on_the_page_and_after_a_reload_too() -> None:
    store = Counting(counter("moegate_my_store", "Kept.", 3))

    def build(_: NoSettings, context: BuildContext) -> Counting:
        assert context.store is store
        return Counting(counter("moegate_my_calls", "Seen.", {('a"b',): 1}, "who"))

    brings = exported(
        Extension("mine", NoSettings, build),
        extension("tick", Counting(gauge("moegate_my_ticks", "Now.", 2.5), counter("moegate_calls", "Taken.", 9))),
        Extension("mystore", StoreSettings, lambda _, __: store),
    )
    settings = config(
        state="mystore://", policies={"admission": [{"use": "mine"}]}, plugins=[{"use": "prometheus"}, {"use": "tick"}]
    )
    ours = (plugins.memory_store, plugins.prometheus)
    async with running(brings, *ours, settings=settings) as gateway:
        before = await page(gateway)
        old, gateway.runtime = gateway.runtime, await gateway.build(settings)
        gateway.runtime.start()
        gateway.edge.current = gateway.runtime
        await old.retire()
        after = await page(gateway)
    for lines in (before, after):
        assert 'moegate_my_calls_total{who="a\\"b"} 1.0' in lines
        assert "moegate_my_ticks 2.5" in lines
        assert "moegate_my_store_total 3.0" in lines
        assert "# TYPE moegate_my_calls_total counter" in lines
        assert [line for line in lines if line.startswith("# HELP moegate_calls_total")] == [
            "# HELP moegate_calls_total Calls by how they ended."
        ]
