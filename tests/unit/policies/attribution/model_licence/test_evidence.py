"""Looks at pages: which are allowed, how far they go, and that nothing inside can be reached by them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx
import msgspec
import pytest

from gateway.errors import InvalidRequest
from policies.attribution.model_licence.evidence import (
    MOST_AT_ONCE,
    MOST_REDIRECTS,
    PageChecker,
    PageCheckFailed,
    PageChecks,
)

PAGE = b"<p>Powered by Kimi K2</p>"
PUBLIC = "93.184.215.14"
Answer = Callable[[httpx.Request], httpx.Response]


class Names:
    """Stands in for the DNS; who was asked for is kept."""

    def __init__(self, **addresses: Sequence[str]) -> None:
        self.addresses = {name.replace("_", "."): found for name, found in addresses.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.addresses.get(host, [PUBLIC])


def page(content: bytes = PAGE, kind: str = "text/html; charset=utf-8", **headers: str) -> httpx.Response:
    return httpx.Response(200, content=content, headers={"content-type": kind, **headers})


def checker(answer: Answer | httpx.Response, names: Names | None = None, **settings: Any) -> PageChecker:
    wanted = msgspec.convert({"hosts": ["shop.example", "*.shop.example"], **settings}, PageChecks)
    handle = answer if callable(answer) else lambda _: answer
    return PageChecker(wanted, names or Names(), httpx.MockTransport(handle))


async def test_a_page_that_shows_the_string() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return page()

    look = await checker(answer).look("https://shop.example/about", "Kimi K2")
    assert look.displayed
    assert look.url == "https://shop.example/about"
    assert look.digest == hashlib.sha256(PAGE).hexdigest()
    # It goes to the address that was looked at, under the name that was asked for.
    assert (asked[0].url.host, asked[0].headers["host"]) == (PUBLIC, "shop.example")
    assert asked[0].extensions["sni_hostname"] == "shop.example"


async def test_a_page_that_does_not_show_it() -> None:
    look = await checker(page(b"<p>Kimi K2.5</p>")).look("https://shop.example/", "Kimi K2")
    assert not look.displayed


@pytest.mark.parametrize(
    "url",
    [
        "https://else.example/",
        "https://shop.example.else.example/",
        "https://xshop.example/",
        "https://shop.example:8443/",
        "http://shop.example:22/",
        "https://93.184.215.14/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://user:secret@shop.example/",
        "ftp://shop.example/",
        "file:///etc/passwd",
        "https:///about",
        "shop.example",
    ],
)
async def test_what_is_not_allowed_is_not_asked_for(url: str) -> None:
    names = Names()
    with pytest.raises(InvalidRequest):
        await checker(page(), names).look(url, "Kimi K2")
    assert names.asked == []


@pytest.mark.parametrize("url", ["http://shop.example/", "https://www.shop.example", "https://SHOP.example./"])
async def test_what_is_allowed(url: str) -> None:
    assert (await checker(page()).look(url, "Kimi K2")).displayed


async def test_a_port_is_allowed_by_name() -> None:
    assert (await checker(page(), hosts=["shop.example:8443"]).look("https://shop.example:8443/", "Kimi K2")).displayed
    with pytest.raises(InvalidRequest):
        await checker(page(), hosts=["shop.example:8443"]).look("https://shop.example/", "Kimi K2")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "::1", "fd00::1", "fe80::1", "::ffff:10.0.0.1", "2002:0a00:0001::1"],
)  # fmt: skip
async def test_a_name_that_leads_inside_is_not_followed(address: str) -> None:
    asked: list[httpx.Request] = []
    refused = checker(lambda request: asked.append(request) or page(), Names(shop_example=[PUBLIC, address]))
    with pytest.raises(InvalidRequest, match="not public"):
        await refused.look("https://shop.example/", "Kimi K2")
    assert asked == []


async def test_an_internal_host_must_be_named_as_one() -> None:
    allowed = checker(page(), Names(intra_example=["10.0.0.7"]), internal_hosts=["intra.example"])
    assert (await allowed.look("https://intra.example/", "Kimi K2")).displayed


async def test_it_follows_to_pages_that_are_allowed() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/":
            return httpx.Response(301, headers={"location": "https://www.shop.example/about"})
        return page()

    look = await checker(answer).look("http://shop.example/", "Kimi K2")
    assert (look.url, look.displayed) == ("https://www.shop.example/about", True)


@pytest.mark.parametrize(
    "to", ["http://127.0.0.1/", "//else.example/", "file:///etc/passwd", "http://shop.example:6379/"]
)
async def test_it_follows_to_no_others(to: str) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["host"])
        return httpx.Response(302, headers={"location": to})

    with pytest.raises(InvalidRequest):
        await checker(answer).look("http://shop.example/", "Kimi K2")
    assert asked == ["shop.example"]


async def test_it_does_not_follow_for_ever() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(302, headers={"location": f"/{len(asked)}"})

    with pytest.raises(PageCheckFailed, match="more than"):
        await checker(answer).look("http://shop.example/", "Kimi K2")
    assert len(asked) == 1 + MOST_REDIRECTS


class Endless(httpx.AsyncByteStream):
    """A page without an end; how much of it was taken is counted."""

    def __init__(self, first: bytes) -> None:
        self.taken = 0
        self._first = first

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._first
        while True:
            self.taken += 1_000
            yield b"x" * 1_000


async def test_a_page_without_an_end_is_read_so_far_and_no_further() -> None:
    stream = Endless(b"<p>")
    answer = httpx.Response(200, headers={"content-type": "text/html"}, stream=stream)
    with pytest.raises(PageCheckFailed, match="first 10000 bytes"):
        await checker(answer, max_bytes=10_000).look("http://shop.example/", "Kimi K2")
    assert stream.taken <= 12_000
    shown = httpx.Response(200, headers={"content-type": "text/html"}, stream=Endless(PAGE))
    assert (await checker(shown, max_bytes=10_000).look("http://shop.example/", "Kimi K2")).displayed


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.Response(404, text="Kimi K2"), "status 404"),
        (httpx.Response(302, text="Kimi K2"), "status 302"),
        (page(kind="application/octet-stream"), "no plain HTML"),
        (
            httpx.Response(200, headers={"content-type": "text/html", "content-encoding": "br"}, stream=Endless(b"")),
            "plain",
        ),
    ],
)
async def test_what_is_no_page_is_no_answer(answer: httpx.Response, reason: str) -> None:
    with pytest.raises(PageCheckFailed, match=reason):
        await checker(answer).look("http://shop.example/", "Kimi K2")


async def test_a_page_that_cannot_be_reached_is_no_answer() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("10.0.0.1 refused", request=request)

    with pytest.raises(PageCheckFailed, match=r"cannot be reached \(ConnectError\)") as caught:
        await checker(answer).look("http://shop.example/", "Kimi K2")
    assert "10.0.0.1" not in caught.value.public_message


async def test_a_slow_page_is_given_up() -> None:
    class Never(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

    wanted = PageChecks(hosts=("shop.example",), timeout_seconds=0.1)
    with pytest.raises(PageCheckFailed, match=r"within 0\.1 seconds"):
        await PageChecker(wanted, Names(), Never()).look("http://shop.example/", "Kimi K2")


async def test_only_a_few_are_looked_at_at_once() -> None:
    gate, running, most = asyncio.Event(), 0, 0
    full = asyncio.Event()

    class Gated(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal running, most
            running += 1
            most = max(most, running)
            if running == MOST_AT_ONCE:
                full.set()
            await gate.wait()
            running -= 1
            return page()

    looking = PageChecker(PageChecks(hosts=("shop.example",), timeout_seconds=60), Names(), Gated())
    looks = [asyncio.create_task(looking.look("http://shop.example/", "Kimi K2")) for _ in range(3 * MOST_AT_ONCE)]
    async with asyncio.timeout(30):
        await full.wait()
        gate.set()
        assert all(look.displayed for look in await asyncio.gather(*looks))
    assert most == MOST_AT_ONCE


async def test_nothing_to_look_for_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="nothing to look for"):
        await checker(page()).look("http://shop.example/", "")


async def test_by_default_no_page_is_allowed() -> None:
    with pytest.raises(InvalidRequest, match="allows no look"):
        await PageChecker(PageChecks(), Names()).look("https://shop.example/", "Kimi K2")
