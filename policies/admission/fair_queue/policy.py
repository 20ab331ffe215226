"""The policy: finds a call its lane, and lets it through or has it wait."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence

from gateway import Call, Fleet, Lease, Metric, Operation, Replica, TokenCounter
from policies.admission.fair_queue.counts import Counts, metrics_of
from policies.admission.fair_queue.lane import Lane
from policies.admission.fair_queue.order import Ticket
from policies.admission.fair_queue.settings import FairQueueSettings
from policies.admission.fair_queue.watch import Watch


class Lanes:
    """Every lane that is in use; outlives a reload, so that calls of before still count."""

    def __init__(self) -> None:
        self.watch = Watch()
        self._lanes: weakref.WeakValueDictionary[tuple[int, ...], Lane] = weakref.WeakValueDictionary()
        self._counts: dict[str, Counts] = {}

    def lane(self, model: str, replicas: Sequence[Replica]) -> Lane:
        """The lane of these replicas. An unchanged replica is the same object after a reload."""
        key = tuple(sorted(id(replica) for replica in replicas))
        lane = self._lanes.get(key)
        if lane is None:
            lane = Lane(model, replicas, self.watch, self._counts.setdefault(model, Counts()))
            for other in list(self._lanes.values()):
                if other.model == model:
                    lane.meet(other)
                    other.meet(lane)
            self._lanes[key] = lane
        return lane

    def metrics(self) -> list[Metric]:
        """How calls have fared."""
        lanes = list(self._lanes.values())
        waiting = ((lane.model, priority, number) for lane in lanes for priority, number in lane.by_priority())
        return metrics_of(self._counts, waiting)

    async def aclose(self) -> None:
        """Stop looking."""
        await self.watch.aclose()


class FairQueue:
    """The policy of one runtime."""

    def __init__(self, settings: FairQueueSettings, fleet: Fleet, tokens: TokenCounter, lanes: Lanes) -> None:
        self._settings = settings
        self._fleet = fleet
        self._tokens = tokens
        self._all = lanes
        self._lanes: dict[str, dict[Operation, Lane]] = {}
        for model, operation, replicas in _able(fleet.replicas()):
            self._lanes.setdefault(model, {})[operation] = lanes.lane(model, replicas)

    async def admit(self, call: Call) -> Lease | None:
        """Grant a slot, now or when it is this call's turn.

        Raises:
            QuotaExceeded, NoReplicaAvailable: the queue is full.
            QueueTimeout: it took too long.
        """
        lanes = self._lanes.get(call.model.name)
        lane = lanes.get(call.operation) if lanes is not None else None
        if lane is None:
            return None  # nothing here can do that, which placement says better
        account = lane.accounts.of(call.principal)
        if lane.is_open():
            return lane.take(account)
        ticket = Ticket(account, call.priority, self._size(call), self._settings.deadline_seconds)
        return await lane.wait(ticket, self._settings, self._fleet)

    def metrics(self) -> list[Metric]:
        """How calls have fared, those of before a reload too."""
        return self._all.metrics()

    def _size(self, call: Call) -> int:
        """Tokens that the call will take, as far as one can tell."""
        answer = self._tokens.typical_output(call)
        if call.max_tokens is not None:
            answer = min(answer, call.max_tokens)
        return self._tokens.estimate(call) + answer


def _able(replicas: Sequence[Replica]) -> Iterator[tuple[str, Operation, list[Replica]]]:
    """Per model and operation, the replicas that can do it."""
    for model in dict.fromkeys(replica.model for replica in replicas):
        for operation in Operation:
            able = [each for each in replicas if each.model == model and operation in each.operations]
            if able:
                yield model, operation, able
