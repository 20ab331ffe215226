"""Whatever happens to nodes, calls and the store, no more is granted than the stated bound, and every unit is told once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway import Dimension
from gateway.errors import QuotaExceeded
from policies.admission.quotas.policy import QuotaLease
from policies.admission.quotas.slices import PART, Slice
from tests.unit.builders import MODEL, PRINCIPAL
from tests.unit.policies.admission.quotas.scene import AtOnceStore, FlakyStore, Node, Scene, day, ended, limit

T = TypeVar("T")
LEASE_SECONDS = 30.0
AT_ONCE = 6


class Peer:
    """A node, and what the model knows of it: what its calls have reserved or used, and which are in flight."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.net = 0
        self.flying: list[tuple[QuotaLease, int]] = []

    def slices(self) -> tuple[Slice, Slice]:
        """Of the tokens, and of the calls at once."""
        tokens, calls = self.node.policy.plans.of(PRINCIPAL, MODEL.name).entries
        return tokens[1].piece, calls[1].piece


async def settled(lease: QuotaLease, used: int) -> None:
    lease.settle(ended(0, used))


class Quotas(RuleBasedStateMachine):
    """The model is plain arithmetic: what calls reserve, what they used, and what may have gone beyond the budget."""

    kind_of_store = FlakyStore

    @initialize(budget=st.one_of(st.integers(1, 400), st.integers(1_000, 4_000)), nodes=st.integers(1, 3))
    def start(self, budget: int, nodes: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.scene = Scene(self.kind_of_store)
        self.budget = budget
        self.names = 0
        self.peers = [self.new_peer() for _ in range(nodes)]
        self.dead_net = 0  # of calls of nodes that died
        self.dead_told = 0
        self.debts = 0  # used beyond what was reserved
        self.lapsed = 0  # of slices that were lost with units that were not told
        self.lapsed_calls = 0

    def new_peer(self) -> Peer:
        self.names += 1
        limits = (
            day(Dimension.OUTPUT_TOKENS, self.budget),
            limit(Dimension.CONCURRENT_CALLS, AT_ONCE, name="now", every=None),
        )
        return Peer(self.scene.node(*limits, name=str(self.names)))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def peer(self, number: int) -> Peer:
        return self.peers[number % len(self.peers)]

    @rule(number=st.integers(0, 2), tokens=st.integers(1, 60), times=st.integers(1, 12), used=st.integers(0, 80))
    def admit(self, number: int, tokens: int, times: int, used: int) -> None:
        """One call that goes on, and before it some that are over at once: so that slices become larger than a call."""
        peer = self.peer(number)
        for time in range(times):
            self.wait(0.02)
            try:
                lease = self.run(peer.node.admit(max_tokens=tokens))
            except QuotaExceeded:
                return
            peer.net += tokens
            peer.flying.append((lease, tokens))
            if time < times - 1:
                self.settle(number, -1, used)

    @rule(number=st.integers(0, 2), which=st.integers(-1, 9), used=st.integers(0, 80))
    def settle(self, number: int, which: int, used: int) -> None:
        peer = self.peer(number)
        if peer.flying:
            lease, reserved = peer.flying.pop(which % len(peer.flying))
            self.run(settled(lease, used))
            peer.net += used - reserved
            self.debts += max(used - reserved, 0)

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 3.0, 20.0, 31.0]))
    def wait(self, seconds: float) -> None:
        now = self.scene.clock.now + seconds
        for peer in self.peers:
            tokens, calls = peer.slices()
            if tokens.until > self.scene.clock.now and tokens.until <= now:
                self.lapsed += max(tokens.out, 0)
            if calls.until > self.scene.clock.now and calls.until <= now:
                self.lapsed_calls += calls.out
        self.scene.clock.now = now

    @rule(number=st.integers(0, 2))
    def review(self, number: int) -> None:
        self.run(self.peer(number).node.rest())

    @rule(number=st.integers(0, 2))
    def stop(self, number: int) -> None:
        self.run(self.peer(number).node.stop())

    @rule(number=st.integers(0, 2), lost=st.booleans())
    def lose_or_find_store(self, number: int, lost: bool) -> None:
        self.peer(number).node.store.lost = lost

    @rule(number=st.integers(0, 2))
    def kill(self, number: int) -> None:
        peer = self.peer(number)
        peer.node.store.lost = True
        self.run(peer.node.rest())  # what was under way comes to nothing
        untold = peer.slices()[0].out
        self.lapsed += max(untold, 0)
        self.dead_net += peer.net
        self.dead_told += peer.net - untold
        self.peers[number % len(self.peers)] = self.new_peer()

    @invariant()
    def no_more_is_granted_than_the_bound(self) -> None:
        if not hasattr(self, "peers"):
            return
        granted = self.dead_net + sum(peer.net for peer in self.peers)
        assert granted <= self.budget + self.debts + self.lapsed
        assert sum(len(peer.flying) for peer in self.peers) <= AT_ONCE + self.lapsed_calls

    def teardown(self) -> None:
        if not hasattr(self, "peers"):
            return
        try:
            for peer in self.peers:
                peer.node.store.lost = False
                while peer.flying:
                    lease, reserved = peer.flying.pop()
                    self.run(settled(lease, 1))
                    peer.net += 1 - reserved
            self.scene.clock.now += 1
            for peer in self.peers:
                self.run(peer.node.rest())
                self.run(peer.node.stop())
                assert len(peer.node.exchanger) == 0
            # To the unit: what is spent in the store is what calls have used, less what the dead never told.
            assert self.scene.spent() == self.dead_told + sum(peer.net for peer in self.peers)
        finally:
            self.loop.close()


class QuotasAtOnce(Quotas):
    """The same with stores that answer at once: no bound depends on what nodes give back in haste."""

    kind_of_store = AtOnceStore


TestQuotas = Quotas.TestCase
TestQuotasAtOnce = QuotasAtOnce.TestCase
TestQuotas.settings = TestQuotasAtOnce.settings = settings(stateful_step_count=40, deadline=None)


@settings(deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 2), st.floats(0.0, 5.0)), min_size=1, max_size=120),
    per_minute=st.integers(1, 600),
    burst=st.integers(1, 50),
)
def test_a_bucket_gives_its_burst_and_its_rate_and_at_most_what_nodes_hold(
    steps: list[tuple[int, float]], per_minute: int, burst: int
) -> None:
    async def play() -> None:
        scene = Scene()
        nodes = [scene.node(limit(amount=per_minute, burst=burst), name=name) for name in "abc"]
        started, count, held = scene.clock.now, 0, 0
        for number, pause in steps:
            scene.clock.now += pause
            try:
                await nodes[number].admit()
                count += 1
            except QuotaExceeded:
                pass
            for node in nodes:
                await node.rest()
            held = max(held, burst // PART * len(nodes))
            assert count <= burst + (scene.clock.now - started) * per_minute / 60 + held

    asyncio.run(play())
