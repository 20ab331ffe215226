"""Publishes KV events over ZMQ as vLLM does (`vllm/distributed/kv_events.py`): a process that tests command line by line.

Each line of its input is a JSON object, and is answered with one line when it is done: `{"publish": [events]}` sends a batch,
`{"many": number}` so many that say nothing, `{"lose": [events]}` counts and keeps one but does not send it, `{"forget": true}` has
nothing left to tell again.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections import deque
from typing import Any

import msgspec
import zmq

END = (-1).to_bytes(8, "big", signed=True)


class Publisher:
    """The process, seen from a test.

    Attributes:
        port, replay_port: where it listens on 127.0.0.1.
    """

    def __init__(self, port: int = 0, replay_port: int = 0) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(port), str(replay_port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.port, self.replay_port = (int(word) for word in self._answer().split())

    def publish(self, *events: dict[str, Any]) -> None:
        """One batch."""
        self._command(publish=events)

    def publish_many(self, number: int) -> None:
        """So many batches of four kilobytes of which nobody learns anything."""
        self._command(many=number)

    def lose(self, *events: dict[str, Any]) -> None:
        """One that does not arrive."""
        self._command(lose=events)

    def send_raw(self, batch: bytes) -> None:
        """One of any bytes."""
        self._command(raw=base64.b64encode(batch).decode())

    def forget(self) -> None:
        """Have nothing to tell again."""
        self._command(forget=True)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _command(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        assert self._answer() == "done"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()


class _Sockets:
    def __init__(self, port: int, replay_port: int) -> None:
        context = zmq.Context()
        self._publisher, self._replay = context.socket(zmq.PUB), context.socket(zmq.ROUTER)
        for socket, wanted in ((self._publisher, port), (self._replay, replay_port)):
            socket.bind(f"tcp://127.0.0.1:{wanted or '*'}")
        self.ports = [
            socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2] for socket in (self._publisher, self._replay)
        ]
        self._kept: deque[tuple[bytes, bytes]] = deque()
        self._number = 0
        self._lock = threading.Lock()

    def serve(self) -> None:
        while True:
            client, _, start = self._replay.recv_multipart()
            with self._lock:
                kept = list(self._kept)
            for number, batch in kept:
                if number >= start:
                    self._replay.send_multipart([client, b"", b"kv", number, batch])
            self._replay.send_multipart([client, b"", b"", END, b""])

    def do(self, command: dict[str, Any]) -> None:
        if command.get("forget"):
            with self._lock:
                self._kept.clear()
            return
        for _ in range(command.pop("many", 0)):
            self.do({"publish": [{"type": "Padding", "with": "x" * 4_000}]})
        if not command:
            return
        events = command.get("publish", command.get("lose"))
        batch = base64.b64decode(command["raw"]) if "raw" in command else msgspec.msgpack.encode([0.0, events, 0])
        number = self._number.to_bytes(8, "big")
        self._number += 1
        with self._lock:
            self._kept.append((number, batch))
        if "lose" not in command:
            self._publisher.send_multipart([b"kv", number, batch])


def _main() -> None:
    sockets = _Sockets(*map(int, sys.argv[1:3]))
    threading.Thread(target=sockets.serve, daemon=True).start()
    print(*sockets.ports, flush=True)  # noqa: T201 - its answer
    for line in sys.stdin:
        sockets.do(json.loads(line))
        print("done", flush=True)  # noqa: T201


if __name__ == "__main__":
    _main()
