"""Between rows of SQL and the data of model.py: JSON in text columns, null for nothing said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import RowMapping

from gateway import Limit, Operation, Scope
from plugins.tenants.model import TENANT_TERMS, Change, Key, Retired, Team, Tenant, Terms, terms_of

_LIMITS = msgspec.json.Decoder(tuple[Limit, ...])
_TEXTS = msgspec.json.Decoder(tuple[str, ...])
_OPERATIONS = msgspec.json.Decoder(tuple[Operation, ...])
_SCOPES = msgspec.json.Decoder(tuple[Scope, ...])
_METADATA = msgspec.json.Decoder(dict[str, str])
_RETIRED = msgspec.json.Decoder(tuple[Retired, ...])
_FIELDS = msgspec.json.Decoder(dict[str, tuple[Any, Any]])
_JSON_COLUMNS = ("limits", "models", "operations", "scopes", "metadata")


class Unreadable(Exception):
    """A row holds what this version does not understand: one written by a later version, or by hand."""


def encode(value: object) -> str:
    """JSON for a text column."""
    return msgspec.json.encode(value).decode()


def terms_columns(given: Terms) -> dict[str, object]:
    """The columns of a level's terms."""
    columns = terms_of(given)
    for name in _JSON_COLUMNS:
        value = columns[name]
        # No limits and no metadata are nothing said; no models are said: none may be used.
        nothing = value is None or (name in ("limits", "metadata") and not value)
        columns[name] = None if nothing else encode(value)
    return columns


def _terms(row: RowMapping) -> dict[str, Any]:
    limits, models, operations = row["limits"], row["models"], row["operations"]
    scopes, metadata = row["scopes"], row["metadata"]
    return {
        "limits": _LIMITS.decode(limits) if limits else (),
        "models": _TEXTS.decode(models) if models else None,
        "operations": _OPERATIONS.decode(operations) if operations else None,
        "scopes": _SCOPES.decode(scopes) if scopes else None,
        "metadata": _METADATA.decode(metadata) if metadata else {},
        "expires_at": row["expires_at"],
        "created_at": row["created_at"],
        "disabled_at": row["disabled_at"],
        "revision": row["revision"],
    }


def tenant_of(row: RowMapping) -> Tenant:
    """Read a row of `tenants_tenant`.

    Raises:
        Unreadable: its JSON is not what this version knows.
    """
    try:
        return Tenant(name=row["name"], share=row["share"], priority=row["priority"], **_terms(row))
    except msgspec.MsgspecError as error:
        raise Unreadable(f"tenant {row['name']}: {error}") from error


def team_of(row: RowMapping) -> Team:
    """Read a row of `tenants_team`.

    Raises:
        Unreadable: its JSON is not what this version knows.
    """
    try:
        return Team(name=row["name"], tenant=row["tenant"], **_terms(row))
    except msgspec.MsgspecError as error:
        raise Unreadable(f"team {row['tenant']}/{row['name']}: {error}") from error


def key_of(row: RowMapping) -> Key:
    """Read a row of `tenants_key`, without its hashes.

    Raises:
        Unreadable: its JSON is not what this version knows.
    """
    try:
        return Key(
            id=row["id"],
            name=row["name"],
            tenant=row["tenant"],
            team=row["team"],
            secret_at=row["secret_at"],
            retiring_at=tuple(secret.until for secret in retired_of(row)),
            revoked_at=row["revoked_at"],
            **_terms(row),
        )
    except msgspec.MsgspecError as error:
        raise Unreadable(f"key {row['id']}: {error}") from error


def retired_of(row: RowMapping) -> tuple[Retired, ...]:
    """The secrets of a key that were replaced and may still hold."""
    return _RETIRED.decode(row["retired"]) if row["retired"] else ()


def change_of(row: RowMapping) -> Change:
    """Read a row of `tenants_audit`."""
    return Change(
        action=row["action"], tenant=row["tenant"], subject=row["subject"], fields=_FIELDS.decode(row["fields"])
    )


def tenant_terms(kept: Mapping[str, object] | Tenant) -> dict[str, Any]:
    """The terms that a tenant has, by field."""
    return {field: getattr(kept, field) for field in TENANT_TERMS}
