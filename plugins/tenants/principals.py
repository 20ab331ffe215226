"""Builds who a key stands for out of its own terms, its team's and its tenant's; once, when they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct

from gateway import Limit, Operation, Principal, Scope, Subject
from plugins.tenants.model import Key, Team, Tenant, Terms

T = TypeVar("T")

ORDINARY = frozenset({Scope.INFERENCE.value})

# Whose budget a level's limit is, whatever was written; more finely per user or model if that was.
_OF_TENANT = (Subject.TENANT,)
_OF_TEAM = (Subject.TENANT, Subject.TEAM)
_OF_KEY = (Subject.KEY,)
_FINER = (Subject.USER, Subject.MODEL)


class Level(Struct, frozen=True):
    """What a key gets from above: of its tenant, or of its tenant and its team.

    Attributes:
        ends_at: when the first of them expires, in seconds since 1970; infinite if none does.
        refusal: why none of its keys may be used; None if they may.
    """

    limits: tuple[Limit, ...]
    models: frozenset[str] | None
    operations: frozenset[Operation] | None
    scopes: frozenset[str] | None
    metadata: Mapping[str, str]
    ends_at: float
    refusal: str | None
    share: float
    priority: int


def of_tenant(tenant: Tenant, aliases: Mapping[str, str]) -> Level:
    """What a tenant gives to all of its keys.

    `aliases` are of models: one may be allowed by any of its names.
    """
    return Level(
        limits=_limits(tenant.limits, "tenant", _OF_TENANT),
        models=_models(tenant, aliases),
        operations=frozenset(tenant.operations) if tenant.operations is not None else None,
        scopes=frozenset(scope.value for scope in tenant.scopes) if tenant.scopes is not None else None,
        metadata=tenant.metadata,
        ends_at=_end(tenant),
        refusal="Its tenant is disabled." if tenant.disabled_at is not None else None,
        share=tenant.share,
        priority=tenant.priority,
    )


def of_team(team: Team, above: Level, aliases: Mapping[str, str]) -> Level:
    """What a team and its tenant give to the team's keys."""
    narrowed = _narrowed(team, above, aliases, _limits(team.limits, "team", _OF_TEAM))
    if narrowed.refusal is None and team.disabled_at is not None:
        return msgspec.structs.replace(narrowed, refusal="Its team is disabled.")
    return narrowed


def of_key(key: Key, above: Level, aliases: Mapping[str, str]) -> tuple[Principal, float, str | None]:
    """The key's principal, when it ends, and why it may not be used (None if it may)."""
    level = _narrowed(key, above, aliases, _limits(key.limits, "key", _OF_KEY))
    # Nothing said of its own scopes is inference; what its owner may do beyond that is for other keys.
    own = ORDINARY if key.scopes is None else frozenset(scope.value for scope in key.scopes)
    principal = Principal(
        key_id=key.id,
        key_name=key.name,
        tenant=key.tenant,
        team=key.team,
        scopes=own if above.scopes is None else own & above.scopes,
        models=level.models,
        operations=level.operations,
        limits=level.limits,
        share=level.share,
        priority=level.priority,
        metadata=level.metadata,
    )
    refusal = "It is disabled." if key.disabled_at is not None else level.refusal
    return principal, level.ends_at, refusal


def of_caller(principal: Principal, level: Level) -> Principal:
    """A caller whom another authenticator knows, with what its tenant, or its team, gives it."""
    return msgspec.structs.replace(
        principal,
        scopes=_both(level.scopes, principal.scopes),
        models=_both(level.models, principal.models),
        operations=_both(level.operations, principal.operations),
        limits=(*principal.limits, *level.limits),
        share=level.share,
        priority=level.priority,
        metadata={**level.metadata, **principal.metadata},
    )


def _narrowed(terms: Terms, above: Level, aliases: Mapping[str, str], limits: tuple[Limit, ...]) -> Level:
    models = _models(terms, aliases)
    operations = frozenset(terms.operations) if terms.operations is not None else None
    scopes = frozenset(scope.value for scope in terms.scopes) if terms.scopes is not None else None
    return Level(
        limits=(*limits, *above.limits) if limits else above.limits,
        models=_both(above.models, models),
        operations=_both(above.operations, operations),
        scopes=_both(above.scopes, scopes),
        metadata={**above.metadata, **terms.metadata} if terms.metadata else above.metadata,
        ends_at=min(_end(terms), above.ends_at),
        refusal=above.refusal,
        share=above.share,
        priority=above.priority,
    )


def _both(above: frozenset[T] | None, own: frozenset[T] | None) -> frozenset[T] | None:
    """What both allow; None is everything."""
    if above is None or own is None:
        return own if above is None else above
    return above & own


def _limits(limits: tuple[Limit, ...], level: str, whose: tuple[Subject, ...]) -> tuple[Limit, ...]:
    # Named after its level, because a key and its tenant may both have a limit called `minute`.
    return tuple(
        msgspec.structs.replace(
            limit, name=f"{level}.{limit.name}", per=(*whose, *(each for each in _FINER if each in limit.per))
        )
        for limit in limits
    )


def _models(terms: Terms, aliases: Mapping[str, str]) -> frozenset[str] | None:
    return None if terms.models is None else frozenset(aliases.get(name, name) for name in terms.models)


def _end(terms: Terms) -> float:
    return math.inf if terms.expires_at is None else terms.expires_at
