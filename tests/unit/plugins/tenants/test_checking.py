"""What is refused when it is written down is exactly what could not be counted later, when it would be a caller's trouble."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import example, given

from gateway import Dimension, Limit, Scope
from plugins.tenants.checking import problems_of
from plugins.tenants.model import Terms
from policies.admission.quotas.rules import rules_of

AMOUNTS = st.one_of(
    st.integers(1, 10**18), st.floats(1e-12, 1e19), st.sampled_from([0.5, 1.5, 1e-9, 4e-10, 2.0**52, 2.0**53, 1e-3])
)
LIMITS = st.builds(
    Limit,
    name=st.sampled_from(["a", "b"]),
    dimension=st.sampled_from(list(Dimension)),
    amount=AMOUNTS.map(float),
    every=st.sampled_from([None, "second", "minute", "hour", "day", "month"]),
    window=st.sampled_from(["bucket", "calendar"]),
    burst=st.one_of(st.none(), AMOUNTS.map(float)),
    time_zone=st.sampled_from(["UTC", "Europe/Berlin", "Mars/One", "../../etc/passwd", ""]),
    weights=st.dictionaries(st.sampled_from(["input", "cached_input", "output"]), st.floats(-1, 5), max_size=3),
)


def limit(**said: Any) -> Limit:
    return Limit(**{"name": "a", "dimension": Dimension.REQUESTS, "amount": 1.0, "every": "day", **said})


@given(st.lists(LIMITS, max_size=3))
@example([limit(dimension=Dimension.CONCURRENT_CALLS, every=None)])
@example([limit(dimension=Dimension.CONCURRENT_CALLS, every=None, window="calendar")])
@example([limit(dimension=Dimension.WEIGHTED_TOKENS, weights={})])
@example([limit(dimension=Dimension.WEIGHTED_TOKENS, weights={"input": 0.0004})])
@example([limit(dimension=Dimension.COST, amount=4e-10)])
@example([limit(amount=1.5)])
@example([limit(burst=0.5)])
@example([limit(), limit()])
def test_what_is_accepted_here_can_be_counted_and_the_rest_could_not(limits: list[Limit]) -> None:
    accepted = not list(problems_of(Terms(limits=tuple(limits))))
    assert accepted == (not rules_of(limits)[1])


def test_every_fault_has_the_path_of_what_it_blames() -> None:
    terms = Terms(limits=(limit(), limit(name="b", every=None), limit(name="b", amount=0.5, every=None)))
    assert [path for path, _ in problems_of(terms, ("tenants", 3))] == [
        ("tenants", 3, "limits", 2, "name"),
        ("tenants", 3, "limits", 1, "every"),
        ("tenants", 3, "limits", 2, "amount"),
        ("tenants", 3, "limits", 2, "every"),
    ]


@pytest.mark.parametrize("scope", list(Scope))
def test_every_scope_that_there_is_can_be_given(scope: Scope) -> None:
    assert msgspec.convert({"scopes": [scope.value]}, Terms).scopes == (scope,)
