"""e-BH against its definition, and ways of combining evidence."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.experiments.statistics.checking import InvalidSample
from plugins.experiments.statistics.e_values import all_refused, averaged, e_bh

VALUES = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.floats(0, 1e4), max_size=9)


def test_e_bh_refuses_the_largest_that_carry_each_other() -> None:
    logs = {name: math.log(value) for name, value in {"a": 45.0, "b": 41.0, "c": 30.0, "d": 1.0}.items()}
    # 4 / (0.05 k) is 80, 40, 26.7, 20 for k = 1 to 4: the first alone would not do, three together do.
    assert e_bh(logs, 0.05) == {"a", "b", "c"}
    assert e_bh({"a": logs["a"]}, 0.05) == {"a"}
    assert e_bh(logs, 0.01) == frozenset()
    assert e_bh({}, 0.05) == frozenset()


@given(VALUES, st.floats(0.01, 0.5))
def test_e_bh_is_the_largest_set_that_satisfies_itself(values: dict[str, float], alpha: float) -> None:
    logs = {name: math.log(value) if value else -math.inf for name, value in values.items()}
    refused = e_bh(logs, alpha)
    sizes = [k for k in range(1, len(logs) + 1) if sorted(logs.values())[-k] >= math.log(len(logs) / (alpha * k))]
    assert len(refused) == max(sizes, default=0)
    assert all(logs[one] >= logs[other] for one in refused for other in logs if other not in refused)


def test_evidence_is_combined() -> None:
    assert all_refused([3.0, 1.0]) == 1.0
    assert averaged([math.log(2), math.log(4)]) == pytest.approx(math.log(3))
    assert averaged([2000.0, 0.0]) == pytest.approx(2000 - math.log(2))


def test_what_is_no_evidence_is_refused() -> None:
    for call in (
        lambda: e_bh({"a": math.nan}, 0.05),
        lambda: e_bh({"a": 1.0}, 0),
        lambda: averaged([]),
        lambda: all_refused([]),
    ):
        with pytest.raises(InvalidSample):
            call()
