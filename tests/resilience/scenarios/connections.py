"""Connections that go bad or come in crowds: between gateway and engine, and between clients and gateway."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Sequence
from contextlib import suppress

from gateway.http.crowd import affordable
from tests.performance.remains import established
from tests.resilience.asking import Answer, Question, Said, Verdict, judge, request_bytes
from tests.resilience.scene import MEBI, Scene
from tests.resilience.scripted_stage import CONNECTIONS, ScriptedQuestion
from tests.resilience.stage import KEY

IDLE_CONNECTIONS = 10_000
# Room for calls, the metrics page and probes while all others are taken.
SPARE_CONNECTIONS = 64
OUR_FILES = 512
CONNECTIONS_PER_ADDRESS = 2_500
TOGETHER = 250
SMALL_BUFFER_BYTES = 32_768
# For a stream that nobody reads: what pool and relay hold, not the tens of MB that the engine has to say.
UNREAD_BYTES = 3 * MEBI
CHECK = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


async def half_open(scene: Scene) -> None:
    """The network to an engine is cut without a word: no FIN, no RST, nothing arrives; later new connections pass again."""
    load, relay = scene.load, scene.stage.relay
    load.model = "wired"
    load.clients = scene.pick(6, 30)
    scene.exact = False

    async def once() -> None:
        await scene.until_calls(5)
        before = load.recovered
        relay.partition()
        await scene.until(lambda: load.recovered > before, "a call waits in vain and is served elsewhere")
        await scene.until_calls(scene.pick(10, 100))
        relay.heal()
        await scene.ready()

    async def trouble() -> None:
        for _ in range(scene.pick(1, 3)):
            await once()

    await load.run(trouble)
    scene.expect(relay.swallowed > 0, "nothing was lost on the way")
    scene.expect(set(load.codes) <= {"upstream_timeout"}, f"errors were {dict(load.codes)}")
    await scene.until(lambda: relay.open <= 1, "the gateway has closed what was cut off")


async def resets(scene: Scene) -> None:
    """All connections to an engine are reset, again and again."""
    load, relay = scene.load, scene.stage.relay
    load.model = "wired"
    scene.exact = False

    async def trouble() -> None:
        for _ in range(scene.pick(3, 30)):
            await scene.until_calls(scene.pick(5, 50))
            relay.reset()

    await load.run(trouble)
    scene.expect(set(load.codes) <= {"upstream_broken", "upstream_timeout"}, f"errors were {dict(load.codes)}")


async def far_away(scene: Scene) -> None:
    """Every packet to and from an engine is 100 ms late."""
    load, relay = scene.load, scene.stage.relay
    load.model, load.calls = "wired", scene.pick(3, 20)
    relay.delay_seconds = 0.1
    await load.run()
    relay.delay_seconds = 0.0
    scene.expect(set(load.codes) <= {"upstream_timeout"}, f"errors were {dict(load.codes)}")


async def slow_readers(scene: Scene) -> None:
    """Clients that do not read: the engine is held back, not memory filled; half read on and get all, half leave."""
    load, engine, gateway = scene.load, scene.stage.engines["fast"], scene.stage.gateway
    clients = scene.pick(2, 16)
    question = ScriptedQuestion("bulk", scene.pick(100_000, 150_000), stream=True)
    scene.connections = clients
    connections = [await unread(gateway.port, question) for _ in range(clients)]
    await scene.until(lambda: engine.state()["paused"] >= clients, "the engine is held back", 120)
    grown = gateway.rss_bytes - scene.before.rss_bytes
    scene.expect(
        grown <= clients * UNREAD_BYTES + 16 * MEBI, f"{grown / MEBI:.0f} MiB are held for {clients} slow clients"
    )
    scene.notes.append(f"{grown / MEBI:.1f} MiB more while {clients} clients did not read")
    for connection in connections[clients // 2 :]:
        connection.close()
    for connection in connections[: clients // 2]:
        load.said.append(await read_all(connection, question))
    load.left = clients - clients // 2
    scene.expect(load.count(Verdict.RIGHT) == clients // 2, f"of those that read on: {load.said}")


async def unread(port: int, question: Question) -> socket.socket:
    """Ask, and do not read what comes; there is little room for it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, ("127.0.0.1", port))
    await loop.sock_sendall(connection, request_bytes(KEY, question))
    return connection


async def read_all(connection: socket.socket, question: Question) -> Said:
    """Read on to the end, and judge."""
    answer, loop = Answer(), asyncio.get_running_loop()
    with connection, suppress(OSError):
        while data := await loop.sock_recv(connection, MEBI):
            answer.feed(data)
    return judge(question, answer)


async def idle(scene: Scene) -> None:
    """10,000 connections that do nothing, or asked once and stay; calls are served beside them; then all leave at once."""
    load, gateway = scene.load, scene.stage.gateway
    wanted = scene.pick(200, IDLE_CONNECTIONS)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    room = min(affordable(CONNECTIONS) - load.clients - SPARE_CONNECTIONS, most - OUR_FILES)
    number = min(wanted, room)
    scene.connections = number
    held = await _crowd(gateway.port, number)
    try:
        port = gateway.port
        await scene.until(lambda: established(port) >= number, f"{number} connections are open")
        grown = gateway.rss_bytes - scene.before.rss_bytes
        await load.run()
        scene.expect(load.count(Verdict.RIGHT) == len(load.said), f"errors were {dict(load.codes)}")
        still = sum(not writer.is_closing() for _, writer in held)
        scene.expect(still == number, f"{number - still} idle connections were closed")
    finally:
        for _, writer in held:
            writer.transport.abort()
    scene.notes.append(f"{number:,} connections, {grown / 1024 / number:.1f} KiB each")
    if number < wanted:
        scene.notes.append(f"not {wanted:,}: a process may have {most:,} files here, two for each connection")


async def _crowd(port: int, number: int) -> Sequence[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """So many connections, from several addresses as one has not ports for all; every second one has asked something."""

    async def connect(at: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        source = f"127.0.0.{2 + at // CONNECTIONS_PER_ADDRESS}"
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0), limit=1024)
        if at % 2:
            writer.write(CHECK)
            await reader.readuntil(b"\r\n\r\n")
        return reader, writer

    held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for first in range(0, number, TOGETHER):
        held += await asyncio.gather(*map(connect, range(first, min(first + TOGETHER, number))))
    return held
