"""Reads the URL of a Valkey store; an error never repeats it, because it may hold a password."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from gateway import Secret
from gateway.errors import ConfigError

SCHEMES = {"valkey": False, "valkeys": True, "redis": False, "rediss": True}
"""By scheme, whether it means TLS."""

_DEFAULT_PORT = 6379
_FORM = "valkey://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE][?prefix=…&lease_seconds=…&ca_file=…]"
_PREFIX = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_LEASE_SECONDS = 10.0
_LEASE_RANGE = (1.0, 3600.0)


class ServerUrl(Struct, frozen=True, kw_only=True):
    """Where the server is and how to log in.

    Attributes:
        tls: how to speak TLS; None for plain TCP.
        database: its number; a cluster has only 0.
        prefix: begins every key, so that several installations can share a server.
        lease_seconds: how long a node holds its slices without a word.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    username: str | None = None
    password: Secret | None = None
    database: int = 0
    prefix: str = "moegate"
    lease_seconds: float = _LEASE_SECONDS


def read_url(text: str) -> ServerUrl:
    """Read a URL.

    Raises:
        ConfigError: it is not of the form; the message names the part, never what stands there.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ConfigError(f"the URL cannot be read; it must be of the form {_FORM}") from None
    if parts.scheme not in SCHEMES or not parts.hostname or parts.fragment:
        raise ConfigError(f"the URL must be of the form {_FORM}")
    database = parts.path.strip("/") or "0"
    if re.fullmatch(r"[0-9]{1,6}", database) is None:
        raise ConfigError("the URL's path must be the number of a database")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    return ServerUrl(
        host=parts.hostname,
        port=port or _DEFAULT_PORT,
        username=unquote(parts.username) if parts.username else None,
        password=Secret(unquote(parts.password)) if parts.password else None,
        database=int(database),
        prefix=_prefix(options),
        lease_seconds=_lease_seconds(options),
        tls=_tls(options, wanted=SCHEMES[parts.scheme]),
    )


def _prefix(options: Mapping[str, str]) -> str:
    unknown = options.keys() - {"prefix", "lease_seconds", "ca_file"}
    if unknown:
        raise ConfigError("the URL has a parameter other than prefix, lease_seconds and ca_file")
    prefix = options.get("prefix", "moegate")
    if _PREFIX.fullmatch(prefix) is None:
        raise ConfigError("the URL's prefix must be 1 to 64 letters, digits and . _ : -")
    return prefix


def _lease_seconds(options: Mapping[str, str]) -> float:
    least, most = _LEASE_RANGE
    try:
        seconds = float(options.get("lease_seconds", _LEASE_SECONDS))
    except ValueError:
        seconds = 0.0
    if not least <= seconds <= most:
        raise ConfigError(f"the URL's lease_seconds must be a number from {least:g} to {most:g}")
    return seconds


def _tls(options: Mapping[str, str], *, wanted: bool) -> ssl.SSLContext | None:
    ca_file = options.get("ca_file")
    if not wanted:
        if ca_file is not None:
            raise ConfigError("the URL's ca_file is for valkeys:// and rediss://")
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        name = Path(ca_file).name if ca_file else "the system's"
        raise ConfigError(
            f"the URL's ca_file ({name}) cannot be used: {error.strerror or 'not a certificate'}"
        ) from None
