"""Which server has which key: one for all, or the nodes of a cluster; finds out by itself, and follows when slots move."""

from __future__ import annotations

import asyncio
import binascii
from typing import Any

import msgspec
from libvalkey import pack_command

from plugins.valkey_store.link import Link, Slots
from plugins.valkey_store.url import ServerUrl
from plugins.valkey_store.wire import Lost, Replies

SLOTS = 16_384
MOST_NODES = 128
REFRESH_SECONDS = 0.5
ANSWER_SECONDS = 1.0

Address = tuple[str, int]


def slot_of(key: bytes) -> int:
    """The slot of a key in a cluster: CRC16 of what stands between its first braces, else of all of it."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOTS


class Servers:
    """The server of the URL, and the cluster that it may be part of."""

    def __init__(self, url: ServerUrl) -> None:
        self._url = url
        self._nodes: dict[Address, Link] = {}
        self._slots: list[Link] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.seed = Link(url, self._learn)

    @property
    def clustered(self) -> bool:
        """Whether they are a cluster, as far as is known."""
        return self._slots is not None

    def link(self, key: bytes) -> Link:
        """The way to the server that has a key."""
        return self.seed if self._slots is None else self._slots[slot_of(key)]

    def moved(self, slot: int, address: str, asked: Link) -> Link | None:
        """Take a server's word that another has a slot; None if that is no sensible address."""
        link = self.other(address, asked)
        if link is not None and self._slots is not None and 0 <= slot < SLOTS:
            self._slots[slot] = link
        self.refresh()
        return link

    def other(self, address: str, asked: Link) -> Link | None:
        """The way to a server that another has named; one without a host is on that other's."""
        host, _, port = address.rpartition(":")
        if not port.isdigit() or self._slots is None:
            return None
        return self._node((host.strip("[]") or asked.url.host, int(port)))

    def refresh(self) -> None:
        """Ask the cluster anew who has what, soon, in the background."""
        if self._slots is not None and self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh(), name="valkey slots")

    async def aclose(self) -> None:
        """Close every connection."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        await asyncio.gather(self.seed.aclose(), *(link.aclose() for link in self._nodes.values()), *self._closing)

    def _node(self, address: Address) -> Link | None:
        link = self._nodes.get(address)
        if link is None and len(self._nodes) < MOST_NODES:
            host, port = address
            url = msgspec.structs.replace(self._url, host=host, port=port)
            link = self._nodes[address] = Link(url, self._learn, self.refresh)
        return link

    def _learn(self, asked: Link, ranges: Slots) -> None:
        """Take what CLUSTER SLOTS says; slots that it does not name stay with the seed, which says that they are down."""
        slots, used = [self.seed] * SLOTS, set()
        for first, last, (host, port, *_), *_ in ranges:
            address = (host.decode() if host else asked.url.host, int(port))
            link = self._node(address)
            if link is not None and 0 <= first <= last < SLOTS:
                used.add(address)
                slots[first : last + 1] = [link] * (last + 1 - first)
        self._slots = slots
        for address in self._nodes.keys() - used:
            # Not awaited here: it may be the very link whose login brought the news.
            task = asyncio.create_task(self._nodes.pop(address).aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _refresh(self) -> None:
        try:
            await asyncio.sleep(REFRESH_SECONDS)  # one look serves all who want it
            for link in (*self._nodes.values(), self.seed):
                ranges = await _slots(link)
                if ranges is not None:
                    self._learn(link, ranges)
                    return
        finally:
            self._refreshing = None


async def _slots(link: Link) -> Any:
    if link.wire is None:
        return None
    replies = Replies(1)
    try:
        link.wire.send(pack_command(("CLUSTER", "SLOTS")), replies, (0,))
        await replies.wait(asyncio.get_running_loop().time() + ANSWER_SECONDS)
    except Lost:
        return None
    return replies.values[0] if isinstance(replies.values[0], list) else None
