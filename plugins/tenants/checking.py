"""Faults in terms that types do not show; every one with the path of what it blames, so that files and bodies can be mended."""

from __future__ import annotations

import math
import zoneinfo
from collections.abc import Iterator, Sequence

from gateway import Dimension, Limit
from plugins.tenants.model import Terms

Path = tuple[str | int, ...]
Problem = tuple[Path, str]

# As budgets are counted, in whole parts: billionths of a currency, thousandths of a weighted token.
_PARTS = {Dimension.COST: 1_000_000_000, Dimension.WEIGHTED_TOKENS: 1_000}
_MOST_PARTS = 2**52
_CONCURRENT = (Dimension.CONCURRENT_CALLS, Dimension.CONCURRENT_STREAMS)


def render(path: Path) -> str:
    """Write a path the way people do: `tenants[0].limits[1].every`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def problems_of(terms: Terms, path: Path = ()) -> Iterator[Problem]:
    """What is wrong with the terms of one level."""
    yield from doubles([limit.name for limit in terms.limits], (*path, "limits"), "name")
    for index, limit in enumerate(terms.limits):
        for field, text in _limit(limit):
            yield (*path, "limits", index, field), text


def doubles(names: Sequence[str], path: Path, field: str) -> Iterator[Problem]:
    """Names that stand twice in a list."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield (*path, index, field), f"{name!r} stands twice"
        seen.add(name)


def _limit(limit: Limit) -> Iterator[tuple[str, str]]:
    yield from _amount(limit, "amount", limit.amount)
    if limit.dimension in _CONCURRENT:
        if limit.every is not None:
            yield "every", f"{limit.dimension.value} are counted while they last; they have no `every`"
        if limit.burst is not None:
            yield "burst", f"{limit.dimension.value} have no `burst`"
        if limit.window != "bucket":
            yield "window", f"{limit.dimension.value} have no `window`"
        return
    if limit.every is None:
        yield "every", "missing; it must be one of second, minute, hour, day, month"
    if limit.window == "calendar":
        yield from _calendar(limit)
    elif limit.burst is not None:
        yield from _amount(limit, "burst", limit.burst)
    if limit.dimension is Dimension.WEIGHTED_TOKENS:
        weights = [
            round(weight * _PARTS[limit.dimension]) for weight in limit.weights.values() if math.isfinite(weight)
        ]
        if len(weights) < len(limit.weights) or min(weights, default=0) < 0 or max(weights, default=0) == 0:
            yield "weights", "must be finite, not negative, and not all zero"


def _amount(limit: Limit, field: str, amount: float) -> Iterator[tuple[str, str]]:
    parts = _PARTS.get(limit.dimension, 1)
    if not math.isfinite(amount):
        yield field, "must be finite"
    elif round(amount * parts) < 1:
        yield field, f"is less than the smallest part of {limit.dimension.value} that is counted"
    elif round(amount * parts) > _MOST_PARTS:
        yield field, "is more than can be counted"
    elif parts == 1 and amount != int(amount):
        yield field, "must be a whole number"


def _calendar(limit: Limit) -> Iterator[tuple[str, str]]:
    if limit.burst is not None:
        yield "burst", "a calendar window has no `burst`"
    if limit.every in ("second", "minute"):
        yield "every", "a calendar window is an hour, a day or a month"
    try:
        zoneinfo.ZoneInfo(limit.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        yield "time_zone", f"no time zone is called {limit.time_zone[:64]!r}"
