"""How calls fared in the queues of one model, as metrics; decides nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum

from gateway import Histogram, Metric
from gateway.contracts.metrics import counter, gauge, histogram


class Waited(StrEnum):
    """How waiting ended."""

    SERVED = "served"
    TIMED_OUT = "timed_out"
    LEFT = "left"


class Full(StrEnum):
    """Whose queue was full when a call was refused."""

    TENANT = "tenant"
    ALL = "all"


class Counts:
    """Of one model; priorities are those of keys, so there are few.

    Attributes:
        passed: calls that did not have to wait.
        waits: how long calls waited, in seconds, by priority and by how it ended.
        refused: by priority and by whose queue was full.
    """

    __slots__ = ("passed", "refused", "waits")

    def __init__(self) -> None:
        self.passed = 0
        self.waits: defaultdict[tuple[int, Waited], Histogram] = defaultdict(Histogram)
        self.refused: Counter[tuple[int, Full]] = Counter()


def metrics_of(counts: Mapping[str, Counts], waiting: Iterable[tuple[str, int, int]]) -> list[Metric]:
    """For exporters.

    Args:
        counts: by model.
        waiting: model, priority, and how many of it wait.
    """
    now: dict[tuple[str, ...], float] = defaultdict(float)
    for model, priority, number in waiting:
        now[model, str(priority)] += number
    return [
        gauge("moegate_fair_queue_waiting", "Calls that wait for a slot.", now, "model", "priority"),
        counter(
            "moegate_fair_queue_passed",
            "Calls that got a slot without waiting.",
            {(model,): each.passed for model, each in counts.items()},
            "model",
        ),
        histogram(
            "moegate_fair_queue_wait_seconds",
            "How long calls waited that had to, by how it ended.",
            {
                (model, str(priority), ended.value): waits
                for model, each in counts.items()
                for (priority, ended), waits in each.waits.items()
            },
            "model",
            "priority",
            "ended",
        ),
        counter(
            "moegate_fair_queue_refused",
            "Calls that were refused because too many of their tenant, or of all, waited already.",
            {
                (model, str(priority), full.value): number
                for model, each in counts.items()
                for (priority, full), number in each.refused.items()
            },
            "model",
            "priority",
            "full",
        ),
    ]
