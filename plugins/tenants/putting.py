"""Makes a tenant, a team or a key as it is wanted, whatever it was before; writes only what differs, and nothing if all is so."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from gateway.contracts.keys import generate_key, parse_key
from plugins.tenants import tables
from plugins.tenants.editing import Edit, action, changed_columns, differences, given
from plugins.tenants.failures import Conflict
from plugins.tenants.model import Change, Key, Retired, Team, Tenant, TenantTerms, Terms
from plugins.tenants.rows import encode, terms_columns

MOST_RETIRED = 8
"""Secrets of one key that were replaced and still hold."""


class Secret(Struct, frozen=True):
    """What is kept of a key: its public half and the hash of the other."""

    id: str
    sha256: str

    def __repr__(self) -> str:
        return f"Secret({self.id!r}, ***)"


def new_secret(public_id: str | None = None) -> tuple[str, Secret]:
    """A new key's text, to be shown once, and what is kept of it."""
    text = generate_key(public_id)
    parts = parse_key(text)
    if parts is None:  # pragma: no cover - the two are of one file
        raise RuntimeError("a key that was made is not of the form of keys")
    return text, Secret(parts.public_id, parts.digest.hex())


def place(tenant: str, team: str | None) -> str:
    """How a key's owner is written: `acme` or `acme/search`."""
    return tenant if team is None else f"{tenant}/{team}"


def key_subject(tenant: str, team: str | None, name: str, public_id: str) -> str:
    """How a key is written where people read it."""
    return f"{place(tenant, team)}/{name} ({public_id})"


async def put_tenant(
    edit: Edit, name: str, terms: TenantTerms, before: Tenant | None, *, disabled: bool | None = None
) -> None:
    """Make a tenant so; `before` is what it is now."""
    if before is None:
        fields = given(terms, disabled=disabled)
        columns = {"name": name, **terms_columns(terms), "disabled_at": edit.now if disabled else None}
        edit.insert(tables.tenants, columns, Change(action="tenant.create", tenant=name, subject=name, fields=fields))
        return
    fields = differences(before, terms, disabled=disabled)
    if fields:
        change = Change(action=action("tenant", fields), tenant=name, subject=name, fields=fields)
        where = (tables.tenants.c.name == name,)
        await edit.update(tables.tenants, where, changed_columns(edit, terms, fields), change)


async def put_team(
    edit: Edit, tenant: str, name: str, terms: Terms, before: Team | None, *, disabled: bool | None = None
) -> None:
    """Make a team so; its tenant exists."""
    subject = place(tenant, name)
    if before is None:
        fields = given(terms, disabled=disabled)
        columns = {**terms_columns(terms), "disabled_at": edit.now if disabled else None}
        change = Change(action="team.create", tenant=tenant, subject=subject, fields=fields)
        edit.insert(tables.teams, {"tenant": tenant, "name": name, **columns}, change)
        return
    fields = differences(before, terms, disabled=disabled)
    if fields:
        change = Change(action=action("team", fields), tenant=tenant, subject=subject, fields=fields)
        where = (tables.teams.c.tenant == tenant, tables.teams.c.name == name)
        await edit.update(tables.teams, where, changed_columns(edit, terms, fields), change)


async def add_key(
    edit: Edit, owner: tuple[str, str | None], name: str, secret: Secret, terms: Terms, *, disabled: bool | None = None
) -> None:
    """Write a key that is new; its tenant and team exist, and no other has its id."""
    tenant, team = owner
    columns: dict[str, Any] = {
        "id": secret.id,
        "name": name,
        "tenant": tenant,
        "team": team,
        "sha256": bytes.fromhex(secret.sha256),
        "secret_at": edit.now,
        **terms_columns(terms),
        "disabled_at": edit.now if disabled else None,
    }
    subject = key_subject(tenant, team, name, secret.id)
    fields = given(terms, disabled=disabled)
    edit.insert(tables.keys, columns, Change(action="key.create", tenant=tenant, subject=subject, fields=fields))


async def change_key(edit: Edit, before: Key, terms: Terms, *, disabled: bool | None = None) -> None:
    """Make a key's terms so."""
    fields = differences(before, terms, disabled=disabled)
    if fields:
        await _write(edit, before, changed_columns(edit, terms, fields), action("key", fields), fields)


async def replace_secret(
    edit: Edit, before: Key, secret: Secret, replaced: str, retired: tuple[Retired, ...], grace_seconds: int
) -> None:
    """Give a key another secret; the one before it (`replaced`), and those before that, hold no longer than the grace.

    Raises:
        Conflict: too many old secrets still hold; a shorter grace ends them.
    """
    until = edit.now + grace_seconds
    still = (*retired, Retired(replaced, until)) if grace_seconds else ()
    still = tuple(Retired(old.sha256, min(old.until, until)) for old in still if old.until > edit.now)
    if len(still) > MOST_RETIRED:
        raise Conflict(f"{MOST_RETIRED} old secrets of this key still hold; rotate it without a grace to end them.")
    columns = {
        "sha256": bytes.fromhex(secret.sha256),
        "retired": encode(still) if still else None,
        "secret_at": edit.now,
    }
    fields = {"secret": ("***", "***"), "grace_seconds": (None, grace_seconds)}
    await _write(edit, before, columns, "key.rotate", fields)


async def revoke(edit: Edit, before: Key) -> None:
    """End a key for ever; nothing if it is so already."""
    if before.revoked_at is None:
        await _write(edit, before, {"revoked_at": edit.now, "retired": None}, "key.revoke", {})


async def _write(edit: Edit, key: Key, columns: dict[str, Any], named: str, fields: dict[str, tuple[Any, Any]]) -> None:
    subject = key_subject(key.tenant, key.team, key.name, key.id)
    change = Change(action=named, tenant=key.tenant, subject=subject, fields=fields)
    await edit.update(tables.keys, (tables.keys.c.id == key.id,), columns, change)
