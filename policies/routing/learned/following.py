"""The service that listens to engines' KV events while a runtime lives; what they told is kept over reloads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog
from msgspec import Struct

from gateway import Metric, Replica
from gateway.contracts.metrics import counter, gauge
from policies.routing.learned.blocks import Blocks
from policies.routing.learned.knowledge import EngineKnowledge
from policies.routing.learned.kv_events import Follower
from policies.routing.learned.kv_stream import Source, Stream

if TYPE_CHECKING:
    import zmq.asyncio

log = structlog.get_logger("moegate.kv_events")

SERVICE = "prefix_affinity"
MODES = ("precise", "partial", "estimated")


class Ports(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an engine publishes, on the machine that its URL names: see `--kv-events-config` of vLLM and SGLang.

    Attributes:
        port: of its `endpoint`.
        replay_port: of its `replay_endpoint`; without one, whatever was missed is not known.
        topic: as the engine has it.
    """

    port: int
    replay_port: int | None = None
    topic: str = ""

    def source(self, replica: Replica) -> Source:
        """Where that is."""
        host = urlsplit(replica.url).hostname or ""
        host = f"[{host}]" if ":" in host else host
        replay = f"tcp://{host}:{self.replay_port}" if self.replay_port is not None else None
        return Source(f"tcp://{host}:{self.port}", replay, self.topic)


class EngineCaches:
    """What engines told of their caches, by the replica's name; shared by one runtime and the next.

    Args:
        most_blocks: of all of them together.
    """

    def __init__(self, most_blocks: int) -> None:
        self.blocks = Blocks(most_blocks)
        self.followers: dict[str, Follower] = {}
        self._sources: dict[str, Source] = {}
        self._context: zmq.asyncio.Context | None = None

    def follow(self, sources: Mapping[str, Source]) -> None:
        """Keep to these from now on: what others told is forgotten."""
        for name in [name for name, source in self._sources.items() if sources.get(name) != source]:
            self.followers.pop(name).holder.close()
            del self._sources[name]
        for name, source in sources.items():
            if name not in self._sources:
                self._sources[name] = source
                self.followers[name] = Follower(self.blocks)

    def stream(self, name: str) -> Stream:
        """What listens to one of them."""
        import zmq.asyncio  # noqa: PLC0415 - who does not use it need not have it

        if self._context is None:
            self._context = zmq.asyncio.Context()
        return Stream(self._context, self._sources[name], self.followers[name], name)

    async def aclose(self) -> None:
        """Nobody listens any more."""
        self.follow({})
        if self._context is not None:
            self._context.destroy(linger=0)


class FollowingService:
    """Belongs to one runtime. It has nothing to do where no `prefix_affinity` is configured with `kv_events`.

    Attributes:
        wanted: what the runtime's policies, which are built after this, want to have followed.
        knowledge: theirs.
    """

    def __init__(self) -> None:
        self.wanted: list[tuple[EngineCaches, Mapping[str, Source]]] = []
        self.knowledge: list[EngineKnowledge] = []

    async def run(self) -> None:
        """Listen until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for caches, sources in self.wanted:
                caches.follow(sources)
                for name in sources:
                    tasks.create_task(caches.stream(name).run(), name=f"kv events of {name}")

    def metrics(self) -> Iterable[Metric]:
        """How well each engine's cache is known, and by what calls were looked up."""
        if not self.wanted:
            return []
        known = {name: each for caches, _ in self.wanted for name, each in caches.followers.items()}
        looked: dict[tuple[str, ...], float] = {}
        for each in self.knowledge:
            for by, count in each.looked_up.items():
                looked[by,] = looked.get((by,), 0) + count
        modes: dict[tuple[str, ...], float] = {
            (name, mode): float(each.mode == mode) for name, each in known.items() for mode in MODES
        }
        return [
            gauge("moegate_kv_events_mode", "1 for how a replica's prefix cache is known", modes, "replica", "mode"),
            gauge(
                "moegate_kv_events_blocks",
                "Blocks of tokens that a replica's engine says it holds",
                {(name,): float(len(each.holder)) for name, each in known.items()},
                "replica",
            ),
            counter(
                "moegate_kv_events_batches",
                "Batches of KV events that were taken in, times that some were missing, events that nobody can read",
                {
                    (name, what): float(count)
                    for name, each in known.items()
                    for what, count in (("taken", each.batches), ("gap", each.gaps), ("unreadable", each.unreadable))
                },
                "replica",
                "what",
            ),
            counter("moegate_kv_events_prompts", "Prompts that were looked up by tokens, or by bytes", looked, "by"),
        ]
