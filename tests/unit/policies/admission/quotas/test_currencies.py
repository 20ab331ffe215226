"""A budget is in one currency: what would add up several is refused at the start, or told where it is seen later."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import Dimension, Limit, Model, Prices, Principal, Subject
from gateway.errors import ConfigError
from policies.admission.quotas import plans
from policies.admission.quotas.accounts import Accounts
from policies.admission.quotas.currencies import mixture
from policies.admission.quotas.plans import Plans
from policies.admission.quotas.rules import Rule
from tests.unit.builders import CHECKPOINT
from tests.unit.gateway.in_process import config, running
from tests.unit.policies.admission.quotas.scene import Clock, day
from tests.unit.policies.admission.quotas.test_in_gateway import OURS


def priced(name: str, currency: str) -> Model:
    return Model(name, (), CHECKPOINT, prices=Prices(input=1.0, output=2.0, currency=currency))


MODELS = (priced("a", "EUR"), priced("b", "USD"), priced("c", "USD"), Model("free", (), CHECKPOINT))


def spend(**changes: Any) -> Limit:
    return day(Dimension.COST, 5, **{"name": "spend", "per": (Subject.TENANT,), **changes})


@pytest.mark.parametrize(
    ("limit", "is_mixed"),
    [
        (spend(), True),
        (spend(only={Subject.MODEL: ("a", "c")}), True),
        (spend(only={Subject.MODEL: ("b", "c")}), False),
        (spend(only={Subject.MODEL: ("a", "free")}), False),
        (spend(only={Subject.TENANT: ("acme",)}), True),
        (spend(per=(Subject.TENANT, Subject.MODEL)), False),
        (spend(mode="shadow"), True),
        (day(Dimension.TOTAL_TOKENS, 5), False),
    ],
)
def test_a_mixture_is_told_with_its_currencies(limit: Limit, is_mixed: bool) -> None:
    found = mixture(Rule(limit), MODELS)
    assert (found is not None) == is_mixed
    if found is not None:
        assert found.startswith("limit 'spend' counts cost in EUR and USD together")


async def test_a_mixture_in_the_configuration_stops_the_start() -> None:
    said = {"name": "spend", "dimension": "cost", "amount": 5, "every": "day", "per": ["tenant"]}

    def settings(*currencies: str) -> dict[str, Any]:
        made = config(policies={"admission": [{"use": "quotas", "limits": [said]}]})
        (model,) = made["models"]
        made["models"] = [
            {
                **model,
                "name": f"model-{number}",
                "aliases": [],
                "prices": {"input": 1, "output": 1, "currency": currency},
                "replicas": [{**model["replicas"][0], "name": f"replica-{number}"}],
            }
            for number, currency in enumerate(currencies)
        ]
        return made

    with pytest.raises(ConfigError, match=r"policies\.admission\[0\].*in EUR and USD together"):
        async with running(*OURS, settings=settings("EUR", "USD")):
            raise AssertionError("it has started")
    async with running(*OURS, settings=settings("EUR", "EUR")):
        pass


def test_a_mixture_that_comes_with_a_caller_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MOST_WARNINGS", 2)
    clock = Clock()
    all_plans = Plans((), Accounts(clock, clock.wall), MODELS)
    with capture_logs() as logged:
        all_plans.of(Principal("k0", "k", "narrow", models=frozenset({"b", "c"}), limits=(spend(),)), "b")
        all_plans.of(Principal("k0", "k", "finer", limits=(spend(per=(Subject.TENANT, Subject.MODEL)),)), "b")
        assert logged == []
        for key, tenant in (("k1", "acme"), ("k2", "acme"), ("k3", "beta"), ("k4", "gamma")):
            for model in ("a", "b"):
                all_plans.of(Principal(key, "k", tenant, limits=(spend(),)), model)
    assert [(entry["tenant"], entry["log_level"]) for entry in logged] == [("acme", "warning"), ("beta", "warning")]
    assert "EUR and USD" in logged[0]["problem"]
