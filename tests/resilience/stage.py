"""What every stage has, whatever engines stand on it: a gateway that lives through all scenarios, engines `a` and `b` behind it."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.contracts.keys import generate_key
from tests.integration.configs import model
from tests.resilience.asking import Question
from tests.resilience.relay import Relay
from tests.support.gateway_process import FORGETFUL, GatewayProcess, Json, gateway_process

if TYPE_CHECKING:
    from tests.resilience.load import Load

KEY = generate_key()
LONG = {"connect_seconds": 20.0, "first_byte_seconds": 60.0, "idle_seconds": 60.0}
# As long as before they began to count, but looked at by seconds: so that a scenario need not wait for minutes.
QUICK = {"breaker": {"open_seconds": 1.0, "longest_open_seconds": 2.0, "slow_start_seconds": 1.0}}
# The default list rightly leaves an engine alone for minutes that was slow once: here the one that fails must be asked.
EVENLY = [{"use": "round_robin"}]


@dataclass
class Stage(ABC):
    """What runs for as long as the suite.

    Models: `patient` (long deadlines) and `hasty` (short ones) on engines a and b in turn, without breaker and with retries
    as many as it takes; `usual`, with breaker, retry budget and default routing; `wired`, a behind a relay.

    Attributes:
        engines: by name; what each can do is its stage's own.
        clients, calls: of a load, where a scenario asks for no other.
    """

    gateway: GatewayProcess
    engines: Mapping[str, Any]
    relay: Relay
    settings: Json
    folder: Path
    seed: int
    small: bool
    minutes: float
    clients: int
    calls: int

    @property
    def replicas(self) -> int:
        """How many the gateway knows, of all models."""
        return sum(len(model["replicas"]) for model in self.settings["models"])

    @abstractmethod
    def draw(self, load: Load, rng: random.Random) -> Question:
        """What a client of a load asks next."""

    @abstractmethod
    def restart(self, name: str) -> None:
        """Start an engine again on its port, once it has ended."""

    @abstractmethod
    def reset(self) -> None:
        """Make engines forget the last scenario."""

    @abstractmethod
    def seen(self) -> int | None:
        """How many calls reached engines since `reset`; None if they do not tell."""

    @abstractmethod
    def left(self) -> list[str]:
        """What engines say that they are still at, or that was done to them which must not be."""


def models(replicas: Callable[[str, str], Json], relay: Relay, short: Json, **more: Any) -> list[Json]:
    """The models that every stage has.

    Args:
        replicas: makes the replica of an engine and a model.
        relay: before engine a.
        short: deadlines of a hasty model.
        more: of each model.
    """

    def both(of: str) -> list[Json]:
        return [replicas(name, of) for name in "ab"]

    wired = both("wired")
    wired[0]["url"] = f"http://127.0.0.1:{relay.port}"
    return [
        model("patient", *both("patient"), timeouts=LONG, routing=EVENLY, **FORGETFUL, **more),
        model("hasty", *both("hasty"), timeouts=short, routing=EVENLY, **FORGETFUL, **more),
        model("usual", *both("usual"), timeouts=LONG, **QUICK, **more),
        model("wired", *wired, timeouts=short, routing=EVENLY, **FORGETFUL, **more),
    ]


@asynccontextmanager
async def serving(settings: Json, folder: Path) -> AsyncIterator[GatewayProcess]:
    """A gateway whose replicas are all ready; it must end with status 0."""
    process = gateway_process(settings, folder)
    # In a thread: the gateway probes an engine through the relay, which is on our loop.
    gateway = await asyncio.to_thread(process.__enter__)
    try:
        await asyncio.to_thread(gateway.wait_at_rest)
        yield gateway
    except BaseException:
        gateway.end()
        raise
    else:
        await asyncio.to_thread(process.__exit__, None, None, None)
