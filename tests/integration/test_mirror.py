"""Copies of calls go to another engine, and whatever that does, clients, their limits and the gateway's memory never know."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.contracts.keys import generate_key
from tests.integration.asking import CHAT, chat
from tests.integration.configs import config, model, replica
from tests.integration.conftest import World
from tests.support.gateway_process import FORGETFUL, GatewayProcess, gateway_process, poll

KEY = generate_key()
MOST = 4
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def gateway(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Each call to `kimi-k2`, on engine a, is copied to `shadow`, on engine b. A key may have one call in flight."""
    # An engine that never ends its answer is left by itself after total_seconds.
    mirror = {"to": "shadow", "share": 1, "max_concurrent": MOST, "max_bytes": 2 * MIB, "total_seconds": 3}
    settings = config(
        model("kimi-k2", replica("a", world.a), mirror=mirror, **FORGETFUL),
        model("shadow", replica("b", world.b), **FORGETFUL),
        keys={"x": KEY},
        per_key=1,
    )
    with gateway_process(settings, tmp_path_factory.mktemp("mirror")) as found:
        yield found
        began = time.monotonic()
        world.b.all_calls("first_byte_stall")
        ask(found)
        wait_copies(found, 1)
        assert found.stop() == 0
        assert time.monotonic() - began < 15, "a stop waits for no copy"
        world.b.reset()


@pytest.fixture(autouse=True)
def fresh(gateway: GatewayProcess, world: World) -> None:
    """Engines without a past, and no copy left of the test before."""
    world.a.reset()
    world.b.reset()
    wait_copies(gateway, 0)
    world.b.reset()


def wait_copies(gateway: GatewayProcess, count: int) -> None:
    poll(lambda: gateway.metric("moegate_mirror_in_flight") == count, f"{count} copies are in flight")


def ended(gateway: GatewayProcess) -> float:
    return gateway.metric("moegate_mirror_ended_total")


def headers(call: dict[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in dict(call["headers"]).items()}


def offered(gateway: GatewayProcess) -> float:
    return gateway.metric("moegate_mirror_sent_total") + gateway.metric("moegate_mirror_dropped_total")


def ask(gateway: GatewayProcess, **fields: Any) -> httpx.Response:
    return gateway.http.post(CHAT, json=chat(**fields), headers={"x-api-key": KEY})


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_is_copied_with_a_mark_and_counts_once(gateway: GatewayProcess, world: World, stream: bool) -> None:
    names = ("moegate_calls_total", "moegate_attempts_total", "moegate_tokens_total")
    calls, attempts, tokens = (gateway.metric(name) for name in names)
    copies = ended(gateway)
    assert ask(gateway, stream=stream).status_code == 200
    poll(lambda: ended(gateway) == copies + 1, "the copy has come to its end")
    (original,), (copy,) = world.a.calls(), world.b.calls()
    assert copy["body"] == original["body"]
    assert headers(copy)["x-moegate-mirror"] == "1"
    assert "x-moegate-mirror" not in headers(original)
    gateway.wait_metric(names[0], calls + 1)
    spent = gateway.metric(names[2]) - tokens
    # What is counted comes in order: so nothing of the copy can come once this call is counted.
    assert ask(gateway, stream=stream, model="shadow").status_code == 200
    gateway.wait_metric(names[0], calls + 2)
    assert gateway.metric(names[1]) == attempts + 2
    assert gateway.metric(names[2]) - tokens == 2 * spent > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault",
    ["first_byte_stall", "hang_after_headers", "error_500", "midstream_cut", "one_byte_packets", "garbage", "endless"],
)
def test_whatever_a_mirror_does_the_client_gets_what_it_would(
    gateway: GatewayProcess, world: World, fault: str, stream: bool
) -> None:
    world.b.all_calls(fault)
    wanted = ask(gateway, stream=stream)
    assert wanted.status_code == 200
    for _ in range(2 * MOST):
        answer = ask(gateway, stream=stream)
        assert answer.status_code == 200
        assert len(answer.content) == len(wanted.content)
        assert answer.headers["x-moegate-replica"] == "a"
        assert answer.headers["x-moegate-attempts"] == "1"
    assert gateway.metric("moegate_retries_total") == 0
    assert gateway.metric("moegate_breaker_opened_total") == 0


def test_copies_that_hang_are_bounded_and_so_is_memory(gateway: GatewayProcess, world: World) -> None:
    world.b.all_calls("first_byte_stall")
    big = "x" * (256 * 1024)
    messages = [{"role": "user", "content": big}]
    for _ in range(20):  # as much memory as calls of this size need
        assert ask(gateway, messages=messages).status_code == 200
    before, seen, dropped = gateway.rss_bytes, offered(gateway), gateway.metric("moegate_mirror_dropped_total")
    for _ in range(300):
        assert ask(gateway, messages=messages).status_code == 200
    assert gateway.metric("moegate_mirror_in_flight") <= MOST
    assert gateway.metric("moegate_mirror_held_bytes") <= 2 * MIB
    poll(lambda: offered(gateway) == seen + 300, "each call was copied or counted as dropped")
    assert gateway.metric("moegate_mirror_dropped_total") > dropped
    assert gateway.rss_bytes - before < 30 * MIB, "75 MiB were asked"
    world.b.release()


def test_a_call_takes_the_slot_that_a_copy_has(world: World, tmp_path: Path) -> None:
    mirror = {"to": "shadow", "share": 1}
    settings = config(
        model("kimi-k2", replica("a", world.a), mirror=mirror, **FORGETFUL),
        model("shadow", replica("b", world.b, max_concurrent=1), **FORGETFUL),
        keys={"x": KEY},
    )
    with gateway_process(settings, tmp_path) as gateway:
        world.b.next_calls("first_byte_stall")
        assert ask(gateway).status_code == 200
        world.b.wait(seen=1)
        answer = ask(gateway, model="shadow")
        assert (answer.status_code, answer.headers["x-moegate-replica"]) == (200, "b")
        poll(lambda: gateway.metric("moegate_mirror_ended_total", how="room") == 1, "the copy has made room")
