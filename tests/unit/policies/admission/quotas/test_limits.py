"""Whom limits hold for, several at once, and how full they are."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gateway import Dimension, Limit, Principal, Subject
from gateway.errors import PolicyFailed, QuotaExceeded
from policies.admission.quotas.amounts import weighed
from policies.admission.quotas.rules import rules_of
from tests.unit.builders import make_call
from tests.unit.policies.admission.quotas.scene import (
    COUNTED,
    NEVER_RUN,
    WALL,
    Node,
    Scene,
    Tokens,
    day,
    ended,
    limit,
    of_key,
)

AMOUNTS = st.one_of(
    st.integers(1, 10**18), st.floats(1e-12, 1e19), st.sampled_from([0.5, 1e-9, 4e-10, 2.0**52, 2.0**53, 1e-3])
).map(float)
LIMITS = st.builds(
    Limit,
    name=st.just("a"),
    dimension=st.sampled_from(list(Dimension)),
    amount=AMOUNTS,
    every=st.sampled_from([None, "second", "minute", "hour", "day", "month"]),
    window=st.sampled_from(["bucket", "calendar"]),
    burst=st.one_of(st.none(), AMOUNTS),
    time_zone=st.sampled_from(["UTC", "Europe/Berlin", "Mars/One", "../../etc/passwd", ""]),
    weights=st.dictionaries(st.sampled_from(["input", "cached_input", "output"]), st.floats(-1, 5), max_size=3),
)


async def refused(node: Node, **changes: Any) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as caught:
        await node.admit(**changes)
    return caught.value


@pytest.mark.parametrize(
    ("per", "same", "other"),
    [
        ((), {"principal": of_key("b", "another")}, None),
        ((Subject.TENANT,), {"principal": of_key("b", "demo")}, {"principal": of_key("a", "another")}),
        ((Subject.TEAM,), {"principal": of_key("b", team="red")}, {"principal": of_key("a", team="blue")}),
        ((Subject.TEAM,), {"principal": of_key("b", team="red")}, {"principal": of_key("a", "another", team="red")}),
        ((Subject.KEY,), {"user": "bob"}, {"principal": of_key("b", team="red")}),
        ((Subject.USER,), {"principal": of_key("b"), "user": "ann"}, {"user": "bob"}),
        ((Subject.USER,), {"user": "ann"}, {"principal": of_key("b", "another"), "user": "ann"}),
        ((Subject.USER,), {"user": "ann"}, {"user": None}),
        ((Subject.KEY, Subject.USER), {"user": "ann"}, {"principal": of_key("b"), "user": "ann"}),
    ],
)
async def test_a_budget_belongs_to_its_subject(
    per: tuple[Subject, ...], same: dict[str, Any], other: dict[str, Any] | None
) -> None:
    node = Scene().node(limit(amount=2, per=per))
    first = {"principal": of_key("a", team="red"), "user": "ann"}
    await node.admit(**first)
    await node.admit(**{**first, **same})
    await refused(node, **{**first, **same})
    if other is not None:
        await node.admit(**{**first, **other})


async def test_a_limit_holds_for_those_it_names_only() -> None:
    only = {Subject.TENANT: ("demo",), Subject.USER: ("ann", "")}
    node = Scene().node(limit(amount=1, only=only))
    await node.admit(user="ann")
    await refused(node, user=None)
    await node.admit(user="bob")


async def test_a_caller_without_limits_has_no_lease() -> None:
    node = Scene().node(limit(only={Subject.KEY: ("x",)}))
    assert await node.policy.admit(make_call()) is None
    assert node.store.asked == []


async def test_of_several_limits_all_or_none_is_taken() -> None:
    scene = Scene()
    node = scene.node(
        limit(amount=5, name="requests"),
        day(amount=300, name="tokens"),
        limit(Dimension.CONCURRENT_CALLS, 9, every=None, name="now"),
    )
    leases = [await node.admit(), await node.admit()]
    for _ in range(5):
        assert "tokens" in str(await refused(node))
    for lease in leases:
        lease.settle(NEVER_RUN)
    await node.stop()
    assert scene.spent() == 0
    again = [await node.admit() for _ in range(2)]
    assert len(again) == 2


async def test_what_comes_with_the_caller_counts_beside_the_configuration() -> None:
    own = Principal("a", "a", "demo", limits=(limit(amount=1),))
    node = Scene().node(limit(amount=2))  # of the same name, with a budget of its own
    await node.admit(principal=own)
    await refused(node, principal=own)
    node = Scene().node(limit(amount=1))
    await node.admit(principal=own)
    await refused(node, principal=own)


async def test_a_caller_whose_limit_cannot_be_counted_is_not_served() -> None:
    broken = Principal("a", "a", "demo", limits=(limit(every=None),))
    with pytest.raises(PolicyFailed, match="every"):
        await Scene().node().admit(principal=broken)


async def test_a_limit_that_was_changed_goes_on_with_what_was_spent() -> None:
    node = Scene().node()
    small, large = (Principal("a", "a", "demo", limits=(day(Dimension.REQUESTS, size),)) for size in (2, 4))
    for _ in range(2):
        await node.admit(principal=small)
    await refused(node, principal=small)
    for _ in range(2):
        await node.admit(principal=large)
    await refused(node, principal=large)


async def test_a_bucket_refills_steadily() -> None:
    scene = Scene()
    node = scene.node(limit(amount=60, burst=3))
    for _ in range(3):
        await node.admit()
    error = await refused(node)
    assert error.retry_after_seconds == 1
    await node.rest()
    scene.clock.now += 1
    await node.admit()
    await refused(node)
    await node.rest()
    scene.clock.now += 3_600
    for _ in range(3):
        await node.admit()
    await refused(node)


async def test_a_calendar_gives_all_anew_when_its_window_begins() -> None:
    scene = Scene()
    node = scene.node(day(amount=250))
    late = await node.admit()
    await node.admit()
    error = await refused(node)
    assert error.retry_after_seconds is not None
    scene.clock.now += error.retry_after_seconds
    for _ in range(2):
        await node.admit()
    await refused(node)
    late.settle(ended(100, 2))  # of yesterday: it makes nothing free today
    await refused(node)


async def test_a_shadow_refuses_nothing_and_is_counted() -> None:
    scene = Scene()
    node = scene.node(limit(amount=2, mode="shadow"), day(name="other"))
    for _ in range(5):
        lease = await node.admit()
        lease.settle(ended(1, 1))
    assert node.policy.counts.shadow == {"few": 3}
    assert node.policy.counts.admitted == 5
    assert not node.policy.counts.refused
    await node.stop()
    assert scene.spent() == 5 * 2 + 2  # what it would have refused is not spent of it


async def test_users_that_clients_make_up_are_bounded() -> None:
    """The scene knows three of a tenant's users; the rest are one, so that nobody gets a budget by a new name."""
    node = Scene().node(limit(amount=2, per=(Subject.USER,)))
    for number in range(3):
        await node.admit(user=f"user-{number}")
    await node.admit(user="x" * 1_000_000)
    await node.admit(user="somebody else")
    await refused(node, user="*")
    await node.admit(user="user-0")
    assert len(node.accounts) <= 5


