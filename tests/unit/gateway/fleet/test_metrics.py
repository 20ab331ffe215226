from __future__ import annotations

from gateway.fleet.hedges import Hedges
from gateway.fleet.metrics import FleetMeter
from gateway.fleet.pooled_fleet import PooledFleet
from gateway.fleet.retries import Retries
from gateway.settings import BreakerSettings, HedgeSettings, RetrySettings
from tests.unit.builders import make_pool, make_replica


def test_what_the_fleet_counts() -> None:
    retries = Retries(RetrySettings(budget_share=0, minimum_calls=2))
    for _ in range(3):
        retries.budget.spend(1.0, "upstream_timeout")
    retries.pauses = 4
    hedges = Hedges(HedgeSettings(minimum_calls=1))
    for _ in range(3):
        hedges.budget.spend(1.0, "late")
    hedges.won = 1
    pool = make_pool(make_replica("a"), make_replica("b"), breaker=BreakerSettings(), retries=retries, hedges=hedges)
    pool.members[0].condition.eject(1.0)
    found = {metric.name: metric.samples for metric in FleetMeter(PooledFleet([pool], [])).metrics()}
    a, b = ("kimi-k2", "a"), ("kimi-k2", "b")
    phases = {key for key, value in found["moegate_breaker_phase"].items() if value}
    assert phases == {(*a, "open"), (*b, "closed")}
    assert found["moegate_breaker_opened"] == {a: 1, b: 0}
    assert found["moegate_replica_usable_slots"] == {a: 0, b: 4}
    assert found["moegate_retries"] == {("kimi-k2", "upstream_timeout"): 2}
    assert found["moegate_retries_refused"] == {("kimi-k2", "upstream_timeout"): 1}
    assert found["moegate_retry_pauses"] == {("kimi-k2",): 4}
    assert found["moegate_hedges"] == {("kimi-k2", "made"): 1, ("kimi-k2", "won"): 1, ("kimi-k2", "refused"): 2}


def test_a_model_that_is_not_hedged_shows_no_hedges() -> None:
    fleet = PooledFleet([make_pool(make_replica("a"))], [])
    found = {metric.name: metric.samples for metric in FleetMeter(fleet).metrics()}
    assert found["moegate_hedges"] == {}
    assert found["moegate_breaker_opened"] == {}
