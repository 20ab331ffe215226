from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families

from gateway import (
    Attempt,
    Call,
    Decision,
    Ending,
    Histogram,
    LaunchedReplica,
    Metric,
    Operation,
    Outcome,
    Replica,
    ReplicaLoad,
    ReplicaState,
    SourceState,
    Usage,
)
from gateway.contracts.metrics import counter, gauge, histogram
from plugins.prometheus import Prometheus, PrometheusSettings
from plugins.prometheus.counting import Counters
from tests.unit.builders import make_call, make_replica

SERVED = Decision(candidates=("a", "b"), chosen="b")


class Fleet:
    def __init__(self, *replicas: Replica) -> None:
        self._replicas = replicas

    def replicas(self) -> Sequence[Replica]:
        return self._replicas

    def target_sources(self) -> Sequence[SourceState]:
        return ()

    def launched(self) -> Sequence[LaunchedReplica]:
        return ()

    def report(self, replica: Replica, state: ReplicaState, reason: str = "") -> None: ...


def outcome(**changes: Any) -> Outcome:
    fields = {
        "ending": Ending.COMPLETED,
        "status": 200,
        "attempts": (Attempt("a", "vllm", "upstream_overloaded"), Attempt("b", "vllm")),
        "usage": Usage(prompt_tokens=10, completion_tokens=5),
        "streamed_events": 7,
        "first_byte_seconds": 0.2,
        "total_seconds": 1.5,
    }
    return Outcome(**{**fields, **changes})


