"""What a caller's limits are and what is left of them, as `GET /v1/quota` shows it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from gateway import Model, Principal, Subject
from policies.admission.quotas.accounts import Account
from policies.admission.quotas.answers import Moment, duration, whole_in
from policies.admission.quotas.policy import Quotas
from policies.admission.quotas.rules import Rule


class ShownLimit(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One limit of a caller's, in what it is written in.

    Attributes:
        model: where each model has its own budget.
        used: what is spent, or held for calls by the nodes of the gateway.
        resets_in: until it is whole again.
        checked: False while the store of budgets cannot be asked, so that the figures are this node's own.
    """

    name: str
    dimension: str
    per: Sequence[str]
    amount: float
    capacity: float
    used: float
    remaining: float
    mode: str
    model: str | None = None
    every: str | None = None
    window: str | None = None
    time_zone: str | None = None
    resets_in: str | None = None
    checked: bool = True


async def overview(policy: Quotas, principal: Principal, models: Sequence[Model], user: str | None) -> list[ShownLimit]:
    """The limits of a caller, each budget once."""
    names = [model.name for model in models if principal.models is None or model.name in principal.models]
    found: dict[str, tuple[Rule, Account, str]] = {}
    for name in names:
        for rule, account in policy.plans.of(principal, name).of_user(user):
            found.setdefault(account.key, (rule, account, name))
    accounts = policy.plans.accounts
    moment = Moment(accounts.clock(), accounts.wall())
    pieces = [account.current(moment.now, moment.wall) for _, account, _ in found.values()]
    checked = await policy.exchanger.ask([(piece, 0) for piece in pieces]) if pieces else True
    moment = Moment(accounts.clock(), accounts.wall())
    return [_shown(rule, account, name, moment, checked=checked) for rule, account, name in found.values()]


def _shown(rule: Rule, account: Account, model: str, moment: Moment, *, checked: bool) -> ShownLimit:
    limit, piece = rule.limit, account.current(moment.now, moment.wall)
    left = piece.remaining(moment.now)
    return ShownLimit(
        name=limit.name,
        dimension=limit.dimension.value,
        per=[subject.value for subject in limit.per],
        amount=limit.amount,
        capacity=rule.shown(rule.capacity),
        used=rule.shown(rule.capacity - left),
        remaining=rule.shown(left),
        mode=limit.mode,
        model=model if Subject.MODEL in limit.per else None,
        every=limit.every,
        window=None if rule.concurrent else limit.window,
        time_zone=limit.time_zone if rule.calendar is not None else None,
        resets_in=None if rule.concurrent else duration(whole_in(rule, piece, left, moment)).decode(),
        checked=checked,
    )
