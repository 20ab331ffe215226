"""Finds limits whose one budget would add up costs in several currencies, which is no sum of anything."""

from __future__ import annotations

from collections.abc import Iterable

from gateway import Dimension, Model, Subject
from policies.admission.quotas.rules import Rule


def mixture(rule: Rule, models: Iterable[Model]) -> str | None:
    """What is wrong with a limit of cost over these models; None if nothing is."""
    limit = rule.limit
    if limit.dimension is not Dimension.COST or Subject.MODEL in limit.per:
        return None
    currencies = {
        model.prices.currency for model in models if model.prices is not None and rule.may_hold_for(model.name)
    }
    if len(currencies) < 2:  # noqa: PLR2004 - one is no mixture
        return None
    return (
        f"limit {rule.name!r} counts cost in {' and '.join(sorted(currencies))} together; restrict it by `only` to models "
        "of one currency, or give each model a budget of its own by `per`"
    )
