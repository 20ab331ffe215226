"""The latest calls in memory, bounded by count and by bytes, and those that wait for the database; outlives a reload."""

from __future__ import annotations

from collections import OrderedDict, deque

MOST_WAITING = 10_000
# What the containers take of the memory for each.
_OVERHEAD_BYTES = 250

Row = tuple[str, int, str, str]
"""A row of the table: call id, milliseconds since 1970, model, JSON."""


class Recent:
    """The calls.

    Attributes:
        waiting: rows for the database, the oldest first.
        bytes: of the calls, with what keeping them takes.
        written, lost: rows that went to the database, and rows that did not because it was away for too long.
    """

    def __init__(self) -> None:
        self.waiting: deque[Row] = deque()
        self.bytes = 0
        self.written = 0
        self.lost = 0
        self._calls: OrderedDict[str, bytes] = OrderedDict()
        self._most_calls = 0
        self._most_bytes = 0

    def __len__(self) -> int:
        return len(self._calls)

    def limit(self, calls: int, size: int) -> None:
        """Keep as many as that from now on."""
        self._most_calls, self._most_bytes = calls, size
        self._forget()

    def put(self, call_id: str, record: bytes) -> None:
        """Remember a call."""
        before = self._calls.pop(call_id, None)
        if before is not None:
            self.bytes -= len(before) + _OVERHEAD_BYTES
        self._calls[call_id] = record
        self.bytes += len(record) + _OVERHEAD_BYTES
        self._forget()

    def get(self, call_id: str) -> bytes | None:
        """The call's record as JSON; None if it is not, or no longer, among the latest."""
        return self._calls.get(call_id)

    def wait(self, row: Row) -> None:
        """Have a row written when there is time."""
        if len(self.waiting) >= MOST_WAITING:
            self.waiting.popleft()
            self.lost += 1
        self.waiting.append(row)

    def _forget(self) -> None:
        while self._calls and (len(self._calls) > self._most_calls or self.bytes > self._most_bytes):
            _, record = self._calls.popitem(last=False)
            self.bytes -= len(record) + _OVERHEAD_BYTES
