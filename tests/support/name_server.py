"""A name server on 127.0.0.1, over UDP and TCP, that answers what a test says, and misbehaves as a test wants."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset

MOST_TRIES = 50


class NameServer:
    """What a test knows of a running name server.

    Attributes:
        asked: each question as name, type and transport.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[tuple[str, str, str]] = []
        self._records: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}
        self._rcode = dns.rcode.NOERROR
        self._silent = False
        self._truncates = False

    @property
    def address(self) -> str:
        """Whom to ask."""
        return f"127.0.0.1:{self.port}"

    def put(self, name: str, kind: str, *values: str, ttl: int = 30) -> None:
        """Answer this from now on; without values the name exists and has no such record."""
        self._records[name, kind] = ttl, values

    def drop(self, name: str) -> None:
        """The name does not exist any more."""
        for key in [key for key in self._records if key[0] == name]:
            del self._records[key]

    def behave(self, *, rcode: str = "NOERROR", silent: bool = False, truncates: bool = False) -> None:
        """How all questions are answered from now on; `truncates`: over UDP with nothing but a call for TCP."""
        self._rcode = dns.rcode.from_text(rcode)
        self._silent, self._truncates = silent, truncates

    def answer(self, wire: bytes, transport: str) -> bytes | None:
        """The answer to one question; None if there is to be none."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, transport))
        if self._silent:
            return None
        response = dns.message.make_response(query)
        response.set_rcode(self._rcode)
        if self._truncates and transport == "udp":
            response.flags |= dns.flags.TC
        elif self._rcode == dns.rcode.NOERROR:
            self._fill(response, name, kind)
        return response.to_wire()

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        known = {each for each, _ in self._records}
        while name in known and (alias := self._records.get((name, "CNAME"))):
            ttl, (target,) = alias
            response.answer.append(dns.rrset.from_text(f"{name}.", ttl, "IN", "CNAME", f"{target}."))
            name = target
        if name not in known:
            response.set_rcode(dns.rcode.NXDOMAIN)
            return
        ttl, values = self._records.get((name, kind), (0, ()))
        if values:
            response.answer.append(dns.rrset.from_text(f"{name}.", ttl, "IN", kind, *values))


@contextmanager
def name_server() -> Iterator[NameServer]:
    """A name server that ends with the block."""
    for _ in range(MOST_TRIES):
        with suppress(OSError):  # somebody has the port for TCP
            udp, tcp, server = _bound()
            break
    else:
        raise AssertionError("no port is free for both UDP and TCP")
    threads = [threading.Thread(target=each.serve_forever, args=(0.01,)) for each in (udp, tcp)]
    for thread in threads:
        thread.start()
    try:
        yield server
    finally:
        for each in (udp, tcp):
            each.shutdown()
            each.server_close()
        for thread in threads:
            thread.join()


def _bound() -> tuple[socketserver.UDPServer, socketserver.TCPServer, NameServer]:
    """Both ends on one port.

    Raises:
        OSError: the port is not free for both.
    """

    class Datagram(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire, sender = self.request
            answer = server.answer(wire, "udp")
            if answer is not None:
                sender.sendto(answer, self.client_address)

    class Stream(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            (length,) = struct.unpack("!H", self.rfile.read(2))
            answer = server.answer(self.rfile.read(length), "tcp")
            if answer is not None:
                self.wfile.write(struct.pack("!H", len(answer)) + answer)

    udp = socketserver.UDPServer(("127.0.0.1", 0), Datagram)
    port: int = udp.server_address[1]
    try:
        tcp: Any = socketserver.TCPServer(("127.0.0.1", port), Stream)
    except OSError:
        udp.server_close()
        raise
    assert udp.socket.type == socket.SOCK_DGRAM
    server = NameServer(port)
    return udp, tcp, server
