"""What each call does with all of its limits: take of them, give back, see what is left.

Every call of the gateway runs through these loops, so they work on the fields of slices themselves: a method for each
limit would cost as much again as what it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway import Call
from policies.admission.quotas.amounts import ALONE, Amounts, Size, weighed
from policies.admission.quotas.plans import Entry
from policies.admission.quotas.rules import Rule
from policies.admission.quotas.slices import Slice

Taken = list[tuple[Rule, Slice, int]]
"""Of which limits, out of which slices, how many units each."""


def take(entries: Sequence[Entry], call: Call, size: Size | None, now: float, wall: float) -> tuple[Taken, Taken]:
    """Take of each limit, or of none.

    Returns:
        What was taken; and what could not be, whereupon nothing was.
    """
    taken: Taken = []
    short: Taken = []
    amounts = ALONE[call.stream] if size is None else size.amounts
    for rule, account in entries:
        need = amounts[rule.index]
        if need > rule.capacity:
            need = needed(rule, call, size)
        if not need:
            continue
        piece = account.piece if wall < account.ends_at else account.current(now, wall)
        free = piece.free
        if free >= need and piece.until > now:  # as `Slice.take` does
            piece.free = free - need
            piece.out += need
            piece.taken += need
            piece.last_need = need
            piece.used_at = now
            taken.append((rule, piece, need))
        else:
            short.append((rule, piece, need))
    if short:
        undo(taken)
    return taken, short


def undo(taken: Taken) -> None:
    """The call takes nothing after all."""
    for _, piece, need in taken:
        piece.undo(need)
    taken.clear()


def give_back(taken: Taken, amounts: Amounts) -> None:
    """The call has used so much."""
    for rule, piece, reserved in taken:
        weights = rule.weights
        if weights is None:
            back = reserved - amounts[rule.index]
        else:
            back = reserved - weighed(weights, amounts[1], amounts[2], amounts[3])
        if back:
            piece.free += back
            piece.out -= back


def tightest(taken: Iterable[tuple[Rule, Slice, int]], now: float) -> list[tuple[Rule, Slice, int]]:
    """Of the limits that clients are told of, the one of requests and the one of tokens with the smallest share left.

    Returns:
        With the units that are left of it instead of those taken.
    """
    requests = tokens = None
    fewest_requests = fewest_tokens = 2.0
    for rule, piece, _ in taken:
        if rule.told is None:
            continue
        left = piece.remaining(now)
        share = left / rule.capacity
        if rule.of_requests:
            if share < fewest_requests:
                fewest_requests, requests = share, (rule, piece, left)
        elif share < fewest_tokens:
            fewest_tokens, tokens = share, (rule, piece, left)
    return [found for found in (requests, tokens) if found is not None]


def needed(rule: Rule, call: Call, size: Size | None) -> int:
    """Units that a call must reserve of a limit."""
    if size is None:
        return ALONE[call.stream][rule.index]
    need = _needed(rule, size.amounts)
    if need > rule.capacity and size.guessed:
        # A guess must not keep a call from a small budget for ever: it may take all of that, if its input fits.
        least = Size(call, size.input, 1, exact=size.exact)
        return rule.capacity if _needed(rule, least.amounts) <= rule.capacity else need
    return need


def _needed(rule: Rule, amounts: Amounts) -> int:
    if rule.weights is None:
        return amounts[rule.index]
    # An answer that may yet come from a cache is no reason to count on it.
    return weighed(rule.weights, amounts[1], 0, amounts[3])