async def test_users_whose_budget_is_whole_again_make_place() -> None:
    scene = Scene()
    node = scene.node(limit(amount=1, per=(Subject.USER,)))
    for number in range(20):
        await node.admit(user=f"user-{number}")
        await refused(node, user=f"user-{number}")
        await node.rest()
        scene.clock.now += 61
        await node.rest()
        await node.rest()
        node.accounts.review()


async def test_input_is_counted_where_it_is_small_or_the_budget_near_its_end() -> None:
    tokens = Tokens(estimate=100, exact=60)
    node = Scene().node(day(Dimension.INPUT_TOKENS, 10_000), tokens=tokens)
    scene_call = make_call(model=COUNTED)
    for _ in range(100):
        await node.admit(scene_call)
    assert 0 < tokens.counted < 100
    small = Tokens(estimate=100, exact=60)
    node = Scene().node(day(Dimension.INPUT_TOKENS, 1_000_000), tokens=small, exact_bytes=2_048)
    for _ in range(10):
        await node.admit(scene_call)
    assert small.counted == 10


def test_a_limit_that_cannot_be_counted_is_found_before() -> None:
    rules, problems = rules_of([limit(every=None), limit(name="good"), day(burst=0.5, name="other")])
    assert [rule.name for rule in rules] == ["good"]
    assert [problem.partition(":")[2].split(":")[0].strip() for problem in problems] == ["every", "burst"]
    assert problems[1] == "limit 'other': burst: a calendar window has no `burst`"


def test_two_limits_of_one_name_are_a_fault() -> None:
    assert rules_of([limit(), limit()])[1] == ["two limits are named 'few'"]


@given(LIMITS)
def test_a_limit_without_problems_can_be_counted(limit: Limit) -> None:
    rules, problems = rules_of([limit])
    assert bool(rules) != bool(problems)
    for rule in rules:
        assert 1 <= rule.capacity <= 2**52
        assert rule.refill_per_second >= 0
        if rule.calendar is not None:
            window = rule.calendar.window(WALL)
            assert window.start <= WALL < window.end
        if rule.weights is not None:
            assert weighed(rule.weights, 1_000, 1_000, 1_000) >= 0 < max(rule.weights)
