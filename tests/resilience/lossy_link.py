"""A network that loses, delays, repeats and reorders packets: a process that carries them between two TUN devices; it knows no TCP.

The far device is in a network namespace of the process's own, so devices and namespace go with it, however it ends. Addresses are
private ones, in a /30 that only the two devices are in; nothing is routed on.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import random
import selectors
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

DEVICE = Path("/dev/net/tun")
# linux/if_tun.h, linux/sched.h
TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000
TOOLS = ("ip", "nsenter")
PACKET_BYTES = 65_536
IPV4 = 4
START_SECONDS = 20.0
ROOT = Path(__file__).resolve().parents[2]


class NotHereError(Exception):
    """This machine does not let us make such a network; the message says why."""


class Weather(msgspec.Struct, frozen=True):
    """What happens to packets, both ways.

    Attributes:
        delay_seconds, jitter_seconds: each is that late, give or take the jitter.
        lost, repeated, overtaking: shares of all packets; one that overtakes is not late at all.
    """

    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    lost: float = 0.0
    repeated: float = 0.0
    overtaking: float = 0.0


CALM = Weather()
BLACKOUT = Weather(lost=1.0)


@dataclass
class Counts:
    """Packets since the start, of both ways."""

    carried: int = 0
    lost: int = 0
    repeated: int = 0
    overtaking: int = 0


class LossyLink:
    """The link, seen from the near end, where the gateway is.

    Attributes:
        address: of the far end.
        prefix: before a command line that is to run at the far end.

    Raises:
        NotHereError: from `__init__`: it takes root, /dev/net/tun and network namespaces.
    """

    def __init__(self, seed: int) -> None:
        if os.geteuid() != 0 or not os.access(DEVICE, os.R_OK | os.W_OK) or not all(map(shutil.which, TOOLS)):
            message = f"it takes root, {DEVICE}, {' and '.join(TOOLS)}"
            raise NotHereError(message)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.resilience.lossy_link", str(seed)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            self.address = self._line().decode().strip()
        except NotHereError:
            self.close()
            raise
        self.prefix = ("nsenter", f"--net=/proc/{self._process.pid}/ns/net", "--")

    def set(self, weather: Weather) -> Counts:
        """From now on it is like that; what was counted until now."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(weather) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._line(), type=Counts)

    def close(self) -> None:
        """End it; devices and namespace go with it."""
        self._process.kill()
        self._process.communicate()

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            line = self._process.stdout.readline() if selector.select(START_SECONDS) else b""
        if not line:
            self._process.kill()
            _, said = self._process.communicate()
            raise NotHereError((said.decode(errors="replace").strip().splitlines() or ["the link says nothing"])[-1])
        return line


class Carrier:
    """The process's work: packets from either device to the other, as the weather is."""

    def __init__(self, near: int, far: int, seed: int) -> None:
        self._rng = random.Random(seed)
        self._weather = CALM
        self._counts = Counts()
        self._latest = {near: 0.0, far: 0.0}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(near, self._read, near, far)
        self._loop.add_reader(far, self._read, far, near)

    def set(self, weather: Weather) -> Counts:
        """From now on."""
        self._weather = weather
        return self._counts

    def _read(self, source: int, target: int) -> None:
        packet = os.read(source, PACKET_BYTES)
        if packet[0] >> 4 != IPV4:
            return
        weather, counts, rng = self._weather, self._counts, self._rng
        if rng.random() < weather.lost:
            counts.lost += 1
            return
        counts.carried += 1
        if rng.random() < weather.overtaking:
            counts.overtaking += 1
            os.write(target, packet)
            return
        late = weather.delay_seconds + rng.uniform(-1, 1) * weather.jitter_seconds
        # None but those that overtake are to: the next one arrives after this one, however short its own delay is.
        due = self._latest[target] = max(self._latest[target] + 1e-6, self._loop.time() + late)
        self._loop.call_at(due, os.write, target, packet)
        if rng.random() < weather.repeated:
            counts.repeated += 1
            self._loop.call_at(due, os.write, target, packet)


def _device(address: str) -> int:
    device = os.open(DEVICE, os.O_RDWR)
    asked = struct.pack("16sH22x", b"mglink%d", IFF_TUN | IFF_NO_PI)
    name = fcntl.ioctl(device, TUNSETIFF, asked)[:16].rstrip(b"\0").decode()
    for words in (("address", "add", f"{address}/30", "dev", name), ("link", "set", name, "up")):
        subprocess.run(["ip", *words], check=True)
    os.set_blocking(device, False)
    return device


async def carry(seed: int) -> None:
    """Carry until standard input closes; each line there is new weather, and is answered with the counts."""
    # A /30 of this process's own, so that runs side by side do not meet.
    network = f"10.{192 + os.getpid() // 16384 % 64}.{os.getpid() // 64 % 256}"
    first = os.getpid() % 64 * 4
    near = _device(f"{network}.{first + 1}")
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        sys.exit(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    far = _device(f"{network}.{first + 2}")
    carrier = Carrier(near, far, seed)
    sys.stdout.write(f"{network}.{first + 2}\n")
    sys.stdout.flush()
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        sys.stdout.write(msgspec.json.encode(carrier.set(msgspec.json.decode(line, type=Weather))).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(carry(int(sys.argv[1])))
