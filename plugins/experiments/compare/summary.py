"""Puts `summary.json` together: verdicts, what each arm did (with K2-Vendor-Verifier's keys), and what was compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.errors import ConfigError
from plugins.experiments.compare.arms import ArmName
from plugins.experiments.compare.divergence import Divergence, diverge
from plugins.experiments.compare.endpoints import ENDPOINTS, Findings, conformances, find
from plugins.experiments.compare.f1 import f1_interval
from plugins.experiments.compare.latency import CLOCKS, endpoint_name, histogram_of, load_of
from plugins.experiments.compare.observed import Observed, Seen, observe
from plugins.experiments.compare.quality import QUESTIONS, is_valid
from plugins.experiments.compare.record import RunRecord, read_record
from plugins.experiments.compare.requirements import Met, Requirement, meet
from plugins.experiments.statistics.checking import NotEnough
from plugins.experiments.statistics.estimate import Interval
from plugins.experiments.statistics.independent import rate, wilson
from plugins.experiments.statistics.matched_load import LoadVerdict
from plugins.experiments.statistics.quantiles import QuantilePlan, quantile_interval
from plugins.experiments.statistics.verdict import Conformance, Verdict

SUMMARY = "summary.json"
FORMAT = 1


class ArmSummary(Struct, kw_only=True):
    """What one arm did, over all of its calls.

    Attributes:
        pin: what its calls were pinned to. replicas: calls by the replica that answered.
        vendor_verifier: the keys of K2-Vendor-Verifier's `summary.json`, to be laid beside its table.
        rates: yes-or-no endpoints, with 95 % intervals.
        quantiles: latencies in seconds by endpoint, with 95 % intervals.
        output_tokens_per_second: of one call, after its first piece: the median's inverse.
        transforms: what the gateway edited on the way, and in how many calls.
    """

    pin: str
    replicas: dict[str, int]
    vendor_verifier: dict[str, Any]
    rates: dict[str, Interval]
    quantiles: dict[str, Interval]
    output_tokens_per_second: float | None
    errors: dict[str, int]
    transforms: dict[str, int]


class Summary(Struct, kw_only=True):
    """`summary.json`; infinite ends of intervals are null.

    Attributes:
        asked, answered: calls of the plan, and those that have an answer or an error.
        greedy: where greedy answers part; `greedy_null` the same of A against itself.
        load: whether both arms saw the same.
    """

    format: int = FORMAT
    run: RunRecord
    asked: int
    answered: int
    warnings: list[str]
    requirements: list[Met]
    verdicts: list[Verdict]
    conformance: list[Conformance]
    arms: dict[ArmName, ArmSummary]
    greedy: Divergence
    greedy_null: Divergence | None
    load: LoadVerdict


def summarise(folder: Path, requirements: Sequence[Requirement]) -> tuple[Summary, Observed]:
    """Read a run and judge it.

    Raises:
        ConfigError: there is no run, or nothing in it yet.
    """
    record = read_record(folder)
    if record is None:
        raise ConfigError(f"{folder}: holds no run; `moegate compare run --out {folder}` makes one")
    observed = observe(folder)
    if not observed.seen:
        raise ConfigError(f"{folder}: holds no answer yet")
    findings = find(observed)
    null_pairs = observed.null_pairs()
    summary = Summary(
        run=record,
        asked=len(record.plan.order),
        answered=len(observed.seen),
        warnings=_warnings(record, observed),
        requirements=[meet(each, findings) for each in requirements],
        verdicts=_verdicts(findings, requirements),
        conformance=conformances(observed),
        arms={"a": _arm(record, observed, "a"), "b": _arm(record, observed, "b")},
        greedy=diverge(folder, observed.pairs(0)),
        greedy_null=diverge(folder, null_pairs) if null_pairs else None,
        load=load_of(observed),
    )
    return summary, observed


def write_summary(folder: Path, summary: Summary) -> None:
    """Write `summary.json` in one step."""
    new = folder / f"{SUMMARY}.new"
    new.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=1) + b"\n")
    new.replace(folder / SUMMARY)


def _verdicts(findings: Findings, requirements: Sequence[Requirement]) -> list[Verdict]:
    """Of every endpoint, by the margin of its first requirement if it has one."""
    margins: dict[str, float | None] = {}
    for each in requirements:
        margins.setdefault(each.endpoint, each.margin)
    return [findings.verdict(name, margins.get(name)) for name in ENDPOINTS]


def _warnings(record: RunRecord, observed: Observed) -> list[str]:
    found = []
    left = len(record.plan.order) - len(observed.seen)
    if left:
        found.append(f"{left} of {len(record.plan.order)} calls are not answered yet: only whole pairs are compared")
    for side in ("a", "b"):
        pinned = getattr(record.plan, side)
        names = {each.replica for each in observed.of("a" if side == "a" else "b") if each.replica}
        if pinned.kind == "replica" and names - {pinned.name}:
            found.append(f"calls of {side}, pinned to {pinned.name}, were answered by {', '.join(sorted(names))}")
        waited = sum(each.tries > 1 for each in observed.of("a" if side == "a" else "b"))
        if waited:
            found.append(
                f"{waited} calls of {side} found no slot free and were asked again: a lower --concurrency fits"
            )
    if record.plan.a == record.plan.b:
        found.append("both arms are the same: this run shows how much it differs from itself")
    return found


def _arm(record: RunRecord, observed: Observed, arm: ArmName) -> ArmSummary:
    seen = observed.of(arm)
    quantiles = {
        endpoint_name(name, quantile): interval
        for name, (clock, wanted) in CLOCKS.items()
        for quantile in wanted
        if (interval := _quantile(seen, clock, quantile)) is not None
    }
    pace = quantiles.get("time_per_output_token_p50")
    return ArmSummary(
        pin=getattr(record.plan, arm).pin,
        replicas=dict(Counter(each.replica for each in seen if each.replica)),
        vendor_verifier=vendor_keys(observed, arm),
        rates=_rates(seen),
        quantiles=quantiles,
        output_tokens_per_second=1 / pace.value if pace and 0 < pace.value < float("inf") else None,
        errors=dict(Counter(each.error for each in seen if each.error)),
        transforms=dict(Counter(name.strip() for each in seen for name in each.transforms.split(",") if name.strip())),
    )


def _quantile(seen: list[Seen], clock: Any, quantile: float) -> Interval | None:
    histogram = histogram_of(seen, clock)
    try:
        return quantile_interval(histogram, QuantilePlan(quantile=quantile, planned_calls=max(histogram.calls, 1)))
    except NotEnough:
        return None


def _rates(seen: list[Seen]) -> dict[str, Interval]:
    found = {}
    for name, question in {"schema_accuracy": is_valid, **QUESTIONS}.items():
        told = [(float(answer), each.conversation) for each in seen if (answer := question(each)) is not None]
        if told:
            found[name] = wilson(rate([each[0] for each in told], [each[1] for each in told]))
    return found


def vendor_keys(observed: Observed, arm: ArmName) -> dict[str, Any]:
    """The keys of K2-Vendor-Verifier's `summary.json`, and its two measures, in [0, 1]; None where there is nothing to count."""
    seen = observed.of(arm)
    whole = [each for each in seen if not each.error]
    finishes = Counter(each.finish for each in whole)
    calls, stops = finishes.pop("tool_calls", 0), finishes.pop("stop", 0)
    valid = sum(each.checks.schema_valid is True for each in whole)
    f1 = f1_interval(observed, arm)
    prompts, completions = (
        sum(getattr(each, field) or 0 for each in whole) for field in ("prompt_tokens", "completion_tokens")
    )
    return {
        "success_count": len(whole),
        "failure_count": len(seen) - len(whole),
        "finish_stop": stops,
        "finish_tool_calls": calls,
        "finish_others": sum(finishes.values()),
        "finish_others_detail": {str(reason): count for reason, count in finishes.items()},
        "schema_validation_error_count": calls - valid,
        "successful_tool_call_count": valid,
        "schema_accuracy": valid / calls if calls else None,
        "tool_call_f1": f1.value if f1 else None,
        "usage": {"prompt_tokens": prompts, "completion_tokens": completions, "total_tokens": prompts + completions},
    }
