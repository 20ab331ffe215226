"""What is made larger, and what is watched meanwhile; it starts targets and measures, and writes no page."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import linear_regression

from tests.performance.accounting import memory_bytes, process_tree
from tests.performance.figures import Spread
from tests.performance.measure import Meter, Plan, cpu_us
from tests.performance.startups import Starter, start_timed
from tests.performance.targets import Place, Target
from tests.support.scripted_engine.process import scripted_engine

# All levels get as many chunks a second in total, so that they differ in nothing but the number of streams.
CHUNKS_A_SECOND = 5000.0
CPU_A_CALL = "CPU µs a call"
CPU_A_CHUNK = "CPU µs a chunk"


@dataclass(frozen=True)
class Axis:
    """One thing that grows."""

    name: str
    unit: str
    levels: tuple[int, ...]
    figure: str
    # The targets for which it means anything; all, unless it is said.
    only: tuple[str, ...] = ()


AXES = (
    Axis("streams", "stream", (10, 100, 1000), CPU_A_CHUNK),
    Axis("connections", "connection", (1, 32, 256), CPU_A_CALL),
    Axis("replicas", "replica", (1, 8, 64), CPU_A_CALL),
    Axis("keys", "key", (10, 1000, 10_000), CPU_A_CALL, ("moegate-keyed",)),
    Axis("prompt KB", "KB", (1, 32, 1024), CPU_A_CALL),
)


@dataclass
class Growth:
    """What one target's cost was at each level, one figure a round."""

    axis: Axis
    target: str
    rounds: dict[int, list[float]] = field(default_factory=dict)
    # Only where streams grow: bytes that each of the most streams adds to the process.
    bytes_per_stream: list[float] = field(default_factory=list)
    errors: int = 0

    def spread(self, level: int) -> Spread:
        """Summarise the rounds of a level."""
        return Spread.over(self.rounds[level])

    @property
    def times(self) -> float:
        """How many times the cost of the lowest level the highest one costs: 1 is flat."""
        return self.spread(self.axis.levels[-1]).middle / self.spread(self.axis.levels[0]).middle

    @property
    def slope_ns(self) -> float:
        """What one more costs, in ns: the line through the medians."""
        medians = [self.spread(level).middle for level in self.axis.levels]
        return linear_regression(self.axis.levels, medians).slope * 1000


@dataclass(frozen=True)
class Level:
    """A target that was started for one level, and how to load it."""

    meter: Meter
    target: Target
    connections: int
    idle_pss: int


@contextmanager
def started(axis: Axis, starter: Starter, plan: Plan) -> Iterator[dict[int, Level]]:
    """Start an engine and a target for each level, all at once, so that rounds can go from one to the next."""
    with ExitStack() as stack:
        yield {level: _level(axis, level, starter, plan, stack) for level in axis.levels}


def _level(axis: Axis, level: int, starter: Starter, plan: Plan, stack: ExitStack) -> Level:
    interval_ms = level * 1000 / CHUNKS_A_SECOND if axis.name == "streams" else plan.chunk_interval_ms
    more = level - 1 if axis.name == "replicas" else 0
    options = ("--timestamps", "--chunk-interval-ms", str(interval_ms), "--more-ports", str(more))
    engine = stack.enter_context(scripted_engine(*options))
    own = replace(
        plan,
        chunk_interval_ms=interval_ms,
        prompt_bytes=level * 1024 if axis.name == "prompt KB" else plan.prompt_bytes,
    )
    keys = level if axis.name == "keys" else 1

    def place(folder: Path) -> Place:
        return Place(engine, folder, others=engine.more_urls, keys=keys)

    target, _ = start_timed(starter, place, 1, stack)
    meter = Meter(own, engine, ())
    meter.warm_up(target)
    # A prompt of a megabyte times 32 would measure the machine's caches and the generator's.
    connections = {"streams": level, "connections": level, "prompt KB": 4}.get(axis.name, plan.call_connections)
    return Level(meter, target, connections, memory_bytes(process_tree(target.pid))["pss_bytes"])


def measure(growth: Growth, level: int, at: Level) -> None:
    """Take one round of one level."""
    plan = at.meter.plan
    at.meter.wait_for_engine()
    idle = at.meter.idle_cpu_ns_per_second(at.target)
    streams = growth.axis.figure == CPU_A_CHUNK
    seconds = plan.stream_seconds if streams else plan.call_seconds
    run = at.meter.load(at.target, "streams" if streams else "calls", at.connections, seconds)
    growth.errors += run["errors"]
    growth.rounds.setdefault(level, []).append(cpu_us(run, "chunks" if streams else "completed", idle))
    if streams and level == growth.axis.levels[-1]:
        held = run["watched"]["target"]["pss_bytes"] - at.idle_pss
        growth.bytes_per_stream.append(held / level)


def grown(axis: Axis, name: str, starter: Starter, plan: Plan, progress: Callable[[str], None]) -> Growth:
    """Measure one target along one axis, round by round through the levels."""
    growth = Growth(axis, name)
    with started(axis, starter, plan) as levels:
        for number in range(1, plan.rounds + 1):
            for level, at in levels.items():
                measure(growth, level, at)
                progress(
                    f"{name}, round {number} of {plan.rounds}, {level:,} {axis.name}: {growth.rounds[level][-1]:,.1f}"
                )
    return growth


def as_json(growth: Growth) -> Mapping[str, object]:
    """Everything that was measured."""
    return {
        "axis": growth.axis.name,
        "target": growth.target,
        "figure": growth.axis.figure,
        "rounds": {str(level): values for level, values in growth.rounds.items()},
        "bytes_per_stream": growth.bytes_per_stream,
        "errors": growth.errors,
    }
