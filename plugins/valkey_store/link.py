"""Keeps one connection to one server: made in the background, made anew when it is lost, never on a call's time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from libvalkey import ReplyError, pack_command

from plugins.valkey_store import script
from plugins.valkey_store.url import ServerUrl
from plugins.valkey_store.wire import Lost, Replies, Wire

log = structlog.get_logger("moegate.valkey_store")

CONNECT_SECONDS = 5.0
PAUSES = (0.05, 1.0)
"""Seconds between attempts, at first and at most."""

Slots = Sequence[Any]
"""What CLUSTER SLOTS answers."""


class Refused(Lost):
    """The server will not do what it was asked."""


class Link:
    """The way to one server.

    Args:
        learn: told what a server that is part of a cluster says of the cluster.
        failed: told after each attempt that failed.
    """

    def __init__(
        self, url: ServerUrl, learn: Callable[[Link, Slots], None], failed: Callable[[], None] | None = None
    ) -> None:
        self.url = url
        self.wire: Wire | None = None
        self.reason = "it is not connected yet"
        self._learn = learn
        self._failed = failed
        self._hopeful = True
        self._attempted = asyncio.Event()
        self._up = asyncio.Event()
        self._task = asyncio.create_task(self._keep(), name="valkey link")

    async def ready(self, until: float) -> Wire:
        """The connection. Waits for one that is being made, unless the last attempt at that has failed.

        Raises:
            Lost: there is none.
        """
        if self.wire is None and self._hopeful:
            await wait_for(self._attempted, until)
        if self.wire is None:
            raise Lost(self.reason)
        return self.wire

    async def connected(self) -> None:
        """Return when there is a connection."""
        await self._up.wait()

    def distrust(self, wire: Wire, reason: str) -> None:
        """Drop a connection that is of no use; until there is another, nobody waits for this server."""
        if wire is self.wire:
            self._down(reason, hopeful=False)
        wire.drop(reason)

    async def aclose(self) -> None:
        """Close for good."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        pause, most = PAUSES
        while True:
            try:
                wire = await self._connect()
            except Exception as error:  # noqa: BLE001 - whatever it is: if this task ended, the server would never come back
                self._down(_plainly(error), hopeful=False)
                self._attempted.set()
                if self._failed is not None:
                    self._failed()
            else:
                answers = wire.answers
                self._take_up(wire)
                try:
                    await wire.closed
                finally:
                    wire.drop("the gateway stops")
                    self._lost(wire)
                if wire.answers > answers:
                    pause = PAUSES[0]
                    continue  # it was of use: try again at once
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads attempts of many nodes
            pause = min(pause * 2, most)

    def _lost(self, wire: Wire) -> None:
        if wire is self.wire:
            self._down("the connection was lost", hopeful=True)

    def _take_up(self, wire: Wire) -> None:
        if not self._hopeful:
            log.info("budget store is back", server=self._name)
        self.wire, self._hopeful, self.reason = wire, True, ""
        self._attempted.set()
        self._up.set()

    def _down(self, reason: str, *, hopeful: bool) -> None:
        if not hopeful and reason != self.reason:
            log.warning("budget store is lost", server=self._name, reason=reason)
        self.wire, self._hopeful, self.reason = None, hopeful, reason
        self._attempted.clear()
        self._up.clear()

    @property
    def _name(self) -> str:
        return f"{self.url.host}:{self.url.port}"

    async def _connect(self) -> Wire:
        """Connect, log in, and look whether this server is of use.

        Raises:
            OSError: it cannot be reached.
            Lost: it does not answer, or is of no use.
        """
        url = self.url
        loop = asyncio.get_running_loop()
        transport = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                # Never closed by the timeout alone: what is connected is dropped below.
                transport, wire = await loop.create_connection(
                    lambda: Wire(self._lost),
                    url.host,
                    url.port,
                    ssl=url.tls,
                    server_hostname=url.host if url.tls else None,
                )
                info = await self._log_in(wire)
                if info.get("cluster_enabled") == "1":
                    slots = await _ask(wire, ("CLUSTER", "SLOTS"))
                    self._learn(self, slots)
        except BaseException as error:
            if transport is not None:
                transport.abort()
            if isinstance(error, TimeoutError):
                raise Lost("it does not answer") from None
            raise
        return wire

    async def _log_in(self, wire: Wire) -> Mapping[str, str]:
        url = self.url
        if url.password is not None:
            name = (url.username,) if url.username else ()
            try:
                await _ask(wire, ("AUTH", *name, url.password.reveal()))
            except Refused as error:
                # A server that knows no AUTH repeats its arguments.
                raise Lost(f"it refuses the password ({str(error).partition(' ')[0]})") from None
        if url.database:
            await _ask(wire, ("SELECT", url.database))
        text = await _ask_if_allowed(wire, ("INFO",)) or b""
        await _ask_if_allowed(wire, ("SCRIPT", "LOAD", script.SOURCE))
        info = dict(line.split(":", 1) for line in text.decode("latin-1").splitlines() if ":" in line)
        if info.get("loading") == "1":
            raise Lost("it is still loading its data")
        if info.get("role") == "slave":
            raise Lost("it is a replica, which cannot be written to")
        if info.get("maxmemory", "0") != "0" and info.get("maxmemory_policy", "noeviction") != "noeviction":
            log.warning(
                "budget store may forget budgets when its memory is full; set maxmemory-policy to noeviction",
                server=self._name,
                policy=info["maxmemory_policy"],
            )
        return info


async def wait_for(event: asyncio.Event, until: float) -> None:
    """Return when the event is set, or at that time of the loop's, whichever comes first."""
    try:
        async with asyncio.timeout_at(until):
            await event.wait()
    except TimeoutError:
        pass


async def _ask(wire: Wire, command: tuple[str | bytes | int, ...]) -> Any:
    replies = Replies(1)
    wire.send(pack_command(command), replies, (0,))
    if not await replies.wait(asyncio.get_running_loop().time() + CONNECT_SECONDS):
        raise Lost("it does not answer")
    (reply,) = replies.values
    if isinstance(reply, ReplyError):
        raise Refused(str(reply))
    return reply


async def _ask_if_allowed(wire: Wire, command: tuple[str | bytes, ...]) -> Any:
    """What we can do without: a server's users may be forbidden to look at it, but not to use it."""
    try:
        return await _ask(wire, command)
    except Refused as error:
        if not str(error).startswith("NOPERM"):
            raise
        return None


def _plainly(error: Exception) -> str:
    if isinstance(error, Lost):
        return str(error)
    return getattr(error, "strerror", None) or type(error).__name__
