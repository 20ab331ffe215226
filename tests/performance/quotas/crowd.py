"""Many clients that spend a budget until they are told to stop, some of which leave in the middle of calls; judges nothing."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field

from tests.performance.quotas.asking import Connection, Leaving, Said, Wish, connect
from tests.performance.quotas.world import World

REFUSED = 429

# Who is refused asks for less, and less often; who is served for more again.
LEAST_SCALE = 0.01
FIRST_PAUSE, MOST_PAUSE = 0.05, 0.8


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What clients are like.

    Attributes:
        words, most: largest prompt, and largest `max_tokens`.
        streams: share of calls that are streamed.
        unlimited: share of calls that say no `max_tokens`.
        leaving: share of calls whose client leaves before the end.
    """

    clients: int = 200
    words: int = 100
    most: int = 120
    streams: float = 0.6
    unlimited: float = 0.0
    leaving: float = 0.0


@dataclass
class Crowd:
    """The clients of one run, and all that came of their calls."""

    world: World
    habits: Habits
    seed: int
    token_seconds: float
    first_seconds: float
    said: list[Said] = field(default_factory=list)
    halt: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Spend until `halt` is set, and let the last calls end."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(self.habits.clients):
                tasks.create_task(self._client(number))

    async def _client(self, number: int) -> None:
        choice = random.Random(f"{self.seed}/{number}")
        node = self.world.nodes[number % len(self.world.nodes)]
        connection: Connection | None = None
        scale, pause, calls = 1.0, FIRST_PAUSE, 0
        await self._rest(choice.random() * 0.2)
        while not self.halt.is_set():
            if connection is None or not connection.open:
                connection = await connect(node.port)
                if connection is None:
                    await self._rest(FIRST_PAUSE)
                    continue
            wish = self._wish(choice, scale)
            calls += 1
            said = Said(f"c{number}-{calls}", wish, node.number, time.monotonic())
            await connection.ask(said, self.world.key, self._leaving(choice, wish))
            self.said.append(said)
            if said.status == REFUSED:
                scale, pause = max(scale / 2, LEAST_SCALE), min(pause * 2, MOST_PAUSE)
                await self._rest(pause * (0.5 + choice.random() / 2))
            elif said.ended == "whole":
                scale, pause = min(scale * 1.3, 1.0), FIRST_PAUSE
        if connection is not None and connection.open:
            connection.transport.close()

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.halt.wait(), seconds)

    def _wish(self, choice: random.Random, scale: float) -> Wish:
        habits = self.habits
        words = max(1, int(choice.randint(1, habits.words) * scale))
        most = max(1, int(choice.randint(8, habits.most) * scale))
        answer = choice.randint(1, most + most // 5)
        limit = None if choice.random() < habits.unlimited else most
        return Wish(words, answer if limit is not None else min(answer, most), limit, choice.random() < habits.streams)

    def _leaving(self, choice: random.Random, wish: Wish) -> Leaving | None:
        """Before the first byte, in the middle, or right at the end."""
        if choice.random() >= self.habits.leaving:
            return None
        reset = choice.random() < 0.5
        tokens = wish.answer if wish.most is None else min(wish.answer, wish.most)
        whole = self.first_seconds + tokens * self.token_seconds
        when = choice.choice(("before", "middle", "end"))
        if when == "before":
            return Leaving(seconds=choice.random() * self.first_seconds, reset=reset)
        if not wish.stream:
            around = choice.uniform(0, whole) if when == "middle" else whole + choice.uniform(-0.02, 0.02)
            return Leaving(seconds=around, reset=reset)
        # The first event opens the answer, the last two are the last piece and the end.
        events = choice.randint(1, tokens + 1) if when == "middle" else tokens + choice.randint(0, 2)
        return Leaving(events=max(events, 1), reset=reset)
