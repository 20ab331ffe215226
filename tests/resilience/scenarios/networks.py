"""Networks that lose, delay and reorder packets, between the gateway and one of two engines; the other one is near."""

from __future__ import annotations

import asyncio

from tests.resilience.lossy_link import BLACKOUT, CALM, Weather
from tests.resilience.scene import Scene

BAD = Weather(delay_seconds=0.02, jitter_seconds=0.01, lost=0.02, repeated=0.01, overtaking=0.05)
CODES = {"upstream_timeout", "upstream_broken"}


async def loses_packets(scene: Scene) -> None:
    """Both ways 2 % of the packets are lost, 1 % come twice, 5 % overtake others, and all are 20 ms late, give or take 10."""
    load, link = scene.load, scene.stage.link
    if link is None:
        scene.untried = scene.stage.no_link
        return
    load.model, load.calls = "distant", scene.pick(10, 40)
    scene.exact = False  # some never get there
    before = await asyncio.to_thread(link.set, BAD)
    try:
        await load.run()
    finally:
        after = await asyncio.to_thread(link.set, CALM)
    scene.expect(after.lost > before.lost, "no packet was lost")
    scene.expect(after.overtaking > before.overtaking, "no packet overtook another")
    far = sum(said.replica.startswith("far") for said in load.said)
    scene.expect(far > 0, "nothing came over this network")
    scene.expect(set(load.codes) <= CODES, f"errors were {dict(load.codes)}")
    scene.notes.append(
        f"{after.carried - before.carried:,} packets, {after.lost - before.lost} lost, {after.repeated - before.repeated} twice, "
        f"{after.overtaking - before.overtaking} overtook; {far:,} answers came over it"
    )


async def blackout(scene: Scene) -> None:
    """For ten seconds no packet arrives, on connections that are open and on new ones; then all do."""
    load, link = scene.load, scene.stage.link
    if link is None:
        scene.untried = scene.stage.no_link
        return
    load.model = "distant"
    scene.exact = False
    seconds = scene.pick(4, 10)

    async def trouble() -> None:
        await scene.until(lambda: any(said.replica.startswith("far") for said in load.said), "answers come over it")
        before = load.recovered
        lost = (await asyncio.to_thread(link.set, BLACKOUT)).lost
        try:
            await scene.until(lambda: load.recovered > before, "a call waits in vain and is served elsewhere")
            await asyncio.sleep(seconds)  # the blackout itself
        finally:
            counts = await asyncio.to_thread(link.set, CALM)
        scene.notes.append(f"{counts.lost - lost} packets lost")
        await scene.ready()
        known = len(load.said)
        await scene.until(
            lambda: any(said.replica.startswith("far") for said in load.said[known:]), "answers come again"
        )

    await load.run(trouble)
    scene.expect(set(load.codes) <= CODES, f"errors were {dict(load.codes)}")
