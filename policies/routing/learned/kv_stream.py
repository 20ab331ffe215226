"""Listens to one engine's KV events over ZMQ, and asks for those that were missed; needs pyzmq, which is imported on first use."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING

import structlog
from msgspec import Struct

from policies.routing.learned.kv_events import Follower

if TYPE_CHECKING:
    import zmq.asyncio

log = structlog.get_logger("moegate.kv_events")

REPLAY_SECONDS = 2.0
# One that does not tell again is asked once more after so long.
AGAIN_MS = 5_000
# So many batches wait here at most; beyond that they are dropped, and asked for again.
MOST_WAITING = 10_000
MOST_REPLAYED = 100_000
MOST_BATCH_BYTES = 64 * 1024 * 1024
# A machine that vanished closes no connection.
HEARTBEAT_MS = 2_000
DEAD_MS = 6_000

_END = (-1).to_bytes(8, "big", signed=True)
_BATCH_PARTS = 2


class Source(Struct, frozen=True):
    """Where an engine publishes.

    Attributes:
        endpoint, replay_endpoint: `tcp://HOST:PORT`; what was missed cannot be asked for without the second.
    """

    endpoint: str
    replay_endpoint: str | None = None
    topic: str = ""


def is_installed() -> bool:
    """Whether pyzmq is there."""
    return find_spec("zmq") is not None


class Stream:
    """Keeps a follower up to date. The connection is made again and again, by ZMQ itself, until it is cancelled."""

    def __init__(self, context: zmq.asyncio.Context, source: Source, follower: Follower, name: str) -> None:
        self._context = context
        self._source = source
        self._follower = follower
        self._name = name
        self._owed = False

    async def run(self) -> None:
        """Listen until cancelled."""
        import zmq  # noqa: PLC0415 - who does not use it need not have it
        import zmq.asyncio  # noqa: PLC0415
        from zmq.utils.monitor import parse_monitor_message  # noqa: PLC0415

        subscriber = self._context.socket(zmq.SUB)
        monitor = subscriber.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        poller = zmq.asyncio.Poller()
        poller.register(subscriber, zmq.POLLIN)
        poller.register(monitor, zmq.POLLIN)
        try:
            for option, value in ((zmq.RCVHWM, MOST_WAITING), (zmq.MAXMSGSIZE, MOST_BATCH_BYTES), *_alive()):
                subscriber.setsockopt(option, value)
            subscriber.subscribe(self._source.topic)
            subscriber.connect(self._source.endpoint)
            while True:
                ready = dict(await poller.poll(AGAIN_MS if self._owed else None))
                if not ready:
                    await self._catch_up()
                elif monitor in ready:
                    event = parse_monitor_message(await monitor.recv_multipart())["event"]
                    await self._changed(is_connected=event == zmq.EVENT_HANDSHAKE_SUCCEEDED)
                elif subscriber in ready:
                    await self._heard(await subscriber.recv_multipart())
                await asyncio.sleep(0)  # a full queue is not to keep the loop from others
        finally:
            subscriber.disable_monitor()
            monitor.close(linger=0)
            subscriber.close(linger=0)

    async def _changed(self, *, is_connected: bool) -> None:
        follower = self._follower
        if is_connected:
            await self._catch_up()
        elif follower.connected:
            self._owed = False
            log.info("an engine's cache is estimated: nothing is heard of it", replica=self._name)
        follower.connected = is_connected

    async def _heard(self, parts: list[bytes]) -> None:
        if len(parts) < _BATCH_PARTS:
            return
        number, batch = int.from_bytes(parts[-2], "big"), parts[-1]
        follower = self._follower
        if follower.take(number, batch):
            return
        follower.gaps += 1
        await self._catch_up()
        if not follower.take(number, batch):
            log.warning("an engine's cache is known in part only: events were missed", replica=self._name)
            self._owed = False
            follower.begin(number)
            follower.take(number, batch)

    async def _catch_up(self) -> None:
        """Ask for what was missed; if it is not the same engine any more, for all that it can tell."""
        follower, endpoint = self._follower, self._source.replay_endpoint
        self._owed = False
        try:
            if endpoint is None:
                follower.forget()
                return
            if follower.last is not None and not await self._replay(endpoint, follower.last):
                follower.forget()
            if follower.last is None:
                await self._replay(endpoint, 0)
        except TimeoutError:
            log.warning("an engine does not tell its KV events again", replica=self._name)
            follower.forget()
            self._owed = True

    async def _replay(self, endpoint: str, start: int) -> bool:
        """Take what is told again from there on; False if that does not begin with the batch that was taken last.

        Raises:
            TimeoutError: nothing more is told, and that it is all was not told either.
        """
        import zmq  # noqa: PLC0415

        follower = self._follower
        is_first, is_missing, asked = True, False, start
        with self._context.socket(zmq.DEALER) as asker:
            for option, value in ((zmq.LINGER, 0), (zmq.MAXMSGSIZE, MOST_BATCH_BYTES), (zmq.RCVHWM, MOST_REPLAYED)):
                asker.setsockopt(option, value)
            asker.connect(endpoint)
            await asker.send_multipart([b"", start.to_bytes(8, "big")])
            while True:
                parts = await self._answer(asker)
                if parts is None or len(parts) < _BATCH_PARTS or parts[-2] == _END:
                    is_further = follower.last is not None and follower.last > asked
                    if parts is None and not is_further:
                        raise TimeoutError
                    if follower.last is None or not is_further or not (is_missing or parts is None):
                        break
                    # The engine's socket was full, and what it dropped, be it the end, is asked for anew.
                    is_missing, asked = False, follower.last
                    await asker.send_multipart([b"", asked.to_bytes(8, "big")])
                    continue
                number, batch = int.from_bytes(parts[-2], "big"), parts[-1]
                if is_first and follower.last is None:
                    follower.begin(number)
                elif is_first and not follower.is_same(number, batch):
                    return False
                is_first = False
                is_missing |= not follower.take(number, batch)
                await asyncio.sleep(0)
        if is_first and follower.last is None:  # it has told nothing yet
            follower.begin()
        return not is_first or follower.last is None

    async def _answer(self, asker: zmq.asyncio.Socket) -> list[bytes] | None:
        """The next part of what is told again; None if nothing comes any more."""
        try:
            async with asyncio.timeout(REPLAY_SECONDS):
                return await asker.recv_multipart()
        except TimeoutError:
            return None


def _alive() -> tuple[tuple[int, int], ...]:
    """Options by which a peer that is gone is noticed."""
    import zmq  # noqa: PLC0415

    return (zmq.HEARTBEAT_IVL, HEARTBEAT_MS), (zmq.HEARTBEAT_TIMEOUT, DEAD_MS)
