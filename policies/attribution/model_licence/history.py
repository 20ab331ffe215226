"""The history of products: rows that are only ever appended, each bound to the one before it by a digest."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Sequence

import msgspec
from msgspec import Struct
from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from policies.attribution.model_licence import tables
from policies.attribution.model_licence.failures import HistoryBroken, database_failures

ORIGIN = "0" * 64
"""What the first row follows on."""

MOST_ACTOR_CHARACTERS = 200
ROWS_AT_ONCE = 500

# Says what is digested and how, so that no other thing of ours can have the same digest, nor a later form of this one.
_FORM = b"moegate model_licence history 1\n"
_HEAD = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


class Head(Struct, frozen=True):
    """Where a history ends: the number of its last row, and that row's digest. 0 and ORIGIN where there is none."""

    sequence: int
    digest: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.digest}"


class Row(Struct, frozen=True, kw_only=True):
    """One change.

    Attributes:
        sequence: counts from 1 without a gap.
        at: seconds since 1970.
        action: such as `attest`.
        subject: what was changed, such as `product:shop` or `key:1a2b`; the last row of a subject is what holds of it.
        product: whose history it belongs to as well.
        content: what holds from then on, as JSON.
        previous: the digest of the row before.
        digest: of this one, in hex.
    """

    sequence: int
    at: int
    actor: str
    action: str
    subject: str
    product: str
    content: str
    previous: str
    digest: str

    def expected(self) -> str:
        """The digest that it should have."""
        return digest_of(self)


def digest_of(row: Row) -> str:
    """SHA-256 in hex of all fields but the digest itself.

    Each field goes in with its length before it, 8 bytes, so no two different rows make the same bytes.
    """
    found = hashlib.sha256(_FORM)
    for value in (row.sequence, row.at, row.actor, row.action, row.subject, row.product, row.content, row.previous):
        data = str(value).encode()
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()


def parse_head(text: str) -> Head:
    """Read what `str(head)` wrote.

    Raises:
        ValueError: it is no head.
    """
    match = _HEAD.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:100]!r} is no head of a history; it looks like 12:0f3a… with 64 hex digits")
    return Head(int(match[1]), match[2])


class Appending:
    """The transaction in which rows are appended; nobody else writes until it ends.

    Attributes:
        now: seconds since 1970.
        rows: what was appended so far.
    """

    def __init__(self, connection: AsyncConnection, head: Head, now: int, actor: str) -> None:
        self._connection = connection
        self._head = head
        self._actor = _plain(actor)[:MOST_ACTOR_CHARACTERS]
        self.now = now
        self.rows: list[Row] = []

    async def latest(self, subject: str) -> Row | None:
        """What holds of a subject, rows of this transaction included; None if nothing was ever said."""
        return await latest(self._connection, subject)

    async def append(self, action: str, subject: str, product: str, content: str) -> Row:
        """Write one row."""
        bare = Row(
            sequence=self._head.sequence + 1,
            at=self.now,
            actor=self._actor,
            action=action,
            subject=subject,
            product=product,
            content=content,
            previous=self._head.digest,
            digest="",
        )
        row = msgspec.structs.replace(bare, digest=digest_of(bare))
        await self._connection.execute(insert(tables.history).values(**msgspec.structs.asdict(row)))
        self._head = Head(row.sequence, row.digest)
        self.rows.append(row)
        return row

    async def finish(self) -> None:
        """Move the head behind what was written."""
        await self._connection.execute(
            update(tables.head).values(sequence=self._head.sequence, digest=self._head.digest)
        )


@contextlib.asynccontextmanager
async def appending(engine: AsyncEngine, actor: str, now: float) -> AsyncIterator[Appending]:
    """Append rows, all of them or none.

    Raises:
        DatabaseUnavailable: the database failed; nothing was written.
        HistoryBroken: its end was changed by somebody else.
    """
    with database_failures():
        async with engine.connect() as connection, connection.begin() as transaction:
            # Written first, though nothing is changed yet: so whoever else wants to append waits here.
            locked = update(tables.head).values(sequence=tables.head.c.sequence)
            found = (
                (await connection.execute(locked.returning(tables.head.c.sequence, tables.head.c.digest)))
                .mappings()
                .all()
            )
            head = await _checked(connection, found)
            edit = Appending(connection, head, int(now), actor)
            yield edit
            if edit.rows:
                await edit.finish()
            else:
                await transaction.rollback()


async def _checked(connection: AsyncConnection, found: Sequence[RowMapping]) -> Head:
    columns = tables.history.c
    last = select(columns.sequence, columns.digest).order_by(columns.sequence.desc()).limit(1)
    written = [Head(**row) for row in (await connection.execute(last)).mappings()] or [Head(0, ORIGIN)]
    heads = [Head(**row) for row in found]
    if heads != written:
        raise HistoryBroken(
            "The history of licences does not end where it was written last; nothing is written on top of that. "
            "`moegate licences audit verify` says what is wrong; restore a backup."
        )
    return heads[0]


async def latest(connection: AsyncConnection, subject: str) -> Row | None:
    """The last row of a subject."""
    columns = tables.history.c
    query = select(tables.history).where(columns.subject == subject).order_by(columns.sequence.desc()).limit(1)
    found = (await connection.execute(query)).mappings().first()
    return None if found is None else Row(**found)


async def read_head(connection: AsyncConnection) -> Head | None:
    """Where the history is said to end; None if that has been lost."""
    found = (await connection.execute(select(tables.head.c.sequence, tables.head.c.digest))).mappings().all()
    return Head(**found[0]) if len(found) == 1 else None


async def rows_after(connection: AsyncConnection, sequence: int, until: int) -> AsyncIterator[list[Row]]:
    """Rows with numbers above one and up to another, in order, some at a time."""
    columns = tables.history.c
    while True:
        query = (
            select(tables.history)
            .where(columns.sequence > sequence, columns.sequence <= until)
            .order_by(columns.sequence)
            .limit(ROWS_AT_ONCE)
        )
        some = [Row(**row) for row in (await connection.execute(query)).mappings()]
        if not some:
            return
        yield some
        sequence = some[-1].sequence


def _plain(text: str) -> str:
    """A text that every database takes."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
