"""Keeps this node's slices in step with the store: many waiting calls share one exchange, and nobody waits for a lost store."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import structlog
from msgspec import Struct

from gateway.contracts.store import BudgetStore, Exchange, Grant, LocalBudgetStore, StoreUnavailable
from policies.admission.quotas.slices import Slice

log = structlog.get_logger("moegate.quotas")

T = TypeVar("T")

# Stores answer within 50 ms or give up; this is for one that does not keep to it.
GUARD_SECONDS = 0.05

# While the store is lost it is asked so often, and no call waits for the answer.
RETRY_SECONDS = 0.25

# What was spent is told at the latest after so long, so that what comes back begins to come back.
TELL_SECONDS = 0.5

MOST_AT_ONCE = 256
SERVICE_SECONDS = 0.25


class ExchangeCounts(Struct):
    """What has happened between this node and the store."""

    exchanges: int = 0
    budgets: int = 0
    lost: int = 0


class Exchanger:
    """The node's side of the store.

    With a `LocalBudgetStore` nobody ever waits, and nothing is given back in haste, as there are no others.

    Args:
        clock: monotonic seconds.

    Attributes:
        down: the store was lost and has not been heard of since.
    """

    def __init__(self, store: BudgetStore, clock: Callable[[], float]) -> None:
        self.store = store
        self.down = False
        self.counts = ExchangeCounts()
        self._at_once = store.exchange_at_once if isinstance(store, LocalBudgetStore) else None
        self._clock = clock
        self._retry_at = 0.0
        self._open: dict[Slice, None] = {}
        self._due: dict[Slice, None] = {}
        self._waiting: list[asyncio.Future[bool]] = []
        # What was asked for last when the store was lost: asking for it again shows whether it is back.
        self._probe: Slice | None = None
        self._task: asyncio.Task[None] | None = None
        self._services = 0
        self._giving_up = False

    def __len__(self) -> int:
        """Slices that hold or owe something."""
        return len(self._open)

    async def ask(self, wishes: Iterable[tuple[Slice, int]]) -> bool:
        """Ask the store for units, together with all others who ask now; for none, to learn what is left.

        Returns:
            Whether it has answered; if not, it is lost or late.
        """
        if self.down:
            self._retry()
            return False
        for piece, need in wishes:
            if need:
                piece.ask(need)
            self._due[piece] = None
        if self._at_once is not None:
            self._answer_at_once(self._at_once)
            return True
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(future)
        self._start()
        # One exchange may have been under way already: both together must not take longer than one may.
        late = loop.call_later(GUARD_SECONDS, _resolve, (future,), False)
        try:
            return await future
        finally:
            late.cancel()

    def taken(self, piece: Slice) -> None:
        """A call has taken of a slice. Where little is left that is told soon, so that what comes back by itself begins to."""
        if piece.tight and not piece.concurrent and (self._at_once is None or piece.budget.refill_per_second):
            self._urge(piece)

    def note(self, taken: Iterable[tuple[object, Slice, int]]) -> None:
        """The slices of these may owe something now."""
        opened, hasty, giving_up = self._open, self._at_once is None, self._giving_up
        for _, piece, _ in taken:
            opened[piece] = None
            if piece.free < 0 or (hasty and piece.tight) or giving_up:
                self._urge(piece)

    def _urge(self, piece: Slice) -> None:
        self._due[piece] = None
        if not self.down:
            self._start()

    async def settled(self) -> None:
        """Return when nothing is under way; for tests and simulations."""
        while self._task is not None and not self._task.done():
            await asyncio.wait((self._task,))

    async def serve(self) -> None:
        """Tell, renew and give back, until cancelled; then give all back."""
        self._services += 1
        self._giving_up = False
        try:
            while True:
                await asyncio.sleep(SERVICE_SECONDS)
                self.review()
        finally:
            self._services -= 1
            if not self._services:
                await self.close()

    async def close(self) -> None:
        """Give everything back. What is settled later is told at once."""
        self._giving_up = True
        self._due.update(dict.fromkeys(self._open))
        if not self.down or self._clock() >= self._retry_at:
            self._start()
        await self.settled()

    def review(self) -> None:
        """Find what has to be told, renewed or given back, and begin with it."""
        now = self._clock()
        for piece in list(self._open):
            if piece.is_over():
                del self._open[piece]
            elif self._is_due(piece, now):
                self._due[piece] = None
        if self.down:
            self._retry()
        elif self._due:
            self._start()

    def _is_due(self, piece: Slice, now: float) -> bool:
        if piece.until - now < SERVICE_SECONDS * 4 or piece.free < 0:
            return True
        if piece.out and not piece.concurrent and now - piece.left_at >= TELL_SECONDS:
            return True
        # Half of a lease that nobody used goes by before it is begun anew.
        return (piece.free > 0 and piece.rests(now)) or piece.until - now < (piece.until - piece.left_at) / 2

    def _start(self) -> None:
        if self._at_once is not None:
            self._answer_at_once(self._at_once)
            return
        # A task of its own: a caller that is cancelled must not take the others' exchange with it.
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="quota exchange")

    def _answer_at_once(self, exchange: Callable[[Sequence[Exchange]], Sequence[Grant]]) -> None:
        pieces = list(self._due)
        self._due.clear()
        sent_at = self._clock()
        told = [piece.exchange(sent_at, give_up=self._giving_up) for piece in pieces]
        self.counts.exchanges += 1
        self.counts.budgets += len(told)
        self._accept(pieces, exchange(told), sent_at)

    def _retry(self) -> None:
        if self._clock() >= self._retry_at:
            self._retry_at = self._clock() + RETRY_SECONDS
            self._start()

    async def _run(self) -> None:
        while True:
            due, self._due = self._due, {}
            waiting, self._waiting = self._waiting, []
            if self._probe is not None:
                due[self._probe] = None
            try:
                for pieces in _chunks(due, MOST_AT_ONCE):
                    if not await self._exchange(pieces):
                        break
            finally:
                _resolve(waiting, not self.down)
            if self.down:
                # Whoever asked meanwhile gets the same answer; the store is asked no more for calls that have gone.
                _resolve(self._waiting, False)
                self._waiting.clear()
                for piece in (*due, *self._due):
                    piece.forget_wishes()
                return
            if not self._due:
                return

    async def _exchange(self, pieces: Sequence[Slice]) -> bool:
        sent_at = self._clock()
        told = [piece.exchange(sent_at, give_up=self._giving_up) for piece in pieces]
        self.counts.exchanges += 1
        self.counts.budgets += len(told)
        grants: Sequence[Grant] | None = None
        try:
            async with asyncio.timeout(GUARD_SECONDS):
                grants = await self.store.exchange(told)
        except (StoreUnavailable, TimeoutError) as error:
            self._lost(str(error) or "no answer in time")
        except Exception:
            log.exception("the store failed")
            self._lost("it failed")
        finally:
            if grants is None:
                for piece in pieces:
                    piece.lost()
                    self._open[piece] = None
                self._probe = pieces[0]
        if grants is None:
            return False
        if self.down:
            log.info("the store of budgets is back")
            self.down = False
        self._probe = None
        self._accept(pieces, grants, sent_at)
        return True

    def _accept(self, pieces: Sequence[Slice], grants: Sequence[Grant], sent_at: float) -> None:
        now = self._clock()
        for piece, grant in zip(pieces, grants, strict=True):
            piece.accept(grant, sent_at, now)
            if piece.is_over():
                self._open.pop(piece, None)
            else:
                self._open[piece] = None

    def _lost(self, reason: str) -> None:
        self.counts.lost += 1
        self._retry_at = self._clock() + RETRY_SECONDS
        if not self.down:
            log.warning("the store of budgets is lost", reason=reason)
            self.down = True


def _resolve(futures: Iterable[asyncio.Future[bool]], answered: bool) -> None:
    for future in futures:
        if not future.done():
            future.set_result(answered)


def _chunks(pieces: Iterable[T], size: int) -> Iterable[list[T]]:
    iterator = iter(pieces)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk
