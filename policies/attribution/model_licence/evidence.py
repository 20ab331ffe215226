"""Looks at a product's page for the string that it must show; bounded in every way, and never on a call's way."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import httpx
from msgspec import Meta, Struct

from gateway.errors import GatewayError, InvalidRequest
from policies.attribution.model_licence.page_text import holds

MOST_REDIRECTS = 3
MOST_AT_ONCE = 2
PORTS = {"http": 80, "https": 443}

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KINDS = ("text/html", "application/xhtml+xml", "text/plain")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Host = Annotated[str, Meta(pattern=r"^(\*\.)?[A-Za-z0-9._-]+(:[0-9]{1,5})?$", max_length=260)]


class PageChecks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pages the gateway may look at itself. By default none.

    Attributes:
        hosts: names, `*.shop.example` for all below one, with `:PORT` for a port that is not the usual one. They must lead
            to public addresses.
        internal_hosts: the same, for those that may lead to addresses of one's own network.
        max_bytes: how much of a page is looked at.
        timeout_seconds: how long all of it may take.
    """

    hosts: tuple[Host, ...] = ()
    internal_hosts: tuple[Host, ...] = ()
    max_bytes: Annotated[int, Meta(ge=1_024, le=16 * 2**20)] = 2 * 2**20
    timeout_seconds: Annotated[float, Meta(ge=0.1, le=60)] = 10.0


class PageCheckFailed(GatewayError):
    """A page could not be looked at, so nothing is known and nothing was written down."""

    status = 502
    code = "page_check_failed"
    log_level = "info"

    @property
    def public_message(self) -> str:
        """The message as it is: it is for whoever asked for the look, and names no address that they did not give."""
        return self.message


class Look(Struct, frozen=True, kw_only=True):
    """What was seen.

    Attributes:
        url: the page that answered in the end.
        displayed: whether the string stands in its text.
        digest: SHA-256 in hex of the bytes that were looked at.
    """

    url: str
    displayed: bool
    digest: str


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


class PageChecker:
    """Looks at pages, a few at once.

    Args:
        find: host and port -> addresses.
        transport: instead of the network.
    """

    def __init__(
        self, settings: PageChecks, find: Resolve = resolve, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._settings = settings
        self._find = find
        self._transport = transport
        self._free = asyncio.Semaphore(MOST_AT_ONCE)

    async def look(self, url: str, string: str) -> Look:
        """Fetch a page and see whether it holds a string.

        Raises:
            InvalidRequest: the configuration does not allow that page.
            PageCheckFailed: it could not be had.
        """
        if not string:
            raise InvalidRequest("There is nothing to look for: this licence asks for no string.", param="string")
        try:
            async with asyncio.timeout(self._settings.timeout_seconds), self._free:
                return await self._followed(url, string)
        except TimeoutError:
            seconds = f"{self._settings.timeout_seconds:g}"
            raise PageCheckFailed(f"The page did not come whole within {seconds} seconds.") from None
        except (httpx.HTTPError, OSError) as error:
            raise PageCheckFailed(f"The page cannot be reached ({type(error).__name__}).") from error

    async def _followed(self, url: str, string: str) -> Look:
        # trust_env off: no proxy of the environment stands between the check of an address and its use.
        async with httpx.AsyncClient(transport=self._transport, trust_env=False, follow_redirects=False) as client:
            for _ in range(1 + MOST_REDIRECTS):
                place = await self._place(url)
                request = client.build_request(
                    "GET",
                    place.address,
                    headers={"host": place.host, "accept-encoding": "identity", "user-agent": "moegate"},
                    extensions={"sni_hostname": place.name},
                )
                response = await client.send(request, stream=True)
                try:
                    if response.status_code not in _REDIRECTS or "location" not in response.headers:
                        return await self._seen(url, response, string)
                    url = _joined(url, response.headers["location"])
                finally:
                    await response.aclose()
        raise PageCheckFailed(f"The page leads on more than {MOST_REDIRECTS} times.")

    async def _place(self, url: str) -> _Place:
        """Where to ask for a page: at an address that has been looked at, not one that a name may have by then."""
        try:
            parsed = httpx.URL(url)
            port = parsed.port or PORTS[parsed.scheme]
        except (httpx.InvalidURL, KeyError, ValueError):
            raise InvalidRequest("The page must have an http or https address.", param="url") from None
        host = parsed.host.lower().rstrip(".")
        if parsed.userinfo or not host:
            raise InvalidRequest("The page's address must have a host, and no user.", param="url")
        internal = _listed(host, port, parsed.scheme, self._settings.internal_hosts)
        if not internal and not _listed(host, port, parsed.scheme, self._settings.hosts):
            raise InvalidRequest(
                f"The configuration allows no look at pages of {host}:{port}; name the host under `page_checks.hosts` "
                "of model_licence, or under `internal_hosts` if it is in your own network.",
                param="url",
            )
        addresses = await self._find(host, port)
        for address in addresses:
            # Every one: a name that leads inside by one of its addresses is not to be trusted with another.
            if not internal and not _is_public(address):
                raise InvalidRequest(f"{host} leads to an address that is not public.", param="url")
        if not addresses:
            raise PageCheckFailed(f"{host} has no address.")
        return _Place(parsed.copy_with(host=addresses[0]), parsed.netloc.decode("ascii"), host)

    async def _seen(self, url: str, response: httpx.Response, string: str) -> Look:
        if response.status_code != httpx.codes.OK:
            raise PageCheckFailed(f"The page answers with status {response.status_code}.")
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _KINDS or response.headers.get("content-encoding", "identity") != "identity":
            raise PageCheckFailed("The page is no plain HTML or text.")
        body, whole = bytearray(), True
        async for part in response.aiter_bytes():
            body += part[: self._settings.max_bytes - len(body)]
            if len(body) >= self._settings.max_bytes:
                whole = False
                break
        try:
            text = body.decode(response.charset_encoding or "utf-8", "replace")
        except LookupError:
            text = body.decode("utf-8", "replace")
        displayed = holds(text, string, html=kind != "text/plain")
        if not displayed and not whole:
            raise PageCheckFailed(f"The string is not in the first {self._settings.max_bytes} bytes of a longer page.")
        return Look(url=url, displayed=displayed, digest=hashlib.sha256(body).hexdigest())


class _Place(Struct, frozen=True):
    """Where to connect, which host to ask for there, and by which name its certificate must know it."""

    address: httpx.URL
    host: str
    name: str


def _joined(url: str, location: str) -> str:
    try:
        return str(httpx.URL(url).join(location))
    except httpx.InvalidURL:
        raise PageCheckFailed("The page leads on to no address.") from None


def _listed(host: str, port: int, scheme: str, hosts: Sequence[str]) -> bool:
    for each in hosts:
        name, _, wanted = each.lower().partition(":")
        fits = host.endswith(name[1:]) and len(host) > len(name) - 1 if name.startswith("*.") else host == name
        if fits and port == (int(wanted) if wanted else PORTS[scheme]):
            return True
    return False


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    return found.is_global and not found.is_multicast and (mapped is None or mapped.is_global)
