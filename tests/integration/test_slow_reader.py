"""A client that does not read holds back the engine, not the gateway's memory, and gets all of it when it reads again."""

from __future__ import annotations

from tests.integration.asking import CHAT, chat
from tests.integration.conftest import World
from tests.integration.wire import Wire
from tests.support.gateway_process import GatewayProcess, poll
from tests.support.scripted_engine.process import ScriptedEngine

# Over 30 MB: more than the kernel's buffers on both sides hold together.
CHUNKS = 150_000
CONTENT = b'"content":" '
ROOM_BYTES = 12 * 1024 * 1024


def test_a_client_that_does_not_read(world: World, gateway: GatewayProcess, a: ScriptedEngine) -> None:
    with Wire(gateway.port, world.key, receive_bytes=65_536) as wire:
        wire.ask(chat(model="roomy", stream=True, max_tokens=CHUNKS), CHAT, "connection: close")
        before = gateway.rss_bytes
        begin = wire.read_to(b"mixture")
        a.wait(20, paused=1)
        assert gateway.http.get("/healthz").is_success
        assert gateway.rss_bytes - before < ROOM_BYTES
        # The kernel's buffers may still grow a little after the first pause; they never hold it all.
        assert a.wait(20, paused=1)["chunks"] < CHUNKS * 3 / 4

        chunks, rest, end = 0, begin, b""
        while piece := wire.socket.recv(1_048_576):
            # Whatever a read cuts in two is whole in the next round.
            chunks += rest.count(CONTENT)
            rest = rest[-len(CONTENT) + 1 :] + piece
            end = (end + piece)[-50:]
        chunks += rest.count(CONTENT)
        assert chunks == CHUNKS
        assert end.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert gateway.rss_bytes - before < ROOM_BYTES
    assert a.wait(running=0, paused=0)["finished"] == 1


def test_a_client_that_stops_reading_and_leaves(world: World, gateway: GatewayProcess, a: ScriptedEngine) -> None:
    with Wire(gateway.port, world.key, receive_bytes=65_536) as wire:
        wire.ask(chat(model="roomy", stream=True, max_tokens=CHUNKS))
        wire.read_to(b"mixture")
        a.wait(20, paused=1)
    a.wait(running=0, paused=0, aborted=1)
    gateway.wait_at_rest()


def test_other_calls_go_on_meanwhile(world: World, gateway: GatewayProcess, a: ScriptedEngine) -> None:
    with Wire(gateway.port, world.key, receive_bytes=65_536) as slow, Wire(gateway.port, world.key) as other:
        slow.ask(chat(model="roomy", stream=True, max_tokens=CHUNKS))
        slow.read_to(b"mixture")
        a.wait(20, paused=1)
        for _ in range(5):
            other.ask(chat())
            assert other.answer().status_code == 200
    poll(gateway.at_rest, "the slow client's call has ended")
