"""The ports that engines listen on: whether one is free, and whose turn it is; it opens none."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit


class Turn:
    """Lets engines of this gateway have one port one after the other: over a reload, the next waits for the last to end."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()


def place_of(url: str) -> str:
    """The port as a key; the address does not matter, for an engine that listens on all of them stands in the way too."""
    return str(urlsplit(url).port or 80)


def is_free(url: str) -> bool:
    """Whether an engine could listen there. What only waits for late packets of closed connections is no obstacle."""
    parts = urlsplit(url)
    host = parts.hostname or "127.0.0.1"
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, parts.port or 80))
        except OSError:
            return False
    return True
