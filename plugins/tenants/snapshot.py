"""Everything that a node must know to know its callers, in memory; takes rows as they change, and does no I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import structlog
from msgspec import Struct
from sqlalchemy import RowMapping

from gateway import Principal
from plugins.tenants.model import Key, Retired, Team, Tenant
from plugins.tenants.principals import Level, of_key, of_team, of_tenant
from plugins.tenants.rows import Unreadable, key_of, retired_of, team_of, tenant_of

log = structlog.get_logger("moegate.tenants")

T = TypeVar("T")

ROWS_AT_ONCE = 200
"""After so many, calls get their turn."""

NOTHING_READ = -1


class Entry(Struct, frozen=True, gc=False):
    """One key, ready to be compared with.

    Attributes:
        retired: hashes of secrets that were replaced, and until when they hold.
        ends_at: seconds since 1970.
        refusal: why it may not be used, for one who has its secret; None if it may.
    """

    digest: bytes
    retired: tuple[tuple[bytes, float], ...]
    ends_at: float
    refusal: str | None
    principal: Principal


class Rows(Struct, frozen=True):
    """What was read in one go. Keys first, then teams, then tenants: so that no key comes before its owners.

    Attributes:
        revision: all up to this one is in it.
        whole: it is all that there is, and not what has changed.
    """

    revision: int
    whole: bool
    tenants: Sequence[RowMapping]
    teams: Sequence[RowMapping]
    keys: Sequence[RowMapping]


class Snapshot:
    """Keys by their public id.

    Attributes:
        entries: what the authenticator looks into.
        revision: everything up to this one is in it.
        heard_at: when the database last answered, in monotonic seconds.
        reading: held from reading rows until they are taken: while a reload goes on, two read.
        changed: set by who wants it read now rather than at its next time.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.revision = NOTHING_READ
        self.heard_at = float("-inf")
        self.reading = asyncio.Lock()
        self.changed = asyncio.Event()
        self._aliases: Mapping[str, str] = {}
        self._tenants: dict[str, Tenant | None] = {}
        self._teams: dict[tuple[str, str], Team | None] = {}
        self._keys: dict[str, tuple[Key, bytes, tuple[Retired, ...]]] = {}
        self._of_tenant: dict[str, set[str]] = {}
        self._levels: dict[tuple[str, str | None], Level] = {}

    @property
    def loaded(self) -> bool:
        """Whether it knows anything yet."""
        return self.revision != NOTHING_READ

    def name_models(self, aliases: Mapping[str, str]) -> None:
        """Take other names of models: keys may name a model by any of them."""
        if aliases != self._aliases:
            self._aliases = dict(aliases)
            self._levels.clear()
            for public_id in self._keys:
                self._resolve(public_id)

    async def take(self, rows: Rows) -> None:
        """Take what was read. If it is cut off, the same rows must be taken again; `revision` says so."""
        touched = set()
        for row in rows.tenants:
            self._tenants[row["name"]] = _readable(row, tenant_of)
            touched.add(row["name"])
        for row in rows.teams:
            self._teams[row["tenant"], row["name"]] = _readable(row, team_of)
            touched.add(row["tenant"])
        for place in [place for place in self._levels if place[0] in touched]:
            del self._levels[place]
        read = {row["id"]: row for row in rows.keys}
        if rows.whole:
            for public_id in self._keys.keys() - read.keys():
                self._forget(public_id)
        # What a change above them touches is read anew as well, so that they all change at once or on the next try.
        stale = {public_id for tenant in touched for public_id in self._of_tenant.get(tenant, ())} | read.keys()
        for count, public_id in enumerate(stale, 1):
            if public_id in read:
                self._keep(read[public_id])
            self._resolve(public_id)
            if count % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)
        self.revision = rows.revision

    def level(self, tenant: str, team: str | None) -> Level | None:
        """What a tenant, or one of its teams, gives; None for a tenant that is not there. A team that is not has its tenant's.

        Raises:
            Unreadable: what is there cannot be read.
        """
        if tenant not in self._tenants:
            return None
        level = self._level(tenant, team if (tenant, team) in self._teams else None)
        if level is None:
            raise Unreadable(f"tenant {tenant}")
        return level

    def _keep(self, row: RowMapping) -> None:
        key = _readable(row, key_of)
        if key is None or key.revoked_at is not None:
            self._forget(row["id"])
            return
        self._keys[key.id] = (key, bytes(row["sha256"]), retired_of(row))
        self._of_tenant.setdefault(key.tenant, set()).add(key.id)

    def _forget(self, public_id: str) -> None:
        self.entries.pop(public_id, None)
        known = self._keys.pop(public_id, None)
        if known is not None:
            self._of_tenant[known[0].tenant].discard(public_id)

    def _resolve(self, public_id: str) -> None:
        known = self._keys.get(public_id)
        if known is None:
            return
        key, digest, retired = known
        level = self._level(key.tenant, key.team)
        if level is None:
            self.entries.pop(public_id, None)
            return
        principal, ends_at, refusal = of_key(key, level, self._aliases)
        old = tuple((bytes.fromhex(secret.sha256), float(secret.until)) for secret in retired)
        self.entries[public_id] = Entry(digest, old, ends_at, refusal, principal)

    def _level(self, tenant: str, team: str | None) -> Level | None:
        """None if a row of it cannot be read: then nobody comes in by it."""
        found = self._levels.get((tenant, team))
        if found is not None:
            return found
        if team is None:
            kept = self._tenants.get(tenant)
            made = of_tenant(kept, self._aliases) if kept is not None else None
        else:
            above, own = self._level(tenant, None), self._teams.get((tenant, team))
            made = of_team(own, above, self._aliases) if above is not None and own is not None else None
        if made is not None:
            self._levels[tenant, team] = made
        return made


def _readable(row: RowMapping, read: Callable[[RowMapping], T]) -> T | None:
    """None for a row that this version does not understand: nobody comes in by it."""
    try:
        return read(row)
    except Unreadable as error:
        log.error("a row cannot be read; its keys are refused", reason=str(error))
        return None
