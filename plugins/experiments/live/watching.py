"""Watches one call of an experiment: keeps the answer's bytes and the waits between its pieces until the call is over."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from gateway import Call, Outcome

# A longer answer is not checked; its times and tokens count all the same.
MOST_ANSWER_BYTES = 262_144
MOST_WAITING = 10_000
MOST_WAITING_BYTES = 64 * 2**20


class Seen(Struct, frozen=True, eq=False):
    """One call that is over, or one copy of a call.

    Attributes:
        arm: its place among the experiment's.
        counts: among its arm's calls: it was drawn by chance, and it is no copy.
        answer: what the client was sent, or would have been; None if it was too long, or too much waits already.
        worst_gap_seconds: between two pieces; None with fewer than two.
        load: share of the arm's slots in use when it came.
    """

    call: Call
    outcome: Outcome
    arm: int
    unit: bytes
    counts: bool
    replicas: frozenset[str]
    answer: bytes | None
    worst_gap_seconds: float | None
    load: float

    @property
    def held_bytes(self) -> int:
        """What it keeps in memory."""
        return len(self.answer or b"") + len(self.call.body)


class Answers(Struct, frozen=True, eq=False):
    """One call's answers by several arms: what its client got, and those to its copies."""

    served: Seen
    copies: tuple[Seen, ...]

    @property
    def held_bytes(self) -> int:
        """What they keep in memory; the request is one."""
        return self.served.held_bytes + sum(len(copy.answer or b"") for copy in self.copies)


class Waiting:
    """Calls that are over and have not been looked at. What is too much is dropped and counted, never waited for."""

    def __init__(self) -> None:
        self.calls: deque[Seen | Answers] = deque()
        self.held_bytes = 0
        self.dropped = 0
        self.unchecked = 0

    def put(self, found: Seen | Answers) -> None:
        """Take one."""
        if len(self.calls) >= MOST_WAITING:
            self.dropped += 1
            return
        self.held_bytes += found.held_bytes
        self.calls.append(found)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more may be kept."""
        return self.held_bytes + size <= MOST_WAITING_BYTES

    def take(self, most: int) -> list[Seen | Answers]:
        """The first ones."""
        taken = [self.calls.popleft() for _ in range(min(most, len(self.calls)))]
        self.held_bytes -= sum(found.held_bytes for found in taken)
        return taken


class Pairing:
    """Brings the answers to one call and to its copies together, in whatever order they end."""

    __slots__ = ("_copies", "_missing", "_served", "_waiting")

    def __init__(self, waiting: Waiting, copies: int) -> None:
        self._waiting = waiting
        self._missing = copies + 1
        self._served: Seen | None = None
        self._copies: list[Seen] = []

    def serve(self, seen: Seen) -> None:
        """What the client got: counts for its arm as well."""
        self._waiting.put(seen)
        self._served = seen
        self._one_more()

    def copy(self, seen: Seen) -> None:
        """What came of a copy."""
        self._copies.append(seen)
        self._one_more()

    def _one_more(self) -> None:
        self._missing -= 1
        if not self._missing and self._served is not None:
            self._waiting.put(Answers(self._served, tuple(self._copies)))


class Watch:
    """The `ArmWatch` of one call or copy.

    Args:
        tell: what takes it when it is over.
        load: share of the arm's slots in use now.
    """

    __slots__ = (
        "_arm", "_call", "_counts", "_last", "_load", "_pieces", "_replicas", "_size", "_tell", "_unit", "_waiting",
        "_worst",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - what it hands on
        self,
        waiting: Waiting,
        call: Call,
        arm: int,
        unit: bytes,
        replicas: frozenset[str],
        load: float,
        *,
        counts: bool,
        tell: Callable[[Seen], None],
    ) -> None:
        self._waiting = waiting
        self._tell = tell
        self._call, self._arm, self._unit, self._replicas, self._load = call, arm, unit, replicas, load
        self._counts = counts
        self._pieces: list[bytes] | None = []
        self._size = 0
        self._last = 0.0
        self._worst = -1.0

    def sent(self, piece: bytes) -> None:
        """See `ArmWatch`."""
        now = time.monotonic()
        if self._last and now - self._last > self._worst:
            self._worst = now - self._last
        self._last = now
        if self._pieces is not None:
            self._size += len(piece)
            if self._size > MOST_ANSWER_BYTES:
                self._pieces = None
            else:
                self._pieces.append(piece)

    def ended(self, outcome: Outcome) -> None:
        """See `ArmWatch`."""
        answer: bytes | None = None
        if self._pieces is not None and self._waiting.has_room(self._size + len(self._call.body)):
            answer = b"".join(self._pieces)
        else:
            self._waiting.unchecked += 1
        worst = self._worst if self._worst >= 0 else None
        self._tell(
            Seen(self._call, outcome, self._arm, self._unit, self._counts, self._replicas, answer, worst, self._load)
        )
