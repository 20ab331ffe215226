"""What the policy shows of itself: few names, whatever limits come with callers, and all of it again after a reload."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import Histogram, Principal
from gateway.errors import QuotaExceeded
from policies.admission.quotas import counts
from policies.admission.quotas.policy import Quotas
from tests.unit.policies.admission.quotas.scene import Node, Scene, Tokens, day, limit


def shown(policy: Quotas) -> dict[tuple[str, ...], float | Histogram]:
    """The samples by their names and labels."""
    return {(metric.name, *values): sample for metric in policy.metrics() for values, sample in metric.samples.items()}


async def refused(node: Node, **changes: Any) -> None:
    with pytest.raises(QuotaExceeded):
        await node.admit(**changes)


async def test_what_was_decided_is_shown_by_limit() -> None:
    scene = Scene()
    node = scene.node(limit(amount=3), limit(amount=2, mode="shadow", name="trial"), day(amount=1_000_000, name="big"))
    for _ in range(3):
        await node.admit()
    for _ in range(2):
        await refused(node)
    found = shown(node.policy)
    assert found["moegate_quota_admitted",] == 3
    assert found["moegate_quota_refused", "few", "enforce"] == 2
    assert found["moegate_quota_refused", "trial", "shadow"] == 1
    assert found["moegate_quota_exchanges",] == len(node.store.asked)
    assert found["moegate_quota_exchanged_budgets",] == sum(map(len, node.store.asked))
    assert (found["moegate_quota_lost_exchanges",], found["moegate_quota_store_lost",]) == (0, 0)
    assert found["moegate_quota_slices",] == len(node.exchanger) == 1


async def test_a_lost_store_is_shown_and_what_it_refused() -> None:
    node = Scene().node(limit(on_store_loss="closed"))
    node.store.lost = True
    await refused(node)
    await refused(node)
    found = shown(node.policy)
    assert (found["moegate_quota_lost_exchanges",], found["moegate_quota_store_lost",]) == (1, 1)
    assert found["moegate_quota_unchecked", "few"] == found["moegate_quota_refused", "few", "enforce"] == 2


async def test_limits_that_come_with_callers_cannot_fill_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MOST_NAMES", 3)
    node = Scene().node()
    for number in range(10):
        own = Principal(f"key-{number}", "x", "demo", limits=(day(amount=1, name=f"tenant.limit-{number}"),))
        for _ in range(2):
            await refused(node, principal=own)
    names = {labels[1]: number for labels, number in shown(node.policy).items() if labels[0] == "moegate_quota_refused"}
    assert names == {**{f"tenant.limit-{number}": 2 for number in range(3)}, "other": 14}


async def test_another_runtime_goes_on_counting() -> None:
    node = Scene().node(limit())
    await node.admit()
    policy = Quotas(node.policy.plans, node.exchanger, Tokens(), 0, node.policy.counts)
    assert shown(policy)["moegate_quota_admitted",] == 1
