"""What ledger, store and engines each say was used, once all is quiet; compares nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.performance.quotas.world import BUDGET, CALLS, REQUESTS, STREAMS, TENANT, Json, World
from tests.support.gateway_process import poll
from tests.support.postgres import PostgresDatabase
from tests.support.scripted_engine.process import ScriptedEngine
from tests.support.valkey import ValkeyServer

# Idle slices go back after two seconds, and what was used is told within one.
QUIET_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Row:
    """One call of the ledger."""

    call_id: str
    user: str
    prompt: int
    completion: int
    estimated: bool
    status: int
    ending: str
    received_at: float
    queue_seconds: float | None

    @property
    def tokens(self) -> int:
        """All of it."""
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True)
class Served:
    """One call of an engine's account."""

    prompt: int
    produced: int
    finished: bool

    @property
    def tokens(self) -> int:
        """All of it."""
        return self.prompt + self.produced


@dataclass(frozen=True)
class Ledger:
    """The table.

    Attributes:
        rows: by the call's one user; if there are fewer than `count`, a call stands there twice.
        tokens, day_tokens: by calls, and by daily sums.
    """

    rows: Mapping[str, Row]
    count: int
    tokens: int
    day_tokens: int
    losses: int


@dataclass(frozen=True)
class Stored:
    """A budget in the store: units used, and units that nodes still hold."""

    used: int
    held: int


def ledger_of(database: PostgresDatabase) -> Ledger:
    """Read all of it, by calls and by daily sums."""
    columns = (
        "call_id, user_id, coalesce(prompt_tokens, 0), coalesce(completion_tokens, 0), estimated::int, status, ending,"
        " received_at, queue_us"
    )
    lines = database.sql(f"SELECT {columns} FROM ledger_calls WHERE tenant = '{TENANT}'").splitlines()
    rows = [_row(line.split("|")) for line in lines]
    total = database.sql("SELECT coalesce(sum(prompt_tokens + completion_tokens), 0) FROM ledger_calls")
    days = database.sql("SELECT coalesce(sum(prompt_tokens + completion_tokens), 0) FROM ledger_days")
    losses = database.sql("SELECT count(*) FROM ledger_losses")
    return Ledger({row.user: row for row in rows}, len(rows), int(total), int(days), int(losses))


def _row(fields: Sequence[str]) -> Row:
    call_id, user, prompt, completion, estimated, status, ending, received_at, queue_us = fields
    return Row(
        call_id,
        user,
        int(prompt),
        int(completion),
        estimated == "1",
        int(status),
        ending,
        int(received_at) / 1_000,
        int(queue_us) / 1e6 if queue_us else None,
    )


def account_of(engines: Sequence[ScriptedEngine]) -> dict[str, Served]:
    """What the engines served, by call id. No call may stand there twice: nothing here is tried again."""
    served: dict[str, Served] = {}
    for engine in engines:
        for entry in engine.account():
            call_id = entry["id"].rpartition("-")[0]
            assert call_id not in served, f"an engine was asked twice: {entry}"
            served[call_id] = Served(entry["prompt"], entry["produced"], entry["finished"])
    return served


def stored(valkey: ValkeyServer, name: str) -> Stored:
    """A budget as it stands in the store, read past all that is ours."""
    with valkey.client() as client:
        keys = client.keys(f"moegate:budget:{{{name}|*}}")
        used = held = 0
        now = time.time() * 1e6
        for key in keys:
            for field, value in client.hgetall(key).items():
                numbers = [int(number) for number in value.split()]
                if field == b"level":
                    used += numbers[0]
                elif numbers[1] > now:
                    held += numbers[0]
        return Stored(used, held)


def wait_quiet(world: World) -> list[dict[str, Json]]:
    """Wait until no node holds anything of any limit; then what each says of the limits.

    Raises:
        AssertionError: some of them goes on holding something.
    """

    def quiet() -> bool:
        return not any(stored(world.valkey, name).held for name in (BUDGET, REQUESTS, CALLS, STREAMS))

    poll(quiet, "all slices are given back", QUIET_SECONDS)
    return [node.quota() for node in world.nodes]
