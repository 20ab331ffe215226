"""Reads a whole history and says which rows were edited, are missing, were moved or were put in by somebody else."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from policies.attribution.model_licence import tables
from policies.attribution.model_licence.failures import database_failures
from policies.attribution.model_licence.history import ORIGIN, Head, Row, read_head, rows_after

MOST_FAULTS = 1_000

CANNOT_BE_KNOWN = (
    "Whoever may write to the database could have cut off the end, or written all of it anew, together with its head. "
    "That shows only against a head that was kept elsewhere: `moegate licences audit head`, then `verify --head`."
)


class Fault(Struct, frozen=True):
    """Something that is wrong. `rows` are the first and the last number that it is about."""

    kind: str
    rows: tuple[int, int]
    text: str


class Verdict(Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        rows: that were read.
        head: where the history ends, if that is still known.
        kept: heads from elsewhere that were found to be in it.
        faults: in the order of the rows; MOST_FAULTS at most, and a last one that says so.
        not_known: what no look at the database alone can show.
    """

    intact: bool
    rows: int
    head: Head | None
    kept: tuple[Head, ...]
    faults: tuple[Fault, ...]
    not_known: str = CANNOT_BE_KNOWN


class _Chain:
    """Goes from row to row."""

    def __init__(self, kept: Sequence[Head]) -> None:
        self.last = Head(0, ORIGIN)
        self.count = 0
        self.faults: list[Fault] = []
        self.seen: set[Head] = set()
        self._wanted = {head.sequence for head in kept}

    def take(self, row: Row) -> None:
        self.count += 1
        following = self.last.sequence + 1
        if row.sequence < 1:
            self.blame("inserted", row.sequence, "its number is below 1, where no history begins")
            return
        if row.sequence > following:
            self.missing(following, row.sequence - 1)
        if row.expected() != row.digest:
            self.blame("edited", row.sequence, "what it says is not what was written: its digest is another")
        if row.sequence == following and row.previous != self.last.digest:
            self.blame(
                "replaced", row.sequence, "it does not follow on the row before it: one of the two is not the first one"
            )
        self.last = Head(row.sequence, row.digest)
        if row.sequence in self._wanted:
            self.seen.add(self.last)

    def missing(self, first: int, last: int) -> None:
        what = f"row {first} is" if first == last else f"rows {first} to {last} are"
        self.add(Fault("missing", (first, last), f"{what} missing"))

    def blame(self, kind: str, row: int, text: str) -> None:
        self.add(Fault(kind, (row, row), f"row {row}: {text}"))

    def add(self, fault: Fault) -> None:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(fault)
        elif len(self.faults) == MOST_FAULTS:
            self.faults.append(Fault("more", fault.rows, f"there is more that is wrong, from row {fault.rows[0]} on"))


async def verify(engine: AsyncEngine, kept: Sequence[Head] = ()) -> Verdict:
    """Check the chain, its head, and heads that were kept elsewhere. Rows may be appended meanwhile.

    Raises:
        DatabaseUnavailable: the database failed.
    """
    with database_failures():
        async with engine.connect() as connection:
            return await _verified(connection, kept)


async def _verified(connection: AsyncConnection, kept: Sequence[Head]) -> Verdict:
    chain = _Chain(kept)
    columns = tables.history.c
    # Before all others, so that a number below 1 is seen as well.
    lowest = await connection.scalar(select(func.min(columns.sequence)))
    # The head before the rows: all that it stands for is there to be read, whatever is appended meanwhile.
    head = await read_head(connection)
    start = min(1 if lowest is None else lowest, 1) - 1
    if head is None:
        chain.add(Fault("head", (0, 0), "the head is lost: nobody can tell whether rows are missing at the end"))
        until = await _highest(connection)
    else:
        until = head.sequence
    async for rows in rows_after(connection, start, until):
        for row in rows:
            chain.take(row)
    if head is not None:
        if chain.last.sequence < head.sequence:
            chain.missing(chain.last.sequence + 1, head.sequence)
        elif chain.last != head:
            chain.blame("head", head.sequence, "it is the last one, but the head has another digest")
        await _past(connection, chain, head)
    for each in kept:
        if each.sequence and each not in chain.seen:
            reason = (
                "the kept head has another digest" if each.sequence <= chain.last.sequence else "it was kept as a head"
            )
            chain.blame("kept head", each.sequence, f"{reason}: the history was written anew, or cut off")
    return Verdict(
        intact=not chain.faults,
        rows=chain.count,
        head=head,
        kept=tuple(each for each in kept if each in chain.seen),
        faults=tuple(chain.faults),
    )


async def _past(connection: AsyncConnection, chain: _Chain, head: Head) -> None:
    """Rows behind the head: a gateway writes a row and the head together, so by a look that is later it has moved too."""
    highest = await _highest(connection)
    if highest <= head.sequence:
        return
    now = await read_head(connection)
    end = now.sequence if now is not None else head.sequence
    if highest > end:
        text = "behind the head, so no gateway has written this"
        chain.add(Fault("inserted", (end + 1, highest), f"rows {end + 1} to {highest}: {text}"))


async def _highest(connection: AsyncConnection) -> int:
    return await connection.scalar(select(func.max(tables.history.c.sequence))) or 0
