"""Races a late try against a second one: the first that answers is kept, the other is aborted at once and never accounted for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.contracts.call import Outcome
from gateway.dataplane.attempting import Answer
from gateway.errors import UpstreamError
from gateway.fleet.pool import Member

# Why a try ended that was late, while another answered; or was the second, and not needed.
HEDGE_LOST = "hedge_lost"


class Trial(Struct, eq=False):
    """One try among those at a call.

    Attributes:
        number: from 1.
        hedge: it is made beside another that is late.
        lost: another has answered; whatever it comes to now, it is not a failure.
    """

    member: Member
    number: int
    hedge: bool = False
    lost: bool = False


Run = Callable[[Trial], Coroutine[Any, Any, Answer]]


async def race(
    run: Run, first: Trial, delay_seconds: float, second: Callable[[], Trial | None]
) -> tuple[Trial, Answer]:
    """Run a try, and a second one beside it when it takes longer than the delay.

    Args:
        run: makes a try; it notes how the try ended, and takes a cancellation.
        first: the try to begin with.
        delay_seconds: after which `second` is asked for another try; it may have none.
        second: see there.

    Returns:
        The try that answered first, and its answer.

    Raises:
        UpstreamError: of the last try, when none answers; or one that another replica would not mend.
    """
    tasks = {asyncio.create_task(run(first)): first}
    lost = True
    try:
        done, _ = await asyncio.wait(tasks, timeout=delay_seconds)
        if not done and (trial := second()) is not None:
            tasks[asyncio.create_task(run(trial))] = trial
        while True:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # In the order in which they began.
            for task in [each for each in tasks if each in done]:
                trial = tasks.pop(task)
                try:
                    return trial, task.result()
                except UpstreamError as error:
                    if not tasks or not error.retryable:
                        raise
    except asyncio.CancelledError:  # the client left
        lost = False
        raise
    finally:
        await _drop(tasks, lost=lost)


async def _drop(tasks: dict[asyncio.Task[Answer], Trial], *, lost: bool) -> None:
    """End what is left. Ends at once, as nothing that a try does at its end waits."""
    for task, trial in tasks.items():
        trial.lost = lost
        task.cancel()
    for answer in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(answer, Answer):  # it came in the same moment
            answer.close()


def settle_order(outcome: Outcome, winner: Trial) -> None:
    """Put the try that answered last among the attempts, and say of one that answered as well that it lost."""
    served = [each for each in outcome.attempts if each.error_code is None]
    won = next(each for each in served if each.replica == winner.member.replica.name and each.hedge is winner.hedge)
    others = [each for each in outcome.attempts if each is not won]
    lost = [replace(each, error_code=HEDGE_LOST) if each.error_code is None else each for each in others]
    outcome.attempts = (*lost, won)
