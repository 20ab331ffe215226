"""Draws the report's charts with matplotlib as SVG that takes its colours from the page: light, dark and print from one drawing."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from plugins.experiments.compare.arms import ArmName
from plugins.experiments.compare.divergence import Divergence
from plugins.experiments.compare.latency import histogram_of, ttft
from plugins.experiments.compare.likeness import PARTS
from plugins.experiments.compare.observed import Observed, Seen
from plugins.experiments.compare.summary import Summary
from plugins.experiments.statistics.checking import NotEnough
from plugins.experiments.statistics.estimate import Interval
from plugins.experiments.statistics.latency_histogram import LatencyHistogram
from plugins.experiments.statistics.quantiles import QuantilePlan, quantile_interval

# Colours that stand in for the page's own; matplotlib writes them down as they are.
_STAND_INS = {"#0a0001": "var(--a)", "#0a0002": "var(--b)", "#0a0003": "var(--ink)", "#0a0004": "var(--faint)"}
_A, _B, _INK, _FAINT = _STAND_INS
_ARMS: tuple[tuple[ArmName, str, str, str], ...] = (("a", "A", _A, "-"), ("b", "B", _B, "--"))
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "moegate",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _FAINT,
    "grid.alpha": 0.35,
    "legend.frameon": False,
}
_SIZE = (6.0, 3.2)
_MOST_BUCKETS = 12
_FEWEST_IN_BUCKET = 20
_RATES = (
    "schema_accuracy",
    "tool_call_rate",
    "success_rate",
    "nonempty_rate",
    "clean_rate",
    "unmended_rate",
    "json_rate",
)


def charts(summary: Summary, observed: Observed) -> dict[str, str]:
    """All of them, by name, as `<svg>` elements; those without data are left out."""
    drawn = {
        "ttft": _draw("ttft", lambda axes: _times(axes, observed)),
        "gaps": _draw("gaps", lambda axes: _gaps(axes, observed)),
        "over_time": _draw("over_time", lambda axes: _over_time(axes, observed)),
        "rates": _draw("rates", lambda axes: _rates(axes, summary)),
        "divergence": _draw("divergence", lambda axes: _divergence(axes, summary.greedy)),
    }
    return {name: svg for name, svg in drawn.items() if svg}


def _draw(name: str, fill: Callable[[Axes], bool]) -> str:
    """One chart; nothing if there was nothing to fill it with."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        if not fill(axes):
            return ""
        out = io.StringIO()
        nobody: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", metadata=nobody)
    return _inlined(out.getvalue(), name)


