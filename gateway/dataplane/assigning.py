"""Puts calls into experiments: asks the assigners, keeps routing inside the arm, and tells the experiment of the answer."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import structlog

from gateway.contracts.assigning import Assigned, Assigner
from gateway.contracts.backend import Replica
from gateway.contracts.call import Call, Decision, Ending, Outcome
from gateway.contracts.policy import RoutingPolicy
from gateway.dataplane.placement import place
from gateway.dataplane.relay import Client
from gateway.dataplane.shadowing import Shadowing
from gateway.errors import GatewayError, NoReplicaAvailable
from gateway.fleet.pool import Pool

log = structlog.get_logger("moegate.assigning")

HEADER = b"x-moegate-arm"

Policies = Sequence[tuple[str, RoutingPolicy]]


class Assigning:
    """The assigners of one runtime; the first that takes a call has it, so a call is in one experiment at most."""

    def __init__(self, assigners: Sequence[tuple[str, Assigner]], shadowing: Shadowing) -> None:
        self._assigners = tuple(assigners)
        self._shadowing = shadowing

    def assign(self, call: Call, pool: Pool) -> Assigned | None:
        """The call's arm, if it is in an experiment; its copies are on their way. One that crashes leaves the call alone."""

        def able() -> list[Replica]:
            unable = pool.objections(call)
            return [replica for replica in pool.able(call.operation) if replica.name not in unable]

        for name, assigner in self._assigners:
            try:
                found = assigner.assign(call, able)
            except Exception:
                log.exception("assigner crashed", assigner=name, call_id=call.call_id)
                continue
            if found is not None:
                if found.copies is not None:
                    self._shadowing.offer(found.copies, call, pool)
                return found
        return None

    def tell_end(self, arm: Assigned, call: Call, outcome: Outcome) -> None:
        """The call is over."""
        try:
            arm.watch.ended(outcome)
        except Exception:
            log.exception("experiment crashed on an end", call_id=call.call_id)
        if arm.copies is not None and outcome.ending is Ending.DISCONNECTED:
            self._shadowing.leave(call.call_id)


def place_in_arm(arm: Assigned, policies: Policies, call: Call, pool: Pool, decision: Decision) -> Iterable[Replica]:
    """Rank the arm's replicas and, as far as it falls back, the model's others behind them; those only when they are asked for.

    Raises:
        GatewayError: as `place`.
    """
    decision.arm, decision.probability = arm.label, arm.probability
    if not arm.fall_back:
        return place(policies, call, pool, decision, arm)
    try:
        ranked = place(policies, call, pool, decision, arm)
    except NoReplicaAvailable:  # a policy left none of the arm's
        return place(policies, call, pool, decision)
    return itertools.chain(ranked, _outside(arm, policies, call, pool, decision, ranked))


def _outside(
    arm: Assigned, policies: Policies, call: Call, pool: Pool, decision: Decision, tried: Sequence[Replica]
) -> Iterator[Replica]:
    """Those of no use before all of the arm's have failed."""
    again = Decision()
    try:
        ranked = place(policies, call, pool, again)
    except GatewayError:
        return
    asked = {replica.name for replica in tried} | arm.replicas
    decision.steps += again.steps
    yield from [replica for replica in ranked if replica.name not in asked]


class Told:
    """The client's side of a call in an experiment, which is told of each piece as well."""

    def __init__(self, client: Client, arm: Assigned, call: Call) -> None:
        self._client = client
        self._watch = arm.watch
        self._call_id = call.call_id
        self.add_headers = client.add_headers
        self.before_last = client.before_last
        self.start = client.start
        self.ready = client.ready
        self.fail = client.fail
        self.release = client.release

    @property
    def started(self) -> bool:
        """See `Client`."""
        return self._client.started

    @property
    def gone(self) -> bool:
        """See `Client`."""
        return self._client.gone

    def send(self, piece: bytes) -> bool:
        """See `Receiver`."""
        self._tell(piece)
        return self._client.send(piece)

    async def finish(self, piece: bytes) -> None:
        """See `Receiver`."""
        self._tell(piece)
        await self._client.finish(piece)

    def _tell(self, piece: bytes) -> None:
        try:
            self._watch.sent(piece)
        except Exception:
            log.exception("experiment crashed on a piece", call_id=self._call_id)
