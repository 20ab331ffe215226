"""One client's calls on a raw connection: what each asked for, how it ended, and leaving in the middle; decides nothing."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import httptools

PATH = "/v1/chat/completions"
MOST_SECONDS = 60.0

# What the metered engine counts for a message beyond its words.
FRAME_TOKENS = 4


@dataclass(frozen=True, slots=True)
class Wish:
    """What one call asks for.

    Attributes:
        words: of the prompt, the one that says how long the answer shall be among them.
        answer: tokens that the engine would like to say.
        most: `max_tokens`, if it is said.
    """

    words: int
    answer: int
    most: int | None
    stream: bool

    @property
    def prompt(self) -> int:
        """Tokens of the prompt, as the engine counts them."""
        return self.words + FRAME_TOKENS

    @property
    def reserved(self) -> int:
        """Tokens that are to be reserved, where the input is counted exactly and `max_tokens` is said."""
        return self.prompt + (self.most or 0)

    def request(self, key: str, name: str) -> bytes:
        """The whole request; `name` is the end user of this call alone, by which the ledger's row is found."""
        text = " ".join([f"[[answer:{self.answer}]]", *(["ab"] * (self.words - 1))])
        body: dict[str, object] = {"model": "kimi-k2", "messages": [{"role": "user", "content": text}], "user": name}
        if self.most is not None:
            body["max_tokens"] = self.most
        if self.stream:
            body["stream"] = True
        content = json.dumps(body).encode()
        head = f"POST {PATH} HTTP/1.1\r\nhost: moegate\r\nauthorization: Bearer {key}\r\ncontent-length: {len(content)}"
        return head.encode() + b"\r\ncontent-type: application/json\r\n\r\n" + content


@dataclass(frozen=True, slots=True)
class Leaving:
    """When the client leaves: after so many seconds, or as soon as so many events have come; `reset` without a word."""

    seconds: float | None = None
    events: int | None = None
    reset: bool = False


@dataclass(slots=True)
class Said:
    """What came of one call.

    Attributes:
        name: of its one end user.
        begun, over: by `time.monotonic()`.
        status: 0 if no answer began.
        ended: `whole`, `left` by the client, or `lost` with the connection.
    """

    name: str
    wish: Wish
    node: int
    begun: float
    over: float = 0.0
    status: int = 0
    call_id: str = ""
    error: str = ""
    events: int = 0
    ended: str = "lost"


class Connection(asyncio.Protocol):
    """A keep-alive connection to one node; one call at a time."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.open = False
        self._said: Said | None = None
        self._leaving: Leaving | None = None
        self._over: asyncio.Future[None] | None = None
        self._parser = httptools.HttpResponseParser(self)

    async def ask(self, said: Said, key: str, leaving: Leaving | None = None) -> None:
        """Make one call; returns when it is over, in whatever way."""
        loop = asyncio.get_running_loop()
        self._said, self._leaving = said, leaving
        self._over = loop.create_future()
        timer = None
        if leaving is not None and leaving.seconds is not None:
            timer = loop.call_later(leaving.seconds, self.leave)
        self.transport.write(said.wish.request(key, said.name))
        try:
            async with asyncio.timeout(MOST_SECONDS):
                await self._over
        except TimeoutError:
            self.leave()
            raise AssertionError(f"a call has no end: {said}") from None
        finally:
            if timer is not None:
                timer.cancel()
            said.over = time.monotonic()

    def leave(self) -> None:
        """Close in the middle of a call."""
        if self._over is not None and not self._over.done() and self._said is not None:
            self._said.ended = "left"
            self._finish()
            if self._leaving is not None and self._leaving.reset:
                self.transport.abort()
            else:
                self.transport.close()
            self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self.transport = cast("asyncio.Transport", transport)
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed; a call under way is lost."""
        self.open = False
        self._finish()

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what is of use."""
        said = self._said
        if said is not None:
            if name == b"x-moegate-call-id":
                said.call_id = value.decode()
            elif name == b"x-moegate-error":
                said.error = value.decode()

    def on_headers_complete(self) -> None:
        """The answer has begun."""
        if self._said is not None:
            self._said.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Count events, and leave when it is time."""
        said, leaving = self._said, self._leaving
        if said is not None:
            said.events += body.count(b"data: ")
            if leaving is not None and leaving.events is not None and said.events >= leaving.events:
                self.leave()

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self._said is not None and self._said.ended != "left":
            self._said.ended = "whole"
        if not self._parser.should_keep_alive():
            self.open = False
            self.transport.close()
        self._finish()

    def _finish(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)


async def connect(port: int) -> Connection | None:
    """Open a connection to a node; None if it is not there."""
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
        return connection
    return None
