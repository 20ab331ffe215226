"""Engines that take a call and then answer badly, or well but oddly; the other replica is sound."""

from __future__ import annotations

from tests.resilience.asking import Verdict
from tests.resilience.scene import Scene


async def hangs(scene: Scene) -> None:
    """Nothing after the request, nothing after the head, nothing after some words: for ever, with short deadlines."""
    load = scene.load
    load.model = "hasty"
    load.faults = ("first_byte_stall,only=a", "hang_after_headers,only=a", "slow,after=2,only=a")
    load.share, load.calls = 0.3, scene.pick(4, 20)
    await load.run()
    scene.expect(load.recovered > 0, "nothing was recovered")
    scene.expect(set(load.codes) <= {"upstream_timeout"}, f"errors were {dict(load.codes)}")


async def fails_after_200(scene: Scene) -> None:
    """200 and then an error: as the first event, or after some words."""
    load = scene.load
    load.faults = ("queue_full_in_200,only=a", "midstream_error_event,after=2,only=a", "midstream_error_event,after=2")
    await load.run()
    scene.expect(load.recovered > 0, "nothing was recovered")
    scene.expect(load.count(Verdict.ERROR) > 0, "no stream was broken off")


async def garbage(scene: Scene) -> None:
    """Bytes that are not HTTP, not chunks, not events, not JSON, too few, or a head without end; streams that just end."""
    load = scene.load
    names = (
        "garbage", "bad_chunk_size", "length_too_long", "huge_header", "wrong_content_type", "midstream_cut",
        "midstream_reset", "no_done", "closes", "refuses",
    )  # fmt: skip
    load.faults = tuple(f"{name},only=a" for name in names)
    load.calls = scene.pick(10, 60)
    scene.exact = False  # an answer that is none on a kept connection is asked for once more on a new one
    await load.run()
    scene.expect(load.recovered > 0, "nothing was recovered")
    scene.expect(load.count(Verdict.ERROR) > 0, "no stream was broken off")


async def tiny_packets(scene: Scene) -> None:
    """Sound answers in packets of one byte, cut inside an event, two events in one, between comments, with other line ends."""
    load = scene.load
    load.faults = (
        "one_byte_packets",
        "event_across_packets",
        "two_events_one_packet",
        "comments",
        "crlf",
        "continue_100",
    )
    load.share, load.longest, load.calls = 1.0, 8, scene.pick(6, 30)
    await load.run()
    scene.expect(load.count(Verdict.RIGHT) == len(load.said), f"errors were {dict(load.codes)}")
