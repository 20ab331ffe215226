"""What stands on the page at the moment of a scrape, in prometheus_client's form: the fleet, and what anybody has counted."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any, cast

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway import Fleet, Histogram, Metric, MetricKind, ReplicaState


class FleetCollector(Collector):
    """The replicas as they are at the moment of a scrape."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterator[Family]:
        """Yield the gauges."""
        in_flight = GaugeMetricFamily("moegate_replica_in_flight", "Calls in flight.", labels=("model", "replica"))
        slots = GaugeMetricFamily("moegate_replica_slots", "max_concurrent.", labels=("model", "replica"))
        state = GaugeMetricFamily(
            "moegate_replica_state", "1 for the state it is in.", labels=("model", "replica", "state")
        )
        for replica in self._fleet.replicas():
            in_flight.add_metric((replica.model, replica.name), replica.in_flight)
            slots.add_metric((replica.model, replica.name), replica.max_concurrent)
            for each in ReplicaState:
                state.add_metric((replica.model, replica.name, each.value), float(replica.state is each))
        yield from (in_flight, slots, state)
        yield from self._loads()

    def _loads(self) -> Iterator[Family]:
        """What the engines say of themselves; an engine that does not say, or is not ready, has no sample."""
        labels = ("model", "replica")
        running = GaugeMetricFamily("moegate_replica_running", "Requests the engine works on.", labels=labels)
        waiting = GaugeMetricFamily("moegate_replica_waiting", "Requests in the engine's queue.", labels=labels)
        kv_use = GaugeMetricFamily("moegate_replica_kv_use", "Share of the KV cache in use.", labels=labels)
        hits = GaugeMetricFamily(
            "moegate_replica_cache_hit_rate", "Share of prompt tokens found in the prefix cache.", labels=labels
        )
        for replica in self._fleet.replicas():
            if replica.load is None or replica.state is not ReplicaState.READY:
                continue
            load = replica.load
            said = (
                (running, load.running),
                (waiting, load.waiting),
                (kv_use, load.kv_use),
                (hits, load.cache_hit_rate),
            )
            for gauge, number in said:
                if number is not None:
                    gauge.add_metric((replica.model, replica.name), number)
        yield from (running, waiting, kv_use, hits)


class TaskCollector(Collector):
    """The event loop's tasks: more with each call, and back to what it was when nobody calls."""

    def collect(self) -> Iterator[Family]:
        """Yield the gauge."""
        yield GaugeMetricFamily("moegate_tasks", "Tasks of the event loop.", value=_tasks())


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0  # no loop runs yet: a gateway that is built asks for the names alone


class CountedCollector(Collector):
    """What has been counted, at the moment of a scrape.

    Args:
        taken: names that stand on the page already; a second family of one name would spoil the whole page.
    """

    def __init__(self, gather: Callable[[], Iterable[Metric]], taken: Container[str]) -> None:
        self._gather = gather
        self._taken = taken

    def collect(self) -> Iterator[Family]:
        """Yield each metric in Prometheus' own form."""
        return (_family(metric) for metric in self._gather() if metric.name not in self._taken)


def _family(metric: Metric) -> Family:
    made = {
        MetricKind.COUNTER: CounterMetricFamily,
        MetricKind.GAUGE: GaugeMetricFamily,
        MetricKind.HISTOGRAM: HistogramMetricFamily,
    }[metric.kind]
    family: Any = made(metric.name, metric.help, labels=metric.labels)
    for values, sample in metric.samples.items():
        if isinstance(sample, Histogram):
            family.add_metric(values, *_classes(sample))
        else:
            family.add_metric(values, sample)
    return cast("Family", family)


def _classes(sample: Histogram) -> tuple[list[tuple[str, float]], float]:
    bounds = [*map(floatToGoString, sample.bounds), "+Inf"]
    return list(zip(bounds, itertools.accumulate(sample.counts), strict=True)), sample.sum
