"""Which replica has read which beginning of a prompt, as far as this gateway sent it there; bounded, least used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from gateway import AttemptEnd, AttemptWatch, Call, Replica, RoutingObserver
from policies.routing.learned.chain import Chain, chain

# Each restart of a replica uses up a bit; after so many all is forgotten and counting begins anew.
MOST_BITS = 512

# How much an engine's word on what it had cached changes how far we believe that it has what it was sent.
NEWEST_WEIGHT = 0.1
LEAST_TRUST = 0.05

# So many are sooner sought in a list than in a set that has to be made of it.
FEW = 2

Matches = list[tuple[int, int]]
"""Bytes of a prompt's beginning and the bits of those that hold it. Who holds more stands in what holds less, too."""


class _Holder:
    """A replica since its last change of state, the bit that stands for it, and how far its cache is trusted, 0 to 1."""

    __slots__ = ("bit", "changed_at", "replica", "trust")

    def __init__(self, replica: Replica, bit: int, trust: float) -> None:
        self.replica, self.changed_at, self.bit, self.trust = replica, replica.changed_at, bit, trust


class Prefixes:
    """The index. It is told of attempts, and what a replica has been sent it is taken to hold.

    Args:
        most_blocks: places of prompts that are remembered, some 150 bytes each.
        across_tenants: prompts of different tenants may share a cache; engines that salt theirs by tenant share nothing.
    """

    def __init__(self, most_blocks: int, *, across_tenants: bool = False) -> None:
        self._most = most_blocks
        self._across_tenants = across_tenants
        self._blocks: OrderedDict[int, int] = OrderedDict()
        self._holders: dict[str, _Holder] = {}
        self._by_bit: dict[int, _Holder] = {}
        self._bits = 0
        self._chained: tuple[Call | None, Chain] = (None, Chain((), (), 0))
        self._matched: tuple[Call | None, Matches] = (None, [])

    def __len__(self) -> int:
        return len(self._blocks)

    def chain(self, call: Call) -> Chain:
        """A call's places, remembered for the call that was asked about last."""
        known, found = self._chained
        if known is not call:
            found = chain(call, "" if self._across_tenants else call.principal.tenant)
            self._chained = call, found
        return found

    def match(self, call: Call) -> Matches:
        """How much of the prompt is held, and by whom; longest first. Remembered until something is placed."""
        known, found = self._matched
        if known is not call:
            found = self._match(self.chain(call))
            self._matched = call, found
        return found

    @property
    def observers(self) -> Sequence[RoutingObserver]:
        """Itself."""
        return (self,)

    def longer(self, call: Call, first: Replica, replicas: Sequence[Replica]) -> list[Replica]:
        """Those of the replicas that hold more of the prompt than this one."""
        ours, more = self._bit(first), 0
        for _, holding in self.match(call):
            if holding & ours:
                break
            more |= holding
        found = []
        candidates = replicas if more.bit_count() <= FEW else set(replicas)
        while more:
            holder = self._by_bit.get(more & -more)
            more &= more - 1
            if holder is not None and holder.changed_at == holder.replica.changed_at and holder.replica in candidates:
                found.append(holder.replica)
        return found

    async def aclose(self) -> None:
        """No runtime tells it anything any more, so that it knows nothing any more."""
        self._blocks.clear()
        self._holders.clear()
        self._by_bit.clear()

    def cached_share(self, call: Call, replica: Replica) -> float:
        """What share of the prompt a replica is likely to hold, 0 to 1."""
        bit = self._bit(replica)
        if bit:
            for size, bits in self.match(call):
                if bits & bit:
                    return size / self.chain(call).size * self._holders[replica.name].trust
        return 0.0

    def _match(self, places: Chain) -> Matches:
        blocks = self._blocks
        found = []
        for link, size in reversed(places.ends):
            holding = blocks.get(link)
            if holding:
                found.append((size, holding))
        links = []
        alive = -1
        for link, size in places.links:
            alive &= blocks.get(link, 0)
            if not alive:
                break
            links.append((size, alive))
        found += reversed(links)
        found.sort(key=_size, reverse=True)
        return found

    def _bit(self, replica: Replica) -> int:
        """The bit of a replica that has not changed since it was given; 0 if there is none."""
        holder = self._holders.get(replica.name)
        if holder is None or holder.replica is not replica or holder.changed_at != replica.changed_at:
            return 0
        return holder.bit

    def placed(self, call: Call, replica: Replica) -> AttemptWatch | None:
        """A prompt is on its way to a replica: from now on it is taken to hold it."""
        places = self.chain(call)
        expected = self.cached_share(call, replica)
        holder = self._holder(replica)
        blocks, bit = self._blocks, holder.bit
        # Longest first, so that the beginnings, which more prompts share, are the last to be forgotten.
        for link, _ in (*places.ends[-1:], *reversed(places.links)):
            blocks[link] = blocks.get(link, 0) | bit
            blocks.move_to_end(link)
        while len(blocks) > self._most:
            blocks.popitem(last=False)
        self._matched = (None, [])
        return _Watch(self, holder, places, expected)

    def forget(self, holder: _Holder, places: Chain) -> None:
        """An attempt failed before it was answered: whatever was read is not to be counted on."""
        for link, _ in (*places.links, *places.ends[-1:]):
            held = self._blocks.get(link)
            if held is not None:
                self._blocks[link] = held & ~holder.bit

    def _holder(self, replica: Replica) -> _Holder:
        holder = self._holders.get(replica.name)
        if holder is not None and holder.replica is replica and holder.changed_at == replica.changed_at:
            return holder
        if self._bits >= MOST_BITS:
            self._blocks.clear()
            self._holders.clear()
            self._by_bit.clear()
            self._bits = 0
        if holder is not None:
            self._by_bit.pop(holder.bit, None)
        new = _Holder(replica, 1 << self._bits, holder.trust if holder is not None else 1.0)
        self._bits += 1
        self._holders[replica.name] = self._by_bit[new.bit] = new
        return new


class _Watch:
    __slots__ = ("_answered", "_expected", "_holder", "_places", "_prefixes")

    def __init__(self, prefixes: Prefixes, holder: _Holder, places: Chain, expected: float) -> None:
        self._prefixes, self._holder, self._places, self._expected = prefixes, holder, places, expected
        self._answered = False

    def answered(self, seconds: float) -> None:  # noqa: ARG002 - that it is, counts
        self._answered = True

    def ended(self, end: AttemptEnd) -> None:
        if end.error_code is not None and not self._answered:
            self._prefixes.forget(self._holder, self._places)
            return
        usage, holder = end.usage, self._holder
        if usage is None or usage.cached_tokens is None or not usage.prompt_tokens or self._expected <= 0.0:
            return
        # Expected by our bytes as far as we trusted; an engine that keeps less, or forgets soon, is trusted less.
        share = usage.cached_tokens / usage.prompt_tokens
        truth = min(share / max(self._expected / holder.trust, 1e-6), 1.0)
        holder.trust = max(holder.trust + NEWEST_WEIGHT * (truth - holder.trust), LEAST_TRUST)


def _size(match: tuple[int, int]) -> int:
    return match[0]
