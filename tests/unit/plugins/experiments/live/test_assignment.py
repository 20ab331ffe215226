from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway import Call
from plugins.experiments.live.assignment import Split, key_of, unit_reader
from plugins.experiments.live.settings import Unit
from tests.unit.builders import PRINCIPAL, make_call

UNITS = [b"unit-%d" % number for number in range(4_000)]
KEY = key_of("secret", "trial")
WEIGHTS = st.lists(st.floats(0.1, 10), min_size=2, max_size=5)


def drawn(weights: list[float], key: bytes = KEY) -> list[int]:
    split = Split(key, [(f"arm-{at}", weight) for at, weight in enumerate(weights)])
    return [split.draw(unit)[0] for unit in UNITS]


@given(WEIGHTS)
def test_arms_get_the_shares_of_their_weights(weights: list[float]) -> None:
    counts = Counter(drawn(weights))
    for at, weight in enumerate(weights):
        share = weight / sum(weights)
        # Five standard errors.
        assert abs(counts[at] / len(UNITS) - share) < 5 * (share * (1 - share) / len(UNITS)) ** 0.5


@given(WEIGHTS, st.data())
def test_only_the_share_that_must_moves_when_a_weight_does(weights: list[float], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(weights) - 1))
    changed = [*weights]
    changed[at] = weights[at] * data.draw(st.floats(0.01, 100))
    grows = changed[at] > weights[at]
    for before, after in zip(drawn(weights), drawn(changed), strict=True):
        if before != after:
            assert (after if grows else before) == at


def test_an_arm_that_is_out_gets_nothing_and_the_others_keep_theirs() -> None:
    split = Split(KEY, [("a", 1.0), ("b", 0.0), ("c", 1.0)])
    assert {split.draw(unit) for unit in UNITS[:100]} == {(0, 0.5), (2, 0.5)}
    for before, after in zip(drawn([1, 1, 1]), drawn([1, 0, 1]), strict=True):
        assert before in (after, 1)


def test_two_experiments_deal_independently_and_a_secret_makes_another_deal() -> None:
    first, second = drawn([1, 1]), drawn([1, 1], key_of("secret", "other"))
    other = drawn([1, 1], key_of("another secret", "trial"))
    for each in (second, other):
        assert 0.45 < sum(a == b for a, b in zip(first, each, strict=True)) / len(UNITS) < 0.55


def call(user: str | None = None, tenant: str = "acme", messages: Any = None, **headers: str) -> Call:
    body = {"model": "kimi-k2", "messages": messages or [{"role": "user", "content": "hi"}]}
    named = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())
    return make_call(
        body=json.dumps(body).encode(), user=user, headers=named, principal=structs.replace(PRINCIPAL, tenant=tenant)
    )


def test_units_that_callers_name_are_their_tenant_s() -> None:
    user, session = unit_reader(Unit.END_USER, "x-session-id"), unit_reader(Unit.SESSION, "x-session-id")
    assert user(call("u")) == user(call("u")) != user(call("u", tenant="other"))
    assert user(call()) is None
    assert session(call(x_session_id="1")) == session(call("v", x_session_id="1")) != session(call(x_session_id="2"))
    assert session(call()) is None


def test_a_conversation_is_one_however_long_it_gets() -> None:
    unit = unit_reader(Unit.CONVERSATION, "")
    begin = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    later = [*begin, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "more"}]
    assert unit(call(messages=begin)) == unit(call(messages=later))
    other = [begin[0], {"role": "user", "content": "good day"}]
    assert unit(call(messages=other)) != unit(call(messages=begin))
