"""uvicorn's connection, with a bound on the head of a request and deaf to offers of another protocol; it parses nothing itself."""

from __future__ import annotations

import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Far above what clients send, and above what proxies let pass.
MAX_HEAD_BYTES = 64 * 1024

_UPGRADE = re.compile(rb"(?i)\r\nupgrade:")


class PatientProtocol(HttpToolsProtocol):
    """What llhttp and uvicorn leave to others.

    Neither bounds request line and headers: without this, anyone could fill the memory. And httptools skips the body of
    a request that offers an upgrade, which Java's own client does with every first one (`Upgrade: h2c`).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._in_body = False
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Count while the head is not complete; what came with its end is bounded by the size of one read."""
        if not self._in_body and b"pgrade:" in data:
            data = _deaf_to_upgrades(data)
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head, self._in_body = False, True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next bytes begin another head."""
        self._in_body = False
        super().on_message_complete()


def _deaf_to_upgrades(data: bytes) -> bytes:
    """Give the header another name (RFC 9110, 7.8: a server may ignore it); what follows the head stays as it is."""
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(b"\r\nx-ignored-upgrade:", head) + end + rest