def samples(metrics: Prometheus) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The page, as a scraper reads it: name and labels → value."""
    with TestClient(Litestar(list(metrics.handlers), openapi_config=None)) as client:
        page = client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


def value(metrics: Prometheus, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, tuple(sorted(labels.items()))))


@pytest.fixture
def metrics() -> Prometheus:
    return Prometheus(PrometheusSettings(), Counters(), Fleet(make_replica("a", in_flight=3), make_replica("b")))


PLACED = {"model": "kimi-k2", "operation": "chat", "replica": "b"}


async def test_a_call_is_counted_where_it_ended(metrics: Prometheus) -> None:
    await metrics.record(make_call(), outcome(), SERVED)
    await metrics.record(make_call(), outcome(), SERVED)
    assert value(metrics, "moegate_calls_total", **PLACED, ending="completed", error="") == 2
    assert value(metrics, "moegate_call_seconds_sum", **PLACED) == 3.0
    assert value(metrics, "moegate_first_byte_seconds_count", **PLACED) == 2
    assert value(metrics, "moegate_streamed_events_total", replica="b") == 14


async def test_every_attempt_is_counted(metrics: Prometheus) -> None:
    await metrics.record(make_call(), outcome(), SERVED)
    assert value(metrics, "moegate_attempts_total", replica="a", backend="vllm", error="upstream_overloaded") == 1
    assert value(metrics, "moegate_attempts_total", replica="b", backend="vllm", error="") == 1


async def test_tokens_are_counted_by_class_and_what_is_unknown_is_not_zero(metrics: Prometheus) -> None:
    await metrics.record(make_call(), outcome(usage=Usage(prompt_tokens=10, cached_tokens=0)), SERVED)
    tokens = {"model": "kimi-k2", "replica": "b"}
    assert value(metrics, "moegate_tokens_total", **tokens, **{"class": "prompt"}) == 10
    assert value(metrics, "moegate_tokens_total", **tokens, **{"class": "cached"}) == 0
    assert value(metrics, "moegate_tokens_total", **tokens, **{"class": "completion"}) is None


async def test_what_is_estimated_is_not_counted_as_reported(metrics: Prometheus) -> None:
    await metrics.record(make_call(), outcome(usage=Usage(prompt_tokens=10), usage_estimated=True), SERVED)
    assert value(metrics, "moegate_tokens_total", model="kimi-k2", replica="b", **{"class": "prompt"}) is None


async def test_a_call_that_was_never_placed_is_counted_too(metrics: Prometheus) -> None:
    refused = outcome(
        ending=Ending.FAILED, error_code="quota_exceeded", attempts=(), usage=None, first_byte_seconds=None
    )
    await metrics.record(make_call(), refused, Decision())
    labels = {**PLACED, "replica": "none"}
    assert value(metrics, "moegate_calls_total", **labels, ending="failed", error="quota_exceeded") == 1
    assert value(metrics, "moegate_first_byte_seconds_count", **labels) is None


async def test_what_was_changed_on_the_way_is_counted_once_per_call(metrics: Prometheus) -> None:
    edited = outcome(
        transforms=("tool_ids", "tool_calls_repaired", "tool_ids"), dropped_params=("store", "tools.strict", "tools")
    )
    await metrics.record(make_call(), edited, SERVED)
    await metrics.record(make_call(), outcome(transforms=("tool_ids",)), SERVED)
    count = "moegate_transforms_total"
    assert value(metrics, count, backend="vllm", transform="tool_ids") == 2
    assert value(metrics, count, backend="vllm", transform="tool_calls_repaired") == 1
    assert value(metrics, "moegate_dropped_params_total", backend="vllm", param="store") == 1
    assert value(metrics, "moegate_dropped_params_total", backend="vllm", param="tools") == 1


async def test_a_call_that_failed_after_it_was_changed_counts_for_the_engine_that_failed(metrics: Prometheus) -> None:
    failed = outcome(attempts=(Attempt("a", "sglang", "upstream_timeout"),), transforms=("tool_ids",))
    await metrics.record(make_call(), failed, Decision())
    assert value(metrics, "moegate_transforms_total", backend="sglang", transform="tool_ids") == 1


async def test_parameters_that_only_callers_know_share_a_label(metrics: Prometheus) -> None:
    for number in range(50):
        await metrics.record(make_call(), outcome(dropped_params=(f"odd {number}", "store")), SERVED)
    labels = {dict(labels)["param"] for name, labels in samples(metrics) if name == "moegate_dropped_params_total"}
    assert labels == {"other", "store"}
    assert value(metrics, "moegate_dropped_params_total", backend="vllm", param="other") == 50


def test_what_engines_say_of_their_load_is_shown_and_what_they_do_not_say_is_not_zero() -> None:
    fleet = Fleet(
        make_replica("all", load=ReplicaLoad(3, 2, 0.25, 0.5)),
        make_replica("some", load=ReplicaLoad(running=0)),
        make_replica("none"),
        make_replica("gone", state=ReplicaState.UNREACHABLE, load=ReplicaLoad(3, 2, 0.25, 0.5)),
    )
    metrics = Prometheus(PrometheusSettings(), Counters(), fleet)
    said = {
        (name, dict(labels)["replica"]): number
        for (name, labels), number in samples(metrics).items()
        if name.startswith(
            ("moegate_replica_running", "moegate_replica_waiting", "moegate_replica_kv", "moegate_replica_c")
        )
    }
    assert said == {
        ("moegate_replica_running", "all"): 3,
        ("moegate_replica_waiting", "all"): 2,
        ("moegate_replica_kv_use", "all"): 0.25,
        ("moegate_replica_cache_hit_rate", "all"): 0.5,
        ("moegate_replica_running", "some"): 0,
    }


def test_the_fleet_is_shown_as_it_is_at_that_moment(metrics: Prometheus) -> None:
    labels = {"model": "kimi-k2", "replica": "a"}
    assert value(metrics, "moegate_replica_in_flight", **labels) == 3
    assert value(metrics, "moegate_replica_slots", **labels) == 4
    states = {each: value(metrics, "moegate_replica_state", **labels, state=each.value) for each in ReplicaState}
    assert states == {each: float(each is ReplicaState.READY) for each in ReplicaState}


async def test_no_caller_can_make_a_label(metrics: Prometheus) -> None:
    """Whatever callers send, the number of time series stays the same."""

    def strange(number: int) -> Call:
        return make_call(
            call_id=f"{number:032x}",
            requested_model=f"model {number}",
            user=f"user {number}",
            headers=((b"user-agent", b"agent %d" % number),),
            body=b"%d" % number,
        )

    await metrics.record(strange(0), outcome(), SERVED)
    before = samples(metrics).keys()
    for number in range(1, 50):
        await metrics.record(strange(number), outcome(finish_reason=f"reason {number}"), SERVED)
    assert samples(metrics).keys() == before


async def test_everything_carries_the_product_s_name_and_known_labels(metrics: Prometheus) -> None:
    edited = outcome(transforms=("tool_ids",), dropped_params=("store",))
    await metrics.record(make_call(operation=Operation.COMPLETIONS), edited, SERVED)
    labels = {
        "model",
        "operation",
        "replica",
        "ending",
        "error",
        "backend",
        "class",
        "state",
        "transform",
        "param",
        "le",
    }
    for name, label_values in samples(metrics):
        assert name.startswith("moegate_")
        assert {label for label, _ in label_values} <= labels


async def test_counters_outlive_a_reload() -> None:
    counters = Counters()
    old = Prometheus(PrometheusSettings(), counters, Fleet(make_replica("gone")))
    new = Prometheus(PrometheusSettings(), counters, Fleet(make_replica("here")))
    for runtime in (old, new):
        await runtime.record(make_call(), outcome(), SERVED)
    assert value(new, "moegate_calls_total", **PLACED, ending="completed", error="") == 2
    assert {dict(labels).get("replica") for name, labels in samples(new) if name == "moegate_replica_slots"} == {"here"}


@pytest.mark.parametrize("public", [True, False])
def test_whether_a_scraper_needs_a_key_is_the_configuration_s_to_say(public: bool) -> None:
    (handler,) = Prometheus(PrometheusSettings(path="/m", public=public), Counters(), Fleet()).handlers
    handler_of_any_kind: Any = handler
    assert handler_of_any_kind.opt["public"] is public
    assert handler_of_any_kind.paths == {"/m"}


def test_what_extensions_count_is_shown_in_prometheus_own_form() -> None:
    times = Histogram((0.5, 10.0))
    for seconds in (0.1, 0.5, 3.0, 99.0):
        times.observe(seconds)
    metrics = Prometheus(
        PrometheusSettings(),
        Counters(),
        Fleet(),
        lambda: [
            counter("moegate_mine", "Mine.", {("a",): 3}, "which"),
            gauge("moegate_now", "Now.", 1.5),
            histogram("moegate_waited_seconds", "Waited.", {("a",): times}, "which"),
            gauge("moegate_calls", "A name that is taken.", 1),
        ],
    )
    shown = {(name, labels): number for (name, labels), number in samples(metrics).items() if name != "moegate_tasks"}
    assert shown == {
        ("moegate_mine_total", (("which", "a"),)): 3,
        ("moegate_now", ()): 1.5,
        ("moegate_waited_seconds_bucket", (("le", "0.5"), ("which", "a"))): 2,
        ("moegate_waited_seconds_bucket", (("le", "10.0"), ("which", "a"))): 3,
        ("moegate_waited_seconds_bucket", (("le", "+Inf"), ("which", "a"))): 4,
        ("moegate_waited_seconds_count", (("which", "a"),)): 4,
        ("moegate_waited_seconds_sum", (("which", "a"),)): pytest.approx(102.6),
    }


def test_extensions_are_asked_at_each_scrape_and_at_no_other_time() -> None:
    asked: list[int] = []

    def gather() -> list[Metric]:
        asked.append(1)
        return [counter("moegate_mine", "Mine.", len(asked))]

    metrics = Prometheus(PrometheusSettings(), Counters(), Fleet(), gather)
    assert asked == []
    assert [value(metrics, "moegate_mine_total") for _ in range(3)] == [1, 2, 3]
