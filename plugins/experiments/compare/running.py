"""Asks all calls of a plan that are not answered yet, some at once, and writes each answer down as it comes; compares nothing."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
from msgspec import Struct

from plugins.experiments.compare.arms import Ask
from plugins.experiments.compare.asking import Target, ask
from plugins.experiments.compare.data import CallSource
from plugins.experiments.compare.record import Plan
from plugins.experiments.compare.results import Answer, Result, ResultLog

if TYPE_CHECKING:
    from plugins.experiments.compare.checks import Checker

_CONNECT_SECONDS = 10.0


class Standing(Struct):
    """How far a run is: `done` of `total`, of which `before` were there when it began; `errors` by arm."""

    total: int
    before: int
    done: int
    errors: Counter[str]
    began: float

    def eta_seconds(self, now: float) -> float | None:
        """Until the end at the speed so far; None before anything was answered."""
        fresh = self.done - self.before
        return (self.total - self.done) * (now - self.began) / fresh if fresh else None


class Run:
    """One go at a plan.

    Args:
        plan: what to ask.
        source: the calls.
        checker: holds answers against their requests.
        log: where results go.
        answered: what is there already.
    """

    def __init__(self, plan: Plan, source: CallSource, checker: Checker, log: ResultLog, answered: set[Ask]) -> None:
        self._plan = plan
        self._source = source
        self._checker = checker
        self._log = log
        self._left: Iterator[Ask] = (each for each in plan.order if each not in answered)
        self._under_way: Counter[str] = Counter()
        self._next_start = 0.0
        total, before = len(plan.order), len(answered)
        self.standing = Standing(total, before, before, Counter(), time.monotonic())

    async def run(self, key: str, report: Callable[[Standing], None], every_seconds: float) -> bool:
        """Ask until all is answered; False if a signal ended it before. `report` is called every so many seconds.

        Raises:
            StopRun: asking on makes no sense.
        """
        plan = self._plan
        target = Target(url=plan.url, model=plan.model, timeout_seconds=plan.timeout_seconds, changes=plan.changes)
        limits = httpx.Limits(max_connections=plan.concurrency, max_keepalive_connections=plan.concurrency)
        # trust_env off: a key must not go to a proxy that the environment names. Time is bounded by the whole answer's.
        async with httpx.AsyncClient(
            headers={"authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
            limits=limits,
            trust_env=False,
        ) as client:
            asking = asyncio.create_task(self._all(client, target))
            telling = asyncio.create_task(self._tell(report, every_seconds))
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, asking.cancel)
            try:
                await asking
            except asyncio.CancelledError:
                return False
            except BaseExceptionGroup as group:
                # Workers that stop at once have the same reason.
                raise _first(group) from group
            finally:
                telling.cancel()
                with suppress(asyncio.CancelledError):
                    await telling
                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.remove_signal_handler(number)
        return True

    async def _all(self, client: httpx.AsyncClient, target: Target) -> None:
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._plan.concurrency):
                workers.create_task(self._work(client, target))

    async def _work(self, client: httpx.AsyncClient, target: Target) -> None:
        for each in self._left:
            await self._pace()
            await self._one(client, target, each)

    async def _pace(self) -> None:
        """Wait for this call's turn, where a rate is asked for; a turn that was missed is not made up for."""
        if not self._plan.rate:
            return
        now = time.monotonic()
        turn = max(self._next_start, now)
        self._next_start = turn + 1 / self._plan.rate
        await asyncio.sleep(turn - now)

    async def _one(self, client: httpx.AsyncClient, target: Target, each: Ask) -> None:
        data = self._source.call(each.call)
        under_way, started_at = self._under_way[each.arm], time.time()
        self._under_way[each.arm] += 1
        try:
            answer = await ask(client, target, self._plan.a if each.arm == "a" else self._plan.b, data.body)
        finally:
            self._under_way[each.arm] -= 1
        body = {**data.body, **self._plan.changes}
        self._log.add(
            Result(
                number=each.call,
                repeat=each.repeat,
                copy=each.copy,
                arm=each.arm,
                call=data.id,
                conversation=data.conversation,
                reference=data.reference,
                greedy=body.get("temperature") == 0,
                declares_tools=bool(body.get("tools")),
                started_at=started_at,
                under_way=under_way,
                answer=answer,
                checks=self._checker.check(body, answer),
            )
        )
        self._count(each, answer)

    def _count(self, each: Ask, answer: Answer) -> None:
        self.standing.done += 1
        if answer.error:
            self.standing.errors[each.arm] += 1

    async def _tell(self, report: Callable[[Standing], None], every_seconds: float) -> None:
        while True:
            await asyncio.sleep(every_seconds)
            report(self.standing)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
