"""Writes the Markdown table and the JSON of a bench run; it measures nothing and judges no target."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from tests.performance.figures import Spread
from tests.performance.measure import Figures, Plan
from tests.performance.pages import on_what, table
from tests.performance.plots import bars
from tests.performance.targets import Target

REFERENCE = "vllm-router"
RATIOS = (("ratio-call", "CPU time a call", "cpu_per_call"), ("ratio-chunk", "CPU time a chunk", "cpu_per_chunk"))


@dataclass
class Results:
    """All rounds of all targets, in the order in which they ran."""

    date: str
    plan: Plan
    machine: Mapping[str, object]
    pinned: bool
    targets: dict[str, Target] = field(default_factory=dict)
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    startups: dict[str, list[float]] = field(default_factory=dict)

    def spread(self, name: str, figure: str) -> Spread:
        """Summarise one figure of one target."""
        return Spread.over([getattr(entry, figure) for entry in self.rounds[name]])

    def less_direct(self, name: str, figure: str) -> Spread:
        """Summarise what a target adds to the direct run of the same round."""
        pairs = zip(self.rounds[name], self.rounds["direct"], strict=False)
        return Spread.over([getattr(mine, figure) - getattr(direct, figure) for mine, direct in pairs])

    def ratio(self, name: str, figure: str) -> Spread:
        """Summarise a target's share of the reference in the same round: a busy moment then hits both."""
        pairs = zip(self.rounds[name], self.rounds[REFERENCE], strict=False)
        return Spread.over([getattr(mine, figure) / getattr(other, figure) for mine, other in pairs])

    def as_json(self, raw: Sequence[Mapping[str, object]]) -> dict[str, object]:
        """Everything, with the generator's own words."""
        return {
            "date": self.date,
            "plan": asdict(self.plan),
            "machine": dict(self.machine),
            "pinned": self.pinned,
            "targets": {
                name: {"version": target.version, "settings": target.settings} for name, target in self.targets.items()
            },
            "skipped": self.skipped,
            "start_seconds": self.startups,
            "rounds": {name: [asdict(entry) for entry in entries] for name, entries in self.rounds.items()},
            "raw": list(raw),
        }


def markdown(results: Results) -> str:
    """Write the page."""
    parts = [_head(results), _costs(results), _latencies(results), _leaving(results)]
    if REFERENCE in results.rounds:
        parts.append(_ratios(results))
    parts += [_bottlenecks(results), _settings(results)]
    return "\n\n".join(parts) + "\n"


def _head(results: Results) -> str:
    plan, machine = results.plan, results.machine
    where = "target bound to one core, engine and generator to another" if results.pinned else "nothing bound to a core"
    return (
        f"# Bench of {results.date}\n\n"
        f"{on_what(machine)}; {where}. "
        f"Medians of {plan.rounds} interleaved rounds, lowest and highest round in brackets. Calls: "
        f"{plan.prompt_bytes}-byte prompt, {plan.call_connections} keep-alive clients in a closed loop, "
        f"{plan.call_seconds:g} s. Streams: {plan.streams} at a time (a target that cannot hold them gets fewer, as "
        f"shown), one chunk every {plan.chunk_interval_ms:g} ms each, {plan.stream_seconds:g} s while all of them run."
    )


def _costs(results: Results) -> str:
    columns = {
        "CPU µs a call": ("cpu_per_call", 0),
        "CPU µs a chunk": ("cpu_per_chunk", 1),
        "calls/s": ("calls_per_second", 0),
        "streams": ("streams", 0),
        "MB streaming (PSS)": ("pss_mb_streaming", 0),
        "MB peak (RSS)": ("peak_rss_mb", 0),
        "MB after (PSS)": ("pss_mb_after", 0),
        "idle CPU %": ("idle_cpu_percent", 2),
    }
    rows = []
    for name, entries in results.rounds.items():
        cells = [results.spread(name, figure).text(digits) for figure, digits in columns.values()]
        rows.append([name, *cells, str(sum(entry.errors for entry in entries))])
    return "## Cost\n\n" + table(["target", *columns, "errors"], rows)


