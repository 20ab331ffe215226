"""What a client is told of its limits: headers with every answer, and the refusal; decides nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from msgspec import Struct

from gateway.errors import QuotaExceeded
from policies.admission.quotas.amounts import Size
from policies.admission.quotas.rules import Rule
from policies.admission.quotas.slices import Slice
from policies.admission.quotas.tally import tightest

Headers = list[tuple[bytes, bytes]]
Held = Sequence[tuple[Rule, Slice, int]]

# What OpenAI's own client libraries heed: a call that can never fit must not be sent again.
NO_RETRY = (b"x-should-retry", b"false")

_CONCURRENCY_SECONDS = 1.0
_LOST_SECONDS = 1.0
_SOONEST_SECONDS = 1.0

_NAMELESS = (b"", b"", b"")


class Moment(Struct, frozen=True):
    """Now, by both clocks."""

    now: float
    wall: float


def headers(held: Held, moment: Moment) -> Headers:
    """The tightest limit of requests and the tightest of tokens, as OpenAI tells them."""
    told: Headers = []
    for rule, piece, left in tightest(held, moment.now):
        limit, remaining, reset = rule.told or _NAMELESS
        told += (
            (limit, rule.limit_text),
            (remaining, b"%d" % (left // rule.scale)),
            (reset, duration(whole_in(rule, piece, left, moment))),
        )
    return told


def whole_in(rule: Rule, piece: Slice, left: int, moment: Moment) -> float:
    """Seconds until the limit is whole again."""
    if piece.budget.ends_at is not None:
        return max(piece.budget.ends_at - moment.wall, 0.0)
    if not rule.refill_per_second:
        return 0.0
    return (rule.capacity - left) / rule.refill_per_second


def duration(seconds: float) -> bytes:
    """A time as OpenAI writes it: `120ms`, `1s`, `6m0s`, `26h3m0s`."""
    if seconds < 1:
        return b"%dms" % math.ceil(seconds * 1000) if seconds > 0 else b"0s"
    return _in_words(math.ceil(seconds))


@lru_cache(maxsize=512)
def _in_words(seconds: int) -> bytes:
    # Remembered: all calls of a second say the same of a window that ends at midnight.
    minutes, rest = divmod(seconds, 60)
    if not minutes:
        return b"%ds" % rest
    hours, minutes = divmod(minutes, 60)
    return b"%dh%dm%ds" % (hours, minutes, rest) if hours else b"%dm%ds" % (minutes, rest)


class Refusal(QuotaExceeded):
    """A refusal that knows its limits.

    Attributes:
        limits: the names of those that had too little left.
    """

    limits: tuple[str, ...] = ()


class Shortage(Struct, frozen=True):
    """A limit that lacks units for a call."""

    rule: Rule
    piece: Slice
    need: int

    def is_for_ever(self) -> bool:
        """Whether even the whole budget would not do."""
        return self.need > self.rule.capacity

    def retry_seconds(self, moment: Moment) -> float:
        """When there may be enough."""
        if self.rule.concurrent:
            return _CONCURRENCY_SECONDS
        if self.piece.budget.ends_at is not None:
            return max(self.piece.budget.ends_at - moment.wall, _SOONEST_SECONDS)
        missing = self.need - max(self.piece.free, 0) - self.piece.unheld(moment.now)
        return max(missing / self.rule.refill_per_second, _SOONEST_SECONDS)


def refusal(short: Sequence[Shortage], size: Size | None, held: Held, moment: Moment) -> Refusal:
    """The error for a call that some limits have too little left for: about the one that is whole last."""
    for each in short:
        if each.is_for_ever():
            text = f"{_title(each.rule)}: this call asks for {_asked(each, size)}, which is more than it ever allows."
            return Refusal(text, headers=(*headers(held, moment), NO_RETRY))
    last = max(short, key=lambda each: each.retry_seconds(moment))
    rule, seconds = last.rule, last.retry_seconds(moment)
    left = rule.shown(min(last.piece.remaining(moment.now), rule.capacity))
    when = (
        "Try again when one of your calls has ended."
        if rule.concurrent
        else f"Try again in {duration(math.ceil(seconds)).decode()}."
    )
    text = f"{_title(rule)}: this call asks for {_asked(last, size)}, and {left:,} are left. {when}"
    return Refusal(text, retry_after_seconds=seconds, headers=tuple(headers(held, moment)))


def uncheckable(rule: Rule, held: Held, moment: Moment) -> Refusal:
    """The error for a call while what is left of a limit cannot be known."""
    text = f"{_title(rule)}: how much of it is left cannot be found out at the moment. Try again in 1s."
    return Refusal(text, retry_after_seconds=_LOST_SECONDS, headers=tuple(headers(held, moment)))


def _title(rule: Rule) -> str:
    limit = rule.limit
    per = " and ".join(subject.value for subject in limit.per)
    whose = f" per {per}" if per else ""
    if rule.concurrent:
        span = " at once"
    elif limit.window == "calendar":
        span = f" in a calendar {limit.every} ({limit.time_zone})"
    else:
        span = f" a {limit.every}"
    return f"Limit {limit.name} ({rule.shown(rule.capacity):,} {limit.dimension.value}{whose}{span})"


def _asked(short: Shortage, size: Size | None) -> str:
    rule = short.rule
    asked = f"{rule.shown(short.need):,}"
    if size is None or rule.of_requests or rule.concurrent:
        return asked
    counted = "counted" if size.exact else "estimated"
    typical = "the most that the answer may have" if not size.guessed else "as answers typically have"
    return f"{asked} (input {size.input:,} tokens, {counted}; output {size.output:,}, {typical})"
