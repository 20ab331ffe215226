"""One connection to one server: commands go out in one piece, replies come back in their order; no waiting of its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from libvalkey import ProtocolError, Reader, ReplyError

MOST_PENDING = 4096
"""Commands that may wait for their replies; a server that is so far behind is as good as gone."""


class Lost(Exception):
    """No reply will come: the connection is gone, or too slow, or was never there."""


class Replies:
    """The replies to some commands, perhaps of several servers, each at the place of its command."""

    __slots__ = ("_done", "_missing", "_timer", "values")

    def __init__(self, count: int) -> None:
        self.values: list[Any] = [None] * count
        self._missing = 0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.Handle | None = None

    def expect(self, count: int) -> None:
        """So many more are on their way."""
        self._missing += count

    def take(self, place: int, value: Any) -> None:
        """One has come."""
        self.values[place] = value
        self._missing -= 1
        if not self._missing and not self._done.done():
            self._done.set_result(None)

    def lose(self, reason: str) -> None:
        """One will never come, so nobody need wait for the others."""
        if not self._done.done():
            self._done.set_exception(Lost(reason))

    async def wait(self, until: float) -> bool:
        """Return whether all have come by that time of the loop's.

        Raises:
            Lost: one will not come.
        """
        if not self._missing:
            return True
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(until, self._look_again, 2)
        try:
            await self._done
        finally:
            self._timer.cancel()
        return not self._missing

    def _look_again(self, turns: int) -> None:
        # If it was this process that stood still, the replies are here but not read yet: the loop gets a turn to do that.
        if turns:
            self._timer = asyncio.get_running_loop().call_soon(self._look_again, turns - 1)
        elif not self._done.done():
            self._done.set_result(None)


class Wire(asyncio.Protocol):
    """A connection.

    Args:
        lost: told when it is gone, before those who wait for replies are.

    Attributes:
        closed: done when it is gone, for whatever reason.
        answers: counts replies.
    """

    def __init__(self, lost: Callable[[Wire], None]) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answers = 0
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._reader = Reader(replyError=ReplyError)
        self._pending: deque[tuple[Replies, int]] = deque()
        self._reason = "the connection was lost"

    def send(self, commands: bytes, replies: Replies, places: Sequence[int]) -> None:
        """Send packed commands; `places` says where each of their replies belongs.

        Raises:
            Lost: it cannot be sent.
        """
        if self._transport is None or self._transport.is_closing():
            raise Lost(self._reason)
        if len(self._pending) >= MOST_PENDING:
            self.drop("too many commands wait for their replies")
            raise Lost(self._reason)
        replies.expect(len(places))
        self._pending.extend((replies, place) for place in places)
        self._transport.write(commands)

    def drop(self, reason: str) -> None:
        """Close it at once; what is still waited for is lost."""
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()
        self._lose_pending()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's: it is there."""
        # A cast, because uvloop's transports are not asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """asyncio's: some of the replies."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                if not self._pending:
                    self.drop("the server answered what it was not asked")
                    return
                self.answers += 1
                replies, place = self._pending.popleft()
                replies.take(place, reply)
        except ProtocolError:
            self.drop("the server does not speak the protocol")

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - why matters to nobody
        """asyncio's: it is gone."""
        self._transport = None
        self._lost(self)
        self._lose_pending()
        if not self.closed.done():
            self.closed.set_result(None)

    def _lose_pending(self) -> None:
        while self._pending:
            self._pending.popleft()[0].lose(self._reason)