def _inlined(svg: str, name: str) -> str:
    """Fit for a page that holds several: no prologue, its own ids, the page's colours and font, any width."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r"#([A-Za-z][\w.-]*)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda at: f' id="{name}-{at[1]}"' if at[1] in used else "", svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    for stand_in, own in _STAND_INS.items():
        svg = svg.replace(stand_in, own)
    svg = re.sub(r"font: (?:normal )?([\d.]+)px [^;\"]*", r"font-size: \1px; font-family: inherit", svg)
    return re.sub(r'(<svg[^>]*?) height="[^"]*"( [^>]*?)? width="[^"]*"', r'\1\2 role="img"', svg, count=1)


def _times(axes: Axes, observed: Observed) -> bool:
    drawn = False
    for arm, label, colour, dash in _ARMS:
        times = sorted(each for seen in observed.of(arm) if (each := ttft(seen)) is not None)
        if times:
            # A thousand points draw any curve; the slowest are among them.
            shares = np.linspace(1 / len(times), 1, min(len(times), 1000))
            axes.step(np.quantile(times, shares), shares, where="post", color=colour, linestyle=dash, label=label)
            drawn = True
    _seconds(axes, "time to first token (s)")
    return drawn


def _gaps(axes: Axes, observed: Observed) -> bool:
    drawn = False
    for arm, label, colour, dash in _ARMS:
        histogram = observed.gaps[arm]
        if histogram.calls:
            axes.step(*_curve(histogram), where="post", color=colour, linestyle=dash, label=label)
            drawn = True
    _seconds(axes, "time between pieces (s)")
    return drawn


def _curve(histogram: LatencyHistogram) -> tuple[Any, Any]:
    column = histogram.column()[:-1]
    kept = np.flatnonzero(column)
    times, shares = histogram.ends()[kept], np.cumsum(column[kept]) / column.sum()
    return np.concatenate([times[:1], times]), np.concatenate([[0.0], shares])


def _seconds(axes: Axes, label: str) -> None:
    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel("share of all")
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(visible=True)
    axes.legend(*axes.get_legend_handles_labels(), loc="lower right")


def _over_time(axes: Axes, observed: Observed) -> bool:
    """The median time to first token through the run, with its interval at every point."""
    starts = [each.started_at for each in observed.seen.values()]
    begin, end = min(starts), max(starts)
    buckets = min(_MOST_BUCKETS, len(starts) // (2 * _FEWEST_IN_BUCKET))
    if buckets < 2 or end <= begin:  # noqa: PLR2004 (one point is no course)
        return False
    edges = np.linspace(begin, end, buckets + 1)
    middles = (edges[1:] + edges[:-1]) / 2 - begin
    for arm, label, colour, dash in _ARMS:
        seen = observed.of(arm)
        places = np.clip(np.searchsorted(edges, [each.started_at for each in seen], side="right") - 1, 0, buckets - 1)
        parts = [[each for each, at in zip(seen, places, strict=True) if at == place] for place in range(buckets)]
        told = [(middles[at], interval) for at, part in enumerate(parts) if (interval := _median(part))]
        if told:
            x = [each[0] for each in told]
            axes.plot(x, [each[1].value for each in told], color=colour, linestyle=dash, marker="o", ms=3, label=label)
            low, high = ([getattr(each[1], end_) for each in told] for end_ in ("lower", "upper"))
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("since the run began (s)")
    axes.set_ylabel("median TTFT (s)")
    axes.set_ylim(bottom=0)
    axes.grid(visible=True)
    axes.legend(*axes.get_legend_handles_labels(), loc="upper right")
    return True


def _median(seen: Sequence[Seen]) -> Interval | None:
    histogram = histogram_of(seen, ttft)
    try:
        found = quantile_interval(histogram, QuantilePlan(quantile=0.5, planned_calls=max(histogram.calls, 1)))
    except NotEnough:
        return None
    return found if np.isfinite(found.upper) else None


def _rates(axes: Axes, summary: Summary) -> bool:
    """Each rate with its 95 % interval, A above B."""
    names = [name for name in _RATES if any(name in each.rates for each in summary.arms.values())]
    for arm, _, colour, _ in _ARMS:
        shift = -0.15 if arm == "a" else 0.15
        rates = summary.arms[arm].rates
        told = [(place, rates[name]) for place, name in enumerate(names) if name in rates]
        values = np.array([each.value for _, each in told])
        reach = np.array([[each.value - each.lower, each.upper - each.value] for _, each in told]).T
        places = [place + shift for place, _ in told]
        axes.errorbar(values, places, xerr=np.maximum(reach, 0), fmt="o" if arm == "a" else "s", color=colour)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.set_xlim(right=1.01)
    axes.grid(visible=True, axis="x")
    return bool(names)


def _divergence(axes: Axes, greedy: Divergence) -> bool:
    """How many greedy pairs part where, and how many never do."""
    if not greedy.pairs:
        return False
    labels = [f"{part * 100 // PARTS}" for part in range(PARTS)]
    axes.bar(range(PARTS), greedy.by_part, color=_B, width=0.85)
    axes.bar([PARTS + 0.5], [greedy.alike], color=_A, width=0.85)
    axes.set_xticks([*range(PARTS), PARTS + 0.5], [*labels, "never"])
    axes.set_xlabel("they part after so much of the shorter answer (%)")
    axes.set_ylabel("greedy pairs")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True, axis="y")
    return True
