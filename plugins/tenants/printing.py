"""How commands show things: tables for people, JSON for programs, a diff for both; a secret only where one was made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway import Limit, Subject
from plugins.tenants.model import Change, Key, Team, Tenant, state_of, terms_of
from plugins.tenants.putting import place
from plugins.tenants.reading import AuditEntry

MOST_WIDTH = 60


def as_json(value: Any) -> str:
    """Plain JSON over several lines."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A line per row under a line of heads."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def tenant_table(tenants: Iterable[Tenant], now: float) -> list[str]:
    """Tenants, a line each."""
    heads = ("TENANT", "STATE", "SHARE", "PRIORITY", "LIMITS", "MODELS", "CREATED", "EXPIRES")
    rows = [
        (
            tenant.name,
            state_of(tenant, now),
            f"{tenant.share:g}",
            str(tenant.priority),
            ", ".join(limit.name for limit in tenant.limits) or "-",
            "all" if tenant.models is None else ", ".join(tenant.models) or "none",
            when(tenant.created_at),
            when(tenant.expires_at),
        )
        for tenant in tenants
    ]
    return table(heads, rows)


def key_table(keys: Iterable[Key], now: float) -> list[str]:
    """Keys, a line each."""
    heads = ("ID", "NAME", "OWNER", "STATE", "SCOPES", "CREATED", "SECRET OF", "OLD ONES HOLD UNTIL", "EXPIRES")
    rows = [
        (
            key.id,
            key.name,
            place(key.tenant, key.team),
            state_of(key, now),
            "inference" if key.scopes is None else ", ".join(key.scopes) or "none",
            when(key.created_at),
            when(key.secret_at),
            when(max((until for until in key.retiring_at if until > now), default=None)),
            when(key.expires_at),
        )
        for key in keys
    ]
    return table(heads, rows)


def audit_table(entries: Iterable[AuditEntry]) -> list[str]:
    """What was done, a line each."""
    rows = [
        (when(entry.at), entry.actor, entry.action, entry.subject, "; ".join(_fields(entry.fields)))
        for entry in entries
    ]
    return table(("WHEN", "WHO", "WHAT", "TO", "CHANGES"), rows)


def diff(changes: Iterable[Change]) -> list[str]:
    """A line per change: `+` made, `-` disabled or revoked, `~` changed."""
    signs = {"create": "+", "disable": "-", "revoke": "-"}
    lines = []
    for change in changes:
        kind, _, done = change.action.partition(".")
        word = "" if done in ("create", "change") else f"  {done}"
        fields = "".join(f"\n    {text}" for text in _fields(change.fields) if done not in signs or done == "create")
        lines.append(f"{signs.get(done, '~')} {kind} {change.subject}{word}{fields}")
    return lines


def _fields(fields: dict[str, tuple[Any, Any]]) -> Iterable[str]:
    for name, (before, after) in fields.items():
        told = name == "expires_at"
        old, new = (when(each) if told else _short(each) for each in (before, after))
        yield f"{name}: {new}" if before is None and not told else f"{name}: {old} → {new}"


def _short(value: Any) -> str:
    text = "-" if value is None else msgspec.json.encode(value).decode()
    return text if len(text) <= MOST_WIDTH else text[: MOST_WIDTH - 1] + "…"


def when(seconds: int | None) -> str:
    """A time for people, in UTC."""
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def description(kept: Tenant | Team, now: float) -> list[str]:
    """A tenant or a team, a line for each thing that is said of it."""
    name = kept.name if isinstance(kept, Tenant) else place(kept.tenant, kept.name)
    lines = [f"{'tenant' if isinstance(kept, Tenant) else 'team'} {name}: {state_of(kept, now)}"]
    said = {field: value for field, value in terms_of(kept).items() if value is not None and value not in ((), {})}
    for field, value in said.items():
        if field == "limits":
            lines += [f"  limit {limit.name}: {limit_line(limit)}" for limit in kept.limits]
        elif field == "expires_at":
            lines.append(f"  expires: {when(kept.expires_at)}")
        else:
            lines.append(f"  {field}: {msgspec.json.encode(value).decode()}")
    return [*lines, f"  created: {when(kept.created_at)}"]


def limit_line(limit: Limit) -> str:
    """A limit in a few words."""
    every = f" per {limit.every}" if limit.every else ""
    kind = f" ({limit.window}, {limit.time_zone})" if limit.window == "calendar" else ""
    finer = [subject.value for subject in limit.per if subject in (Subject.USER, Subject.MODEL)]
    each = f", for each {' and '.join(finer)}" if finer else ""
    shadow = ", shadow" if limit.mode == "shadow" else ""
    return f"{limit.amount:g} {limit.dimension.value}{every}{kind}{each}{shadow}"
