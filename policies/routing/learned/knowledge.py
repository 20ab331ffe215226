"""Who holds how much of a prompt: what a source of that knowledge answers, and the one that engines' own events make precise."""

from __future__ import annotations

import asyncio
from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from gateway import AttemptEnd, AttemptWatch, Call, PromptTokens, Replica, RoutingObserver
from policies.routing.learned.blocks import Blocks, Holder, links_of, root
from policies.routing.learned.kv_events import Follower

# Prompts that were looked up, for when they are placed: so many, and so many blocks of them all.
MOST_CALLS = 4_096
MOST_BLOCKS = 500_000
# More blocks than that are hashed in a thread: about a millisecond.
MOST_INLINE_BLOCKS = 4_000

_CALLS_BY = ("tokens", "bytes")


class PrefixKnowledge(Protocol):
    """A source of knowledge; it learns as its observers."""

    @property
    def observers(self) -> Sequence[RoutingObserver]:
        """What must be told of attempts."""

    def longer(self, call: Call, first: Replica, replicas: Sequence[Replica]) -> list[Replica]:
        """Those of the replicas that hold more of the call's prompt than `first`."""

    def cached_share(self, call: Call, replica: Replica) -> float:
        """What share of the call's prompt a replica is likely to hold, 0 to 1."""


class _Looked(Struct, frozen=True):
    """A prompt: its tokens, and per replica that is followed its blocks and how many of its tokens are held."""

    tokens: int
    links: Mapping[str, array[int]]
    held: Mapping[str, int]


class EngineKnowledge:
    """Knows by tokens what an engine holds that is followed, and by `estimate` what one holds that is not, or not as a whole.

    Args:
        estimate: what is taken to be held because it was sent there.
        blocks, followers: what engines told, by the replica's name.
        salt: what keeps a call's tenant out of others' caches on a replica.
        most_bytes: longer prompts are looked up in the estimate.

    Attributes:
        looked_up: calls that were looked up by their tokens, and those that were by their bytes though engines are followed.
    """

    def __init__(
        self,
        estimate: PrefixKnowledge,
        blocks: Blocks,
        followers: Mapping[str, Follower],
        tokens: PromptTokens,
        salt: Callable[[Call, str], str | None],
        most_bytes: int,
    ) -> None:
        self._estimate = estimate
        self._blocks = blocks
        self._followers = followers
        self._tokens = tokens
        self._salt = salt
        self._most_bytes = most_bytes
        self._calls: OrderedDict[str, _Looked] = OrderedDict()
        self._kept_blocks = 0
        self.looked_up = dict.fromkeys(_CALLS_BY, 0)

    @property
    def observers(self) -> Sequence[RoutingObserver]:
        """The estimate goes on learning, for when it is needed."""
        return (*self._estimate.observers, self)

    async def look_up(self, call: Call) -> None:
        """Find out what is held of a call's prompt; nothing is known of it by tokens where that cannot be said.

        A long prompt is cut into tokens and hashed in a thread.
        """
        followed = [
            (name, each.holder) for name, each in self._followers.items() if each.connected and each.holder.block_tokens
        ]
        if not followed:
            return
        ids = await self._tokens.ids(call, self._most_bytes)
        self.looked_up["bytes" if ids is None else "tokens"] += 1
        if ids is None:
            return
        kinds = {name: (holder.block_tokens, self._salt(call, name)) for name, holder in followed}
        chains: dict[tuple[int, str | None], array[int]] = {}
        for kind in set(kinds.values()):
            block_tokens, salt = kind
            work = (ids, block_tokens, root(salt))
            if len(ids) > MOST_INLINE_BLOCKS * block_tokens:
                chains[kind] = await asyncio.get_running_loop().run_in_executor(None, links_of, *work)
            else:
                chains[kind] = links_of(*work)
        matches = {kind: self._blocks.match(links) for kind, links in chains.items()}
        held = {}
        for name, holder in followed:
            for count, bits in matches[kinds[name]]:
                if bits & holder.bit:
                    held[name] = count * holder.block_tokens
                    break
        self._keep(call, _Looked(len(ids), {name: chains[kind] for name, kind in kinds.items()}, held))

    def longer(self, call: Call, first: Replica, replicas: Sequence[Replica]) -> list[Replica]:
        """Those that hold more than the first."""
        if call.call_id not in self._calls:
            return self._estimate.longer(call, first, replicas)
        share = self.cached_share(call, first)
        return [each for each in replicas if self.cached_share(call, each) > share]

    def cached_share(self, call: Call, replica: Replica) -> float:
        """What share of the prompt a replica holds, 0 to 1."""
        looked, follower = self._calls.get(call.call_id), self._followers.get(replica.name)
        if looked is None or follower is None or not follower.connected:
            return self._estimate.cached_share(call, replica)
        share = looked.held.get(replica.name, 0) / max(looked.tokens, 1)
        return share if follower.whole else max(share, self._estimate.cached_share(call, replica))

    def placed(self, call: Call, replica: Replica) -> AttemptWatch | None:
        """A prompt is on its way: until the call's end the engine holds it, whatever it has told of it yet."""
        looked, follower = self._calls.get(call.call_id), self._followers.get(replica.name)
        links = looked.links.get(replica.name) if looked is not None else None
        if not links or follower is None:
            return None
        follower.holder.expect(links)
        return _OnWay(follower.holder, links)

    def _keep(self, call: Call, looked: _Looked) -> None:
        calls = self._calls
        calls[call.call_id] = looked
        self._kept_blocks += _blocks(looked)
        while len(calls) > MOST_CALLS or (self._kept_blocks > MOST_BLOCKS and len(calls) > 1):
            self._kept_blocks -= _blocks(calls.popitem(last=False)[1])


class _OnWay:
    __slots__ = ("_holder", "_links")

    def __init__(self, holder: Holder, links: array[int]) -> None:
        self._holder, self._links = holder, links

    def answered(self, seconds: float) -> None:
        """It goes on to hold it."""

    def ended(self, end: AttemptEnd) -> None:  # noqa: ARG002 - however it ended
        self._holder.arrived(self._links)


def _blocks(looked: _Looked) -> int:
    """The blocks of a prompt; replicas of one kind have theirs in common."""
    return sum(len(links) for links in {id(links): links for links in looked.links.values()}.values())
