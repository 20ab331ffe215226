"""Reads tenants, teams, keys and the audit from the tables, a bounded piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import RowMapping, Select, select
from sqlalchemy.ext.asyncio import AsyncEngine

from plugins.tenants import tables
from plugins.tenants.editing import database_failures
from plugins.tenants.failures import NotFound
from plugins.tenants.model import Key, Team, Tenant
from plugins.tenants.rows import change_of, key_of, team_of, tenant_of

MOST_ROWS = 1_000

T = TypeVar("T")


class AuditEntry(Struct, frozen=True, kw_only=True):
    """Who did what and when. Fields are what was and what is, never a secret."""

    id: int
    at: int
    actor: str
    action: str
    tenant: str
    subject: str
    fields: dict[str, tuple[Any, Any]]


class Reading:
    """What there is in one database.

    Every method may raise DatabaseUnavailable. Lists come in the order of names, keys in that of their ids: so many as are
    asked for, from after the one that is named.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def tenants(self, after: str = "", limit: int = 100) -> list[Tenant]:
        """The tenants."""
        columns = tables.tenants.c
        return await self._read(
            _page(select(tables.tenants).where(columns.name > after), columns.name, limit), tenant_of
        )

    async def teams(self, tenant: str, after: str = "", limit: int = 100) -> list[Team]:
        """The teams of a tenant."""
        columns = tables.teams.c
        query = select(tables.teams).where(columns.tenant == tenant, columns.name > after)
        return await self._read(_page(query, columns.name, limit), team_of)

    async def keys(
        self, tenant: str | None = None, team: str | None = None, after: str = "", limit: int = 100
    ) -> list[Key]:
        """The keys, of one tenant and of one team if those are named; revoked ones too."""
        columns = tables.keys.c
        query = select(tables.keys).where(columns.id > after)
        query = query.where(columns.tenant == tenant) if tenant is not None else query
        query = query.where(columns.team == team) if team is not None else query
        return await self._read(_page(query, columns.id, limit), key_of)

    async def audit(self, tenant: str | None = None, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        """What was done, the latest first, from before the entry of that id."""
        columns = tables.audit.c
        query = _page(select(tables.audit), columns.id.desc(), limit)
        query = query.where(columns.tenant == tenant) if tenant is not None else query
        query = query.where(columns.id < before) if before is not None else query
        return await self._read(query, _audited)

    async def tenant(self, name: str) -> Tenant:
        """One tenant.

        Raises:
            NotFound: there is none of that name.
        """
        return one_tenant(name, await self._rows(tenant_named(name)))

    async def team(self, tenant: str, name: str) -> Team:
        """One team.

        Raises:
            NotFound: there is none of that name.
        """
        return one_team(tenant, name, await self._rows(team_named(tenant, name)))

    async def key(self, public_id: str) -> Key:
        """One key.

        Raises:
            NotFound: there is none of that id.
        """
        return one_key(public_id, await self._rows(key_named(public_id)))

    async def _read(self, query: Select[Any], read: Callable[[RowMapping], T]) -> list[T]:
        return [read(row) for row in await self._rows(query)]

    async def _rows(self, query: Select[Any]) -> Sequence[RowMapping]:
        with database_failures():
            async with self._engine.connect() as connection:
                found: Sequence[RowMapping] = (await connection.execute(query)).mappings().all()
        return found


def _page(query: Select[Any], order: Any, limit: int) -> Select[Any]:
    return query.order_by(order).limit(max(1, min(limit, MOST_ROWS)))


def _audited(row: RowMapping) -> AuditEntry:
    return AuditEntry(id=row["id"], at=row["at"], actor=row["actor"], **msgspec.structs.asdict(change_of(row)))


def tenant_named(name: str) -> Select[Any]:
    """The row of a tenant."""
    return select(tables.tenants).where(tables.tenants.c.name == name)


def team_named(tenant: str, name: str) -> Select[Any]:
    """The row of a team."""
    return select(tables.teams).where(tables.teams.c.tenant == tenant, tables.teams.c.name == name)


def key_named(public_id: str) -> Select[Any]:
    """The row of a key."""
    return select(tables.keys).where(tables.keys.c.id == public_id)


def one_tenant(name: str, rows: Sequence[RowMapping]) -> Tenant:
    """The tenant that was asked for.

    Raises:
        NotFound: there is none of that name.
    """
    if not rows:
        raise NotFound(f"There is no tenant {name[:64]!r}.", param="tenant")
    return tenant_of(rows[0])


def one_team(tenant: str, name: str, rows: Sequence[RowMapping]) -> Team:
    """The team that was asked for.

    Raises:
        NotFound: there is none of that name.
    """
    if not rows:
        raise NotFound(f"There is no team {f'{tenant[:64]}/{name[:64]}'!r}.", param="team")
    return team_of(rows[0])


def one_key(public_id: str, rows: Sequence[RowMapping]) -> Key:
    """The key that was asked for.

    Raises:
        NotFound: there is none of that id.
    """
    if not rows:
        raise NotFound(f"There is no key {public_id[:32]!r}.", param="id")
    return key_of(rows[0])
