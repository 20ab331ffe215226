"""The stage with scripted engines: they do whatever a scenario tells them, and count what was done to them."""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tests.integration.configs import config, model, replica
from tests.resilience.lossy_link import LossyLink, NotHereError
from tests.resilience.relay import Relay
from tests.resilience.stage import EVENLY, KEY, LONG, Stage, models, serving
from tests.support.gateway_process import FORGETFUL, Json
from tests.support.scripted_engine.answers import SENTENCE
from tests.support.scripted_engine.process import ScriptedEngine, start
from tests.support.scripted_engine.turns import canned

if TYPE_CHECKING:
    from tests.resilience.load import Load

SHORT = {"connect_seconds": 1.0, "first_byte_seconds": 1.5, "idle_seconds": 1.5}
# A packet that is lost is sent again after a second at worst: deadlines that are no longer would make a lost one a lost call.
DISTANT = {"connect_seconds": 5.0, "first_byte_seconds": 3.0, "idle_seconds": 3.0}
PACE = ("--chunk-interval-ms", "4", "--first-chunk-ms", "4", "--answer-ms", "10")
SLOTS = 4096
CONNECTIONS = 12_000
# Clients of a load and calls of each, in small and in full.
SMALL_LOAD, FULL_LOAD = (6, 6), (50, 40)


@dataclass(frozen=True, slots=True)
class ScriptedQuestion:
    """One call: so many content chunks, a fault in the engine's marker, if any; `topic` tells its prompt from others'."""

    model: str
    chunks: int
    stream: bool
    fault: str = ""
    topic: int = 0

    def body(self) -> bytes:
        """The request."""
        asked: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": f"{self.topic}, and so on"}],
            "max_tokens": self.chunks,
            "stream": self.stream,
        }
        if self.fault:
            asked["user"] = f"[[fault:{self.fault}]]"
        return msgspec.json.encode(asked)

    def expected(self, _: str) -> tuple[str, str]:
        """Text and finish reason; every engine says the same."""
        return (canned(self.chunks, "length").text, "length") if self.stream else (SENTENCE, "stop")


def draw(load: Load, rng: random.Random) -> ScriptedQuestion:
    """As the load says; no two prompts begin alike, else all would go where the first one is cached."""
    return ScriptedQuestion(
        load.model,
        rng.randint(load.shortest, load.longest),
        rng.random() < load.streams,
        rng.choice(load.faults) if rng.random() < load.share else "",
        rng.randrange(1 << 62),
    )


@dataclass
class ScriptedStage(Stage):
    """With `bulk` and `paced` besides, on engines that send as fast as they are read, and at the pace of many streams.

    Attributes:
        link: to an engine `far`, which shares the model `distant` with engine b; None where there can be none.
        no_link: why.
    """

    link: LossyLink | None
    no_link: str

    def draw(self, load: Load, rng: random.Random) -> ScriptedQuestion:
        """As the load says."""
        return draw(load, rng)

    def restart(self, name: str) -> None:
        """Start an engine again on its port."""
        old = self.engines[name]
        old.stop()
        self.engines[name] = start(*PACE, "--dialect", "vllm", "--port", str(old.port), name=name)

    def reset(self) -> None:
        """Forget counts, history and faults."""
        for engine in self.engines.values():
            engine.reset()

    def seen(self) -> int:
        """As engines count that run."""
        return sum(engine.state()["seen"] for engine in self._living())

    def left(self) -> list[str]:
        """Calls that engines still have, and HTTP that was none."""
        left = []
        for engine in self._living():
            state = engine.state()
            left += [f"{engine.name}: {key} {state[key]}" for key in ("running", "waiting", "paused") if state[key]]
            left += [f"{engine.name}: {state['violations']} violations of HTTP"] if state["violations"] else []
        return left

    def _living(self) -> list[ScriptedEngine]:
        return [engine for engine in self.engines.values() if engine.process.poll() is None]


def settings(engines: dict[str, ScriptedEngine], relay: Relay) -> Json:
    """What the gateway is started with."""

    def on(name: str, of: str) -> Json:
        return replica(f"{name}-{of}", engines[name], backend="vllm", max_concurrent=SLOTS)

    distant = []
    if "far" in engines:
        both = (on(name, "distant") for name in ("far", "b"))
        distant.append(model("distant", *both, timeouts=DISTANT, routing=EVENLY, **FORGETFUL))
    made = config(
        *models(on, relay, SHORT),
        model("bulk", on("fast", "bulk"), timeouts=LONG, context_length=1_000_000),
        model("paced", on("steady", "paced"), timeouts=LONG),
        *distant,
        keys={"x": KEY},
        per_key=100_000,
        server={"max_connections": CONNECTIONS, "head_seconds": 600, "keep_alive_seconds": 600, "grace_seconds": 60},
    )
    del made["policies"]["routing"]  # the default list
    return made


@asynccontextmanager
async def scripted_stage(*, seed: int, small: bool, minutes: float, interval_ms: float) -> AsyncIterator[ScriptedStage]:
    """Start everything; whatever is left is ended with the block, the gateway with status 0.

    Args:
        seed: of what clients ask.
        small: seconds instead of minutes, few clients.
        minutes: how long the longest scenario holds its streams.
        interval_ms: between two pieces of each of those streams.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="moegate-resilience-")))
        paces = {"a": PACE, "b": PACE, "fast": (), "steady": ("--chunk-interval-ms", f"{interval_ms:g}")}
        engines: dict[str, ScriptedEngine] = {}
        stack.callback(lambda: [engine.stop() for engine in engines.values()])
        for name, pace in paces.items():
            engines[name] = start(*pace, "--dialect", "vllm", name=name)
        link, no_link = None, ""
        try:
            link = LossyLink(seed)
            stack.callback(link.close)
            engines["far"] = start(*PACE, "--dialect", "vllm", name="far", prefix=link.prefix, host=link.address)
        except NotHereError as error:
            no_link = str(error)
        relay = Relay(engines["a"].port)
        await relay.start()
        stack.push_async_callback(relay.aclose)
        made = settings(engines, relay)
        gateway = await stack.enter_async_context(serving(made, folder))
        load = SMALL_LOAD if small else FULL_LOAD
        yield ScriptedStage(gateway, engines, relay, made, folder, seed, small, minutes, *load, link, no_link)
