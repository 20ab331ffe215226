"""Keeps a session on one replica, by its header, its user, or how its conversation began, unless that has too much to do."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from gateway import BuildContext, Call, Extension, Ranking, Replica, RoutingPolicy, hookimpl
from policies.routing.replica_names import ByReplica, check_names

Source = Literal["header", "user", "conversation"]
Weight = Annotated[float, Meta(gt=0, le=1_000_000)]

# A conversation is known by all up to the end of the first thing that its user said, if that is not too far in: by its length
# and by what is at both ends of it.
FARTHEST_BYTES = 262_144
LOOKED_AT_BYTES = 1_024
_FIELDS = ("messages", "input", "prompt")
_KEY = b'"role"'
_USER = re.compile(rb'"role"\s*:\s*"user"')

_MASK = (1 << 64) - 1
_ODD = 0x9E3779B97F4A7C15
_LARGEST = float(1 << 53)


class SessionAffinitySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes a session, and how much more than its share a replica may get by it.

    Attributes:
        by: what is looked at, in this order; a call that has none of it stays in the order in which it came.
        headers: names that clients give their sessions by; the first that is there counts.
        load_factor: a replica that would have more than so many times its share of all calls is passed over.
        weights: shares by the name of a replica or of a backend; a replica's slots where none is given.
    """

    by: Annotated[list[Source], Meta(min_length=1)] = field(default_factory=lambda: ["header", "user", "conversation"])
    headers: list[str] = field(default_factory=lambda: ["x-session-id"])
    load_factor: Annotated[float, Meta(ge=1, le=1_000)] = 1.25
    weights: dict[str, Weight] = {}


class SessionAffinity:
    """The policy: each session ranks the replicas by a hash of both, weighted, and all gateways in the same order.

    When a replica comes or goes, or its weight changes, only sessions move that move to it or from it.
    """

    def __init__(self, settings: SessionAffinitySettings) -> None:
        self._by = settings.by
        self._headers = [name.lower().encode() for name in settings.headers]
        self._factor = settings.load_factor
        self._weights: ByReplica[float] = ByReplica(settings.weights, 0.0)
        self._seeds: dict[str, int] = {}

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica] | Ranking:
        """Order by the session's hash; those that have their share already come last, in that order too."""
        if len(replicas) <= 1:
            return replicas
        session = self._session(call)
        if session is None:
            return replicas
        key = _number(call.principal.tenant.encode() + b"\0" + session)
        weights = [self._weights.of(replica) or replica.max_concurrent for replica in replicas]
        scores = [_score(key, self._seed(replica), weight) for replica, weight in zip(replicas, weights, strict=True)]
        # Bounded by the load as it would be with this call, so that the bound leaves room for it somewhere.
        all_ = self._factor * (sum([replica.in_flight for replica in replicas]) + 1) / sum(weights)
        over = [
            replica.in_flight + 1 > math.ceil(all_ * weight) for replica, weight in zip(replicas, weights, strict=True)
        ]
        order = sorted(range(len(replicas)), key=lambda at: (over[at], scores[at]))
        ranked = [replicas[at] for at in order]
        return Ranking(
            ranked, [scores[at] for at in order], "hash", note="first is full" if over[_least(scores)] else ""
        )

    def _session(self, call: Call) -> bytes | None:
        for source in self._by:
            if source == "header":
                found = self._header(call)
            elif source == "user":
                found = call.user.encode() if call.user else None
            else:
                found = _conversation(call)
            if found:
                return source.encode() + b"\0" + found
        return None

    def _header(self, call: Call) -> bytes | None:
        for wanted in self._headers:
            for name, value in call.headers:
                if name == wanted:
                    return value
        return None

    def _seed(self, replica: Replica) -> int:
        seed = self._seeds.get(replica.name)
        if seed is None:
            if len(self._seeds) >= 1 << 16:
                self._seeds.clear()
            seed = self._seeds[replica.name] = _number(replica.name.encode())
        return seed


def _conversation(call: Call) -> bytes | None:
    """How it began, which all its calls have in common."""
    raw = next((call.fields[name] for name in _FIELDS if name in call.fields), None)
    if raw is None:
        return None
    prompt = bytes(raw)
    user = _USER.search(prompt, 0, FARTHEST_BYTES)
    after = prompt.find(_KEY, user.end(), FARTHEST_BYTES) if user is not None else -1
    cut = (prompt if after < 0 else prompt[:after]).rstrip(b'{},[] \t\r\n"')[:FARTHEST_BYTES]
    return b"%d:" % len(cut) + cut[:LOOKED_AT_BYTES] + cut[-LOOKED_AT_BYTES:]


def _number(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def _score(key: int, seed: int, weight: float) -> float:
    """Exponentially distributed with the weight as its rate, so that each replica has the least in proportion to it."""
    mixed = ((key ^ seed) * _ODD) & _MASK
    mixed = ((mixed ^ (mixed >> 32)) * _ODD) & _MASK
    return -math.log(((mixed >> 11) + 1) / (_LARGEST + 1)) / weight


def _least(scores: list[float]) -> int:
    return min(range(len(scores)), key=scores.__getitem__)


def _build(settings: SessionAffinitySettings, context: BuildContext) -> RoutingPolicy:
    check_names(settings.weights, context, "weights")
    return SessionAffinity(settings)


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy."""
    return [Extension("session_affinity", SessionAffinitySettings, _build)]
