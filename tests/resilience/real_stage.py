"""The stage with real engines: each was asked everything before, so that it is known what it says when nothing goes wrong."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tests.integration.configs import config, model
from tests.resilience.real_engine import CONTEXT_LENGTH, SERVED, SLOTS, RealEngine
from tests.resilience.relay import Relay
from tests.resilience.stage import KEY, LONG, Stage, models, serving
from tests.support.gateway_process import FORGETFUL, Json

if TYPE_CHECKING:
    from tests.resilience.load import Load

SHORT = {"connect_seconds": 2.0, "first_byte_seconds": 3.0, "idle_seconds": 3.0}
CHECKPOINT = {"id": "moegate/k2-tiny", "licence": "mit", "context_length": CONTEXT_LENGTH}
SMALL_LOAD, FULL_LOAD = (4, 4), (12, 15)

PROMPTS = (
    "Hello!", "Thank you!", "Who are you?", "What is 3 + 4?", "What is 12 + 9?", "What is 2 + 2?", "Count to three.",
    "What is the capital of France?", "What is the capital of Italy?", "What colour is the sky?", "one two three",
)  # fmt: skip
LONG_PROMPTS = ("Count to five.", "Count to six.", "Count to seven.", "Count to nine.")
SHORT_TOKENS, LONG_TOKENS = 48, 160
# Nearer than that, company in an engine's batch could make the other token the likelier one: such answers are not asked for.
MARGIN_NATS = 0.02
# As many tokens as take long enough for whatever is to happen; nobody is to see their end.
UNKNOWN = ("", "nobody is to see it")
ENDLESS: Json = {
    "messages": [{"role": "user", "content": "Count to five."}], "max_tokens": 6000, "temperature": 0, "ignore_eos": True,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RealQuestion:
    """One greedy call, and what each engine said to it when it was asked directly: text and finish reason, by engine."""

    fields: Json
    said: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    model: str = SERVED
    stream: bool = False

    def body(self) -> bytes:
        """The request."""
        return msgspec.json.encode({**self.fields, "model": self.model, "stream": self.stream})

    def expected(self, replica: str) -> tuple[str, str]:
        """Text and finish reason."""
        return self.said.get(replica.partition("-")[0], UNKNOWN)


@dataclass
class RealStage(Stage):
    """With `only-a` and `only-b` besides, on one engine each; and answers that are known.

    Attributes:
        short, long: questions; the long ones are for streams that something is to happen to.
    """

    short: Sequence[RealQuestion]
    long: Sequence[RealQuestion]

    def draw(self, load: Load, rng: random.Random) -> RealQuestion:
        """A known question; one stream in three is a long one."""
        stream = rng.random() < load.streams
        known = rng.choice(self.long if stream and rng.random() < 1 / 3 else self.short)
        return RealQuestion(known.fields, known.said, load.model, stream)

    def restart(self, name: str) -> None:
        """Start an engine again on its port."""
        self.engines[name].stop()
        self.engines[name].start()

    def reset(self) -> None:
        """Real engines have nothing to forget."""

    def seen(self) -> None:
        """Their counts end with their processes."""

    def left(self) -> list[str]:
        """Calls that engines still have."""
        busy = {engine: engine.busy() for engine in self.engines.values() if engine.living}
        return [f"{engine.kind} has {number:g} calls" for engine, number in busy.items() if number]


def known(engines: Sequence[RealEngine], prompts: Sequence[str], **fields: object) -> list[RealQuestion]:
    """Ask each engine each prompt; questions to which none is in two minds about a token.

    Raises:
        AssertionError: there are too few.
    """
    found = []
    for prompt in prompts:
        asked = {"messages": [{"role": "user", "content": prompt}], "temperature": 0, **fields}
        said = {engine.name: engine.ask({**asked, "logprobs": True, "top_logprobs": 2}) for engine in engines}
        if all(_margin(choice) >= MARGIN_NATS for choice in said.values()):
            answers = {name: (choice["message"]["content"], choice["finish_reason"]) for name, choice in said.items()}
            found.append(RealQuestion(asked, answers))
    assert len(found) * 2 >= len(prompts), f"only {len(found)} of {len(prompts)} questions have one clear answer"
    return found


def _margin(choice: Json) -> float:
    return min(
        token["logprob"] - other["logprob"]
        for token in choice["logprobs"]["content"]
        for other in token["top_logprobs"]
        if other["token"] != token["token"]
    )


def settings(engines: Mapping[str, RealEngine], relay: Relay) -> Json:
    """What the gateway is started with."""

    def on(name: str, of: str) -> Json:
        engine = engines[name]
        plain = {"name": f"{name}-{of}", "backend": engine.kind, "url": engine.url, "served_model": SERVED}
        return {**plain, "max_concurrent": SLOTS}

    made = config(
        *models(on, relay, SHORT, checkpoint=CHECKPOINT),
        *(
            model(f"only-{name}", on(name, "only"), timeouts=LONG, checkpoint=CHECKPOINT, **FORGETFUL)
            for name in engines
        ),
        keys={"x": KEY},
        per_key=1000,
        server={"grace_seconds": 60},
    )
    del made["policies"]["routing"]  # the default list
    return made


@asynccontextmanager
async def real_stage(kinds: Sequence[str], *, seed: int, small: bool) -> AsyncIterator[RealStage]:
    """Start everything; whatever is left is ended with the block, the gateway with status 0.

    Args:
        kinds: of engines `a` and `b`.
        seed: of what clients ask.
        small: few clients, few rounds.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="moegate-resilience-")))
        engines = {name: RealEngine(name, kind, folder) for name, kind in zip("ab", kinds, strict=True)}
        both = list(engines.values())
        stack.callback(lambda: [engine.stop() for engine in both])
        await asyncio.gather(*(asyncio.to_thread(engine.start) for engine in both))
        relay = Relay(engines["a"].port)
        await relay.start()
        stack.push_async_callback(relay.aclose)
        made = settings(engines, relay)
        gateway = await stack.enter_async_context(serving(made, folder))
        load = SMALL_LOAD if small else FULL_LOAD
        short = await asyncio.to_thread(known, both, PROMPTS, max_tokens=SHORT_TOKENS)
        long = await asyncio.to_thread(known, both, LONG_PROMPTS, max_tokens=LONG_TOKENS, ignore_eos=True)
        yield RealStage(gateway, engines, relay, made, folder, seed, small, 0.0, *load, short, long)
