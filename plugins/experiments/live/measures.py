"""What the metrics page tells of experiments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway import Metric
from gateway.contracts.metrics import counter, gauge
from plugins.experiments.live.standing import Standing, State
from plugins.experiments.statistics.sample_ratio import ratio_verdict


def metrics_of(standings: Sequence[Standing]) -> Iterable[Metric]:
    """Of all experiments, by arm."""
    arms = [
        (standing.settings.name, arm.name, tally, arm.name in standing.status.rolled_back)
        for standing in standings
        for arm, tally in zip(standing.settings.arms, standing.tallies.arms, strict=True)
    ]
    names = ("experiment", "arm")
    yield counter(
        "moegate_experiment_calls",
        "Calls of an arm that are over.",
        {(name, arm): tally.calls for name, arm, tally, _ in arms},
        *names,
    )
    yield counter(
        "moegate_experiment_fell_back",
        "Those of them that the arm's own replicas did not serve.",
        {(name, arm): tally.fell_back for name, arm, tally, _ in arms},
        *names,
    )
    yield gauge(
        "moegate_experiment_rolled_back",
        "Whether a guardrail has taken the arm out.",
        {(name, arm): float(gone) for name, arm, _, gone in arms},
        *names,
    )
    yield gauge(
        "moegate_experiment_running",
        "Whether calls may join.",
        {(each.settings.name,): float(each.status.state is State.RUNNING) for each in standings},
        "experiment",
    )
    yield gauge(
        "moegate_experiment_sample_ratio_mismatch",
        "Whether units were dealt otherwise than the weights say, so that no figure holds.",
        {
            (each.settings.name,): float(ratio_verdict(each.ratio).mismatch)
            for each in standings
            if each.ratio is not None
        },
        "experiment",
    )
    yield counter(
        "moegate_experiment_skipped",
        "Calls of the model that did not join.",
        {(each.settings.name, why): count for each in standings for why, count in list(each.skipped.items())},
        "experiment",
        "reason",
    )
    yield counter(
        "moegate_experiment_dropped",
        "Calls that were not counted, as too many waited.",
        {(each.settings.name,): each.waiting.dropped for each in standings},
        "experiment",
    )
    yield _copies(standings)


def _copies(standings: Sequence[Standing]) -> Metric:
    return counter(
        "moegate_experiment_copies",
        "Copies of calls, by what became of them.",
        {
            (each.settings.name, arm.name, how): count
            for each in standings
            for arm, copies in zip(each.settings.arms, each.shadows.tally.copies, strict=True)
            for how, count in list(copies.items())
        },
        "experiment",
        "arm",
        "how",
    )
