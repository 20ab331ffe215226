"""The runs of the proof: all turns by one list, and the second half of them after something that no gateway was told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.engines.prefix.conversations import Conversation, Times, conversations, tell
from tests.engines.prefix.scene import KEY, Counts, Engine, counts, gateway
from tests.support.gateway_process import GatewayProcess

SYSTEMS, EACH, TURNS = 5, 6, 4
HALF = TURNS // 2


@dataclass(frozen=True)
class Found:
    """What one run found."""

    counts: Counts
    times: Times


class Proof:
    """Runs on one pair of engines; the folder is for configurations and logs."""

    def __init__(self, pair: Sequence[Engine], folder: Path) -> None:
        self._pair = pair
        self._folder = folder
        self._runs = 0

    def whole(self, name: str, seed: int) -> Found:
        """All turns, from empty caches on."""
        told = self._begin(seed)
        with self._gateway(name) as process:
            return self._tell(process, seed, told, TURNS)

    def forgotten(self, name: str, seed: int) -> Found:
        """After one engine's cache was emptied."""
        told = self._begin(seed)
        with self._gateway(name) as process:
            self._tell(process, seed, told, HALF)
            self._pair[0].forget()
            self._pair[0].ask("Hello!")  # what happened is told with the next step
            return self._tell(process, seed + 1, told, TURNS - HALF)

    def restarted(self, name: str, seed: int) -> Found:
        """Through a new gateway, which has sent nothing anywhere yet."""
        told = self._begin(seed)
        with self._gateway(name) as process:
            self._tell(process, seed, told, HALF)
        with self._gateway(name) as process:
            return self._tell(process, seed + 1, told, TURNS - HALF)

    def _begin(self, seed: int) -> list[Conversation]:
        for engine in self._pair:
            engine.forget()
            engine.ask("Hello!")
        return conversations(seed, SYSTEMS, EACH, TURNS)

    def _gateway(self, name: str) -> AbstractContextManager[GatewayProcess]:
        self._runs += 1
        return gateway(self._pair, name, self._folder / str(self._runs))

    def _tell(self, process: GatewayProcess, seed: int, told: Sequence[Conversation], turns: int) -> Found:
        before = counts(self._pair)
        times = asyncio.run(tell(process.url, KEY, told, turns, seed))
        return Found(counts(self._pair).since(before), times)
