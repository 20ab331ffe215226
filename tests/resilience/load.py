"""Many clients in a closed loop, seeded: each asks one question after the other while trouble lasts, and keeps what it was told."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tests.resilience.asking import Question, Said, Verdict, ask

PAUSE_SECONDS = 0.05


@dataclass
class Load:
    """A crowd.

    Attributes:
        ports: gateways that may be asked, as a load balancer knows them; may change while it runs.
        draw: makes a client's next question.
        calls: of each client at least; it goes on for as long as the trouble lasts.
        faults, share: what engines do to that share of the calls; "" is no fault.
        leaving: the share of streams that their clients leave.
        elsewhere: calls that nobody took, asked again of another gateway as a load balancer would.
    """

    ports: list[int]
    key: str
    draw: Callable[[Load, random.Random], Question]
    model: str
    seed: int
    clients: int
    calls: int
    faults: Sequence[str] = ("",)
    share: float = 0.5
    streams: float = 0.7
    shortest: int = 2
    longest: int = 30
    leaving: float = 0.0
    said: list[Said] = field(default_factory=list)
    left: int = 0
    elsewhere: int = 0
    _troubled: bool = False

    async def run(self, trouble: Callable[[], Awaitable[None]] | None = None) -> None:
        """All clients to their ends, and the trouble beside them."""
        self._troubled = trouble is not None
        async with asyncio.TaskGroup() as group:
            for number in range(self.clients):
                group.create_task(self._client(random.Random(f"{self.seed}-{number}-{len(self.said)}")))
            if trouble is not None:
                try:
                    await trouble()
                finally:
                    self._troubled = False

    async def _client(self, rng: random.Random) -> None:
        asked = 0
        while asked < self.calls or self._troubled:
            asked += 1
            question = self.draw(self, rng)
            leave_after = rng.randint(1, 4_000) if question.stream and rng.random() < self.leaving else None
            said = await self._ask(rng, question, leave_after)
            if said is None:
                self.left += 1
            else:
                self.said.append(said)
                if said.verdict is not Verdict.RIGHT:
                    # As clients do that are told no: else they would ask all the time.
                    await asyncio.sleep(PAUSE_SECONDS)  # see above

    async def _ask(self, rng: random.Random, question: Question, leave_after: int | None) -> Said | None:
        ports = list(self.ports)
        while True:
            port = rng.choice(ports)
            ports.remove(port)
            said = await ask(port, self.key, question, leave_after=leave_after)
            if said is None or said.verdict is not Verdict.REFUSED or not ports:
                return said
            self.elsewhere += 1

    def count(self, verdict: Verdict) -> int:
        """How many got this."""
        return sum(said.verdict is verdict for said in self.said)

    @property
    def tries(self) -> int:
        """Replicas tried for all calls, as clients were told."""
        return sum(said.attempts for said in self.said)

    @property
    def recovered(self) -> int:
        """Right answers that took more than one try."""
        return sum(said.verdict is Verdict.RIGHT and said.attempts > 1 for said in self.said)

    @property
    def codes(self) -> Counter[str]:
        """Errors by their codes."""
        return Counter(said.code for said in self.said if said.verdict is Verdict.ERROR)
