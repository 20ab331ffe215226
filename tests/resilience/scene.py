"""One scenario's clients, and what must be true of them, the gateway and its engines once it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.performance.remains import Remains, look
from tests.resilience.asking import Verdict
from tests.resilience.load import Load
from tests.resilience.stage import KEY, Stage

MEBI = 1024 * 1024
# What may stay after a scenario: pools of the allocator, not answers. Per connection that was open it may be more.
GROWTH_BYTES = 32 * MEBI
GROWTH_BYTES_PER_CONNECTION = 24 * 1024
# The metrics page is asked for by a task and a connection of its own.
SPARE_TASKS = 4
SPARE_FILES = 16
QUIET_SECONDS = 60.0
WAIT_SECONDS = 60.0
LOOK_SECONDS = 0.1
NOISE = ("Traceback", "crashed", "never retrieved", "failed to settle")


@dataclass
class Scene:
    """What a scenario works with.

    Attributes:
        notes: what was measured, for the table.
        problems: what was not as it should be.
        connections: the most that were open at a time, for the bound on memory.
        untried: why it could not be played here, if it could not.
        exact: whether every try reached an engine that still tells of it.
    """

    stage: Stage
    say: Callable[[str], None]
    load: Load
    before: Remains
    tasks: float
    retries: float
    logged: int
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    connections: int = 0
    exact: bool = True
    untried: str = ""
    peak_bytes: int = 0
    after: Remains | None = None
    tasks_after: float = 0.0

    def expect(self, holds: bool, otherwise: str) -> None:
        """Something that must be true."""
        if not holds:
            self.problems.append(otherwise)

    async def until(self, holds: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> bool:
        """Wait for something that must come true; a problem if it does not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not await asyncio.to_thread(holds):  # noqa: ASYNC110 - it is in other processes
                    await asyncio.sleep(LOOK_SECONDS)  # nobody tells of it
            return True
        self.problems.append(f"not within {seconds:g} s: {what}")
        return False

    async def until_calls(self, more: int) -> bool:
        """Wait for so many more answers."""
        wanted = len(self.load.said) + more
        return await self.until(lambda: len(self.load.said) >= wanted, f"{more} more answers")

    async def ready(self) -> bool:
        """Wait until every replica is ready, whatever is in flight."""
        gateway, replicas = self.stage.gateway, self.stage.replicas
        return await self.until(
            lambda: gateway.metric("moegate_replica_state", state="ready") == replicas, "all are ready"
        )

    async def at_rest(self) -> bool:
        """Wait until every replica is ready and no call is in flight."""
        return await self.until(self.stage.gateway.at_rest, "every replica is ready and idle")

    def pick(self, small: int, full: int) -> int:
        """A number by the size of the run."""
        return small if self.stage.small else full

    async def judge(self) -> None:
        """Check what every scenario must leave behind."""
        load, gateway = self.load, self.stage.gateway
        for verdict in (Verdict.WRONG, Verdict.CUT, Verdict.HANGS, Verdict.REFUSED):
            bad = [said for said in load.said if said.verdict is verdict]
            self.expect(not bad, f"{len(bad)} answers {verdict}, such as {bad[:1]}")
        if gateway.process.poll() is not None:
            self.problems.append(f"the gateway ended with {gateway.process.returncode}")
            return
        left = await self._quiet()
        self.problems += left
        if not load.left:
            self._count_tries()
        for word in NOISE:
            self.expect(word not in gateway.log[self.logged :], f"the log says {word!r}")
        assert self.after is not None
        bound = GROWTH_BYTES + GROWTH_BYTES_PER_CONNECTION * self.connections
        grown = self.after.rss_bytes - self.before.rss_bytes
        self.expect(grown <= bound, f"memory grew by {grown / MEBI:.1f} MiB, allowed {bound / MEBI:.0f}")

    def _count_tries(self) -> None:
        load = self.load
        retries = self.stage.gateway.metric("moegate_retries_total") - self.retries
        told = sum(max(0, said.attempts - 1) for said in load.said)
        self.expect(retries == told, f"the gateway counts {retries:g} retries, clients were told of {told}")
        seen = self.stage.seen()
        if self.exact and load.said and seen is not None:
            self.expect(seen == load.tries, f"engines saw {seen} calls, clients were told of {load.tries} tries")

    async def _quiet(self) -> list[str]:
        deadline = asyncio.get_running_loop().time() + QUIET_SECONDS
        while True:
            left = await asyncio.to_thread(self._left)
            if not left or asyncio.get_running_loop().time() > deadline:
                return left
            await asyncio.sleep(LOOK_SECONDS)  # nobody tells when all is put away

    def _left(self) -> list[str]:
        gateway, before = self.stage.gateway, self.before
        after = self.after = look(gateway.process.pid, gateway.port, ())
        left = after.left_over(before)
        if after.files > before.files + SPARE_FILES:
            left.append(f"{after.files} open files, {before.files} before")
        tasks = self.tasks_after = gateway.metric("moegate_tasks")
        if tasks > self.tasks + SPARE_TASKS:
            left.append(f"{tasks:g} tasks, {self.tasks:g} before")
        if not gateway.at_rest():
            left.append("a replica is not ready, or a call is in flight")
        left += self.stage.left()
        return left


@asynccontextmanager
async def scene(stage: Stage, say: Callable[[str], None]) -> AsyncIterator[Scene]:
    """A scenario's own; its end is judged."""
    gateway = stage.gateway
    await asyncio.to_thread(stage.reset)
    before = await asyncio.to_thread(look, gateway.process.pid, gateway.port, ())
    load = Load([gateway.port], KEY, stage.draw, "patient", stage.seed, stage.clients, stage.calls)
    counted = [await asyncio.to_thread(gateway.metric, name) for name in ("moegate_tasks", "moegate_retries_total")]
    made = Scene(stage, say, load, before, *counted, len(gateway.log))
    watch = asyncio.create_task(_watch(made))
    try:
        yield made
        await made.judge()
    finally:
        watch.cancel()


async def _watch(made: Scene) -> None:
    while True:
        with suppress(OSError):
            made.peak_bytes = max(made.peak_bytes, made.stage.gateway.rss_bytes)
        await asyncio.sleep(LOOK_SECONDS)  # a sample of its memory
