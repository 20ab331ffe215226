"""Daily sums: which they are, and what a batch of calls adds to them; the database is not known here."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from plugins.ledger.row import CallRow

DAY_MS = 86_400_000

# A row of a daily table as the database takes it: its id, what it is a sum of, and the sums in the order of `tables.SUMS`.
SumRow = tuple[Any, ...]


def day_sums(rows: Iterable[CallRow]) -> list[SumRow]:
    """What calls add to `ledger_days`."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        key = (
            *(row.received_at // DAY_MS, row.tenant, row.team, row.key_id, row.operation, row.model),
            *(row.checkpoint, row.revision, row.backend, row.replica, row.status // 100),
            *(row.ending, row.arm, row.currency),
        )
        _add(sums, key, row)
    return _rows(sums)


def user_day_sums(rows: Iterable[CallRow]) -> list[SumRow]:
    """What calls add to `ledger_user_days`."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        key = (
            *(row.received_at // DAY_MS, row.tenant, row.team, row.key_id, row.user),
            *(row.operation, row.model, row.currency),
        )
        _add(sums, key, row)
    return _rows(sums)


def _add(sums: dict[tuple[Any, ...], list[int]], key: tuple[Any, ...], row: CallRow) -> None:
    prompt, completion, cost = row.prompt_tokens or 0, row.completion_tokens or 0, row.cost_nanos or 0
    added = (
        *(1, row.estimated, row.cost_nanos is None),
        *(prompt, row.cached_tokens or 0, completion, row.reasoning_tokens or 0),
        (prompt + completion) * row.estimated,
        *(cost, cost * row.estimated),
        *(row.attempts, row.total_us, row.first_byte_us or 0, row.first_byte_us is not None, row.queue_us or 0),
    )
    found = sums.get(key)
    sums[key] = [*map(int, added)] if found is None else [old + new for old, new in zip(found, added, strict=True)]


def _rows(sums: dict[tuple[Any, ...], list[int]]) -> list[SumRow]:
    """In the order of their ids: gateways that write the same rows at once must lock them in the same order."""
    return sorted((_digest(key), *key, *sums[key]) for key in sums)


def _digest(key: tuple[Any, ...]) -> bytes:
    return blake2b("\0".join(map(str, key)).encode(), digest_size=16).digest()
