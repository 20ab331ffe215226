"""A gateway that has as many connections as it may have, and clients that never finish a head."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from gateway.contracts.keys import generate_key
from tests.integration.configs import config, model, replica
from tests.support.gateway_process import gateway_process
from tests.support.scripted_engine.process import scripted_engine

KEY = generate_key()
ASK = b"GET /healthz HTTP/1.1\r\nhost: moegate\r\n\r\n"


def test_one_connection_too_many_and_a_head_without_end(tmp_path: Path) -> None:
    with scripted_engine(name="a") as engine:
        settings = config(
            model("kimi-k2", replica("a", engine)),
            keys={"acme": KEY},
            server={"max_connections": 3, "head_seconds": 1},
        )
        with gateway_process(settings, tmp_path) as gateway:
            # Idle ones are closed when their time is over, and then there is room again: no restart, nothing left behind.
            idle = [socket.create_connection(("127.0.0.1", gateway.port), timeout=20) for _ in range(3)]
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as fourth:
                fourth.sendall(ASK)
                answer = b""
                while piece := fourth.recv(4096):
                    answer += piece
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert json.loads(body)["error"]["code"] == "too_many_connections"
            for connection in idle:
                assert connection.recv(1) == b""
                connection.close()
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as late:
                late.sendall(ASK)
                assert late.recv(4096).startswith(b"HTTP/1.1 200 ")
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as slow:
                slow.sendall(b"GET /healthz HTTP/1.1\r\nx: ")
                assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")
