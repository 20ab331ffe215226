"""Tenants, teams and keys as data: what may be written down of each, and what is known of it; no SQL, no HTTP."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway import Limit, Operation, Scope

Name = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Letters, digits, dots and dashes; fixed for ever."),
]
KeyId = Annotated[str, Meta(pattern=r"^[0-9a-z]{4,32}$", description="The public half of a key.")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of a key's secret half, in hex.")]
ModelName = Annotated[str, Meta(min_length=1, max_length=128)]
# Seconds since 1970, up to the year 9999.
Instant = Annotated[int, Meta(ge=0, le=253_402_300_799)]
Share = Annotated[float, Meta(ge=0.001, le=1_000)]
Priority = Annotated[int, Meta(ge=-100, le=100)]
Limits = Annotated[tuple[Limit, ...], Meta(max_length=32)]
Models = Annotated[tuple[ModelName, ...], Meta(max_length=256)]
Operations = Annotated[tuple[Operation, ...], Meta(max_length=32)]
Scopes = Annotated[tuple[Scope, ...], Meta(max_length=16)]
Metadata = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=32)
]


class Terms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What any level may carry. A level can only narrow what the level above it allows.

    Attributes:
        models, operations, scopes: what may be asked for; nothing said is no narrowing. A key of whose scopes nothing is
            said may be used for inference alone.
        metadata: for people; a key shows its team's and its tenant's too, its own winning.
        expires_at: seconds since 1970.
    """

    limits: Limits = ()
    models: Models | None = None
    operations: Operations | None = None
    scopes: Scopes | None = None
    metadata: Metadata = {}
    expires_at: Instant | None = None


class TenantTerms(Terms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tenant carries besides: its weight and its urgency where tenants wait for the same engines."""

    share: Share = 1.0
    priority: Priority = 0


class Tenant(TenantTerms, frozen=True, kw_only=True):
    """A tenant as it is kept. Times are seconds since 1970."""

    name: str
    created_at: int
    disabled_at: int | None = None
    revision: int


class Team(Terms, frozen=True, kw_only=True):
    """A team as it is kept."""

    tenant: str
    name: str
    created_at: int
    disabled_at: int | None = None
    revision: int


class Key(Terms, frozen=True, kw_only=True):
    """A key as it is kept, without its secret's hash.

    Attributes:
        id: the public half.
        secret_at: when its present secret was made.
        retiring_at: when the secrets before it end, those that have not ended by themselves.
    """

    id: str
    name: str
    tenant: str
    team: str | None = None
    created_at: int
    secret_at: int
    retiring_at: tuple[int, ...] = ()
    disabled_at: int | None = None
    revoked_at: int | None = None
    revision: int


class Retired(Struct, frozen=True):
    """A secret that was replaced and holds until a time."""

    sha256: str
    until: int


class Change(Struct, frozen=True, kw_only=True):
    """One thing that was done, or would be, as the diff and the audit tell it; never with a secret or its hash.

    Attributes:
        action: such as `tenant.create`.
        subject: `acme`, `acme/search`, or `acme/search/NAME (ID)` for a key.
        fields: what was and what is, by field; what was is None where there was nothing.
    """

    action: str
    tenant: str
    subject: str
    fields: dict[str, tuple[object, object]] = {}


class Patch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change to some fields; what is not sent stays."""

    limits: Limits | UnsetType = UNSET
    models: Models | UnsetType | None = UNSET
    operations: Operations | UnsetType | None = UNSET
    scopes: Scopes | UnsetType | None = UNSET
    metadata: Metadata | UnsetType = UNSET
    expires_at: Instant | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET


class TenantPatch(Patch, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change to a tenant."""

    share: Share | UnsetType = UNSET
    priority: Priority | UnsetType = UNSET


TERMS = Terms.__struct_fields__
TENANT_TERMS = TenantTerms.__struct_fields__


def state_of(kept: Tenant | Team | Key, now: float) -> str:
    """One word: `active`, `expired`, `disabled` or `revoked`; of this level alone, not of those above it."""
    if isinstance(kept, Key) and kept.revoked_at is not None:
        return "revoked"
    if kept.disabled_at is not None:
        return "disabled"
    return "expired" if kept.expires_at is not None and kept.expires_at <= now else "active"


def terms_of(given: Terms) -> dict[str, object]:
    """The terms by field, lists of names in order and without doubles, so that equal terms compare equal."""
    fields = TENANT_TERMS if isinstance(given, TenantTerms) else TERMS
    found = {field: getattr(given, field) for field in fields}
    for field in ("models", "operations", "scopes"):
        if found[field] is not None:
            found[field] = tuple(sorted(set(found[field])))
    return found


def told(value: object) -> object:
    """A value as plain data, as JSON would have it."""
    return msgspec.to_builtins(value, str_keys=True)
