"""Keeps so many calls under way for so long, level by level and round by round; two endpoints take turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from msgspec import Struct, field

from gateway import CommandContext, Connections
from plugins.bench.asking import ask
from plugins.bench.plan import Endpoint, Plan
from plugins.bench.prompts import Prompts
from plugins.bench.samples import Window

# After an error a caller waits so long, or a dead endpoint would be asked thousands of times a second.
PAUSE_SECONDS = 0.2
TICK_SECONDS = 0.02

Progress = Callable[["Stage", "Window | None"], None]


class Stage(Struct, frozen=True):
    """One window of the plan: `round` counts from 1."""

    round: int
    at_once: int
    endpoint: Endpoint


class Results(Struct):
    """What has been measured so far: windows by endpoint and level, one a round."""

    plan: Plan
    windows: dict[tuple[str, int], list[Window]] = field(default_factory=dict)

    def of(self, label: str, at_once: int) -> list[Window]:
        """One endpoint's windows at one level, round by round."""
        return self.windows.get((label, at_once), [])

    def pooled(self, label: str, at_once: int) -> Window:
        """All calls of all rounds."""
        whole = Window(at_once)
        for window in self.of(label, at_once):
            whole.join(window)
        return whole

    @property
    def answered(self) -> int:
        """Calls with a whole answer, of all windows."""
        return sum(window.answered for windows in self.windows.values() for window in windows)


def stages(plan: Plan) -> Iterator[Stage]:
    """The order: A B, B A, A B … at each level, so that neither is always the first."""
    for number in range(1, plan.rounds + 1):
        turns = plan.endpoints if number % 2 else plan.endpoints[::-1]
        for at_once in plan.levels:
            for endpoint in turns:
                yield Stage(number, at_once, endpoint)


async def measure(opener: CommandContext, key: str, prompts: Prompts, results: Results, progress: Progress) -> None:
    """Fill in the results, window by window; what is there when it is cancelled is whole."""
    plan = results.plan
    for stage in stages(plan):
        progress(stage, None)
        # New ones for each window: what one left behind is no other's.
        async with opener.connections(stage.endpoint.url, key, plan.timeout_seconds, stage.at_once) as connections:
            window = await _window(connections, stage, plan, prompts)
        results.windows.setdefault((stage.endpoint.label, stage.at_once), []).append(window)
        progress(stage, window)


async def _window(connections: Connections, stage: Stage, plan: Plan, prompts: Prompts) -> Window:
    """Warm up, then measure: calls that end within the window count, whenever they began."""
    window = Window(stage.at_once)
    counting = False

    async def caller() -> None:
        while True:
            sample = await ask(connections, prompts.next(), plan.timeout_seconds)
            if counting:
                window.add(sample)
            if sample.error:
                await asyncio.sleep(PAUSE_SECONDS)

    async def clock() -> None:
        while True:
            due = time.perf_counter() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            if counting:
                window.lateness.add(max(time.perf_counter() - due, 0.0))

    callers = [asyncio.create_task(each()) for each in (clock, *[caller] * stage.at_once)]
    try:
        await _wait(callers, plan.warm_up_seconds)
        counting, began, cpu = True, time.perf_counter(), time.process_time()
        await _wait(callers, plan.seconds)
        window.seconds = time.perf_counter() - began
        window.cpu_cores = (time.process_time() - cpu) / window.seconds
        counting = False
    finally:
        for task in callers:
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    return window


async def _wait(callers: list[asyncio.Task[None]], seconds: float) -> None:
    """Sleep; a caller never ends but by a fault of ours, which must not be slept through."""
    done, _ = await asyncio.wait(callers, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()
