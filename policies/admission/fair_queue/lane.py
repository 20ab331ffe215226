"""The slots of the replicas that can do the same, and the calls that wait for one."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence

from gateway import Fleet, Outcome, Replica, ReplicaState
from gateway.errors import NoReplicaAvailable, QueueTimeout, QuotaExceeded
from policies.admission.fair_queue.accounts import Account, Accounts
from policies.admission.fair_queue.counts import Counts, Full, Waited
from policies.admission.fair_queue.order import Order, Ticket
from policies.admission.fair_queue.pace import Pace
from policies.admission.fair_queue.settings import FairQueueSettings
from policies.admission.fair_queue.watch import Watch

_SLACK_SECONDS = 0.002  # timers of some loops come a little early


class Slot:
    """The lease: one of a lane's slots."""

    __slots__ = ("_account", "_charged", "_lane")

    def __init__(self, lane: Lane, account: Account, charged: float) -> None:
        self._lane = lane
        self._account = account
        self._charged = charged

    def settle(self, outcome: Outcome) -> None:
        """Hand the slot to the next."""
        usage = outcome.usage
        used = 0 if usage is None else (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
        self._lane.release(self._account, self._charged, used)


class Lane:
    """One set of replicas of one model.

    Attributes:
        granted: calls that hold a slot.
        counts: of its model.
    """

    def __init__(self, model: str, replicas: Sequence[Replica], watch: Watch, counts: Counts) -> None:
        self.model = model
        self.counts = counts
        self.replicas = tuple(replicas)
        self.granted = 0
        self.accounts = Accounts()
        self._order = Order()
        self._pace = Pace()
        self._watch = watch
        self._latest: Account | None = None
        self._ageing_seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None
        # The model's other lanes: of operations that only some replicas can do, or of before a reload.
        self._others: list[weakref.ref[Lane]] = []

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return self._order.waiting

    def by_priority(self) -> list[tuple[int, int]]:
        """How many calls wait of each priority."""
        return self._order.by_priority()

    def meet(self, other: Lane) -> None:
        """Know of another lane of the same model."""
        self._others = [ref for ref in self._others if ref() is not None] + [weakref.ref(other)]

    def is_open(self) -> bool:
        """Whether a call need not wait: a slot is free, or no replica is ready, which others can explain better."""
        if self._others:
            return (self._free() > 0 and not self._order.waiting) or not self._is_ready()
        free = -self.granted
        for replica in self.replicas:
            if replica.state is ReplicaState.READY:
                free += replica.slots
                if free > 0:
                    return not self._order.waiting
        return not self._is_ready()

    def take(self, account: Account) -> Slot:
        """Take a slot without waiting. What it is charged is a guess; counting here would cost more than it is worth."""
        latest = self._latest
        if latest is not None and account.counter < latest.counter and not account.waiting:
            account.counter = max(account.counter, latest.counter - self.accounts.credit(account))
        charged = account.usual
        account.counter += charged / account.share
        self._order.moved(account)
        self.counts.passed += 1
        self._grant(account, charged)
        return Slot(self, account, charged)

    async def wait(self, ticket: Ticket, settings: FairQueueSettings, fleet: Fleet) -> Slot:
        """Wait for a slot. Whoever is cancelled leaves neither a place nor a slot behind.

        Raises:
            QuotaExceeded: the tenant has too many waiting calls already.
            NoReplicaAvailable: too many calls wait.
            QueueTimeout: it took too long.
        """
        self._enter(ticket, settings, fleet)
        try:
            await ticket.turn
        except asyncio.CancelledError:
            if ticket.queued or ticket.turn.cancelled():
                self._count(ticket, Waited.LEFT)
            if ticket.queued:
                self._leave(ticket)
            elif not ticket.turn.cancelled() and ticket.turn.exception() is None:  # its turn came while it was leaving
                self.release(ticket.account, ticket.tokens, 0)
            raise
        return Slot(self, ticket.account, ticket.tokens)

    def release(self, account: Account, charged: float, used: int) -> None:
        """A slot is free: charge what was used, and give the slot to the next."""
        self.granted -= 1
        self.accounts.end(account, charged)
        account.settle(charged, used)
        if self._order.waiting:
            self._order.moved(account)
            self._pace.tick(asyncio.get_running_loop().time())
        else:
            self._pace.pause()
        if self._order.waiting or self._others:
            self.dispatch()

    def dispatch(self) -> None:
        """Give out the slots that are free; where lanes share replicas, to that whose oldest call came first."""
        lanes = [lane for lane in self._family() if lane.waiting]
        while lanes:
            lane = min(lanes, key=Lane._since) if len(lanes) > 1 else lanes[0]
            if lane._free() <= 0:  # noqa: SLF001 - one of us
                lanes.remove(lane)
                continue
            lane._next()  # noqa: SLF001 - one of us
            if not lane.waiting:
                lanes.remove(lane)

    def _next(self) -> None:
        ticket = self._order.next(asyncio.get_running_loop().time(), self._ageing_seconds)
        self._leave(ticket)
        if ticket.turn.done():  # it is leaving, and has not come to that yet
            return
        ticket.account.counter += ticket.tokens / ticket.account.share
        self._order.moved(ticket.account)
        self._grant(ticket.account, ticket.tokens)
        self._count(ticket, Waited.SERVED)
        ticket.turn.set_result(None)

    def _count(self, ticket: Ticket, ended: Waited) -> None:
        self.counts.waits[ticket.priority, ended].observe(asyncio.get_running_loop().time() - ticket.arrived)

    def _since(self) -> float:
        return self._order.since()

    def _is_ready(self) -> bool:
        return any(replica.state is ReplicaState.READY for replica in self.replicas)

    def _free(self) -> int:
        """Slots that nobody has and nobody is about to take."""
        ready = [replica for replica in self.replicas if replica.state is ReplicaState.READY]
        slots = sum(replica.slots for replica in ready)
        if not self._others:
            return slots - self.granted
        # Where the calls of several lanes are, their replicas know; but for those that are on their way to one.
        family = self._family()
        replicas = {id(replica): replica for lane in family for replica in lane.replicas}
        on_their_way = sum(lane.granted for lane in family) - sum(each.in_flight for each in replicas.values())
        return slots - sum(replica.in_flight for replica in ready) - max(on_their_way, 0)

    def _family(self) -> list[Lane]:
        return [self, *(lane for lane in (ref() for ref in self._others) if lane is not None)]

    def _grant(self, account: Account, charged: float) -> None:
        self.granted += 1
        self.accounts.begin(account, charged)
        self._latest = account

    def _enter(self, ticket: Ticket, settings: FairQueueSettings, fleet: Fleet) -> None:
        account, order = ticket.account, self._order
        if account.waiting >= settings.per_tenant:
            self.counts.refused[ticket.priority, Full.TENANT] += 1
            ahead = min(account.waiting * order.shares / account.share, order.waiting)
            raise QuotaExceeded(
                f"{account.waiting} calls of this tenant wait for {self.model} already, which is the limit (fair_queue).",
                retry_after_seconds=self._pace.seconds(ahead, settings.deadline_seconds),
            )
        if order.waiting >= settings.waiting:
            self.counts.refused[ticket.priority, Full.ALL] += 1
            raise NoReplicaAvailable(
                f"all replicas of {self.model} are busy, and {order.waiting} calls wait for them already",
                retry_after_seconds=self._pace.seconds(order.waiting, settings.deadline_seconds),
            )
        if not account.waiting:
            least = order.least() if order.waiting else self._latest.counter if self._latest is not None else 0.0
            account.counter = max(account.counter, least - self.accounts.credit(account))
        order.add(ticket)
        self.accounts.weigh(account)
        self._ageing_seconds = settings.ageing_seconds
        self._watch.begin(self, fleet)
        if self._timer is None:
            self._arm()
        self.dispatch()

    def _leave(self, ticket: Ticket) -> None:
        self._order.remove(ticket)
        self.accounts.weigh(ticket.account)
        if not self._order.waiting:
            self._watch.end(self)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _arm(self) -> None:
        """One timer for all that wait: it is set for the oldest, and finds out then whether that is still there."""
        self._timer = asyncio.get_running_loop().call_at(self._order.due(), self._expire)

    def _expire(self) -> None:
        self._timer = None
        for ticket in self._order.overdue(asyncio.get_running_loop().time() + _SLACK_SECONDS):
            self._leave(ticket)
            if ticket.turn.done():
                continue
            self._count(ticket, Waited.TIMED_OUT)
            waited = ticket.until - ticket.arrived
            ticket.turn.set_exception(
                QueueTimeout(
                    f"all replicas of {self.model} were busy for {waited:g} seconds",
                    retry_after_seconds=self._pace.seconds(self._order.waiting + 1, waited),
                )
            )
        if self._order.waiting and self._timer is None:
            self._arm()
