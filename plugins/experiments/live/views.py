"""An experiment as the admin API and the commands show it; made in a thread of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct

from plugins.experiments.live.findings import PLANNED_CALLS, ArmView, verdicts, view
from plugins.experiments.live.settings import ExperimentSettings, solo
from plugins.experiments.live.shadow_views import ShadowView, shadow_view
from plugins.experiments.live.standing import Saved, Standing, Status, shape_of
from plugins.experiments.live.strata import Mix, at_one_mix
from plugins.experiments.live.sums import Sums, added
from plugins.experiments.live.tallies import ArmTally, merge_times, new_times
from plugins.experiments.statistics.sample_ratio import RatioVerdict, SampleRatio, ratio_verdict
from plugins.experiments.statistics.verdict import Verdict


class Comparison(Struct, frozen=True):
    """One arm against the first; `mix` has the latencies once more, at one mix of prompt lengths, cache hits and load."""

    a: str
    b: str
    verdicts: list[Verdict]
    mix: Mix


class ExperimentRow(Struct, frozen=True, kw_only=True):
    """One line of the list.

    Attributes:
        state: `waiting` for its start, `running`, `ended`, or `stopped`.
        calls: by arm, of this node.
    """

    name: str
    model: str
    unit: str
    state: str
    reason: str
    rolled_back: dict[str, str]
    calls: dict[str, int]


class ExperimentView(ExperimentRow, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        declared: as it was declared.
        arms: their figures, of all nodes together.
        shares: whether units were dealt as the weights say; null where one arm has all the weight.
        comparisons: of each arm against the first, by the calls that each served.
        shadow: of each arm against the first, by answers to the same calls; null without shadow mode.
        skipped: calls that did not join, by reason; of this process.
        dropped, unchecked: calls that were not counted, or whose answer was not checked, as too much came at once.
    """

    declared: ExperimentSettings
    arms: list[ArmView]
    shares: RatioVerdict | None
    comparisons: list[Comparison]
    shadow: ShadowView | None
    skipped: dict[str, int]
    dropped: int
    unchecked: int


def row_of(standing: Standing, now: float) -> ExperimentRow:
    """Its line; `now` in seconds since 1970."""
    settings, status = standing.settings, standing.status
    return ExperimentRow(
        name=settings.name,
        model=settings.model,
        unit=settings.unit.value,
        state=_state(settings, status, datetime.fromtimestamp(now, UTC)),
        reason=status.reason,
        rolled_back=status.rolled_back,
        calls={arm.name: tally.calls for arm, tally in zip(settings.arms, standing.tallies.arms, strict=True)},
    )


def view_of(standing: Standing, others: Sequence[Saved], now: float) -> ExperimentView:
    """All of it, with what other nodes have saved."""
    settings, row = standing.settings, row_of(standing, now)
    alike = [saved for saved in others if saved.shape == shape_of(settings)]
    arms = [_merged([tally, *(saved.arms[at] for saved in alike)]) for at, tally in enumerate(standing.tallies.arms)]
    names = [arm.name for arm in settings.arms]
    shadow = standing.shadows.tally
    for saved in alike:
        shadow = shadow.plus(saved.shadow)
    return ExperimentView(
        name=row.name,
        model=row.model,
        unit=row.unit,
        state=row.state,
        reason=row.reason,
        rolled_back=row.rolled_back,
        calls={name: arm.calls for name, arm in zip(names, arms, strict=True)},
        declared=settings,
        arms=[
            view(arm.name, "rolled_back" if arm.name in row.rolled_back else "in", arm.weight, tally)
            for arm, tally in zip(settings.arms, arms, strict=True)
        ],
        shares=None if standing.ratio is None else ratio_verdict(_all_shares(standing.ratio, alike)),
        comparisons=[
            Comparison(
                names[0],
                name,
                verdicts(arms[0], arm, settings.margins),
                at_one_mix(arms[0].strata, arm.strata, settings.margins, PLANNED_CALLS),
            )
            for name, arm in list(zip(names, arms, strict=True))[1:]
            if not solo(settings)
        ],
        shadow=None if settings.shadow is None else shadow_view(names, shadow, settings.margins),
        skipped=dict(standing.skipped),
        dropped=standing.waiting.dropped,
        unchecked=standing.waiting.unchecked,
    )


def _state(settings: ExperimentSettings, status: Status, now: datetime) -> str:
    if status.state != "running":
        return status.state.value
    if settings.start is not None and now < settings.start:
        return "waiting"
    return "ended" if settings.end is not None and now >= settings.end else "running"


def _merged(tallies: Sequence[ArmTally]) -> ArmTally:
    """Of several nodes. A unit that called at two of them counts as two."""
    if len(tallies) == 1:
        return tallies[0]
    whole = ArmTally()
    for each in tallies:
        for name in ("units", "calls", "fell_back", "retried", "prompt_tokens", "completion_tokens"):
            setattr(whole, name, getattr(whole, name) + getattr(each, name))
        whole.cached_tokens += each.cached_tokens
        whole.cost_nanos += each.cost_nanos
        for counts, more in ((whole.errors, each.errors), (whole.finishes, each.finishes)):
            for name, count in more.items():
                counts[name] = counts.get(name, 0) + count
        whole.rates = added(whole.rates, each.rates, Sums)
        merge_times(whole.times, each.times)
        for stratum, times in each.strata.items():
            merge_times(whole.strata.setdefault(stratum, new_times()), times)
        count, total, squares = each.loads
        whole.loads = (whole.loads[0] + count, whole.loads[1] + total, whole.loads[2] + squares)
    return whole


def _all_shares(ours: SampleRatio, others: Sequence[Saved]) -> SampleRatio:
    """Units of all nodes whose weights are as ours."""
    whole = SampleRatio(weights=ours.weights, counts=dict(ours.counts), settled=ours.settled)
    for saved in others:
        if saved.ratio is not None and saved.ratio.weights == ours.weights:
            whole.settled += saved.ratio.settled
            for arm, count in saved.ratio.counts.items():
                whole.add(arm, count)
    return whole
