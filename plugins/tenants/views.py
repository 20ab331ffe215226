"""What the admin API takes and gives, and the commands' `--json` with it; the data of model.py, and a word on its state."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from plugins.tenants.applying import Applied, MadeKey
from plugins.tenants.model import Change, Key, Name, Team, Tenant, TenantTerms, Terms, state_of
from plugins.tenants.reading import AuditEntry

DAY_SECONDS = 86_400


class NewTenant(TenantTerms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant to make."""

    name: Name


class NewTeam(Terms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A team to make."""

    tenant: Name
    name: Name


class NewKey(Terms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to make."""

    name: Name
    tenant: Name
    team: Name | None = None


class Rotation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the secrets until now still hold."""

    grace_seconds: Annotated[int, Meta(ge=0, le=366 * DAY_SECONDS)] = DAY_SECONDS


class TenantView(Tenant, frozen=True, kw_only=True):
    """A tenant. State: `active`, `expired` or `disabled`."""

    state: str


class TeamView(Team, frozen=True, kw_only=True):
    """A team. Its state is its own, whatever its tenant's is."""

    state: str


class KeyView(Key, frozen=True, kw_only=True):
    """A key, without its secret. State: `active`, `expired`, `disabled` or `revoked`; its own, whatever its owners' are."""

    state: str


class ShownKey(KeyView, frozen=True, kw_only=True):
    """A key with its secret: `key` is the whole of it, and can be had nowhere again."""

    key: str


class TenantPage(Struct, frozen=True, kw_only=True):
    """Some tenants, in the order of their names."""

    data: list[TenantView]
    has_more: bool
    object: str = "list"


class TeamPage(Struct, frozen=True, kw_only=True):
    """Some teams, in the order of their names."""

    data: list[TeamView]
    has_more: bool
    object: str = "list"


class KeyPage(Struct, frozen=True, kw_only=True):
    """Some keys, in the order of their ids."""

    data: list[KeyView]
    has_more: bool
    object: str = "list"


class AuditPage(Struct, frozen=True, kw_only=True):
    """Some of what was done, the latest first."""

    data: list[AuditEntry]
    has_more: bool
    object: str = "list"


class AppliedView(Struct, frozen=True, kw_only=True):
    """What an application did or would do. `keys` are those that it made, which can be had nowhere again."""

    dry_run: bool
    changes: tuple[Change, ...]
    keys: tuple[MadeKey, ...]


def tenant_view(tenant: Tenant, now: float) -> TenantView:
    """A tenant to show."""
    return TenantView(**msgspec.structs.asdict(tenant), state=state_of(tenant, now))


def team_view(team: Team, now: float) -> TeamView:
    """A team to show."""
    return TeamView(**msgspec.structs.asdict(team), state=state_of(team, now))


def key_view(key: Key, now: float) -> KeyView:
    """A key to show."""
    return KeyView(**msgspec.structs.asdict(key), state=state_of(key, now))


def shown_key(key: Key, text: str, now: float) -> ShownKey:
    """A key to show with its secret, once."""
    return ShownKey(**msgspec.structs.asdict(key), state=state_of(key, now), key=text)


def applied_view(applied: Applied, *, dry_run: bool) -> AppliedView:
    """An application to show."""
    return AppliedView(dry_run=dry_run, changes=applied.changes, keys=applied.made)
