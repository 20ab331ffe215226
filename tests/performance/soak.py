"""Holds streams on a gateway for some minutes and fails when memory, connections or calls stay behind; no comparison.

Without --url it starts a scripted engine and moegate itself. One stream in eight is closed by the client half-way.
"""

import argparse
import asyncio
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import linear_regression
from time import monotonic

import uvloop

from tests.performance.files import allow_files
from tests.performance.pages import stem
from tests.performance.plots import Axes, lines
from tests.performance.remains import Remains, look
from tests.performance.soak_load import Soak
from tests.performance.starters import STARTERS
from tests.performance.targets import Place, Target, UnavailableError
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

QUIET_SECONDS = 20.0
KIB = 1024
# Of a curve, however long it ran.
MOST_POINTS = 600


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--chunks", type=int, default=30, help="content chunks of each stream")
    parser.add_argument("--chunk-interval-ms", type=float, default=10.0, help="of the engine that is started here")
    parser.add_argument("--url", help="a running gateway; needs --pid")
    parser.add_argument("--pid", type=int, help="its process")
    parser.add_argument("--header", action="append", default=[], help="`name: value`, repeatable")
    parser.add_argument("--target", default="moegate", choices=sorted(STARTERS), help="what to start without --url")
    parser.add_argument("--max-slope-kib", type=float, default=2048.0, help="allowed growth of memory a minute")
    parser.add_argument("--model", default="kimi-k2")
    parser.add_argument("--prompt-bytes", type=int, default=500)
    parser.add_argument("--out", type=Path, help="a folder for the curve of memory: CSV and SVG")
    options = parser.parse_args()
    if (options.url is None) != (options.pid is None):
        parser.error("--url and --pid belong together")
    return options


def say(text: str) -> None:
    """Show progress at once."""
    sys.stdout.write(f"[soak] {text}\n")
    sys.stdout.flush()


def slope_kib_per_minute(memory: list[tuple[float, Remains]]) -> float:
    """Fit a line through the second half: the first one fills pools and caches."""
    half = memory[len(memory) // 2 :]
    times = [when / 60 for when, _ in half]
    return linear_regression(times, [remains.rss_bytes / KIB for _, remains in half]).slope if len(half) > 1 else 0.0


def keep(options: argparse.Namespace, target: Target, memory: list[tuple[float, Remains]]) -> Path:
    """Write what memory was, second by second, and draw it."""
    options.out.mkdir(parents=True, exist_ok=True)
    path = Path(options.out / stem(f"soak-{target.name}"))
    rows = [
        f"{when:.1f},{look.pss_bytes},{look.rss_bytes},{look.files},{look.client_connections}" for when, look in memory
    ]
    path.with_name(path.name + ".csv").write_text(
        "\n".join(["seconds,pss_bytes,rss_bytes,files,client_connections", *rows]) + "\n"
    )
    each = max(1, len(memory) // MOST_POINTS)
    curves = {
        "PSS": [(when / 60, look.pss_bytes / 1e6) for when, look in memory[::each]],
        "RSS": [(when / 60, look.rss_bytes / 1e6) for when, look in memory[::each]],
    }
    title = f"{target.name}: memory with {options.streams} streams for {options.minutes:g} minutes"
    path.with_name(path.name + ".svg").write_text(lines(title, curves, Axes("minutes", "MB")))
    return path


async def wait_quiet(target: Target, engine: ScriptedEngine | None, before: Remains) -> tuple[Remains, list[str]]:
    """Give the gateway some time to put everything away, then say what is still there."""
    _, port = target.address
    deadline = monotonic() + QUIET_SECONDS
    while True:
        after = look(target.pid, port, headers=target.headers)
        left = after.left_over(before)
        if engine is not None:
            state = await asyncio.to_thread(engine.state)
            left += [f"engine: {key} {state[key]}" for key in ("running", "waiting", "paused") if state[key]]
            left += [f"engine: {state['violations']} violations of HTTP"] if state["violations"] else []
        if not left or monotonic() > deadline:
            return after, left
        await asyncio.sleep(0.5)


async def run(options: argparse.Namespace, target: Target, engine: ScriptedEngine | None) -> int:
    """Soak and judge."""
    _, port = target.address
    before = look(target.pid, port, headers=target.headers)
    say(f"{options.streams} streams for {options.minutes:g} min on {target.name}; before: {before.text()}")
    soak = Soak(options, say, target)
    await soak.hold()
    after, problems = await wait_quiet(target, engine, before)
    slope = slope_kib_per_minute(soak.memory)
    if options.out is not None:
        say(f"written: {keep(options, target, soak.memory)}.csv and .svg")
    samples = soak.samples
    say(f"after: {after.text()}")
    say(f"{soak.started:,} streams ({soak.cancelled:,} closed by the client), {samples.chunks:,} chunks")
    say(f"{samples.completed:,} streams and calls completed, {samples.errors:,} errors {samples.first_errors}")
    say(f"memory slope in the second half: {slope:+,.0f} KiB a minute (allowed {options.max_slope_kib:,.0f})")
    if engine is not None:
        state = engine.state()
        say(f"engine: {state['aborted']:,} aborted, {state['connections']} connections open (kept by the pool)")
    if slope > options.max_slope_kib:
        problems.append(f"memory grows by {slope:,.0f} KiB a minute")
    if samples.errors:
        problems.append(f"{samples.errors} errors")
    for problem in problems:
        say(f"PROBLEM: {problem}")
    say("FAILED" if problems else "passed")
    return 1 if problems else 0


def main() -> int:
    """Soak what was named, or start it first."""
    options = arguments()
    allow_files()
    if options.url is not None:
        target = Target("given", options.url, options.pid, "-", "-", tuple(options.header))
        return uvloop.run(run(options, with_key(options, target), None))
    with ExitStack() as stack:
        pace = ("--timestamps", "--answer-ms", "20", "--chunk-interval-ms", str(options.chunk_interval_ms))
        engine = stack.enter_context(scripted_engine(*pace))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="moegate-soak-")))
        try:
            target = STARTERS[options.target](Place(engine, folder))
        except UnavailableError as reason:
            say(f"cannot start {options.target}: {reason}")
            return 2
        stack.callback(target.stop)
        return uvloop.run(run(options, with_key(options, target), engine))


def with_key(options: argparse.Namespace, target: Target) -> Target:
    """Let every request go to the target with its headers, a key above all."""
    options.url = target.url
    options.header = list(target.headers)
    return target


if __name__ == "__main__":
    sys.exit(main())
