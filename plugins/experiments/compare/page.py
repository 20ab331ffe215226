"""Writes `report.html`: one file that needs no other, from the summary and the charts; decides nothing."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import jinja2
import msgspec

from plugins.experiments.compare.charts import charts
from plugins.experiments.compare.endpoints import ENDPOINTS
from plugins.experiments.compare.observed import Observed
from plugins.experiments.compare.summary import Summary
from plugins.experiments.statistics.estimate import Interval
from plugins.experiments.statistics.verdict import Verdict

REPORT = "report.html"
NOTHING = "-"
_MILLISECONDS_BELOW = 1.0
_GOOD = ("equivalent", "not inferior", "faster", "cheaper")
_BAD = ("inferior", "slower")
_CHARTS = {
    "ttft": "Time to first token: share of calls that had begun by then",
    "gaps": "Time between pieces: share of all waits that were no longer",
    "over_time": "Median time to first token through the run, with intervals",
    "rates": "Rates of each arm, with 95 % intervals",
    "divergence": "Where greedy answers part",
}


def write_report(folder: Path, summary: Summary, observed: Observed) -> None:
    """Write the page in one step."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "rate_cell": rate_cell,
        "time_cell": time_cell,
        "share": share,
        "effect": effect,
        "span": span,
        "tone": tone,
        "moment": moment,
        "pretty": pretty,
    }
    drawn = charts(summary, observed)
    page = environment.get_template("report.html.j2").render(
        s=summary,
        plan=summary.run.plan,
        charts=[(name, _CHARTS[name], svg) for name, svg in drawn.items()],
        kinds={name: each.kind for name, each in ENDPOINTS.items()},
    )
    new = folder / f"{REPORT}.new"
    new.write_text(page, encoding="utf-8")
    new.replace(folder / REPORT)


def seconds(value: float | None) -> str:
    """A time for people; an infinite one lies among the failures."""
    if value is None:
        return NOTHING
    if math.isinf(value):
        return "∞"
    return f"{value * 1000:.3g} ms" if value < _MILLISECONDS_BELOW else f"{value:.3g} s"


def share(value: float | None) -> str:
    """A rate in per cent."""
    return NOTHING if value is None else f"{value * 100:.4g} %"


def rate_cell(found: Interval | None) -> str:
    """A rate with its interval."""
    return NOTHING if found is None else f"{share(found.value)} ({share(found.lower)} to {share(found.upper)})"


def time_cell(found: Interval | None) -> str:
    """A time with its interval."""
    return NOTHING if found is None else f"{seconds(found.value)} ({seconds(found.lower)} to {seconds(found.upper)})"


def effect(verdict: Verdict, value: float | None) -> str:
    """An effect, or an end of its interval: percentage points, or per cent more."""
    if value is None:
        return NOTHING
    if math.isinf(value):
        return "∞"
    return f"{(value - 1) * 100:+.3g} %" if verdict.scale == "ratio" else f"{value * 100:+.3g} pp"


def span(verdict: Verdict, at: str) -> float:
    """Where an effect lies on a line from three margins below none to three above, in per cent of the line."""
    value = getattr(verdict, at)
    if value is None:
        return 50.0
    if verdict.scale == "ratio":
        place = (math.log(value) if 0 < value < math.inf else math.copysign(99, value - 1)) / math.log1p(verdict.margin)
    else:
        place = value / verdict.margin
    return 50 + 100 * max(min(place, 3.0), -3.0) / 6


def tone(verdict: Verdict) -> str:
    """The class of a verdict's colour."""
    return "good" if verdict.verdict in _GOOD else "bad" if verdict.verdict in _BAD else "open"


def moment(at: float) -> str:
    """A time of day, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def pretty(value: Any) -> str:
    """Data as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
