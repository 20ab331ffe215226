"""Puts one round of load on one target and turns it into figures; it starts no target and writes no report."""

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from tests.performance.accounting import Watch, memory_bytes, process_tree
from tests.performance.leaving import settled
from tests.performance.targets import Target
from tests.support.scripted_engine.process import ScriptedEngine

ROOT = Path(__file__).resolve().parents[2]
Json = dict[str, Any]
GRACE_SECONDS = 120.0
ENGINE_SECONDS = 40.0


@dataclass(frozen=True)
class Plan:
    """The load of one round."""

    rounds: int = 5
    call_connections: int = 32
    call_seconds: float = 5.0
    streams: int = 200
    stream_seconds: float = 8.0
    latency_seconds: float = 4.0
    idle_seconds: float = 2.0
    cancel_seconds: float = 8.0
    warmup_seconds: float = 1.0
    # How often each target is started, and after how long an engine that saw no end never will.
    starts: int = 3
    patience_seconds: float = 5.0
    prompt_bytes: int = 500
    chunk_interval_ms: float = 50.0


QUICK = Plan(
    rounds=2,
    call_seconds=1.5,
    stream_seconds=3.0,
    latency_seconds=1.5,
    idle_seconds=0.5,
    cancel_seconds=2.0,
    starts=1,
    warmup_seconds=0.5,
)


@dataclass(frozen=True)
class Figures:
    """What one round said about one target; µs unless the name says otherwise."""

    cpu_per_call: float
    calls_per_second: float
    latency_p50: float
    latency_p99: float
    cpu_per_chunk: float
    streams: int
    chunk_delay_p50: float
    chunk_delay_p99: float
    first_chunk_p50: float
    first_chunk_p99: float
    abort_p50: float
    abort_p99: float
    aborts_seen: int
    aborts_never: int
    idle_cpu_percent: float
    pss_mb_streaming: float
    peak_rss_mb: float
    pss_mb_after: float
    errors: int
    # In cores, while calls and while streams ran: a value near 1 is a bottleneck, `others` is noise.
    busy_target_calls: float
    busy_engine_calls: float
    busy_generator_calls: float
    busy_others_calls: float
    busy_target_streams: float
    busy_engine_streams: float
    busy_generator_streams: float
    busy_others_streams: float


class Meter:
    """Runs the load generator and reads what it says."""

    def __init__(self, plan: Plan, engine: ScriptedEngine, prefix: tuple[str, ...]) -> None:
        """Keep what is the same for every target."""
        self.plan = plan
        self.engine = engine
        self.prefix = prefix
        self.raw: list[Json] = []

    def load(self, target: Target, mode: str, connections: int, seconds: float) -> Json:
        """Run the generator once."""
        plan = self.plan
        command = [*self.prefix, sys.executable, "-m", "tests.performance.load", mode, "--url", target.url]
        command += ["--model", target.model]
        command += ["--connections", str(connections), "--seconds", str(seconds)]
        command += ["--warmup-seconds", str(plan.warmup_seconds), "--prompt-bytes", str(plan.prompt_bytes)]
        command += ["--chunk-interval-ms", str(plan.chunk_interval_ms)]
        command += ["--watch", f"target={target.pid}", "--watch", f"engine={self.engine.pid}"]
        if target.keys is not None:
            command += ["--keys", str(target.keys)]
        for header in target.headers:
            command += ["--header", header]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=seconds + GRACE_SECONDS)
        result = cast("Json", json.loads(done.stdout))
        self.raw.append({"target": target.name, "mode": mode, "connections": connections, **result})
        return result

    def idle_cpu_ns_per_second(self, target: Target) -> float:
        """Measure what the target uses with nothing to do; it is taken off what a call and a chunk are charged."""
        watch = Watch.tree(target.name, target.pid)
        cpu, wall = watch.cpu_ns(), time.monotonic_ns()
        time.sleep(self.plan.idle_seconds)
        return (watch.cpu_ns() - cpu) * 1e9 / (time.monotonic_ns() - wall)

    def wait_for_engine(self) -> None:
        """Let end what a target before this one left running, because it never told the engine that its client had gone."""
        with contextlib.suppress(AssertionError):  # what still runs then shows among those that were busy
            self.engine.wait(ENGINE_SECONDS, running=0)

    def warm_up(self, target: Target) -> None:
        """Open pools, fill caches and compile what compiles late, once, before the first round."""
        self.load(target, "calls", 4, 0.5)
        self.load(target, "streams", 4, 0.5)
        self.raw.clear()

    def round(self, target: Target) -> Figures:
        """Measure one target once."""
        plan = self.plan
        self.wait_for_engine()
        idle = self.idle_cpu_ns_per_second(target)
        calls = self.load(target, "calls", plan.call_connections, plan.call_seconds)
        one = self.load(target, "calls", 1, plan.latency_seconds)
        streams = self.load(target, "streams", target.streams or plan.streams, plan.stream_seconds)
        held = streams["watched"]["target"]
        cancels = self.load(target, "cancels", target.streams or plan.streams, plan.cancel_seconds)
        closed = {int(client): moment for client, moment in cancels["closed"].items()}
        leaving = settled(closed, self.engine.aborts, plan.patience_seconds)
        after = memory_bytes(process_tree(target.pid))
        return Figures(
            cpu_per_call=cpu_us(calls, "completed", idle),
            calls_per_second=calls["completed"] / calls["window_seconds"],
            latency_p50=one["latency_us"]["p50"],
            latency_p99=one["latency_us"]["p99"],
            cpu_per_chunk=cpu_us(streams, "chunks", idle),
            streams=streams["streams_started"],
            chunk_delay_p50=streams["chunk_delay_us"]["p50"],
            chunk_delay_p99=streams["chunk_delay_us"]["p99"],
            first_chunk_p50=streams["first_chunk_us"]["p50"],
            first_chunk_p99=streams["first_chunk_us"]["p99"],
            abort_p50=leaving.p50_us,
            abort_p99=leaving.p99_us,
            aborts_seen=leaving.seen,
            aborts_never=leaving.never,
            idle_cpu_percent=idle / 1e7,
            pss_mb_streaming=held["pss_bytes"] / 1e6,
            peak_rss_mb=held["peak_rss_bytes"] / 1e6,
            pss_mb_after=after["pss_bytes"] / 1e6,
            errors=sum(each["errors"] for each in (calls, one, streams, cancels)),
            busy_target_calls=calls["watched"]["target"]["busy_share"],
            busy_engine_calls=calls["watched"]["engine"]["busy_share"],
            busy_generator_calls=calls["generator_busy_share"],
            busy_others_calls=calls["others_busy_share"],
            busy_target_streams=held["busy_share"],
            busy_engine_streams=streams["watched"]["engine"]["busy_share"],
            busy_generator_streams=streams["generator_busy_share"],
            busy_others_streams=streams["others_busy_share"],
        )


def cpu_us(run: Json, count: str, idle_ns_per_second: float) -> float:
    """Charge the CPU time of the window, less its idle share, to what was done in it."""
    used = run["watched"]["target"]["cpu_ns"] - idle_ns_per_second * run["window_seconds"]
    return float(used / 1000 / run[count]) if run[count] else float("nan")


def as_json(figures: Figures) -> Json:
    """Give the figures by name."""
    return asdict(figures)
