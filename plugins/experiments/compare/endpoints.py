"""All endpoints of a comparison: their names and margins, their estimates, and the verdicts by `statistics.judge`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from msgspec import Struct, structs

from plugins.experiments.compare import latency, quality
from plugins.experiments.compare.observed import Observed, Seen
from plugins.experiments.compare.quality import Found
from plugins.experiments.statistics.checking import NotEnough
from plugins.experiments.statistics.estimate import Estimate
from plugins.experiments.statistics.verdict import Conformance, Endpoint, Verdict, conformance, judge

ALPHA = 0.05
# Relative: a tenth slower is what a user may notice, and what a run of some hundred calls can tell.
_LATENCY_MARGIN = 0.1
_QUALITY_MARGINS = {
    "schema_accuracy": 0.01,
    "tool_call_f1": 0.03,
    "tool_call_rate": 0.03,
    "greedy_agreement": 0.05,
    "finish_agreement": 0.03,
    "success_rate": 0.01,
    "nonempty_rate": 0.01,
    "clean_rate": 0.01,
    "unmended_rate": 0.01,
    "json_rate": 0.01,
}


def _endpoints() -> dict[str, Endpoint]:
    found = {
        name: Endpoint(name=name, kind="quality", margin=margin, alpha=ALPHA)
        for name, margin in _QUALITY_MARGINS.items()
    }
    for clock, (_, quantiles) in latency.CLOCKS.items():
        for quantile in quantiles:
            name = latency.endpoint_name(clock, quantile)
            found[name] = Endpoint(name=name, kind="latency", margin=_LATENCY_MARGIN, scale="ratio", alpha=ALPHA)
    return found


ENDPOINTS = _endpoints()


class Findings(Struct, kw_only=True):
    """The estimates of all endpoints, to be judged by whatever margin.

    Attributes:
        estimates: the effect and the null arm's, by endpoint.
        warnings: what concerns latencies.
    """

    estimates: Mapping[str, tuple[Estimate | NotEnough, Estimate | NotEnough | None]]
    warnings: tuple[str, ...]

    def verdict(self, name: str, margin: float | None = None) -> Verdict:
        """One endpoint's, by its usual margin or another."""
        endpoint = ENDPOINTS[name]
        if margin is not None:
            endpoint = structs.replace(endpoint, margin=margin)
        effect, null = self.estimates[name]
        return judge(endpoint, effect, null, self.warnings if endpoint.kind == "latency" else ())


def find(observed: Observed) -> Findings:
    """Estimate everything."""
    sure = ENDPOINTS["schema_accuracy"].confidence_wanted
    estimates: dict[str, Found] = {
        "schema_accuracy": quality.estimate_schema(observed, sure),
        "tool_call_f1": quality.estimate_f1(observed, sure),
        "greedy_agreement": quality.estimate_agreement(observed, quality.same_words, sure, greedy_only=True),
        "finish_agreement": quality.estimate_agreement(observed, quality.same_finish, sure, greedy_only=False),
    }
    estimates |= {name: quality.estimate_question(observed, asked, sure) for name, asked in quality.QUESTIONS.items()}
    for clock, (look, quantiles) in latency.CLOCKS.items():
        for quantile in quantiles:
            found = latency.estimate_quantile(observed, look, quantile, ALPHA)
            estimates[latency.endpoint_name(clock, quantile)] = found
    load = latency.load_of(observed)
    warnings = (load.text,) if load.load == "different" else ()
    return Findings(estimates={name: estimates[name] for name in ENDPOINTS}, warnings=warnings)


def conformances(observed: Observed) -> list[Conformance]:
    """The checks that want no statistics, by arm: `a: marker_leaks` and so on."""
    found = []
    for arm, seen in (("a", observed.of("a")), ("b", observed.of("b"))):
        check = partial(_conformance, arm)
        whole = [each for each in seen if not each.error]
        found += [
            check("errors", len(seen), len(seen) - len(whole)),
            check("marker_leaks", len(whole), sum(bool(each.checks.marker) for each in whole)),
            check("empty_answers", len(whole), sum(each.checks.empty for each in whole)),
            check("mended_answers", *_of(whole, quality.is_unmended)),
            check("undeclared_tools", *_of(whole, lambda each: not each.checks.undeclared if each.triggered else None)),
            check("invalid_tool_calls", *_of(whole, quality.is_valid)),
            check("invalid_json", *_of(whole, quality.is_json)),
        ]
    return found


def _conformance(arm: str, name: str, checked: int, failed: int) -> Conformance:
    return conformance(f"{arm}: {name}", checked, failed)


def _of(seen: list[Seen], question: quality.Question) -> tuple[int, int]:
    """How many a question is asked of, and how many say no."""
    told = [said for each in seen if (said := question(each)) is not None]
    return len(told), told.count(False)
