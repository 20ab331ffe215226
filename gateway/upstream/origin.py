"""Where an engine listens, and how much time and space its answers may take; plain data, no I/O."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, Self
from urllib.parse import urlsplit

from msgspec import Struct

_LAST_PORT: Final = 65535
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# Letters, digits, dots, hyphens and underscores (compose service names have those); IPv6 is checked apart.
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_BASE_PATH: Final = re.compile(r"(/[!-~]*)?")


class Origin(Struct, frozen=True, cache_hash=True):
    """Scheme, host and port: what a connection belongs to.

    Attributes:
        scheme: "http" or "https".
        host: a name or an address; IPv6 without brackets.
        port: 1 to 65535.

    Raises:
        ValueError: a part is not what it should be.
    """

    scheme: str
    host: str
    port: int

    def __post_init__(self) -> None:
        if self.scheme not in DEFAULT_PORTS:
            raise ValueError(f"the scheme must be http or https, not {self.scheme!r}")
        if not 1 <= self.port <= _LAST_PORT:
            raise ValueError(f"the port must be between 1 and {_LAST_PORT}, not {self.port}")
        if ":" in self.host:
            _check_ipv6(self.host)
        elif not _HOST_NAME.fullmatch(self.host):
            raise ValueError(f"not a host name or an address: {self.host!r}")

    @classmethod
    def parse(cls, url: str) -> tuple[Self, str]:
        """Split an engine's base URL into its origin and its base path.

        The path has no trailing slash: "" for "http://host:8000/", "/v1" for "http://host:8000/v1/".

        Raises:
            ValueError: not an http(s) URL, or it holds credentials, a query or a fragment.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"not a URL: {error}") from None
        if parts.scheme not in DEFAULT_PORTS:
            raise ValueError("the URL must start with http:// or https://")
        # The text, not the parsed parts: a bare "?", "#" or "@" parses to an empty part.
        if "@" in parts.netloc:
            raise ValueError("the URL must not hold credentials; give them in the replica's settings")
        if "?" in url or "#" in url:
            raise ValueError("the URL must not hold a query or a fragment")
        if not parts.hostname:
            raise ValueError("the URL names no host")
        if not _BASE_PATH.fullmatch(parts.path):
            raise ValueError("the URL's path holds a space, a control character or non-ASCII text")
        origin = cls(parts.scheme, parts.hostname, DEFAULT_PORTS[parts.scheme] if port is None else port)
        return origin, parts.path.rstrip("/")

    @property
    def label(self) -> str:
        """`host:port` for errors and logs; never more than that."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def host_header(self) -> bytes:
        """The value of `Host`: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host.encode() if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}".encode()


def _check_ipv6(host: str) -> None:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError(f"not an IPv6 address: {host!r}") from None
    if address.scope_id is not None:
        raise ValueError(f"an IPv6 address with a zone cannot stand in a Host header: {host!r}")


class Timeouts(Struct, frozen=True):
    """How long an engine may keep us waiting; all in seconds.

    Attributes:
        connect_seconds: name look-up, TCP and TLS handshake together.
        first_byte_seconds: from the request written until the head of the answer is complete; the same span bounds
            each pause of an upload that the engine does not read.
        idle_seconds: between two pieces of a body, counted while somebody waits for the next one.
        total_seconds: from the start until the end of the answer; None for no such limit. It is for whoever holds the
            answer to set: see `UpstreamResponse.end_within`.
    """

    connect_seconds: float = 2.0
    first_byte_seconds: float = 300.0
    idle_seconds: float = 120.0
    total_seconds: float | None = None

    def __post_init__(self) -> None:
        total = 1.0 if self.total_seconds is None else self.total_seconds
        if min(self.connect_seconds, self.first_byte_seconds, self.idle_seconds, total) <= 0:
            raise ValueError("a timeout must be more than 0 seconds")


class Limits(Struct, frozen=True):
    """How much of us an engine may use.

    Attributes:
        max_header_bytes: one response head, interim responses included; also the most protocol text (chunk
            headers, extensions, trailers) that may pass without a single body byte.
        max_body_bytes: a body that is read whole.
        high_water_bytes: received but unread body of one response, above which its socket is no longer read. It
            is read again once the reader has taken all of it, so a response holds at most this and one read more.
        max_idle_per_origin: connections kept for the next call; the longest idle go first.
        max_connections_per_origin: open connections; one more is refused at once rather than queued.
        idle_keepalive_seconds: how long an idle connection is kept. Below the 5 s after which the server that
            most engines use (uvicorn) closes it, so that we let go first and seldom write into a closing one.
    """

    max_header_bytes: int = 64 * 1024
    max_body_bytes: int = 64 * 1024 * 1024
    high_water_bytes: int = 256 * 1024
    max_idle_per_origin: int = 64
    max_connections_per_origin: int = 4096
    idle_keepalive_seconds: float = 4.0
