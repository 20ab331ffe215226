"""What people read: progress, a table for each endpoint with its curve, a comparison, and what to be careful about."""

from __future__ import annotations

import math
from collections.abc import Iterator

from plugins.bench.figures import QUANTILES, ratios, saturated_from
from plugins.bench.plan import Endpoint, Plan
from plugins.bench.running import Results, Stage
from plugins.bench.samples import Spread, Window

BAR = 20
# Above that the client's own work is in the figures: it is busy, or is kept waiting for a core.
BUSY_CORES = 0.7
LATE_SECONDS = 0.003
FEW_ROUNDS = 5
_NONE = "-"


def progress_line(stage: Stage, window: Window | None, plan: Plan) -> str:
    """Where it stands: before a window, or with what it brought."""
    which = f"{stage.endpoint.label} " if len(plan.endpoints) > 1 else ""
    where = f"round {stage.round} of {plan.rounds}, {which}{stage.at_once} at once"
    if window is None:
        return f"{where}: {plan.warm_up_seconds + plan.seconds:g} s"
    errors = f", {sum(window.errors.values())} errors" if window.errors else ""
    return f"{where}: {_rate(window.calls_per_second)} calls/s, {_rate(window.tokens_per_second)} tokens/s{errors}"


def page(results: Results) -> str:
    """All that was measured."""
    plan = results.plan
    kind = "streams" if plan.stream else "plain answers"
    rounds = f"{plan.rounds} round{'s' if plan.rounds > 1 else ''} of {plan.seconds:g} s"
    lines = [f"{plan.model}, {kind}; {rounds} after {plan.warm_up_seconds:g} s to warm up"]
    for endpoint in plan.endpoints:
        lines += ["", *_table(results, endpoint)]
    if len(plan.endpoints) > 1:
        lines += ["", *_comparison(results)]
    notes = list(_notes(results))
    if notes:
        lines += ["", *notes]
    return "\n".join(lines) + "\n"


def _table(results: Results, endpoint: Endpoint) -> Iterator[str]:
    plan = results.plan
    windows = [results.pooled(endpoint.label, level) for level in plan.levels if results.of(endpoint.label, level)]
    yield f"{endpoint.label}  {endpoint.url}"
    heads = ["at once", "calls", "errors", "calls/s", "tokens/s", ""]
    heads += [f"TTFT ms {_levels()}", f"ITL ms {_levels()}", f"TPOT ms {_levels()}"] if plan.stream else []
    rows = [[*heads, f"total ms {_levels()}"]]
    most = max((window.tokens_per_second for window in windows), default=0.0)
    for window in windows:
        times = [window.first_token, window.gap, window.per_token] if plan.stream else []
        rows.append(
            [
                str(window.at_once),
                str(window.answered),
                str(sum(window.errors.values())),
                _rate(window.calls_per_second),
                _rate(window.tokens_per_second),
                "#" * round(BAR * window.tokens_per_second / most) if most else "",
                *[_times(spread) for spread in (*times, window.total)],
            ]
        )
    yield from _aligned(rows)
    level = saturated_from(results, endpoint.label)
    if level is not None:
        yield f"saturated: {level} at once bring less than a tenth more tokens/s than the level below"
    for window in windows:
        for kind, count in window.errors.most_common():
            yield f"{window.at_once} at once: {count} x {kind}: {window.examples.get(kind, '')}".rstrip(": ")


def _comparison(results: Results) -> Iterator[str]:
    yield "B by A, round by round: median (lowest to highest)"
    rows = []
    for level in results.plan.levels:
        for ratio in ratios(results, level):
            spread = f"{ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
            rows.append([f"{level} at once", ratio.name, spread, ratio.says])
    if rows:
        yield from _aligned(rows)
    else:
        yield "nothing that both have"


def _notes(results: Results) -> Iterator[str]:
    """What a reader has to know before trusting a figure."""
    plan = results.plan
    for endpoint in plan.endpoints:
        for level in plan.levels:
            window = results.pooled(endpoint.label, level)
            where = f"{endpoint.label}, {level} at once"
            late = window.lateness.quantiles(0.5)[0]
            if window.cpu_cores > BUSY_CORES or late > LATE_SECONDS:
                yield (
                    f"note: {where}: the figures are in part this client's own: it used {window.cpu_cores:.2f} cores, "
                    f"and was {_milliseconds(late)} ms late"
                )
            if window.untold:
                yield f"note: {where}: {window.untold} answers came without usage; their events are counted as tokens"
            if window.seconds and not window.answered and not window.errors:
                yield f"note: {where}: no call ended within {plan.seconds:g} s; use a longer --duration"
    if len(plan.endpoints) > 1 and plan.rounds < FEW_ROUNDS:
        yield f"note: fewer rounds than {FEW_ROUNDS} show little; chance alone lets one side win them all."


def _levels() -> str:
    return "/".join(f"p{round(level * 100)}" for level in QUANTILES)


def _rate(a_second: float) -> str:
    return f"{a_second:,.0f}" if a_second >= 100 else f"{a_second:.3g}"  # noqa: PLR2004 - see `_milliseconds`


def _times(spread: Spread) -> str:
    return "/".join(_milliseconds(value) for value in spread.quantiles(*QUANTILES)) if spread.count else _NONE


def _milliseconds(seconds: float) -> str:
    thousandths = seconds * 1000
    if thousandths and abs(thousandths) < 100:  # noqa: PLR2004 - three digits are as many as mean something
        return f"{thousandths:.{max(0, 2 - math.floor(math.log10(abs(thousandths))))}f}"
    return f"{thousandths:.0f}"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
