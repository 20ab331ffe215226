"""Very many streams at a time, for long: nothing breaks, and nothing may grow."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic

from tests.performance.remains import Remains, look
from tests.performance.soak import slope_kib_per_minute
from tests.resilience.asking import Verdict
from tests.resilience.scene import Scene

SECONDS_BETWEEN_WORDS = 30
# Of a run that is long enough for a slope to mean something: pools fill in the first half.
SLOPE_KIB_PER_MINUTE = 1024.0
SLOPE_MINUTES = 4.0


async def many_streams(scene: Scene) -> None:
    """1,000 streams at a time for ten minutes, one in ten left by its client; memory must not grow."""
    load, gateway = scene.load, scene.stage.gateway
    load.model, load.streams, load.calls, load.leaving = "paced", 1.0, 0, 0.1
    load.clients = scene.pick(20, 1_000)
    load.shortest, load.longest = 20, 80
    seconds = scene.stage.minutes * 60
    scene.connections = load.clients
    memory: list[tuple[float, Remains]] = []
    most = 0.0

    async def trouble() -> None:
        nonlocal most
        busy = "moegate_replica_in_flight"
        # A few have just ended or been left, and the next ones are on their way.
        enough = load.clients * 0.9
        await scene.until(lambda: gateway.metric(busy) >= enough, f"{enough:.0f} streams are open")
        began, said_at = monotonic(), 0.0
        while (elapsed := monotonic() - began) < seconds:
            with suppress(OSError):
                memory.append((elapsed, look(gateway.process.pid, gateway.port)))
            now = await asyncio.to_thread(gateway.metric, busy)
            most = max(most, now)
            if elapsed - said_at >= SECONDS_BETWEEN_WORDS:
                said_at = elapsed
                scene.say(f"  {elapsed:.0f} s: {memory[-1][1].text()}, {now:g} streams open, {len(load.said):,} served")
            await asyncio.sleep(1.0)  # one look a second

    await load.run(trouble)
    scene.expect(load.count(Verdict.RIGHT) == len(load.said), f"errors were {dict(load.codes)}")
    scene.expect(load.left > 0, "no client left")
    slope = slope_kib_per_minute(memory)
    if scene.stage.minutes >= SLOPE_MINUTES:
        scene.expect(slope <= SLOPE_KIB_PER_MINUTE, f"memory grows by {slope:,.0f} KiB a minute")
        scene.notes.append(f"{slope:+,.0f} KiB a minute in the second half")
    scene.notes.append(f"up to {most:g} open, {scene.stage.minutes:g} minutes, {load.left:,} left by their clients")
