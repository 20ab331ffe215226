"""Pairs the moments at which clients left with those at which the engine saw it; it starts and closes nothing."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.performance.figures import summary_us

LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Leaving:
    """How long it took until the engine saw that its client had left, and of how many it never did."""

    p50_us: float
    p99_us: float
    seen: int
    never: int


def paired(closed: Mapping[int, int], aborted: Mapping[int, int]) -> Leaving:
    """Compare two lists of moments by the clients' names; both are of the one clock of this machine."""
    delays = [aborted[client] - left for client, left in closed.items() if client in aborted]
    summary = summary_us(delays)
    return Leaving(summary["p50"], summary["p99"], len(delays), len(closed) - len(delays))


def settled(
    closed: Mapping[int, int],
    aborts: Callable[[], Mapping[int, int]],
    patience_seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Leaving:
    """Ask the engine until it has seen all of them leave, or for so long; what it did not see by then it never saw."""
    deadline = clock() + patience_seconds
    while True:
        leaving = paired(closed, aborts())
        if not leaving.never or clock() > deadline:
            return leaving
        sleep(LOOK_SECONDS)
