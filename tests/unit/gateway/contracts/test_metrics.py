from __future__ import annotations

from typing import Any

import pytest

from gateway import Histogram, Metered, Metric, MetricKind
from gateway.contracts.metrics import counter, gauge, histogram


def test_a_histogram_counts_by_size() -> None:
    times = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        times.observe(seconds)
    assert times.counts == [2, 1, 1]
    assert times.sum == pytest.approx(7.65)


def test_metrics_are_written_down_in_one_line() -> None:
    assert counter("moegate_mine", "All.", 5) == Metric(
        name="moegate_mine", help="All.", kind=MetricKind.COUNTER, samples={(): 5}
    )
    assert gauge("moegate_mine", "Each.", {("a",): 1.5}, "which") == Metric(
        name="moegate_mine", help="Each.", kind=MetricKind.GAUGE, labels=("which",), samples={("a",): 1.5}
    )
    assert histogram("moegate_mine_seconds", "Times.", {(): Histogram()}).kind is MetricKind.HISTOGRAM


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "mine"},
        {"name": "moegate_Mine"},
        {"name": "moegate_mine\n"},
        {"name": "moegate_mine_total"},
        {"labels": ("which one",)},
        {"samples": {(): 1}},
        {"samples": {("a", "b"): 1}},
        {"samples": {(1,): 1}},
        {"samples": {("a",): "1"}},
        {"samples": {("a",): Histogram()}},
        {"kind": MetricKind.HISTOGRAM},
    ],
)
def test_what_no_exporter_could_write_is_refused_where_it_is_made(changes: dict[str, Any]) -> None:
    fields: dict[str, Any] = {
        "name": "moegate_mine", "help": "Mine.", "kind": MetricKind.COUNTER, "labels": ("which",), "samples": {("a",): 1}
    }  # fmt: skip
    Metric(**fields)
    with pytest.raises(ValueError, match=r"moegate_|mine"):
        Metric(**{**fields, **changes})


def test_whatever_has_the_method_is_metered() -> None:
    class Mine:
        def metrics(self) -> list[Metric]:
            return []

    assert isinstance(Mine(), Metered)
    assert not isinstance(object(), Metered)
