"""A client on a bare socket: it sends what no library would, and leaves when a test says so."""

from __future__ import annotations

import json
import socket
import struct
from contextlib import suppress
from http.client import HTTPResponse
from typing import Any, Self

import httpx

from tests.integration.asking import CHAT


class Wire:
    """One connection to a gateway; closed with the block.

    Args:
        receive_bytes: the kernel's buffer for what we do not read; a small one makes a slow reader.
    """

    def __init__(self, port: int, key: str, *, receive_bytes: int | None = None) -> None:
        self.key = key
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(20)
        self.socket.connect(("127.0.0.1", port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def ask(self, body: Any, path: str = CHAT, *headers: str) -> None:
        """Send a whole POST."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.head(f"content-length: {len(content)}", *headers, path=path)
        self.send(content)

    def head(self, *headers: str, path: str = CHAT, method: str = "POST") -> None:
        """Send the head of a request."""
        lines = [f"{method} {path} HTTP/1.1", "host: moegate", f"authorization: Bearer {self.key}", *headers, "", ""]
        self.send("\r\n".join(lines).encode("latin-1"))

    def answer(self, method: str = "POST") -> httpx.Response:
        """Read one whole answer."""
        raw = HTTPResponse(self.socket, method=method)
        raw.begin()
        try:
            return httpx.Response(raw.status, headers=raw.getheaders(), content=raw.read())
        finally:
            raw.close()

    def read_to(self, mark: bytes) -> bytes:
        """Read until a mark has come."""
        read = b""
        while mark not in read:
            piece = self.socket.recv(65_536)
            assert piece, f"closed before {mark!r} came: {read!r}"
            read += piece
        return read

    def read_rest(self) -> bytes:
        """Read until the other side closes, in whatever way."""
        read = b""
        with suppress(ConnectionResetError):
            while piece := self.socket.recv(65_536):
                read += piece
        return read

    def leave(self, *, reset: bool = False) -> None:
        """Close the connection; with a TCP reset if so asked."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
