"""What an extension counts, for whoever exports it: shown when it is asked for, so that nothing is spent on a call's way."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

from msgspec import Struct

_NAME = re.compile(r"moegate_[a-z][a-z0-9_]*")
_LABEL = re.compile(r"[a-z][a-z0-9_]*")

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Bounds for times, those of calls among them."""


class MetricKind(StrEnum):
    """A counter only grows, until the process ends or a reload begins it anew; a gauge is as it is now."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Histogram:
    """Counts what it observes by size.

    Args:
        bounds: the largest value that each class still takes, ascending; what is larger than all has a class of its own.

    Attributes:
        counts: per class; one more than there are bounds.
        sum: of all that was observed.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


Samples = Mapping[tuple[str, ...], float | Histogram]
"""By the values of the labels, in their order; `{(): 5}` where there are none."""


class Metric(Struct, frozen=True, kw_only=True):
    """One family of time series, as Prometheus knows them.

    Attributes:
        name: `moegate_`, whose it is, what it is, in which unit (seconds, bytes): `moegate_ledger_waiting_bytes`. Exporters
            add what their form wants of a counter, such as `_total`.
        help: one sentence for people.
        labels: names. What callers send must not be among their values: who can make up values can fill the memory.

    Raises:
        ValueError: a name is none, or a sample does not fit the labels or the kind.
    """

    name: str
    help: str
    kind: MetricKind
    labels: tuple[str, ...] = ()
    samples: Samples

    def __post_init__(self) -> None:
        """Check what an exporter could not write."""
        if not _NAME.fullmatch(self.name) or self.name.endswith("_total"):
            raise ValueError(f"{self.name!r} is not the name of a metric")
        if not all(_LABEL.fullmatch(label) for label in self.labels):
            raise ValueError(f"{self.name}: labels cannot be named {self.labels}")
        wanted = Histogram if self.kind is MetricKind.HISTOGRAM else (int, float)
        for values, sample in self.samples.items():
            if len(values) != len(self.labels) or not all(isinstance(value, str) for value in values):
                raise ValueError(f"{self.name}: {values} are not values of the labels {self.labels}")
            if not isinstance(sample, wanted):
                raise ValueError(f"{self.name}: a sample is a {type(sample).__name__}")  # noqa: TRY004 - one error for all


@runtime_checkable
class Metered(Protocol):
    """Anything that a plugin builds (a policy, a service, a store …) and that counts something; it need not."""

    def metrics(self) -> Iterable[Metric]:
        """What has been counted until now; called at each scrape, on the event loop: no waiting, and no I/O.

        Where several of one kind are built, as backends are, what they show under one name and labels is added up.
        A crash is logged, and leaves out what the others show no less.
        """


def counter(name: str, text: str, samples: Samples | float, *labels: str) -> Metric:
    """A metric that counts; `text` is its help."""
    return _metric(MetricKind.COUNTER, name, text, samples, labels)


def gauge(name: str, text: str, samples: Samples | float, *labels: str) -> Metric:
    """A metric that says how something is now."""
    return _metric(MetricKind.GAUGE, name, text, samples, labels)


def histogram(name: str, text: str, samples: Samples, *labels: str) -> Metric:
    """A metric that counts by size; its samples are `Histogram`s."""
    return _metric(MetricKind.HISTOGRAM, name, text, samples, labels)


def _metric(kind: MetricKind, name: str, text: str, samples: Samples | float, labels: tuple[str, ...]) -> Metric:
    found: Samples = samples if isinstance(samples, Mapping) else {(): samples}
    return Metric(name=name, help=text, kind=kind, labels=labels, samples=found)
