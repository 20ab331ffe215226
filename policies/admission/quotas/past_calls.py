"""Reads calls of the past from the ledger's table `ledger_calls`, whose columns its plugin documents; writes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import Row, column, select, table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import Operation, Usage
from gateway.errors import ConfigError
from policies.admission.quotas.simulation import PastCall

_NAMES = (
    "call_id", "received_at", "total_us", "tenant", "team", "key_id", "user_id", "operation", "model", "streamed",
    "prompt_tokens", "cached_tokens", "completion_tokens", "max_tokens", "cost_nanos",
    "attempts",
)  # fmt: skip
_CALLS = table("ledger_calls", *(column(name) for name in _NAMES))

_OPERATIONS = {operation.value: operation for operation in Operation}


async def past_calls(engine: AsyncEngine, since: float, until: float) -> AsyncIterator[PastCall]:
    """Calls that an engine was asked for, in the order in which they came; what was refused before that has no size.

    Raises:
        ConfigError: the database has no ledger.
    """
    wanted = (
        select(*(_CALLS.c[name] for name in _NAMES))
        .where(_CALLS.c.received_at >= int(since * 1_000), _CALLS.c.received_at < int(until * 1_000))
        .where(_CALLS.c.attempts > 0)
        .order_by(_CALLS.c.received_at, _CALLS.c.call_id)
    )
    async with engine.connect() as connection:
        try:
            rows = await connection.stream(wanted)
        except DBAPIError as error:
            raise ConfigError("the database has no ledger: its table ledger_calls cannot be read") from error
        async for row in rows:
            past = _past(row)
            if past is not None:
                yield past


def _past(row: Row[Any]) -> PastCall | None:
    operation = _OPERATIONS.get(row.operation)
    if operation is None:
        return None
    told = row.prompt_tokens is not None or row.completion_tokens is not None
    return PastCall(
        call_id=row.call_id,
        received_at=row.received_at / 1_000,
        seconds=(row.total_us or 0) / 1_000_000,
        tenant=row.tenant,
        team=row.team,
        key_id=row.key_id,
        user=row.user_id,
        operation=operation,
        model=row.model,
        streamed=bool(row.streamed),
        max_tokens=row.max_tokens,
        usage=Usage(
            prompt_tokens=row.prompt_tokens,
            cached_tokens=row.cached_tokens,
            completion_tokens=row.completion_tokens,
        )
        if told
        else None,
        cost_nanos=row.cost_nanos,
    )
