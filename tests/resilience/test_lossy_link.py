"""The link does to packets what it is told; where there can be none, that is said, and nothing is shown as passed."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.resilience import lossy_link
from tests.resilience.lossy_link import BLACKOUT, CALM, Carrier, Counts, LossyLink, NotHereError, Weather
from tests.resilience.report import HEAD, row
from tests.resilience.scenarios import SCENARIOS

PACKETS = 200


@pytest.fixture
def no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lossy_link.os, "geteuid", lambda: 1000)


@pytest.mark.usefixtures("no_root")
def test_a_machine_that_does_not_let_us_is_named() -> None:
    with pytest.raises(NotHereError, match="root"):
        LossyLink(seed=1)


@pytest.mark.parametrize("name", ["loses_packets", "blackout"])
def test_what_was_not_tried_is_shown_as_such(name: str) -> None:
    played = Unplayed()
    asyncio.run(SCENARIOS[name](played))
    text = row(name, played, 0.0).text()
    assert "**not tried**: no root here" in text
    assert text.count("|") == HEAD[0].count("|")


class Unplayed:
    """A scene on a stage without a link."""

    def __init__(self) -> None:
        self.stage = self
        self.load = None
        self.link = None
        self.no_link = "no root here"
        self.untried = ""
        self.problems: list[str] = []


async def _carried(weather: Weather) -> tuple[list[int], Counts]:
    """Numbers of the packets that arrive, in that order; the last one is sent when all is calm, and arrives for certain."""
    ours, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    far, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    arrived: list[int] = []
    loop = asyncio.get_running_loop()
    with ours, near, far, theirs:
        for end in (ours, near, far, theirs):
            end.setblocking(False)
        carrier = Carrier(near.fileno(), far.fileno(), seed=1)
        carrier.set(weather)
        for number in range(PACKETS):
            await loop.sock_sendall(ours, b"\x45" + number.to_bytes(2, "big"))
            await asyncio.sleep(0)  # the carrier's turn
        await asyncio.sleep(0)  # and its last
        counts = carrier.set(CALM)
        await loop.sock_sendall(ours, b"\x45" + PACKETS.to_bytes(2, "big"))
        while PACKETS not in arrived:
            arrived.append(int.from_bytes((await loop.sock_recv(theirs, 16))[1:], "big"))
        loop.remove_reader(near.fileno())
        loop.remove_reader(far.fileno())
    return arrived[:-1], counts


@pytest.mark.parametrize(
    ("weather", "least", "most"), [(CALM, PACKETS, PACKETS), (BLACKOUT, 0, 0), (Weather(lost=0.5), 60, 140)]
)
async def test_as_many_are_lost_as_is_said(weather: Weather, least: int, most: int) -> None:
    arrived, counts = await _carried(weather)
    assert least <= len(arrived) <= most
    assert arrived == sorted(set(arrived))
    assert (counts.carried, counts.lost) == (len(arrived) + 1, PACKETS - len(arrived))


async def test_packets_come_twice_and_overtake() -> None:
    arrived, counts = await _carried(Weather(delay_seconds=0.01, jitter_seconds=0.01, repeated=0.2, overtaking=0.2))
    assert sorted(set(arrived)) == list(range(PACKETS))
    assert arrived != sorted(arrived)
    assert len(arrived) - PACKETS == counts.repeated > 0
    assert counts.overtaking > 0


async def test_late_packets_keep_their_order() -> None:
    arrived, _ = await _carried(Weather(delay_seconds=0.01, jitter_seconds=0.01))
    assert arrived == list(range(PACKETS))
