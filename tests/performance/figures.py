"""Turns raw samples into percentiles and medians with their spread; it measures and prints nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


def percentile(ordered: Sequence[int] | Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile of sorted samples; 0 when there are none."""
    if not ordered:
        return 0.0
    return float(ordered[min(len(ordered) - 1, int(len(ordered) * share))])


def summary_us(samples_ns: Sequence[int]) -> dict[str, float]:
    """Percentiles in µs of samples in ns."""
    ordered = sorted(samples_ns)
    return {
        "count": len(ordered),
        "p50": round(percentile(ordered, 0.50) / 1000, 1),
        "p90": round(percentile(ordered, 0.90) / 1000, 1),
        "p99": round(percentile(ordered, 0.99) / 1000, 1),
        "max": round(percentile(ordered, 1.0) / 1000, 1),
    }


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds: the median, and how far apart the rounds were."""

    middle: float
    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float]) -> "Spread":
        """Summarise one figure per round."""
        return cls(median(values), min(values), max(values))

    def scaled(self, factor: float) -> "Spread":
        """Say it in another unit."""
        return Spread(self.middle * factor, self.low * factor, self.high * factor)

    def text(self, digits: int = 0, scale: float = 1.0) -> str:
        """Write `median (low to high)`."""
        middle, low, high = (f"{value * scale:,.{digits}f}" for value in (self.middle, self.low, self.high))
        return middle if low == high else f"{middle} ({low}-{high})"
