"""What goes wrong with real engines: no fault is scripted here, processes are killed, stopped and left alone with their work."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Sequence
from time import monotonic

from tests.resilience.asking import Said, Verdict, ask
from tests.resilience.real_engine import RealEngine
from tests.resilience.real_stage import ENDLESS, RealQuestion
from tests.resilience.scenarios.connections import read_all, unread
from tests.resilience.scene import MEBI, Scene
from tests.resilience.stage import KEY

IN_FLIGHT = "moegate_replica_in_flight"
# Until an engine has noticed that a client is gone; its answer would go on for many times as long.
GONE_SECONDS = 15.0
# It does not look whether anyone waits for a plain answer, and has no way to be told: tests/conformance/results says so too.
DEAF = ("llama_cpp",)
# More than there are calls between two of the frozen engine's turns.
MANY = 100


def _victims(scene: Scene) -> Sequence[str]:
    """Engines that end: both in full; in small the second one, which is back sooner."""
    return "b" if scene.stage.small else "ab"


async def _begun(scene: Scene, question: RealQuestion) -> socket.socket:
    """A stream of which the first bytes have come, and not been read."""
    connection = await unread(scene.stage.gateway.port, question)
    await asyncio.to_thread(_first_byte, connection)
    return connection


def _first_byte(connection: socket.socket) -> None:
    connection.settimeout(60)
    connection.recv(1, socket.MSG_PEEK)
    connection.setblocking(False)


async def _meet(scene: Scene, name: str) -> list[asyncio.Task[Said | None]]:
    """Ask until one more call waits for an engine that does not answer."""
    gateway, stage = scene.stage.gateway, scene.stage
    waiting = {"replica": f"{name}-patient"}
    before = await asyncio.to_thread(gateway.metric, IN_FLIGHT, **waiting)
    asked = []
    for number in range(MANY):
        known = stage.short[number % len(stage.short)]
        question = RealQuestion(known.fields, known.said, "patient", number % 2 == 0)
        asked.append(asyncio.create_task(ask(gateway.port, KEY, question)))
        await asyncio.sleep(0.05)  # it is on its way, and nobody tells
        if await asyncio.to_thread(gateway.metric, IN_FLIGHT, **waiting) > before:
            return asked
    scene.problems.append(f"none of {MANY} calls was placed on {name}")
    return asked


async def killed(scene: Scene) -> None:
    """kill -9 of an engine in the middle of streams and with calls before their first byte; then it is back."""
    load, stage = scene.load, scene.stage

    async def once(name: str) -> None:
        victim: RealEngine = stage.engines[name]
        question = RealQuestion(ENDLESS, model=f"only-{name}", stream=True)
        streams = [await _begun(scene, question) for _ in range(scene.pick(1, 4))]
        before = load.recovered
        victim.freeze()
        asked = await _meet(scene, name)
        await asyncio.to_thread(victim.kill)
        broken = [await read_all(stream, question) for stream in streams]
        scene.expect(all(said.code == "upstream_broken" for said in broken), f"broken streams were {broken}")
        recovered = [said for said in await asyncio.gather(*asked) if said is not None]
        load.said += broken + recovered
        await scene.until(lambda: load.recovered > before, "what waited for it is served elsewhere")
        await scene.until_calls(scene.pick(5, 50))
        await asyncio.to_thread(stage.restart, name)
        await scene.ready()

    async def trouble() -> None:
        for name in _victims(scene):
            await once(name)

    await load.run(trouble)
    scene.expect(set(load.codes) <= {"upstream_broken"}, f"errors were {dict(load.codes)}")
    await _both_serve(scene)


async def drains(scene: Scene) -> None:
    """SIGTERM of an engine under load: what it has, it ends or breaks off; then it is back."""
    load, stage = scene.load, scene.stage

    async def once(name: str) -> None:
        known = stage.long[0]
        question = RealQuestion(known.fields, known.said, f"only-{name}", stream=True)
        streams = [await _begun(scene, question) for _ in range(scene.pick(1, 4))]
        reading = asyncio.gather(*(read_all(stream, question) for stream in streams))
        began = monotonic()
        await asyncio.to_thread(stage.engines[name].stop)
        seconds, had = monotonic() - began, await reading
        told = ", ".join(f"{number} {verdict}" for verdict, number in Counter(said.verdict for said in had).items())
        scene.notes.append(f"{stage.engines[name].kind} took {seconds:.1f} s to end; streams that it had: {told}")
        load.said += had
        await scene.until_calls(scene.pick(5, 50))
        await asyncio.to_thread(stage.restart, name)
        await scene.ready()

    async def trouble() -> None:
        for name in _victims(scene):
            await once(name)

    await load.run(trouble)
    scene.expect(set(load.codes) <= {"upstream_broken"}, f"errors were {dict(load.codes)}")
    await _both_serve(scene)


async def _both_serve(scene: Scene) -> None:
    """Once all is over, calls are right and from both engines."""
    load = scene.load
    before, load.said = load.said, []
    await load.run()
    scene.expect(load.count(Verdict.RIGHT) == len(load.said), f"afterwards errors were {dict(load.codes)}")
    served = {said.replica for said in load.said}
    scene.expect(len(served) == len(scene.stage.engines), f"afterwards all was served by {served}")
    load.said = before + load.said


async def freezes(scene: Scene) -> None:
    """SIGSTOP of one engine, then of the other: its sockets stay open, nothing comes; then it goes on."""
    load, stage = scene.load, scene.stage
    load.model = "hasty"

    async def once(engine: RealEngine) -> None:
        await scene.until_calls(5)
        before = load.recovered
        engine.freeze()
        try:
            await scene.until(lambda: load.recovered > before, "a call waits in vain and is served elsewhere")
            await scene.until_calls(scene.pick(5, 50))
        finally:
            engine.thaw()
        await scene.ready()

    async def trouble() -> None:
        for _ in range(scene.pick(1, 2)):
            for engine in stage.engines.values():
                await once(engine)

    await load.run(trouble)
    scene.expect(set(load.codes) <= {"upstream_timeout"}, f"errors were {dict(load.codes)}")


async def leaving(scene: Scene) -> None:
    """Clients leave in the middle of streams and before whole answers: engines stop, as they tell themselves."""
    load, stage = scene.load, scene.stage
    many = scene.pick(2, 8)
    for name, engine in stage.engines.items():
        for stream in (True,) if engine.kind in DEAF else (True, False):
            question = RealQuestion(ENDLESS, model=f"only-{name}", stream=stream)
            connections = [await unread(stage.gateway.port, question) for _ in range(many)]
            await scene.until(lambda engine=engine: engine.busy() >= many, f"{engine.kind} has {many} calls")
            if stream:
                await asyncio.gather(*(asyncio.to_thread(_first_byte, each) for each in connections))
            for each in connections:
                each.close()
            await scene.until(lambda engine=engine: not engine.busy(), f"{engine.kind} has stopped", GONE_SECONDS)
        if engine.kind in DEAF:
            scene.notes.append(f"{engine.kind} is not left before a plain answer: it would not notice")
    load.leaving = 0.3
    await load.run()
    scene.expect(load.count(Verdict.RIGHT) == len(load.said), f"errors were {dict(load.codes)}")


async def slow_readers(scene: Scene) -> None:
    """Clients that do not read, while others are served; then half read on and get all, half leave."""
    load, stage = scene.load, scene.stage
    many = scene.pick(4, 16)
    scene.connections = many
    questions = [RealQuestion(known.fields, known.said, "patient", stream=True) for known in stage.long] * many
    connections = [await unread(stage.gateway.port, question) for question in questions[:many]]
    await load.run()
    scene.expect(load.count(Verdict.RIGHT) == len(load.said), f"of the others, errors were {dict(load.codes)}")
    grown = stage.gateway.rss_bytes - scene.before.rss_bytes
    scene.notes.append(f"{grown / MEBI:.1f} MiB more while {many} clients did not read")
    for connection in connections[many // 2 :]:
        connection.close()
    slow = [await read_all(*each) for each in zip(connections[: many // 2], questions, strict=False)]
    scene.expect(all(said.verdict is Verdict.RIGHT for said in slow), f"of those that read on: {slow}")
    load.said += slow
    load.left += many - len(slow)
