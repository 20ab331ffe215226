"""What the commands and the admin API do: the one way to change tenants, teams and keys; knows neither of the two."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import msgspec
from msgspec import UNSET
from sqlalchemy import RowMapping, Select, select
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.errors import InvalidRequest
from plugins.tenants import tables
from plugins.tenants.applying import Applied, Applying, MadeKey, read_all
from plugins.tenants.checking import Problem, problems_of, render
from plugins.tenants.declared import Declaration, problems
from plugins.tenants.editing import Edit, editing
from plugins.tenants.failures import Conflict
from plugins.tenants.model import TENANT_TERMS, TERMS, Key, Name, Patch, Team, Tenant, TenantTerms, Terms
from plugins.tenants.putting import (
    add_key,
    change_key,
    new_secret,
    place,
    put_team,
    put_tenant,
    replace_secret,
    revoke,
)
from plugins.tenants.reading import Reading, key_named, one_key, one_team, one_tenant, team_named, tenant_named
from plugins.tenants.rows import retired_of

MOST_GRACE_SECONDS = 366 * 86_400


class Directory(Reading):
    """Reads, and changes. Every change is audited with its actor, and may raise DatabaseUnavailable.

    Args:
        clock: seconds since 1970.
        changed: called after each change.
    """

    def __init__(
        self, engine: AsyncEngine, clock: Callable[[], float] = time.time, changed: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(engine)
        self.clock = clock
        self._changed = changed

    @contextlib.asynccontextmanager
    async def _edit(self, actor: str, *, dry_run: bool = False) -> AsyncIterator[Edit]:
        async with editing(self._engine, actor, self.clock(), dry_run=dry_run) as edit:
            yield edit
        if not dry_run:
            self._changed()

    async def create_tenant(self, actor: str, name: str, terms: TenantTerms) -> Tenant:
        """Make a tenant.

        Raises:
            Conflict: there is one of that name.
        """
        _check_name(name)
        _check_terms(terms)
        async with self._edit(actor) as edit:
            if await _rows(edit, tenant_named(name)):
                raise Conflict(f"There is a tenant {name!r} already.", param="name")
            await put_tenant(edit, name, terms, None)
        return await self.tenant(name)

    async def change_tenant(self, actor: str, name: str, patch: Patch) -> Tenant:
        """Change what a tenant carries, or disable it.

        Raises:
            NotFound: there is none of that name.
        """
        async with self._edit(actor) as edit:
            before = one_tenant(name, await _rows(edit, tenant_named(name)))
            terms = TenantTerms(**_merged(before, patch, TENANT_TERMS))
            _check_terms(terms)
            await put_tenant(edit, name, terms, before, disabled=_disabled(patch))
        return await self.tenant(name)

    async def create_team(self, actor: str, tenant: str, name: str, terms: Terms) -> Team:
        """Make a team.

        Raises:
            NotFound: there is no such tenant.
            Conflict: it has a team of that name.
        """
        _check_name(name)
        _check_terms(terms)
        async with self._edit(actor) as edit:
            one_tenant(tenant, await _rows(edit, tenant_named(tenant)))
            if await _rows(edit, team_named(tenant, name)):
                raise Conflict(f"There is a team {place(tenant, name)!r} already.", param="name")
            await put_team(edit, tenant, name, terms, None)
        return await self.team(tenant, name)

    async def change_team(self, actor: str, tenant: str, name: str, patch: Patch) -> Team:
        """Change what a team carries, or disable it.

        Raises:
            NotFound: there is no such team.
        """
        async with self._edit(actor) as edit:
            before = one_team(tenant, name, await _rows(edit, team_named(tenant, name)))
            terms = Terms(**_merged(before, patch, TERMS))
            _check_terms(terms)
            await put_team(edit, tenant, name, terms, before, disabled=_disabled(patch))
        return await self.team(tenant, name)

    async def create_key(self, actor: str, owner: tuple[str, str | None], name: str, terms: Terms) -> tuple[Key, str]:
        """Make a key; its text is returned here and can be had nowhere again.

        Raises:
            NotFound: there is no such tenant or team.
            Conflict: it has a key of that name that is not revoked.
        """
        _check_name(name)
        _check_terms(terms)
        text, secret = new_secret()
        async with self._edit(actor) as edit:
            await _see_owner(edit, *owner)
            await _see_name_is_free(edit, *owner, name)
            await add_key(edit, owner, name, secret, terms)
        return await self.key(secret.id), text

    async def change_key(self, actor: str, public_id: str, patch: Patch) -> Key:
        """Change what a key carries, or disable it.

        Raises:
            NotFound: there is none of that id.
            Conflict: it is revoked.
        """
        async with self._edit(actor) as edit:
            before, _ = await _live_key(edit, public_id)
            terms = Terms(**_merged(before, patch, TERMS))
            _check_terms(terms)
            await change_key(edit, before, terms, disabled=_disabled(patch))
        return await self.key(public_id)

    async def rotate_key(self, actor: str, public_id: str, grace_seconds: int) -> tuple[Key, str]:
        """Give a key another secret under the same id; the old one holds for the grace. Its text is returned once.

        The id stays, so its budgets, its accounting and its limits go on. No older secret holds longer than the grace.

        Raises:
            NotFound: there is none of that id.
            Conflict: it is revoked, or too many old secrets hold.
            InvalidRequest: the grace is negative, or longer than a year.
        """
        if not 0 <= grace_seconds <= MOST_GRACE_SECONDS:
            raise InvalidRequest("A grace is between nothing and a year.", param="grace_seconds")
        text, secret = new_secret(public_id)
        async with self._edit(actor) as edit:
            before, row = await _live_key(edit, public_id)
            await replace_secret(edit, before, secret, bytes(row["sha256"]).hex(), retired_of(row), grace_seconds)
        return await self.key(public_id), text

    async def revoke_key(self, actor: str, public_id: str) -> Key:
        """End a key for ever; nothing is done to one that is revoked already.

        Raises:
            NotFound: there is none of that id.
        """
        async with self._edit(actor) as edit:
            await revoke(edit, one_key(public_id, await _rows(edit, key_named(public_id))))
        return await self.key(public_id)

    async def apply(
        self, actor: str, declaration: Declaration, *, prune: bool = False, dry_run: bool = False
    ) -> Applied:
        """Make all as it is declared; `prune` disables what is not declared. A dry run says what would be done.

        Raises:
            InvalidRequest, Conflict: it cannot be; nothing was changed.
        """
        _check(problems(declaration))
        async with self._edit(actor, dry_run=dry_run) as edit:
            applying = Applying(edit, await read_all(edit))
            await applying.run(declaration, prune=prune)
        if dry_run:
            return Applied(tuple(_unmade(edit, applying.made)))
        return Applied(tuple(edit.changes), tuple(applying.made))


def _unmade(edit: Edit, made: list[MadeKey]) -> Iterable[Any]:
    """The changes of a dry run: the keys that it made are gone, and their ids mean nothing."""
    ids = {f"({key.id})" for key in made}
    for change in edit.changes:
        subject, _, last = change.subject.rpartition(" ")
        yield msgspec.structs.replace(change, subject=f"{subject} (new)") if last in ids else change


def _check_terms(terms: Terms) -> None:
    try:  # what a command has put together was never decoded
        msgspec.convert(msgspec.to_builtins(terms), type(terms))
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error)) from None
    _check(problems_of(terms))


def _check_name(name: str) -> None:
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError:
        words = "letters, digits, dots, dashes and underscores, at most 64, the first a letter or a digit"
        raise InvalidRequest(f"{name[:64]!r} cannot be a name: {words}", param="name") from None


def _check(faults: Iterable[Problem]) -> None:
    found = [(render(path), text) for path, text in faults]
    if found:
        raise InvalidRequest("; ".join(f"{path}: {text}" for path, text in found[:20]), param=found[0][0])


def _merged(before: Terms, patch: Patch, fields: tuple[str, ...]) -> dict[str, Any]:
    sent = {field: getattr(patch, field, UNSET) for field in fields}
    return {field: getattr(before, field) if value is UNSET else value for field, value in sent.items()}


def _disabled(patch: Patch) -> bool | None:
    return patch.disabled if isinstance(patch.disabled, bool) else None


async def _rows(edit: Edit, query: Select[Any]) -> list[RowMapping]:
    return list((await edit.connection.execute(query)).mappings())


async def _see_owner(edit: Edit, tenant: str, team: str | None) -> None:
    one_tenant(tenant, await _rows(edit, tenant_named(tenant)))
    if team is not None:
        one_team(tenant, team, await _rows(edit, team_named(tenant, team)))


async def _see_name_is_free(edit: Edit, tenant: str, team: str | None, name: str) -> None:
    columns = tables.keys.c
    same = select(columns.id).where(columns.tenant == tenant, columns.name == name, columns.revoked_at.is_(None))
    same = same.where(columns.team.is_(None) if team is None else columns.team == team)
    if found := await _rows(edit, same):
        held = found[0]["id"]
        raise Conflict(f"{place(tenant, team)} has a key {name!r} already ({held}); rotate or revoke it.", param="name")


async def _live_key(edit: Edit, public_id: str) -> tuple[Key, RowMapping]:
    rows = await _rows(edit, key_named(public_id))
    key = one_key(public_id, rows)
    if key.revoked_at is not None:
        raise Conflict(f"The key {public_id} was revoked, which is for ever.", param="id")
    return key, rows[0]
