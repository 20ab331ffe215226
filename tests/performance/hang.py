"""Measures how long clients wait for the first event while one of two engines hangs; it judges nothing.

    python -m tests.performance.hang [--targets moegate,vllm-router] [--kinds stopped,silent]

Targets keep the retries, breakers and health checks that they come with. `stopped`: the engine's process does not run, and its
port still takes connections. `silent`: it is well by all its pages, and answers no call.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic

import uvloop

from tests.performance.figures import summary_us
from tests.performance.load_connections import Samples, StreamConnection
from tests.performance.load_requests import request_bytes
from tests.performance.machine import describe
from tests.performance.pages import RESULTS, on_what, stem, table, today, write
from tests.performance.starters import STARTERS, USUAL
from tests.performance.startups import start_timed
from tests.performance.targets import Place, Target, UnavailableError
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

KINDS = ("stopped", "silent")
# A second each, so that about twenty run at a time: what counts who is busy has something to count.
CHUNKS = 100
# Enough streams for what learns from them how long a first event takes.
HEALTHY = 64
PROMPT_BYTES = 500
# Between one client and the next: what notices a bad engine late serves many badly.
GAP_SECONDS = 0.05


@dataclass(frozen=True)
class Waits:
    """What the clients of one target saw."""

    target: str
    kind: str
    clients: int
    served: int
    refused: int
    p50_ms: float
    p99_ms: float
    slowest_ms: float

    @property
    def waiting(self) -> int:
        """Those who had no event and no answer when their patience ended."""
        return self.clients - self.served - self.refused


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="hang", description=__doc__)
    usual = [*(name for name in USUAL if name != "direct"), "moegate-hedged"]
    parser.add_argument("--targets", default=",".join(usual))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--clients", type=int, default=400)
    parser.add_argument("--patience-seconds", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    unknown = {*options.targets.split(",")} - {*STARTERS} | {*options.kinds.split(",")} - {*KINDS}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return options


def say(text: str) -> None:
    """Show progress on stderr, so that stdout is the page alone."""
    sys.stderr.write(f"[hang] {text}\n")
    sys.stderr.flush()


async def ask(target: Target, samples: Samples, patience_seconds: float) -> None:
    """Be one client: ask for a short stream, and leave when the first event does not come."""
    host, port = target.address
    options = argparse.Namespace(
        url=target.url, model=target.model, header=list(target.headers), prompt_bytes=PROMPT_BYTES
    )
    request = request_bytes(options, chunks=CHUNKS)
    over = asyncio.Event()
    _, stream = await asyncio.get_running_loop().create_connection(
        lambda: StreamConnection(request, samples, lambda: None, lambda _: over.set()), host, port
    )
    try:
        await asyncio.wait_for(over.wait(), patience_seconds)
    except TimeoutError:
        stream.ended = None
        stream.transport.abort()


async def crowd(target: Target, clients: int, gap_seconds: float, patience_seconds: float) -> Samples:
    """Let clients come one after the other, whatever became of those before them."""
    samples = Samples()
    begun = monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            await asyncio.sleep(max(0.0, begun + number * gap_seconds - monotonic()))
            group.create_task(ask(target, samples, patience_seconds))
    return samples


@contextmanager
def hanging(engine: ScriptedEngine, kind: str) -> Iterator[None]:
    """Let an engine hang for a while."""
    if kind == "stopped":
        os.kill(engine.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(engine.pid, signal.SIGCONT)
    else:
        engine.all_calls("first_byte_stall")
        try:
            yield
        finally:
            engine.reset()


def waits(name: str, kind: str, options: argparse.Namespace) -> Waits:
    """Start a target before two engines, let it serve, then let one of the two hang."""
    with ExitStack() as stack:
        pace = ("--timestamps", "--chunk-interval-ms", "10")
        well, ill = (stack.enter_context(scripted_engine(*pace, name=each)) for each in ("well", "ill"))

        def place(folder: Path) -> Place:
            # The one that will hang is the first, for those that ask engines in order.
            return Place(ill, folder, others=(well.url,), careful=True)

        target, _ = start_timed(STARTERS[name], place, 1, stack)
        uvloop.run(crowd(target, HEALTHY, 0.02, options.patience_seconds))
        with hanging(ill, kind):
            samples = uvloop.run(crowd(target, options.clients, GAP_SECONDS, options.patience_seconds))
        times = summary_us(samples.first_chunk_ns)
        return Waits(
            target=name,
            kind=kind,
            clients=options.clients,
            served=len(samples.first_chunk_ns),
            refused=samples.errors,
            p50_ms=times["p50"] / 1000,
            p99_ms=times["p99"] / 1000,
            slowest_ms=times["max"] / 1000,
        )


def preface(options: argparse.Namespace, machine: dict[str, object]) -> str:
    """Say what was done, on what, and how to read it."""
    return (
        f"{on_what(machine)}. {options.clients} clients, one every {GAP_SECONDS:g} s from the moment at which the engine "
        f"hangs; each waits {options.patience_seconds:g} s for its first event, and its stream then takes "
        f"{CHUNKS / 100:g} s. Times are of those that were served. Every target keeps the retries, breaker and health checks "
        "that it comes with, and chooses the engine with the fewest calls where it can. *Stopped*: the process does not run. "
        "*Silent*: health pages answer, calls do not."
    )


def markdown(
    found: list[Waits], skipped: dict[str, str], options: argparse.Namespace, machine: dict[str, object]
) -> str:
    """Write the page."""
    rows = [
        [
            f"{each.target}, {each.kind}",
            f"{each.served} of {each.clients}",
            str(each.refused),
            str(each.waiting),
            *(f"{value:,.0f}" for value in (each.p50_ms, each.p99_ms, each.slowest_ms)),
        ]
        for each in found
    ]
    header = ["target, engine", "served", "error", "still waiting", "first event p50, ms", "p99, ms", "slowest, ms"]
    parts = [
        f"# One of two engines hangs, {today()}",
        preface(options, machine),
        table(header, rows),
    ]
    if skipped:
        parts.append("## Skipped\n\n" + "\n".join(f"- {name}: {reason}" for name, reason in skipped.items()))
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Run, print the page, keep it with its JSON."""
    options = arguments()
    machine = describe()
    found: list[Waits] = []
    skipped: dict[str, str] = {}
    for name in options.targets.split(","):
        for kind in options.kinds.split(","):
            say(f"{name}, {kind}")
            try:
                found.append(waits(name, kind, options))
            except UnavailableError as reason:
                skipped[name] = str(reason)
                say(f"{name} SKIPPED: {reason}")
                break
            say(f"  {found[-1]}")
    everything = {"machine": machine, "skipped": skipped, "waits": [asdict(each) for each in found]}
    name = stem("hang")
    sys.stdout.write(write(options.out, name, markdown(found, skipped, options, machine), everything, {}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
