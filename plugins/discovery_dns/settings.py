"""What the source `dns` is told: which name, which records, whom to ask and how often; data, and the checks of it."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.errors import ConfigError

DNS_PORT = 53

_NAME = re.compile(
    r"(?=.{1,253}\.?$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_][A-Za-z0-9_-]{0,62}\.?"
)
_SERVER = re.compile(r"\[(?P<six>[0-9A-Fa-f:.]+)\](:(?P<six_port>\d{1,5}))?|(?P<host>[^\[\]]+?)(:(?P<port>\d{1,5}))?")

Seconds = Annotated[float, Meta(ge=1, le=86_400)]


class DnsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One name.

    Attributes:
        name: a whole name; no search list is tried.
        records: `a` and `aaaa` tell addresses, `srv` tells hosts, ports, weights and priorities.
        port: of every engine, where the records tell none.
        scheme: https for `srv` alone, whose host names a certificate can vouch for; they are then looked up by the system.
        path: what every URL ends in.
        servers: name servers to ask, as ADDRESS or ADDRESS:PORT; the system's where there is none.
        answer_seconds: how long all of them together may take for one answer.
        least_seconds, most_seconds: bounds for how long an answer is taken to hold, whatever its TTL says.
    """

    name: str
    records: Literal["a", "aaaa", "srv"] = "a"
    port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    scheme: Literal["http", "https"] = "http"
    path: Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._~/-]*)?$")] = ""
    servers: Annotated[list[str], Meta(max_length=8)] = []
    answer_seconds: Annotated[float, Meta(gt=0, le=60)] = 5.0
    least_seconds: Seconds = 5.0
    most_seconds: Seconds = 300.0


def server_of(text: str) -> tuple[str, int]:
    """Address and port of a name server.

    Raises:
        ValueError: it is none.
    """
    parts = _SERVER.fullmatch(text)
    if text.count(":") > 1 and not text.startswith("["):
        return str(ipaddress.ip_address(text)), DNS_PORT
    if parts is None:
        raise ValueError(text)
    address = ipaddress.ip_address(parts["six"] or parts["host"])
    port = int(parts["six_port"] or parts["port"] or DNS_PORT)
    if not 1 <= port <= 65_535:  # noqa: PLR2004 - the last port
        raise ValueError(text)
    return str(address), port


def check(settings: DnsSettings) -> None:
    """Refuse settings that cannot work.

    Raises:
        ConfigError: with every problem.
    """
    found = []
    if not _NAME.fullmatch(settings.name):
        found.append("name: not the name of a host or a service")
    if settings.records == "srv" and settings.port is not None:
        found.append("port: `srv` records tell it themselves")
    if settings.records != "srv" and settings.port is None:
        found.append("port: missing; only `srv` records tell it")
    if settings.records != "srv" and settings.scheme == "https":
        found.append("scheme: https needs `records: srv`, as certificates vouch for names and not for addresses")
    if settings.least_seconds > settings.most_seconds:
        found.append("least_seconds: must not be more than most_seconds")
    for position, server in enumerate(settings.servers):
        try:
            server_of(server)
        except ValueError:
            found.append(f"servers[{position}]: must be ADDRESS or ADDRESS:PORT, and the address no name")
    if found:
        raise ConfigError(*found)
