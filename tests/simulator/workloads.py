"""Who asks what and when: seeded, the same for every rule that is compared."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """One question: tokens that it adds to the conversation, tokens of its answer, and how long until the next one."""

    asked_tokens: int
    answer_tokens: int
    pause_seconds: float = 0.0


@dataclass(frozen=True)
class Conversation:
    """Turns in a row, each with all that was before it.

    Attributes:
        opening: what it has in common with others, such as a system prompt with tools, and how many tokens that is.
    """

    name: str
    starts_at: float
    opening: tuple[str, int]
    turns: tuple[Turn, ...]


def short_chat(seed: int, calls: int = 1_800, calls_a_second: float = 6.0) -> list[Conversation]:
    """Questions of some hundred tokens, each for itself, at random."""
    return _single(random.Random(seed), calls, lambda _: calls_a_second, (200, 1_500), (80, 400), 60)


def long_context(seed: int, calls: int = 400, calls_a_second: float = 0.5) -> list[Conversation]:
    """Documents of 8,000 to 64,000 tokens."""
    return _single(random.Random(seed), calls, lambda _: calls_a_second, (8_000, 64_000), (150, 600), 60)


def bursts(seed: int, calls: int = 1_800) -> list[Conversation]:
    """Short questions: twenty seconds of sixteen a second, then forty of one a second."""
    return _single(random.Random(seed), calls, lambda now: 16.0 if now % 60 < 20 else 1.0, (200, 1_500), (80, 400), 60)


def agents(seed: int, count: int = 120, turns: int = 12) -> list[Conversation]:
    """Agents that call tools: long common openings of five kinds, and each turn's prompt begins as the one before."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        kind = chance.randrange(5)
        found.append(
            Conversation(
                name=f"agent-{number}",
                starts_at=chance.uniform(0, 120),
                opening=(f"tools-{kind}", 5_000 + 1_000 * kind),
                turns=tuple(
                    Turn(chance.randint(200, 1_800), chance.randint(60, 250), chance.uniform(0.3, 3.0))
                    for _ in range(turns)
                ),
            )
        )
    return found


def _single(
    chance: random.Random,
    calls: int,
    rate: Callable[[float], float],
    asked: tuple[int, int],
    answers: tuple[int, int],
    opening_tokens: int,
) -> list[Conversation]:
    now, found = 0.0, []
    for number in range(calls):
        now += chance.expovariate(rate(now))
        turn = Turn(chance.randint(*asked), chance.randint(*answers))
        found.append(Conversation(f"call-{number}", now, ("system", opening_tokens), (turn,)))
    return found


WORKLOADS: dict[str, Callable[[int], list[Conversation]]] = {
    "short chat": short_chat,
    "long context": long_context,
    "agents": agents,
    "bursts": bursts,
}
