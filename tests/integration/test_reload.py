"""A changed file is served without a break: running calls end where they began, and a bad file changes nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.contracts.keys import generate_key
from tests.integration.asking import CHAT, chat
from tests.integration.configs import config, model, replica
from tests.integration.conftest import World, assert_quiet_log
from tests.integration.wire import Wire
from tests.support.gateway_process import GatewayProcess, gateway_process, poll
from tests.support.scripted_engine.process import ScriptedEngine

KEY, OTHER_KEY = generate_key(), generate_key()


def settings(a: ScriptedEngine, *aliases: str, key: str = KEY, per_key: int = 100, **of_replica: Any) -> dict[str, Any]:
    """A configuration with these aliases."""
    return config(model("kimi-k2", replica("a", a, **of_replica), aliases=aliases), keys={"x": key}, per_key=per_key)


@pytest.fixture(scope="module")
def running(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway of this file's own."""
    with gateway_process(settings(world.a, "first"), tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway
    assert_quiet_log(gateway.log, KEY, OTHER_KEY)


@pytest.fixture
def gateway(running: GatewayProcess, world: World) -> GatewayProcess:
    """The gateway with the alias `first` and nothing in flight."""
    world.a.reset()
    change(running, settings(world.a, "first"))
    poll(lambda: status(running, "first") == 200, "the first configuration is served")
    running.wait_at_rest()
    return running


def status(gateway: GatewayProcess, name: str, key: str = KEY) -> int:
    """The status of a call to a model name."""
    return gateway.http.post(CHAT, json=chat(model=name), headers={"x-api-key": key}).status_code


def change(gateway: GatewayProcess, new: dict[str, Any] | str) -> None:
    """Write a configuration and ask for a reload."""
    gateway.write(new)
    gateway.send_signal(signal.SIGHUP)


def test_a_running_stream_ends_on_the_old_configuration(gateway: GatewayProcess, a: ScriptedEngine) -> None:
    with Wire(gateway.port, KEY) as wire:
        wire.ask(chat(model="first", fault="slow,gate=g", stream=True))
        wire.read_to(b" A")
        change(gateway, settings(a, "second"))
        poll(lambda: status(gateway, "second") == 200, "the new alias is served")
        assert status(gateway, "first") == 404
        assert gateway.metric("moegate_replica_in_flight", replica="a") == 1
        a.release("g")
        wire.read_to(b"data: [DONE]\n\n")
    gateway.wait_at_rest()


def test_a_changed_file_is_noticed_without_a_signal(gateway: GatewayProcess, a: ScriptedEngine) -> None:
    gateway.write(settings(a, "unsignalled"))
    poll(lambda: status(gateway, "unsignalled") == 200, "the new alias is served")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("models: [", "not valid YAML"),
        ("", "models: at least one model is needed"),
        ({"models": [], "servr": {}}, "servr: unknown setting; did you mean 'server'?"),
        ("\x00", "not valid YAML"),
    ],
)
def test_a_bad_file_changes_nothing_and_is_told(gateway: GatewayProcess, bad: Any, said: str) -> None:
    told = gateway.log.count("reload refused")
    change(gateway, bad)
    gateway.wait_log("reload refused, the old configuration stays", times=told + 1)
    assert said in gateway.log.replace('\\"', '"').replace("\\'", "'")
    assert status(gateway, "first") == 200


def test_a_file_that_is_gone_changes_nothing(gateway: GatewayProcess) -> None:
    told = gateway.log.count("reload refused")
    gateway.file.unlink()
    gateway.wait_log("reload refused, the old configuration stays", times=told + 1)
    assert status(gateway, "first") == 200


def test_a_key_that_was_taken_away_opens_no_more(gateway: GatewayProcess, a: ScriptedEngine) -> None:
    change(gateway, settings(a, "first", key=OTHER_KEY))
    poll(lambda: status(gateway, "first", OTHER_KEY) == 200, "the new key opens")
    assert status(gateway, "first") == 401


def test_callers_without_a_key_when_the_file_says_so(gateway: GatewayProcess, a: ScriptedEngine) -> None:
    assert gateway.http.post(CHAT, json=chat()).status_code == 401
    change(gateway, settings(a, "first") | {"server": {"anonymous": True}})
    poll(lambda: gateway.http.post(CHAT, json=chat()).status_code == 200, "anybody is served")
    assert status(gateway, "first", generate_key()) == 401


def test_a_limit_counts_calls_of_the_old_configuration(gateway: GatewayProcess, a: ScriptedEngine) -> None:
    with Wire(gateway.port, KEY) as wire:
        wire.ask(chat(fault="slow,gate=g", stream=True))
        wire.read_to(b" A")
        change(gateway, settings(a, "limited", per_key=1))
        poll(lambda: status(gateway, "limited") == 429, "the new limit holds")
        a.release("g")
        wire.read_to(b"data: [DONE]\n\n")
    assert status(gateway, "limited") == 200


def test_a_changed_replica_starts_empty_and_the_old_one_ends(gateway: GatewayProcess, a: ScriptedEngine) -> None:
    with Wire(gateway.port, KEY) as wire:
        wire.ask(chat(fault="slow,gate=g", stream=True))
        wire.read_to(b" A")
        change(gateway, settings(a, "first", max_concurrent=1))
        poll(lambda: gateway.metric("moegate_replica_slots", replica="a") == 1, "the new replica is served")
        assert status(gateway, "first") == 200
        a.release("g")
        wire.read_to(b"data: [DONE]\n\n")
    gateway.wait_at_rest()


def test_counters_go_on(gateway: GatewayProcess, a: ScriptedEngine) -> None:
    before = gateway.metric("moegate_calls_total")
    change(gateway, settings(a, "counted"))
    poll(lambda: status(gateway, "counted") == 200, "the new alias is served")
    assert gateway.metric("moegate_calls_total") >= before


def test_no_call_fails_while_the_configuration_changes(gateway: GatewayProcess, a: ScriptedEngine) -> None:
    failed: list[httpx.Response | Exception] = []
    stop = threading.Event()

    def call() -> None:
        with httpx.Client(base_url=gateway.url, headers={"x-api-key": KEY}, trust_env=False, verify=False) as http:
            while not stop.is_set():
                try:
                    answer = http.post(CHAT, json=chat(stream=True))
                    if answer.status_code != 200 or b"[DONE]" not in answer.content:
                        failed.append(answer)
                except httpx.HTTPError as error:
                    failed.append(error)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        for number in range(5):
            change(gateway, settings(a, f"round-{number}", max_concurrent=100 + number % 2))
            poll(lambda number=number: status(gateway, f"round-{number}") == 200, "the new alias is served")
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert failed == []


@pytest.mark.parametrize("signals", [1, 2])
def test_a_stop_after_a_reload(tmp_path: Path, a: ScriptedEngine, signals: int) -> None:
    """A stream of the old configuration may end too, unless a second signal says that nobody waits."""
    with gateway_process(settings(a, "first"), tmp_path) as gateway, Wire(gateway.port, KEY) as wire:
        wire.ask(chat(fault="slow,gate=g", stream=True))
        wire.read_to(b" A")
        change(gateway, settings(a, "second"))
        poll(lambda: status(gateway, "second") == 200, "the new alias is served")
        for number in range(signals):
            gateway.send_signal(signal.SIGTERM)
            gateway.wait_log(["calls in flight may end", "stopping at once"][number])
        if signals == 1:
            a.release("g")
            wire.read_to(b"data: [DONE]\n\n")
        assert gateway.wait_exit(5) == 0
    assert_quiet_log(gateway.log, KEY)