def _latencies(results: Results) -> str:
    columns = {
        "call p50, 1 client": "latency_p50",
        "call p99, 1 client": "latency_p99",
        "chunk delay p50": "chunk_delay_p50",
        "chunk delay p99": "chunk_delay_p99",
        "first chunk p50": "first_chunk_p50",
        "first chunk p99": "first_chunk_p99",
    }
    rows = [["direct (absolute)", *(results.spread("direct", figure).text() for figure in columns.values())]]
    rows += [
        [name, *(results.less_direct(name, figure).text() for figure in columns.values())]
        for name in results.rounds
        if name != "direct"
    ]
    return "## Latency added to the direct run of the same round\n\n" + table(["µs", *columns], rows)


def _leaving(results: Results) -> str:
    rows = []
    for name, entries in results.rounds.items():
        never = sum(entry.aborts_never for entry in entries)
        total = never + sum(entry.aborts_seen for entry in entries)
        # Of none that was seen there is no time.
        cells = [
            results.spread(name, figure).text(2, 0.001) if total > never else "-"
            for figure in ("abort_p50", "abort_p99")
        ]
        starts = results.startups.get(name)
        start = Spread.over(starts).text(2) if starts else "-"
        rows.append([name, *cells, f"{never} of {total}", start])
    text = (
        "A client closes its connection in the middle of a stream; how long until the engine sees its own connection closed. "
        f"*Never*: not within {results.plan.patience_seconds:g} s, so an engine goes on for nobody. Start-up: from the "
        "process's start to the first call that is answered, each time with an empty folder."
    )
    header = ["target", "to the engine, ms p50", "ms p99", "never", "start-up s"]
    return f"## Clients that leave, and start-up\n\n{text}\n\n" + table(header, rows)


def _ratios(results: Results) -> str:
    figures = {
        "CPU a call": "cpu_per_call",
        "CPU a chunk": "cpu_per_chunk",
        "calls/s": "calls_per_second",
        "memory streaming": "pss_mb_streaming",
    }
    rows = [
        [name, *(results.ratio(name, figure).text(2) for figure in figures.values())]
        for name in results.rounds
        if name not in {"direct", REFERENCE}
    ]
    return f"## Ratios to {REFERENCE}, round by round\n\n" + table(["target", *figures], rows)


def _bottlenecks(results: Results) -> str:
    columns = {
        f"{load}: {who}": f"busy_{who}_{load}"
        for load in ("calls", "streams")
        for who in ("target", "engine", "generator", "others")
    }
    rows = [[name, *(results.spread(name, figure).text(2) for figure in columns.values())] for name in results.rounds]
    text = (
        "In cores. The direct run is the ceiling of engine and generator together; in front of a target neither may be "
        "near 1.00. `others` is everything else on the machine: above a few hundredths, trust only the ratios."
    )
    return f"## Who was busy\n\n{text}\n\n" + table(["target", *columns], rows)


def _settings(results: Results) -> str:
    lines = [f"- {name} {target.version}: {target.settings}" for name, target in results.targets.items()]
    lines += [f"- {name}: SKIPPED, {reason}" for name, reason in results.skipped.items()]
    return "## Versions and settings\n\n" + "\n".join(lines)


def plots(results: Results) -> dict[str, str]:
    """Draw what a reader compares first."""
    names = [name for name in results.rounds if name != "direct"]
    drawn = {
        "cpu-call": bars(
            "CPU time a call (lower is better)", [(name, results.spread(name, "cpu_per_call")) for name in names], "µs"
        ),
        "cpu-chunk": bars(
            "CPU time a streamed chunk (lower is better)",
            [(name, results.spread(name, "cpu_per_chunk")) for name in names],
            "µs",
            1,
        ),
        "latency": bars(
            "latency added to a call, one client, p50 (lower is better)",
            [(name, results.less_direct(name, "latency_p50")) for name in names],
            "µs",
        ),
        "leaving": bars(
            "client closes to engine sees it, p99 (those that never tell the engine are left out)",
            [(name, results.spread(name, "abort_p99").scaled(0.001)) for name in names],
            "ms",
            1,
        ),
        "memory": bars(
            "memory while streaming, PSS (lower is better)",
            [(name, results.spread(name, "pss_mb_streaming")) for name in names],
            "MB",
        ),
    }
    if REFERENCE in results.rounds:
        others = [name for name in names if name != REFERENCE]
        for plot, title, figure in RATIOS:
            rows = [(name, results.ratio(name, figure)) for name in others]
            drawn[plot] = bars(f"{title}, times {REFERENCE}'s, round by round", rows, "times", 2)
    return {name: svg for name, svg in drawn.items() if svg}
