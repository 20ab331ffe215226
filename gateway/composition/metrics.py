"""Gathers what the extensions of one runtime have counted, when an exporter asks for it; exports nothing itself."""

from __future__ import annotations

import structlog
from msgspec.structs import replace

from gateway.contracts.metrics import Histogram, Metered, Metric

log = structlog.get_logger("moegate.metrics")


class Meters:
    """All that was built for a runtime and counts something."""

    def __init__(self) -> None:
        self._metered: dict[int, tuple[str, Metered]] = {}
        self._faulty: set[str] = set()

    def add(self, name: str, built: object) -> None:
        """Take in what was built, if it counts something; the same object once."""
        if isinstance(built, Metered):
            self._metered[id(built)] = name, built

    def gather(self) -> list[Metric]:
        """What all have counted until now, each name once; what one cannot show is logged once, and left out."""
        found: dict[str, Metric] = {}
        for name, metered in self._metered.values():
            try:
                for metric in list(metered.metrics()):
                    known = found.get(metric.name)
                    found[metric.name] = metric if known is None else _together(known, metric)
            except Exception:
                if name not in self._faulty:
                    log.exception("metrics cannot be shown", extension=name)
                self._faulty.add(name)
            else:
                self._faulty.discard(name)
        return list(found.values())


def _together(one: Metric, other: Metric) -> Metric:
    if (one.kind, one.labels) != (other.kind, other.labels):
        raise ValueError(f"{one.name} is shown by another already, as another kind or with other labels")
    samples: dict[tuple[str, ...], float | Histogram] = dict(one.samples)
    for values, sample in other.samples.items():
        samples[values] = _sum(samples[values], sample) if values in samples else sample
    return replace(one, samples=samples)


def _sum(one: float | Histogram, other: float | Histogram) -> float | Histogram:
    if not isinstance(one, Histogram) and not isinstance(other, Histogram):
        return one + other
    if not isinstance(one, Histogram) or not isinstance(other, Histogram) or one.bounds != other.bounds:
        raise ValueError("histograms of different bounds cannot be added up")
    both = Histogram(one.bounds)
    both.counts = [left + right for left, right in zip(one.counts, other.counts, strict=True)]
    both.sum = one.sum + other.sum
    return both
