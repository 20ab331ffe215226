"""What the policy shows of itself: who waits, how long, and how it ended."""

from __future__ import annotations

import asyncio

import pytest

from gateway import Histogram
from gateway.errors import NoReplicaAvailable, QueueTimeout, QuotaExceeded
from policies.admission.fair_queue.policy import FairQueue
from tests.unit.policies.admission.fair_queue.hall import Hall, settled


def shown(policy: FairQueue) -> dict[tuple[str, ...], float | Histogram]:
    """The samples by their names, less what they have in common, and their labels, less the model."""
    return {
        (metric.name.removeprefix("moegate_fair_queue_"), *values[1:]): sample
        for metric in policy.metrics()
        for values, sample in metric.samples.items()
    }


def waits(policy: FairQueue, priority: int, ended: str) -> tuple[int, float]:
    """How many, and how long all together."""
    found = shown(policy)["wait_seconds", str(priority), ended]
    assert isinstance(found, Histogram)
    return sum(found.counts), found.sum


async def test_who_waits_is_shown_by_priority_and_how_it_ended() -> None:
    hall = Hall(deadline_seconds=10)
    await hall.crowd("a", "a")
    assert shown(hall.policy) == {("passed",): 2}
    served, *_ = await hall.crowd("a", "b", priority=5)
    late, leaver = await hall.crowd("a", "a")
    assert shown(hall.policy)["waiting", "5"] == shown(hall.policy)["waiting", "0"] == 2
    await asyncio.sleep(3)
    for _ in range(2):
        await hall.finish()
    leaver.cancel()
    await settled()
    assert waits(hall.policy, 5, "served") == (2, pytest.approx(6.0, abs=0.5))
    assert waits(hall.policy, 0, "left") == (1, pytest.approx(3.0, abs=0.5))
    with pytest.raises(QueueTimeout):
        await late
    assert waits(hall.policy, 0, "timed_out") == (1, pytest.approx(10.0, abs=0.5))
    assert served.done()
    assert not [labels for labels in shown(hall.policy) if labels[0] == "waiting"]
    assert shown(hall.policy)["passed",] == 2
    await hall.empty()


async def test_who_is_refused_is_shown_by_whose_queue_was_full() -> None:
    hall = Hall(per_tenant=1, waiting=2)
    await hall.crowd("a", "a", "a", "b")
    for tenant, error in (("a", QuotaExceeded), ("c", NoReplicaAvailable), ("c", NoReplicaAvailable)):
        with pytest.raises(error):
            await hall.come(tenant)
    assert shown(hall.policy)["refused", "0", "tenant"] == 1
    assert shown(hall.policy)["refused", "0", "all"] == 2
    await hall.empty()


async def test_one_that_leaves_at_the_moment_of_its_turn_is_counted_once() -> None:
    hall = Hall()
    await hall.crowd("a", "a")
    (leaver,) = await hall.crowd("a")
    leaver.cancel()
    hall.leave()
    await settled()
    assert waits(hall.policy, 0, "left")[0] == 1
    assert ("wait_seconds", "0", "served") not in shown(hall.policy)
    await hall.empty()


async def test_a_reload_goes_on_with_the_counts() -> None:
    hall = Hall()
    await hall.crowd("a")
    other = Hall(*hall.replicas, lanes=hall.lanes)
    assert shown(other.policy) == {("passed",): 1}
    await hall.empty()
