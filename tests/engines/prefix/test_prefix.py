"""Prefix-aware routing on two real vLLMs, by the engines' own counters; the whole table is `make prove-prefix`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.prefix.conversations import conversations, tell
from tests.engines.prefix.scene import KEY, PRECISE, Engine, counts, engines, gateway
from tests.support.gateway_process import poll

pytestmark = pytest.mark.timeout(900)

SYSTEMS, EACH, TURNS = 3, 4, 3


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Engine]]:
    with engines(tmp_path_factory.mktemp("engines"), 20_480) as made:
        yield made


def hit_share(pair: list[Engine], name: str, folder: Path) -> float:
    for engine in pair:
        engine.forget()
    with gateway(pair, name, folder / "gateway") as process:
        before = counts(pair)
        asyncio.run(tell(process.url, KEY, conversations(1, SYSTEMS, EACH, TURNS), TURNS, 1, at_once=1))
        return counts(pair).since(before).hit_share


def test_more_of_the_prompts_is_found_in_caches_than_by_round_robin(pair: list[Engine], tmp_path: Path) -> None:
    """One call at a time, so that no engine's speed decides how much: round robin meets the other engine every other call."""
    ours = hit_share(pair, "the default list", tmp_path / "ours")
    theirs = hit_share(pair, "round_robin", tmp_path / "theirs")
    assert ours > theirs + 0.03


def test_with_kv_events_a_new_gateway_knows_what_engines_hold(pair: list[Engine], tmp_path: Path) -> None:
    for engine in pair:
        engine.forget()
    told = conversations(2, SYSTEMS, EACH, TURNS)
    with gateway(pair, PRECISE, tmp_path / "first") as process:
        asyncio.run(tell(process.url, KEY, told, TURNS - 1, 2))
        assert process.metric("moegate_kv_events_prompts_total", by="tokens") > 0
    with gateway(pair, PRECISE, tmp_path / "second") as process:
        held = sum(process.metric("moegate_kv_events_blocks", replica=name) for name in "ab")
        assert held > SYSTEMS * EACH
        before = counts(pair)
        # One call at a time, as above: nothing but the caches speaks for one of the engines.
        asyncio.run(tell(process.url, KEY, told, 1, 3, at_once=1))
        # All that was said before the last turn, but for what fills no block.
        assert counts(pair).since(before).hit_share > 0.7
        for engine in pair:
            engine.forget()
            engine.ask("Hello!")  # what happened is told with the next step
        poll(
            lambda: sum(process.metric("moegate_kv_events_blocks", replica=name) for name in "ab") < held / 2,
            "what the engines forgot is forgotten here",
        )
