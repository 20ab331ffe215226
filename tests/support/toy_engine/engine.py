"""The engine: answers its health check, or misbehaves as its second argument says. Standard library only."""

from __future__ import annotations

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class _Health(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        """Answer any GET."""
        self.send_response(self.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


def main() -> None:
    """Serve until a signal."""
    port, mode = int(sys.argv[1]), sys.argv[2]
    print(f"toy engine: {mode}", flush=True)  # noqa: T201 - an engine talks
    if mode == "dies":
        sys.exit("out of memory, said the toy")
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _Health.status = 503 if mode == "never" else 200
    server = HTTPServer(("127.0.0.1", port), _Health)
    if mode == "forks" and not os.fork():
        server.server_close()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(f"worker {os.getpid()}", flush=True)  # noqa: T201 - as above
        while True:
            signal.pause()
    server.serve_forever()


if __name__ == "__main__":
    main()
