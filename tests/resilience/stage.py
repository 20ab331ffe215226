"""One gateway that lives through every scenario, and the scripted engines behind it; a scenario gets a scene of its own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.contracts.keys import generate_key
from tests.integration.configs import config, model, replica
from tests.resilience.relay import Relay
from tests.support.gateway_process import FORGETFUL, GatewayProcess, Json, gateway_process
from tests.support.scripted_engine.process import ScriptedEngine, start

KEY = generate_key()
SHORT = {"connect_seconds": 1.0, "first_byte_seconds": 1.5, "idle_seconds": 1.5}
LONG = {"connect_seconds": 20.0, "first_byte_seconds": 60.0, "idle_seconds": 60.0}
# As long as before they began to count, but looked at by seconds: so that a scenario need not wait for minutes.
QUICK = {"breaker": {"open_seconds": 1.0, "longest_open_seconds": 2.0, "slow_start_seconds": 1.0}}
# The default list rightly leaves an engine alone for minutes that was slow once: here the one that fails must be asked.
EVENLY = [{"use": "round_robin"}]
PACE = ("--chunk-interval-ms", "4", "--first-chunk-ms", "4", "--answer-ms", "10")
SLOTS = 4096
CONNECTIONS = 12_000


@dataclass
class Stage:
    """What runs for as long as the suite.

    Models: `patient` (long deadlines) and `hasty` (short ones) on engines a and b in turn, without breaker and with retries
    as many as it takes; `usual`, with breaker, retry budget and default routing; `wired`, a behind a relay; `bulk` and `paced`,
    on engines that send as fast as they are read, and at the pace of many streams.
    """

    gateway: GatewayProcess
    engines: dict[str, ScriptedEngine]
    relay: Relay
    settings: Json
    folder: Path
    seed: int
    small: bool
    minutes: float
    ended: list[ScriptedEngine] = field(default_factory=list)

    @property
    def replicas(self) -> int:
        """How many the gateway knows, of all models."""
        return sum(len(model["replicas"]) for model in self.settings["models"])

    def restart(self, name: str) -> None:
        """Start an engine again on its port."""
        old = self.engines[name]
        self.ended.append(old)
        self.engines[name] = start(*PACE, "--dialect", "vllm", "--port", str(old.port), name=name)


def settings(engines: dict[str, ScriptedEngine], relay: Relay) -> Json:
    """What the gateway is started with."""

    def replicas(of: str, *names: str) -> list[Json]:
        return [replica(f"{name}-{of}", engines[name], backend="vllm", max_concurrent=SLOTS) for name in names]

    wired = replicas("wired", "a", "b")
    wired[0]["url"] = f"http://127.0.0.1:{relay.port}"
    made = config(
        model("patient", *replicas("patient", "a", "b"), timeouts=LONG, routing=EVENLY, **FORGETFUL),
        model("hasty", *replicas("hasty", "a", "b"), timeouts=SHORT, routing=EVENLY, **FORGETFUL),
        model("usual", *replicas("usual", "a", "b"), timeouts=LONG, **QUICK),
        model("wired", *wired, timeouts=SHORT, routing=EVENLY, **FORGETFUL),
        model("bulk", *replicas("bulk", "fast"), timeouts=LONG, context_length=1_000_000),
        model("paced", *replicas("paced", "steady"), timeouts=LONG),
        keys={"x": KEY},
        per_key=100_000,
        server={"max_connections": CONNECTIONS, "head_seconds": 600, "keep_alive_seconds": 600, "grace_seconds": 60},
    )
    del made["policies"]["routing"]  # the default list
    return made


@asynccontextmanager
async def stage(*, seed: int, small: bool, minutes: float, interval_ms: float) -> AsyncIterator[Stage]:
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
        relay = Relay(engines["a"].port)
        await relay.start()
        stack.push_async_callback(relay.aclose)
        made = settings(engines, relay)
        process = gateway_process(made, folder)
        # In a thread: the gateway probes an engine through the relay, which is on our loop.
        gateway = await asyncio.to_thread(process.__enter__)
        stage = Stage(gateway, engines, relay, made, folder, seed, small, minutes)
        try:
            await asyncio.to_thread(gateway.wait_at_rest)
            yield stage
        except BaseException:
            gateway.end()
            raise
        else:
            await asyncio.to_thread(process.__exit__, None, None, None)
        finally:
            for engine in stage.ended:
                engine.stop()
