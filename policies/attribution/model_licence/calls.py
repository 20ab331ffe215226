"""Reads a month's calls from the ledger's documented tables (see the ledger plugin's README); knows nothing of its code."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    case,
    func,
    inspect,
    not_,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from policies.attribution.model_licence.emitted import Emitted, parse

MOST_LINES = 50_000

# Only what is asked for, as it is documented; the tables are the plugin's.
_metadata = MetaData()
_calls = Table(
    "ledger_calls",
    _metadata,
    Column("call_id", Text, primary_key=True),
    Column("received_at", BigInteger),
    *(Column(name, Text) for name in ("model", "checkpoint", "revision", "attribution")),
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("estimated", Boolean),
    Column("status", Integer),
)
_days = Table("ledger_days", _metadata, Column("day", Integer), Column("calls", BigInteger), Column("checkpoint", Text))
_losses = Table(
    "ledger_losses",
    _metadata,
    *(Column(name, BigInteger) for name in ("calls", "since", "until")),
)
_journals = Table("ledger_journals", _metadata, Column("name", Text, primary_key=True))

DAY_MS = 86_400_000


class Use(Struct, frozen=True, kw_only=True):
    """Calls of one month that went to the same weights and were told the same.

    Attributes:
        emitted: what was decided and emitted; None where this policy was not there, or has written nothing.
        prompt_tokens, completion_tokens: of those calls of which they are known.
        estimated_calls: of which the engine did not report all.
        first_at, last_at: seconds since 1970.
    """

    model: str
    checkpoint: str
    revision: str
    emitted: Emitted | None
    calls: int
    prompt_tokens: int
    completion_tokens: int
    estimated_calls: int
    first_at: int
    last_at: int


class Calls(Struct, frozen=True):
    """What the ledger tells of a time, and in `notes` what it does not."""

    uses: Sequence[Use]
    notes: Sequence[str]


async def calls_between(connection: AsyncConnection, since_ms: int, until_ms: int) -> Calls:
    """Calls that reached weights, from one moment to another (not included), in milliseconds since 1970."""
    there = await connection.run_sync(lambda sync: inspect(sync).has_table(_calls.name))
    if not there or await connection.scalar(select(func.count()).select_from(_journals)) == 0:
        return Calls(
            (),
            [
                "There are no calls to tell of: the ledger has never written to this database. Name `ledger` in `plugins`."
            ],
        )
    uses, unanswered = await _uses(connection, since_ms, until_ms)
    notes = []
    if len(uses) > MOST_LINES:
        notes.append(f"There are more than {MOST_LINES} lines; the rest is left out.")
    kept = sum(use.calls for use in uses) + unanswered
    day = _days.c.day
    within = (day >= since_ms // DAY_MS, day < until_ms // DAY_MS, _days.c.checkpoint != "")
    summed = await connection.scalar(select(func.sum(_days.c.calls)).where(*within)) or 0
    if summed > kept:
        notes.append(
            f"{summed - kept} more calls of this time reached weights, and are no longer kept one by one "
            "(`retention_days` of the ledger): what was emitted with them is not known any more."
        )
    overlap = (_losses.c.since < until_ms, _losses.c.until >= since_ms)
    found = (await connection.execute(select(func.count(), func.sum(_losses.c.calls)).where(*overlap))).one()
    if found[0]:
        notes.append(f"The ledger knows that calls are missing: {found[0]} losses, {found[1] or 0} calls at least.")
    unmarked = sum(use.calls for use in uses if use.emitted is None)
    if unmarked:
        notes.append(f"{unmarked} calls reached weights without this policy having said anything of them.")
    if unanswered:
        notes.append(
            f"{unanswered} more calls reached an engine and got no answer from it: nothing was emitted with them."
        )
    return Calls(uses[:MOST_LINES], notes)


async def _uses(connection: AsyncConnection, since_ms: int, until_ms: int) -> tuple[list[Use], int]:
    """What was used; and how many calls failed, or were left by their clients, before there was anything to emit."""
    columns = _calls.c
    answered = or_(columns.attribution != "", columns.status < 300)  # noqa: PLR2004 - HTTP's successes
    kinds = (columns.attribution, columns.model, columns.checkpoint, columns.revision)
    sums = (
        func.count(),
        func.coalesce(func.sum(columns.prompt_tokens), 0),
        func.coalesce(func.sum(columns.completion_tokens), 0),
        func.coalesce(func.sum(case((columns.estimated, 1), else_=0)), 0),
        func.min(columns.received_at),
        func.max(columns.received_at),
    )
    within = (columns.received_at >= since_ms, columns.received_at < until_ms, columns.checkpoint != "")
    query = select(*kinds, *sums).where(*within, answered).group_by(*kinds).limit(MOST_LINES + 1)
    unanswered = await connection.scalar(select(func.count()).select_from(_calls).where(*within, not_(answered)))
    uses = [
        Use(
            emitted=parse(attribution),
            model=model,
            checkpoint=checkpoint,
            revision=revision,
            calls=int(calls),
            prompt_tokens=int(prompt),
            completion_tokens=int(completion),
            estimated_calls=int(estimated),
            first_at=first // 1_000,
            last_at=last // 1_000,
        )
        for attribution, model, checkpoint, revision, calls, prompt, completion, estimated, first, last in (
            await connection.execute(query)
        ).all()
    ]
    return uses, unanswered or 0
