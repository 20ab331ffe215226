"""Limits made ready for counting: units, capacities, windows, whom they hold for."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote
from zoneinfo import ZoneInfo

from gateway import Dimension, Limit, Principal, Subject
from gateway.contracts.quota import CONCURRENT, PARTS
from gateway.contracts.store import Budget
from policies.admission.quotas.amounts import INDEX, TOKENS
from policies.admission.quotas.windows import Calendar, Period

SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "month": 30 * 86_400}
PERIODS: dict[str, Period] = {"hour": "hour", "day": "day", "month": "month"}


class Rule:
    """One limit as it is counted.

    Args:
        limit: one that has no problems.

    Attributes:
        index: where among a call's amounts its own is.
        weights: None but for weighted tokens.
        scale: units in one of what the limit is written in.
        capacity, refill_per_second: in units.
        calendar: None for buckets and for what counts concurrency.
        told: the headers in which clients get to know of it: its size, what is left, when it is whole.
        by_user: whose call it is must be looked at each time.
    """

    __slots__ = (
        "by_user", "calendar", "capacity", "concurrent", "enforced", "index", "limit", "limit_text", "loss",
        "of_requests", "of_tokens", "only_users", "refill_per_second", "scale", "told", "weights",
    )  # fmt: skip

    def __init__(self, limit: Limit) -> None:
        dimension = limit.dimension
        self.limit = limit
        self.index = INDEX[dimension]
        self.scale = PARTS.get(dimension, 1)
        self.concurrent = dimension in CONCURRENT
        self.of_tokens = dimension in TOKENS
        self.of_requests = dimension is Dimension.REQUESTS
        self.enforced = limit.mode == "enforce"
        self.told = _told(limit)
        self.loss = limit.on_store_loss
        self.weights = _weights(limit) if dimension is Dimension.WEIGHTED_TOKENS else None
        self.only_users = frozenset(limit.only[Subject.USER]) if Subject.USER in limit.only else None
        self.by_user = Subject.USER in limit.per
        self.calendar: Calendar | None = None
        self.refill_per_second = 0.0
        self.capacity = round(limit.amount * self.scale)
        if limit.window == "calendar":
            self.calendar = Calendar(PERIODS[limit.every or ""], ZoneInfo(limit.time_zone))
        elif limit.every is not None:
            self.refill_per_second = limit.amount * self.scale / SECONDS[limit.every]
            if limit.burst is not None:
                self.capacity = round(limit.burst * self.scale)
        self.limit_text = str(self.capacity // self.scale).encode()

    @property
    def name(self) -> str:
        """What errors and headers call it."""
        return self.limit.name

    def holds_for(self, principal: Principal, model: str) -> bool:
        """Whether it is about such calls, whoever the user is."""
        found = {
            Subject.TENANT: principal.tenant,
            Subject.TEAM: principal.team or "",
            Subject.KEY: principal.key_id,
            Subject.MODEL: model,
        }
        return all(subject is Subject.USER or found[subject] in only for subject, only in self.limit.only.items())

    def may_hold_for(self, model: str) -> bool:
        """Whether it is about calls for a model, whoever asks."""
        only = self.limit.only.get(Subject.MODEL)
        return only is None or model in only

    def base_key(self, principal: Principal, model: str, user: str | None = None) -> str:
        """Names its budget for a caller, without the window. A call without a team or a user counts as of one without a name."""
        limit = self.limit
        form = f"{limit.dimension.value}.{limit.window}.{limit.every or 'now'}"
        if self.calendar is not None:
            form += f".{limit.time_zone}"
        parts = [limit.name, form]
        per = limit.per
        # Teams and users are known by name within their tenant only: another's `bob` is somebody else.
        if {Subject.TENANT, Subject.TEAM, Subject.USER} & set(per):
            parts.append(f"tenant={quote(principal.tenant, safe='')}")
        if Subject.TEAM in per:
            parts.append(f"team={quote(principal.team or '', safe='')}")
        if Subject.KEY in per:
            parts.append(f"key={quote(principal.key_id, safe='')}")
        if Subject.MODEL in per:
            parts.append(f"model={quote(model, safe='')}")
        if Subject.USER in per:
            parts.append(f"user={quote(user or '', safe='*', errors='replace')}")
        return "|".join(parts)

    def budget(self, base_key: str, start: int | None, end: int | None) -> Budget:
        """Its budget as stores know it."""
        key = base_key if start is None else f"{base_key}|{start}"
        return Budget(
            key=key,
            capacity=self.capacity,
            refill_per_second=self.refill_per_second,
            ends_at=float(end) if end is not None else None,
        )

    def shown(self, units: float) -> float | int:
        """Units in what the limit is written in; whole where it counts wholes."""
        if self.scale == 1:
            return int(units)
        return round(units / self.scale, 6)


def _told(limit: Limit) -> tuple[bytes, bytes, bytes] | None:
    if limit.mode != "enforce":
        return None
    if limit.dimension is Dimension.REQUESTS:
        return b"x-ratelimit-limit-requests", b"x-ratelimit-remaining-requests", b"x-ratelimit-reset-requests"
    if limit.dimension in TOKENS:
        return b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens"
    return None


def _weights(limit: Limit) -> tuple[int, int, int]:
    """Of fresh input, cached input and output, in thousandths."""
    scale = PARTS[Dimension.WEIGHTED_TOKENS]
    fresh, cached, output = (
        round(limit.weights.get(name, 0.0) * scale) for name in ("input", "cached_input", "output")
    )
    return fresh, cached, output


def rules_of(limits: Iterable[Limit]) -> tuple[list[Rule], list[str]]:
    """Rules of one list of limits, and what is wrong with those that cannot be counted."""
    rules, problems, names = [], [], set()
    for limit in limits:
        faults = [f"limit {limit.name!r}: {field}: {text}" for field, text in limit.problems()]
        problems += faults
        if not faults:
            rules.append(Rule(limit))
        if limit.name in names:
            problems.append(f"two limits are named {limit.name!r}")
        names.add(limit.name)
    return rules, problems
