"""What comes over the connection before there is a request: odd, endless and broken HTTP does no harm."""

from __future__ import annotations

import pytest

from tests.integration.asking import CHAT, chat, error_of
from tests.integration.conftest import World
from tests.integration.wire import Wire
from tests.support.gateway_process import GatewayProcess


def send_until_cut(wire: Wire, piece: bytes) -> None:
    """Send without end, until the gateway closes the connection."""
    try:
        for _ in range(1000):
            wire.send(piece)
    except (BrokenPipeError, ConnectionResetError):
        return
    pytest.fail("the gateway took it all")


def test_a_host_that_is_none(wire: Wire) -> None:
    """Refused before any route is asked, by Litestar or by us; the answer is one of ours."""
    for line in (b"POST /v1/chat/completions", b"GET /healthz"):
        wire.send(line + b" HTTP/1.1\r\nhost: not a host!\r\n\r\n")
        answer = wire.answer()
        error_of(answer, 400, "invalid_request")
        assert len(answer.headers.get_list("x-moegate-call-id")) == 1


@pytest.mark.parametrize(
    "start",
    [b"GET /", b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-", b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: "],
    ids=["target", "name", "value"],
)
def test_a_head_without_end_is_cut(wire: Wire, gateway: GatewayProcess, start: bytes) -> None:
    before = gateway.rss_bytes
    wire.send(start)
    send_until_cut(wire, b"x" * 65_536)
    assert gateway.rss_bytes - before < 16 * 1024 * 1024


def test_headers_without_end_are_cut(wire: Wire) -> None:
    wire.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n")
    send_until_cut(wire, b"x-header: some value or other\r\n" * 2000)


def test_a_long_head_within_reason(gateway: GatewayProcess, key: str) -> None:
    headers = {"authorization": f"Bearer {key}", "x-long": "x" * 32_768}
    assert gateway.http.get("/v1/models", headers=headers).is_success


def test_a_body_is_asked_for_only_if_it_is_wanted(wire: Wire) -> None:
    wire.head("content-length: 99999999999", "expect: 100-continue")
    error_of(wire.answer(), 413, "body_too_large")


@pytest.mark.parametrize("offer", ["upgrade: h2c", "Upgrade: h2c", "upgrade: websocket"])
def test_an_offer_of_another_protocol_is_ignored(wire: Wire, offer: str) -> None:
    """Java's own client offers HTTP/2 with its requests and sends the body all the same."""
    for _ in range(2):
        wire.ask(chat(), CHAT, "connection: Upgrade, HTTP2-Settings", offer, "http2-settings: AAMAAABkAAQAAP__")
        assert wire.answer().status_code == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"not http\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
    ],
)
def test_what_is_no_http_is_refused(wire: Wire, world: World, gateway: GatewayProcess, request_bytes: bytes) -> None:
    wire.send(request_bytes)
    assert 400 <= wire.answer().status_code < 500
    assert gateway.at_rest()
    assert world.a.state()["seen"] == 0
