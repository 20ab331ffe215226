"""Conversations of several turns, many after the same system prompt, told in turn with others; seeded, by real answers."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from tests.support.gateway_process import Json

SAID = (
    "the a of and to in is was for on that with as at by from river stone light paper morning engine quiet green seven "
    "write read open carry answer question window letter number garden winter road small large under over again"
)
ANSWER_TOKENS = 24
AT_ONCE = 4
CALL_SECONDS = 120.0


@dataclass
class Conversation:
    """What was said so far, and what its user is going to say."""

    messages: list[Json]
    coming: list[str]


@dataclass
class Times:
    """Seconds to the first word, per call."""

    first: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """So many of the calls were not later than that."""
        ordered = sorted(self.first)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def conversations(seed: int, systems: int, each: int, turns: int) -> list[Conversation]:
    """`systems` system prompts with `each` conversations after each of them, of `turns` turns, in any order."""
    chance = random.Random(seed)
    made = []
    for _ in range(systems):
        system = _text(chance, 160)
        made += [
            Conversation([{"role": "system", "content": system}], [_text(chance, 50) for _ in range(turns)])
            for _ in range(each)
        ]
    chance.shuffle(made)
    return made


def _text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(SAID.split(), k=words)) + "."


async def tell(
    url: str, key: str, told: Sequence[Conversation], turns: int, seed: int, at_once: int = AT_ONCE
) -> Times:
    """Take each conversation so many turns further, a few at once; which one is next is drawn by chance."""
    chance, times = random.Random(seed), Times()
    waiting = [[each] * turns for each in told]
    order = [each for row in waiting for each in row]
    chance.shuffle(order)
    busy: set[int] = set()
    free = asyncio.Condition()
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=CALL_SECONDS, trust_env=False) as client:

        async def work() -> None:
            while True:
                async with free:
                    await free.wait_for(lambda: not order or any(id(each) not in busy for each in order))
                    if not order:
                        return
                    at = next(place for place, each in enumerate(order) if id(each) not in busy)
                    conversation = order.pop(at)
                    busy.add(id(conversation))
                times.first.append(await _turn(client, conversation))
                async with free:
                    busy.discard(id(conversation))
                    free.notify_all()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(at_once):
                tasks.create_task(work())
    return times


async def _turn(client: httpx.AsyncClient, conversation: Conversation) -> float:
    """Say the next thing and hear the answer; seconds to its first word."""
    conversation.messages.append({"role": "user", "content": conversation.coming.pop(0)})
    body = {
        "model": "kimi-k2", "messages": conversation.messages, "stream": True, "temperature": 0,
        "max_tokens": ANSWER_TOKENS, "ignore_eos": True,
    }  # fmt: skip
    said, first, began = "", 0.0, time.monotonic()
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            choices = json.loads(line.removeprefix("data: "))["choices"]
            word = choices[0]["delta"].get("content") if choices else None
            if word:
                first = first or time.monotonic() - began
                said += word
    conversation.messages.append({"role": "assistant", "content": said})
    return first or time.monotonic() - began
