"""Engines that die, drain, refuse or are busy, alone and all at once; and a gateway that is asked to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic

from tests.resilience.asking import Verdict
from tests.resilience.scene import Scene
from tests.support.gateway_process import gateway_process

# Before the first byte, which another replica can make good, and in the middle of a stream, which nobody can.
HELD = ("first_byte_stall", "slow,after=2")
IN_FLIGHT = "moegate_replica_in_flight"


async def _rounds(scene: Scene, number: int, trouble: Callable[[], Awaitable[None]]) -> None:
    async def again() -> None:
        for _ in range(number):
            await trouble()

    await scene.load.run(again)


async def killed(scene: Scene) -> None:
    """kill -9 of an engine with calls before their first byte and in the middle of streams; then it is back."""
    load, stage = scene.load, scene.stage
    load.streams = 1.0
    scene.exact = False  # what the dead one saw died with it
    held = HELD * scene.pick(1, 8)

    async def trouble() -> None:
        victim = stage.engines["a"]
        victim.next_calls(*held)
        await scene.until(lambda: victim.state()["waiting"] >= len(held), "calls are held by the victim")
        victim.kill()
        await scene.until_calls(scene.pick(10, 100))
        await asyncio.to_thread(stage.restart, "a")
        await scene.ready()

    await _rounds(scene, scene.pick(1, 3), trouble)
    load.streams = 0.5
    await load.run()
    scene.expect(load.recovered > 0, "nothing was recovered")
    scene.expect(load.count(Verdict.ERROR) > 0, "no stream was broken off")
    scene.expect(set(load.codes) <= {"upstream_broken"}, f"errors were {dict(load.codes)}")
    scene.expect(stage.engines["a"].state()["finished"] > 0, "the engine that came back gets no calls")


async def drains(scene: Scene) -> None:
    """SIGTERM of an engine: it turns calls away, then ends and is gone; then it is back."""
    load, stage = scene.load, scene.stage
    load.streams = 0.0
    scene.exact = False

    async def trouble() -> None:
        victim = stage.engines["a"]
        before = load.recovered
        victim.all_calls("drain")
        await scene.until(lambda: load.recovered > before, "a call is turned away and goes elsewhere")
        await asyncio.to_thread(victim.stop)
        await scene.until_calls(scene.pick(10, 100))
        await asyncio.to_thread(stage.restart, "a")
        await scene.ready()

    await _rounds(scene, scene.pick(1, 3), trouble)
    scene.expect(load.count(Verdict.RIGHT) == len(load.said), f"errors were {dict(load.codes)}")


async def refuses(scene: Scene) -> None:
    """Connection refused, and what was connected is reset; then it listens again."""
    load, engine = scene.load, scene.stage.engines["a"]
    scene.exact = False

    def hurt() -> int:
        return load.recovered + load.count(Verdict.ERROR)

    async def trouble() -> None:
        before = hurt()
        engine.listen(accept=False, drop=True)
        await scene.until(lambda: hurt() > before, "a call meets it")
        await scene.until_calls(scene.pick(10, 200))
        engine.listen(accept=True)
        await scene.ready()

    await _rounds(scene, scene.pick(1, 5), trouble)
    scene.expect(set(load.codes) <= {"upstream_broken"}, f"errors were {dict(load.codes)}")


async def busy_for_a_minute(scene: Scene) -> None:
    """An engine answers 503 to every call for a minute, with the breaker and the retry budget as they come."""
    load, engine = scene.load, scene.stage.engines["a"]
    load.model = "usual"
    seconds = scene.pick(2, 60)
    engine.all_calls("queue_full_503")
    began = monotonic()

    async def trouble() -> None:
        await scene.until(lambda: engine.state()["seen"] > 0, "it is asked")
        await asyncio.sleep(max(0.0, began + seconds - monotonic()))  # the minute itself
        engine.all_calls("")

    await load.run(trouble)
    spent = monotonic() - began
    calls, extra = len(load.said), load.tries - len(load.said)
    # `retries`: a fifth of the calls of ten seconds and ten more; windows touch two of them.
    budget = 0.2 * calls + 10 * (spent / 10 + 2)
    scene.expect(
        extra <= budget, f"{extra} further tries for {calls} calls in {spent:.0f} s, the budget is {budget:.0f}"
    )
    scene.expect(set(load.codes) <= {"upstream_overloaded"}, f"errors were {dict(load.codes)}")
    # Between its rests, of a tenth to five seconds, only those meet it that come before its first answer.
    told = load.count(Verdict.ERROR)
    scene.expect(told <= calls // 20, f"{told} of {calls} calls were told that it is full, though the other is well")
    scene.notes.append(f"{extra} further tries, {told} told that it is full")


async def pool_down(scene: Scene) -> None:
    """Every engine is gone at once: each call is told so at once; when they are back, calls are served again."""
    load, stage = scene.load, scene.stage
    load.model = "usual"
    scene.exact = False

    async def trouble() -> None:
        await scene.until_calls(10)
        for name in ("a", "b"):
            stage.engines[name].kill()
        await scene.until(lambda: load.codes["no_replica_available"] > 10, "calls are told that there is none")
        scene.expect(scene.stage.gateway.http.get("/healthz").is_success, "the gateway is not well itself")
        for name in ("a", "b"):
            await asyncio.to_thread(stage.restart, name)
        right = load.count(Verdict.RIGHT)
        await scene.until(lambda: load.count(Verdict.RIGHT) > right + 20, "calls are served again")

    await load.run(trouble)
    known = {"no_replica_available", "upstream_unreachable", "upstream_broken"}
    scene.expect(set(load.codes) <= known, f"errors were {dict(load.codes)}")
    await scene.at_rest()
    load.said, all_said = [], load.said
    await load.run()
    late = load.count(Verdict.RIGHT)
    scene.expect(late == len(load.said), f"afterwards only {late} of {len(load.said)} were served")
    load.said = all_said + load.said


async def gateway_drains(scene: Scene) -> None:
    """SIGTERM of one of two gateways under load: it ends what it has and exits with 0; no call is lost."""
    load, stage = scene.load, scene.stage
    ports = list(load.ports)

    async def trouble() -> None:
        folder = Path(mkdtemp(dir=stage.folder))
        process = gateway_process(stage.settings, folder)
        second = await asyncio.to_thread(process.__enter__)
        try:
            load.ports = [*ports, second.port]
            await scene.until(lambda: second.metric(IN_FLIGHT) >= 1, "the second gateway has calls")
            second.send_signal(signal.SIGTERM)
            status = await asyncio.to_thread(second.wait_exit, 90)
            scene.expect(status == 0, f"it exited with {status}")
            load.ports = ports
        finally:
            second.end()

    await _rounds(scene, scene.pick(1, 4), trouble)
    scene.expect(load.count(Verdict.RIGHT) == len(load.said), f"errors were {dict(load.codes)}")
    scene.notes.append(f"{load.elsewhere} calls met a closed door and were asked elsewhere")
