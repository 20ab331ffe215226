"""All connections of one listener: how many there may be, of all clients and of one; it reads and writes nothing."""

from __future__ import annotations

import resource
from collections import Counter

# What is not a client's connection: logs, journals, databases, probes, the listener itself.
OTHER_FILES = 256
# For each connection of a client there may be one to an engine.
FILES_PER_CONNECTION = 2
# So many more are told why they are turned away; beyond that connections are closed without a word.
TOLD = 64


def affordable(wanted: int) -> int:
    """How many connections the system has files for, `wanted` at most; the process's limit is raised as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, wanted * FILES_PER_CONNECTION + OTHER_FILES)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(wanted, max((hard - OTHER_FILES) // FILES_PER_CONNECTION, 1))


class Crowd:
    """Counts connections.

    Args:
        most: connections at a time.
        most_per_client: of one address; None: no bound of its own, as behind a load balancer all come from one.
        head_seconds: how long a client may take from connecting, or from a request's first byte, to the end of the head.

    Attributes:
        turned_away: connections that were one too many.
    """

    def __init__(self, most: int, *, most_per_client: int | None = None, head_seconds: float = 10.0) -> None:
        self.head_seconds = head_seconds
        self.turned_away = 0
        self._most = most
        self._most_per_client = most_per_client
        self._open = 0
        self._by_client: Counter[str] = Counter()

    def enter(self, client: str) -> bool:
        """Count a connection; False if it is one too many. It is counted all the same, until it leaves."""
        self._open += 1
        self._by_client[client] += 1
        if self._open <= self._most and self._by_client[client] <= (self._most_per_client or self._most):
            return True
        self.turned_away += 1
        return False

    @property
    def overrun(self) -> bool:
        """So many that none can be told so."""
        return self._open > self._most + TOLD

    def leave(self, client: str) -> None:
        """A connection is gone."""
        self._open -= 1
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]
