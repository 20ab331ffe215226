"""Watches one call of an experiment: keeps the answer's bytes and the waits between its pieces until the call is over."""

from __future__ import annotations

import time
from collections import deque

from msgspec import Struct

from gateway import Call, Outcome

# A longer answer is not checked; its times and tokens count all the same.
MOST_ANSWER_BYTES = 262_144
MOST_WAITING = 10_000
MOST_WAITING_BYTES = 64 * 2**20


class Seen(Struct, frozen=True, eq=False):
    """One call that is over.

    Attributes:
        arm: its place among the experiment's.
        randomised: it was drawn by chance; otherwise it tells nothing about arms.
        answer: what the client was sent; None if it was too long, or too much waits already.
        worst_gap_seconds: between two pieces; None with fewer than two.
        load: share of the arm's slots in use when it came.
    """

    call: Call
    outcome: Outcome
    arm: int
    unit: bytes
    randomised: bool
    replicas: frozenset[str]
    answer: bytes | None
    worst_gap_seconds: float | None
    load: float


class Waiting:
    """Calls that are over and have not been looked at. What is too much is dropped and counted, never waited for."""

    def __init__(self) -> None:
        self.calls: deque[Seen] = deque()
        self.held_bytes = 0
        self.dropped = 0
        self.unchecked = 0

    def put(self, seen: Seen) -> None:
        """Take one."""
        if len(self.calls) >= MOST_WAITING:
            self.dropped += 1
            return
        self.held_bytes += len(seen.answer or b"") + len(seen.call.body)
        self.calls.append(seen)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more may be kept."""
        return self.held_bytes + size <= MOST_WAITING_BYTES

    def take(self, most: int) -> list[Seen]:
        """The first ones."""
        taken = [self.calls.popleft() for _ in range(min(most, len(self.calls)))]
        self.held_bytes -= sum(len(seen.answer or b"") + len(seen.call.body) for seen in taken)
        return taken


class Watch:
    """The `ArmWatch` of one call."""

    __slots__ = (
        "_arm", "_call", "_last", "_load", "_pieces", "_randomised", "_replicas", "_size", "_unit", "_waiting", "_worst",
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
        randomised: bool,
    ) -> None:
        self._waiting = waiting
        self._call, self._arm, self._unit, self._replicas, self._load = call, arm, unit, replicas, load
        self._randomised = randomised
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
        waiting = self._waiting
        answer: bytes | None = None
        if self._pieces is not None and waiting.has_room(self._size + len(self._call.body)):
            answer = b"".join(self._pieces)
        else:
            waiting.unchecked += 1
        worst = self._worst if self._worst >= 0 else None
        waiting.put(
            Seen(
                self._call, outcome, self._arm, self._unit, self._randomised, self._replicas, answer, worst, self._load
            )
        )
