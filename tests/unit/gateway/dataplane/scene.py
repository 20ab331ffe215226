"""A data plane around one replica and one client, whose every stage may be told to misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import msgspec

from gateway import Attribution, Call, Decision, Ending, Outcome, Replica, RoutingObserver
from gateway.dataplane.accounting import Accounting
from gateway.dataplane.bookkeeping import Bookkeeping
from gateway.dataplane.forwarder import Forwarder
from gateway.dataplane.recording import Recording
from gateway.dataplane.serving import Serving
from gateway.fleet.pooled_fleet import PooledFleet
from tests.unit.builders import make_call, make_pool, make_replica
from tests.unit.fakes import EVENT_STREAM, FakeClient, FakeConnections, FakeCounter, FakeResponse


class Lease:
    def __init__(self, scene: Scene, gate: asyncio.Event | None = None) -> None:
        self.scene, self.gate = scene, gate

    def settle(self, outcome: Outcome) -> Awaitable[None] | None:
        self.scene.settled.append(outcome)
        return self.gate.wait() if self.gate is not None else None  # type: ignore[return-value]


class Scene(Recording):
    """One replica, one admission policy; every stage may be told to misbehave. It is its own recorder."""

    def __init__(
        self,
        *replies: Any,
        replicas: int = 1,
        settle_gate: asyncio.Event | None = None,
        watchers: Sequence[tuple[str, RoutingObserver]] = (),
    ) -> None:
        super().__init__([])
        self.recorded: list[tuple[Call, Outcome, Decision]] = []
        self.settled: list[Outcome] = []
        self.journal: list[tuple[Ending, int, bool]] = []
        self.client = FakeClient()
        self.replicas = [make_replica(name) for name in "abc"[:replicas]]
        self.pool = make_pool(*self.replicas)
        self.connections = FakeConnections(*replies)
        self.fails: dict[str, Exception] = {}
        self.settle_gate = settle_gate
        self.serving = Serving(
            transforms=[("transform", self)],
            admission=[("admission", self)],
            routing=[("routing", self)],
            forwarder=Forwarder(
                self.connections,  # type: ignore[arg-type]
                PooledFleet([self.pool], []),
                [("attribution", self)],
                1_000,
                watchers,
            ),
            books=Bookkeeping(Accounting(FakeCounter()), [("journal", self)], self),
        )

    def put(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        self.recorded.append((call, outcome, decision))

    def append(self, call: Call, outcome: Outcome, decision: Decision) -> None:
        """As a journal; what is noted is whether the client had all by then, too."""
        self.journal.append((outcome.ending, outcome.status, self.client.complete))

    def _maybe_fail(self, stage: str) -> None:
        if stage in self.fails:
            raise self.fails[stage]

    async def transform(self, call: Call) -> Call:
        self._maybe_fail("transform")
        return msgspec.structs.replace(call, body=call.body + b"!")

    async def admit(self, call: Call) -> Lease:
        self._maybe_fail("admit")
        return Lease(self, self.settle_gate)

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica]:
        self._maybe_fail("rank")
        return replicas

    def annotate(self, call: Call, replica: Replica) -> Attribution | None:
        self._maybe_fail("annotate")
        return None

    async def serve(self, **call: Any) -> Outcome:
        await self.serving.serve(make_call(**call), self.pool, self.client)
        return self.outcome

    @property
    def outcome(self) -> Outcome:
        (entry,) = self.recorded
        return entry[1]

    def check_settled_once(self) -> None:
        assert len(self.settled) == len(self.recorded) == 1
        assert self.settled[0] is self.outcome
        assert [replica.in_flight for replica in self.replicas] == [0] * len(self.replicas)
        assert self.client.released == 1


def stream(*pieces: Any) -> FakeResponse:
    return FakeResponse(headers=EVENT_STREAM, pieces=pieces)
