"""What is counted of copies; outlives the runtimes that make them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.contracts.metrics import Histogram, Metric, counter, gauge, histogram

MOST_REPLICAS: Final = 256
"""Replicas come and go; those beyond share one name, so that nothing grows for ever."""


class MirrorCounts:
    """The copies of one model's calls.

    Attributes:
        dropped: that were never sent, by the reason.
        ended: by how: `served`, the code of an error, or why it gave way.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.dropped: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.first_events: dict[str, Histogram] = {}

    def first_event(self, replica: str) -> Histogram:
        """How long a replica took until the first event of a stream, or for the whole of another answer."""
        if replica not in self.first_events and len(self.first_events) >= MOST_REPLICAS:
            replica = "other"
        return self.first_events.setdefault(replica, Histogram())


def mirror_metrics(mirrors: Mapping[str, tuple[MirrorCounts, int, int]]) -> Iterable[Metric]:
    """By model: the counts, copies on their way, and bytes that they hold."""
    sent: dict[tuple[str, ...], float] = {(name,): counts.sent for name, (counts, _, _) in mirrors.items()}
    flying: dict[tuple[str, ...], float] = {(name,): flying for name, (_, flying, _) in mirrors.items()}
    held: dict[tuple[str, ...], float] = {(name,): held for name, (_, _, held) in mirrors.items()}
    dropped: dict[tuple[str, ...], float] = {}
    ended: dict[tuple[str, ...], float] = {}
    first: dict[tuple[str, ...], float | Histogram] = {}
    for name, (counts, _, _) in mirrors.items():
        dropped |= {(name, why): count for why, count in counts.dropped.items()}
        ended |= {(name, how): count for how, count in counts.ended.items()}
        first |= {(name, replica): found for replica, found in counts.first_events.items()}
    yield counter("moegate_mirror_sent", "Copies of calls that were sent.", sent, "model")
    yield counter("moegate_mirror_dropped", "Calls in the share that were not copied.", dropped, "model", "why")
    yield counter("moegate_mirror_ended", "Copies by how they ended.", ended, "model", "how")
    yield gauge("moegate_mirror_in_flight", "Copies on their way.", flying, "model")
    yield gauge("moegate_mirror_held_bytes", "Of requests that copies hold.", held, "model")
    yield histogram(
        "moegate_mirror_first_event_seconds",
        "Until a copy's first event, or its whole answer.",
        first,
        "model",
        "replica",
    )
