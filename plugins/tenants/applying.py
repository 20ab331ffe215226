"""Makes the tables as a declaration wants them; finds no difference where there is none, so that it can be run at any time."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct
from sqlalchemy import select

from gateway.errors import InvalidRequest
from plugins.tenants import tables
from plugins.tenants.checking import Path, render
from plugins.tenants.declared import Declaration, DeclaredKey, DeclaredTeam, DeclaredTenant
from plugins.tenants.editing import Edit
from plugins.tenants.failures import Conflict
from plugins.tenants.model import TENANT_TERMS, TERMS, Change, Key, Team, Tenant, TenantTerms, Terms
from plugins.tenants.putting import (
    Secret,
    add_key,
    change_key,
    new_secret,
    place,
    put_team,
    put_tenant,
    replace_secret,
)
from plugins.tenants.rows import key_of, team_of, tenant_of

Owner = tuple[str, str | None]


class MadeKey(Struct, frozen=True):
    """A key that was made, with its text, which is nowhere else. In a dry run there is none."""

    tenant: str
    team: str | None
    name: str
    id: str
    key: str

    def __repr__(self) -> str:
        return f"MadeKey({place(self.tenant, self.team)}/{self.name}, {self.id}, ***)"


class Applied(Struct, frozen=True):
    """What was done, or would be."""

    changes: tuple[Change, ...]
    made: tuple[MadeKey, ...] = ()


class Kept(Struct):
    """All that there is, as a declaration is compared with."""

    tenants: dict[str, Tenant]
    teams: dict[Owner, Team]
    keys: dict[str, Key]
    hashes: dict[str, str]
    live: dict[tuple[Owner, str], Key]


async def read_all(edit: Edit) -> Kept:
    """Read every row; a declaration may name any of them."""
    execute = edit.connection.execute
    tenants = [tenant_of(row) for row in (await execute(select(tables.tenants))).mappings()]
    teams = [team_of(row) for row in (await execute(select(tables.teams))).mappings()]
    rows = (await execute(select(tables.keys))).mappings().all()
    keys = [key_of(row) for row in rows]
    return Kept(
        {tenant.name: tenant for tenant in tenants},
        {(team.tenant, team.name): team for team in teams},
        {key.id: key for key in keys},
        {row["id"]: bytes(row["sha256"]).hex() for row in rows},
        {((key.tenant, key.team), key.name): key for key in keys if key.revoked_at is None},
    )


class Applying:
    """One application of one declaration."""

    def __init__(self, edit: Edit, kept: Kept) -> None:
        self.made: list[MadeKey] = []
        self._edit = edit
        self._kept = kept

    async def run(self, declaration: Declaration, *, prune: bool) -> None:
        """Do it.

        Raises:
            Conflict, InvalidRequest: something cannot be as it is declared; nothing may be kept of what was done.
        """
        for index, tenant in enumerate(declaration.tenants):
            await self._tenant(tenant, ("tenants", index))
        if prune:
            await self._prune(declaration)

    async def _tenant(self, tenant: DeclaredTenant, path: Path) -> None:
        before = self._kept.tenants.get(tenant.name)
        terms = TenantTerms(**{field: getattr(tenant, field) for field in TENANT_TERMS})
        await put_tenant(self._edit, tenant.name, terms, before, disabled=tenant.disabled)
        for index, team in enumerate(tenant.teams):
            await self._team(tenant.name, team, (*path, "teams", index))
        await self._keys((tenant.name, None), tenant.keys, path)

    async def _team(self, tenant: str, team: DeclaredTeam, path: Path) -> None:
        before = self._kept.teams.get((tenant, team.name))
        await put_team(self._edit, tenant, team.name, _plain(team), before, disabled=team.disabled)
        await self._keys((tenant, team.name), team.keys, path)

    async def _keys(self, owner: Owner, keys: Iterable[DeclaredKey], path: Path) -> None:
        for index, key in enumerate(keys):
            where = (*path, "keys", index)
            if key.secret_env is not None:
                raise InvalidRequest(f"{render(where)}: secret_env is for files alone", param=render(where))
            await self._key(owner, key, where)

    async def _key(self, owner: Owner, key: DeclaredKey, path: Path) -> None:
        before = self._kept.live.get((owner, key.name))
        secret = key.secret
        if secret is not None:
            self._check_id(owner, key, secret, path)
        if before is None:
            await self._make(owner, key, secret)
            return
        if secret is not None and secret.sha256 != self._kept.hashes[before.id]:
            await replace_secret(self._edit, before, secret, self._kept.hashes[before.id], (), 0)
        await change_key(self._edit, before, _plain(key), disabled=key.disabled)

    def _check_id(self, owner: Owner, key: DeclaredKey, secret: Secret, path: Path) -> None:
        """See that an id is free, or this key's."""
        blamed = render((*path, "id"))
        holder = self._kept.keys.get(secret.id)
        if holder is not None and holder.revoked_at is not None:
            raise Conflict(f"{blamed}: the key {secret.id} was revoked, which is for ever; make another", param=blamed)
        if holder is not None and ((holder.tenant, holder.team), holder.name) != (owner, key.name):
            its = f"{place(holder.tenant, holder.team)}/{holder.name}"
            raise Conflict(f"{blamed}: {secret.id} is the id of the key {its}", param=blamed)
        before = self._kept.live.get((owner, key.name))
        if before is not None and before.id != secret.id:
            raise Conflict(f"{blamed}: the key of this name is {before.id}; revoke it first, or rename", param=blamed)

    async def _make(self, owner: Owner, key: DeclaredKey, secret: Secret | None) -> None:
        if secret is None:
            text, secret = new_secret()
            self.made.append(MadeKey(owner[0], owner[1], key.name, secret.id, text))
        await add_key(self._edit, owner, key.name, secret, _plain(key), disabled=key.disabled)

    async def _prune(self, declaration: Declaration) -> None:
        """Disable what is not declared; what is above it being disabled is enough. Nothing is revoked: that is for ever."""
        tenants = {tenant.name: tenant for tenant in declaration.tenants}
        for name, kept in self._kept.tenants.items():
            if name not in tenants:
                await put_tenant(self._edit, name, kept, kept, disabled=True)
        teams = {(tenant.name, team.name): team for tenant in tenants.values() for team in tenant.teams}
        for owner, team in self._kept.teams.items():
            if team.tenant in tenants and owner not in teams:
                await put_team(self._edit, team.tenant, team.name, team, team, disabled=True)
        declared: set[tuple[Owner, str]] = {((*owner,), key.name) for owner, team in teams.items() for key in team.keys}
        declared |= {((tenant.name, None), key.name) for tenant in tenants.values() for key in tenant.keys}
        for (owner, name), key in self._kept.live.items():
            of_a_declared = owner in teams if owner[1] is not None else owner[0] in tenants
            if of_a_declared and (owner, name) not in declared:
                await change_key(self._edit, key, key, disabled=True)


def _plain(declared: Terms) -> Terms:
    return Terms(**{field: getattr(declared, field) for field in TERMS})


def without_secrets(applied: Applied) -> Applied:
    """The same, for a dry run: what was made is not kept, so it is not shown."""
    return msgspec.structs.replace(applied, made=())
