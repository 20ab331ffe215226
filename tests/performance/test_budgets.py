"""What one call and one streamed event may cost, in functions called: the same on every machine, however busy it is.

A change that makes the way longer fails here, and raises the budget on purpose; one that makes it shorter lowers it. The standard
library's functions and those in C have no budget: which of them are called depends on the interpreter's version.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.performance.moegate_targets import moegate_bare, moegate_unshipped
from tests.performance.targets import Place, Target
from tests.support.gateway_process import poll
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

# Calls of Python functions. Of a call: from its first byte to its record; of an event: from one socket to the other.
CALL_BARE = 210
CALL_GOVERNED = 258
EVENT = 12
# Below this share of a budget the budget is out of date.
LEAST_SHARE = 0.9

CALLS = 200
STREAMS = 20
EVENTS = (10, 110)
PROMPT = "x" * 500


@dataclass
class Counted:
    """A gateway whose calls of functions are counted."""

    target: Target
    file: Path

    def per(self, what: Callable[[], None], times: int) -> dict[str, int]:
        """How often each function was called for one of `times`; rounded, as the gateway has other things to do as well."""
        self.file.unlink(missing_ok=True)
        os.kill(self.target.pid, signal.SIGUSR1)
        what()
        os.kill(self.target.pid, signal.SIGUSR2)
        poll(self.file.exists, "the counts are written")
        counts: dict[str, int] = json.loads(self.file.read_text())["python"]
        return {
            name: round(count / times) for name, count in counts.items() if is_counted(name) and round(count / times)
        }

    def ask(self, times: int, events: int | None = None) -> None:
        """Make calls one after another on one connection; streams of so many events if that is said."""
        connection = http.client.HTTPConnection(*self.target.address, timeout=20)
        headers = dict(header.split(": ", 1) for header in self.target.headers)
        body = {"model": "kimi-k2", "messages": [{"role": "user", "content": PROMPT}]}
        if events is not None:
            body |= {"stream": True, "max_tokens": events}
        for _ in range(times):
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            answer = connection.getresponse()
            whole = answer.read()
            assert answer.status == 200, whole
            assert whole.endswith(b"[DONE]\n\n" if events is not None else b"}")
        connection.close()


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    """An engine whose events come one by one."""
    with scripted_engine("--chunk-interval-ms", "2") as engine:
        yield engine


def counted(start: Callable[[Place], Target], engine: ScriptedEngine, folder: Path) -> Counted:
    """Start a gateway, and have it see each kind of call once."""
    file = folder / "counts.json"
    prefix = (sys.executable, str(Path(__file__).with_name("counting.py")), str(file))
    made = Counted(start(Place(engine, folder, prefix)), file)
    made.ask(30)
    made.ask(2, 10)
    return made


@pytest.fixture(scope="module")
def bare(engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    """A gateway for anybody, with routing and metrics."""
    made = counted(moegate_bare, engine, tmp_path_factory.mktemp("bare"))
    yield made
    made.target.stop()


@pytest.fixture(scope="module")
def governed(engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    """A gateway with keys in SQL, five limits, routing, metrics and the ledger's journal."""
    made = counted(moegate_unshipped, engine, tmp_path_factory.mktemp("governed"))
    yield made
    made.target.stop()


def is_counted(name: str) -> bool:
    """Whether a function is ours or a library's that we have chosen."""
    return "site-packages" in name or not name.startswith((sysconfig.get_path("stdlib"), "<"))


def most_called(found: Mapping[str, float]) -> str:
    """A list for people."""
    most = sorted(found.items(), key=lambda item: -item[1])[:30]
    return "\n".join(f"{count:8.2f} {name}" for name, count in most)


def check(found: dict[str, int], budget: int) -> None:
    """Hold a cost against its budget; what is over it is shown by where most of it is."""
    total = sum(found.values())
    assert total <= budget, f"{total} calls of functions, and {budget} are allowed:\n{most_called(found)}"
    assert total >= budget * LEAST_SHARE, f"{total} calls of functions: lower the budget of {budget}"


def test_a_call(bare: Counted) -> None:
    check(bare.per(lambda: bare.ask(CALLS), CALLS), CALL_BARE)


def test_a_call_with_keys_limits_and_the_ledger(governed: Counted) -> None:
    check(governed.per(lambda: governed.ask(CALLS), CALLS), CALL_GOVERNED)


def test_a_streamed_event(bare: Counted) -> None:
    few, many = (bare.per(lambda: bare.ask(STREAMS, count), STREAMS) for count in EVENTS)  # noqa: B023 - called at once
    more = {name: (count - few.get(name, 0)) / (EVENTS[1] - EVENTS[0]) for name, count in many.items()}
    # Events that come together, as on a busy machine, cost less: this is a bound and no more.
    assert sum(more.values()) <= EVENT, most_called(more)
