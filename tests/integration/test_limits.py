"""A key has as many calls in flight as it may, a replica as many as it can, and every ending gives the place back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import openai
import pytest

from gateway.contracts.keys import generate_key
from tests.integration.asking import CHAT, chat, error_of
from tests.integration.configs import config, model, replica
from tests.integration.conftest import SHORT, World, assert_quiet_log, sdk_for
from tests.integration.wire import Wire
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.scripted_engine.process import ScriptedEngine

KEYS = {name: generate_key() for name in ("one", "two", "three")}
ONE, TWO, THREE = KEYS.values()


@pytest.fixture(scope="module")
def limited(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway in which each key may have one call in flight."""
    settings = config(
        model("kimi-k2", replica("a", world.a)),
        model("hasty", replica("a-hasty", world.a), timeouts=SHORT),
        model("small", replica("a-small", world.a), context_length=4096),
        model("narrow", replica("a-narrow", world.a, max_concurrent=1), replica("b-narrow", world.b, max_concurrent=1)),
        model("wide", replica("a-wide", world.a, max_concurrent=30), replica("b-wide", world.b, max_concurrent=10)),
        keys=KEYS,
        per_key=1,
    )
    settings["policies"]["routing"].append({"use": "least_loaded"})
    with gateway_process(settings, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway
    assert_quiet_log(gateway.log, *KEYS.values())


@pytest.fixture
def gateway(limited: GatewayProcess, world: World) -> GatewayProcess:
    """The gateway of this file, at rest."""
    world.a.reset()
    world.b.reset()
    limited.wait_at_rest()
    return limited


def ask(gateway: GatewayProcess, key: str, body: dict[str, object]) -> httpx.Response:
    """One call."""
    return gateway.http.post(CHAT, json=body, headers={"x-api-key": key})


def leave_before_the_first_byte(gateway: GatewayProcess, a: ScriptedEngine) -> None:
    """Leave while the engine says nothing."""
    with Wire(gateway.port, ONE) as wire:
        wire.ask(chat(fault="first_byte_stall"))
        a.wait(waiting=1)
    a.wait(running=0, aborted=1)


def leave_in_the_middle(gateway: GatewayProcess, a: ScriptedEngine) -> None:
    """Leave while the engine streams."""
    with Wire(gateway.port, ONE) as wire:
        wire.ask(chat(fault="endless", stream=True))
        wire.read_to(b" more")
    a.wait(running=0, aborted=1)


def call(body: dict[str, object], status: int) -> Callable[[GatewayProcess, ScriptedEngine], None]:
    """A call that ends with that status."""

    def run(gateway: GatewayProcess, a: ScriptedEngine) -> None:
        assert ask(gateway, ONE, body).status_code == status

    return run


ENDINGS = {
    "completed": call(chat(), 200),
    "streamed": call(chat(stream=True), 200),
    "refused by the engine": call(chat(fault="error_400"), 400),
    "refused by placement": call(chat(model="small", max_tokens=5000), 400),
    "failed": call(chat(fault="error_500"), 502),
    "overloaded": call(chat(fault="queue_full_in_200", stream=True), 503),
    "cut": call(chat(fault="midstream_cut", stream=True), 200),
    "timed out": call(chat(model="hasty", fault="first_byte_stall"), 504),
    "timed out in the middle": call(chat(model="hasty", fault="slow", stream=True), 200),
    "left before the first byte": leave_before_the_first_byte,
    "left in the middle": leave_in_the_middle,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_frees_the_slot_once(gateway: GatewayProcess, a: ScriptedEngine, ending: str) -> None:
    before = gateway.metric("moegate_calls_total")
    ENDINGS[ending](gateway, a)
    gateway.wait_metric("moegate_calls_total", before + 1)  # settled before it was counted
    with Wire(gateway.port, ONE) as wire:
        wire.ask(chat(fault="slow,gate=hold", stream=True))  # free: the call is admitted
        wire.read_to(b" A")
        error_of(ask(gateway, ONE, chat()), 429, "quota_exceeded")  # and once only: another one is not
        a.release("hold")
        wire.read_to(b"[DONE]")


@pytest.mark.parametrize("stream", [False, True])
def test_one_call_too_many(gateway: GatewayProcess, a: ScriptedEngine, *, stream: bool) -> None:
    with Wire(gateway.port, ONE) as wire, sdk_for(gateway, ONE) as sdk:
        wire.ask(chat(fault="first_byte_stall,gate=hold"))
        a.wait(waiting=1)
        with pytest.raises(openai.RateLimitError) as caught:
            sdk.chat.completions.create(**chat(stream=stream))
        assert caught.value.response.headers["retry-after"] == "1"
        assert caught.value.type == "rate_limit_error"
        assert a.state()["seen"] == 1
        assert ask(gateway, TWO, chat()).status_code == 200
        a.release("hold")
        assert wire.answer().status_code == 200


def test_a_full_replica_is_passed_over_and_a_full_model_says_so(
    gateway: GatewayProcess, a: ScriptedEngine, b: ScriptedEngine
) -> None:
    stalled = chat(model="narrow", fault="slow,gate=hold", stream=True)
    with Wire(gateway.port, ONE) as first, Wire(gateway.port, TWO) as second:
        streams = {}
        for wire in (first, second):
            wire.ask(stalled)
            streams["a" if b"a-narrow" in wire.read_to(b" A") else "b"] = wire
        assert set(streams) == {"a", "b"}
        answer = ask(gateway, THREE, chat(model="narrow"))
        error = error_of(answer, 503, "no_replica_available")
        assert "max_concurrent" in error["message"]
        assert answer.headers["retry-after"] == "1"
        assert ask(gateway, THREE, chat(model="wide")).status_code == 200
        b.release("hold")
        streams["b"].read_to(b"[DONE]")
        assert ask(gateway, THREE, chat(model="narrow")).headers["x-moegate-replica"] == "b-narrow"
        a.release("hold")
        streams["a"].read_to(b"[DONE]")


def test_idle_replicas_take_turns(gateway: GatewayProcess) -> None:
    served = [ask(gateway, ONE, chat(model="wide")).headers["x-moegate-replica"] for _ in range(6)]
    assert served in (["a-wide", "b-wide"] * 3, ["b-wide", "a-wide"] * 3)


def test_the_replica_with_the_smaller_share_in_use_is_preferred(
    gateway: GatewayProcess, a: ScriptedEngine, b: ScriptedEngine
) -> None:
    with Wire(gateway.port, ONE) as wire:
        wire.ask(chat(model="wide", fault="slow,gate=hold", stream=True))
        busy = "a-wide" if b"a-wide" in wire.read_to(b" A") else "b-wide"
        served = {ask(gateway, TWO, chat(model="wide")).headers["x-moegate-replica"] for _ in range(4)}
        assert served == {"a-wide", "b-wide"} - {busy}
        a.release("hold")
        b.release("hold")
        wire.read_to(b"[DONE]")
