"""The API server: lists and watches with resource versions, bookmarks and tokens; it forgets and breaks off when told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
PATH = "/apis/discovery.k8s.io/v1/namespaces/ml/endpointslices"
PATIENCE_SECONDS = 30.0


class ApiServer:
    """What a test knows of it, and does with it.

    Attributes:
        token: what callers must send.
        asked: the query of each request, and `status` with what it got.
        page: how many items a page of a list has at most.
    """

    def __init__(self) -> None:
        self.token = "first-token"
        self.asked: list[Json] = []
        self.page = 500
        self.changed = threading.Condition()
        self.port = 0
        self._version = 100
        self._slices: dict[str, Json] = {}
        self._history: list[tuple[int, Json]] = []
        self._oldest = 100
        self._watches = 0
        self._broken = 0
        self._refusing = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def wait_watched(self) -> None:
        """Wait until a watch is open."""
        self._wait(lambda: self._watches > 0)

    def wait_asked(self, watches: int) -> None:
        """Wait until so many watches were asked for."""
        self._wait(lambda: len(self.statuses(watch=True)) >= watches)

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE_SECONDS), "it never happened"

    def put(self, found: Json) -> None:
        """Add a slice, or replace the one of that name."""
        name = found["metadata"]["name"]
        self._happen("MODIFIED" if name in self._slices else "ADDED", found)

    def delete(self, name: str) -> None:
        """Remove a slice."""
        self._happen("DELETED", self._slices[name])

    def bookmark(self) -> None:
        """Tell watches how far they are: further than the last change."""
        self._happen("BOOKMARK", {"metadata": {}})

    def forget(self) -> None:
        """Remember nothing of what happened until now: who asks for it is told that it is gone."""
        with self.changed:
            self._version += 1
            self._oldest = self._version
            self._history.clear()

    def break_off(self) -> None:
        """End the connection of every watch in the middle."""
        with self.changed:
            self._broken += 1
            self.changed.notify_all()

    def refuse(self, status: int) -> None:
        """Answer everything with a status from now on; 0 for being well again."""
        self._refusing = status

    def statuses(self, *, watch: bool) -> list[int]:
        """What lists, or watches, got so far."""
        return [each["status"] for each in self.asked if ("watch" in each) is watch]

    def _happen(self, kind: str, found: Json) -> None:
        with self.changed:
            self._version += 1
            found = json.loads(json.dumps(found))
            found |= {"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1"}
            found["metadata"]["resourceVersion"] = str(self._version)
            if kind == "DELETED":
                del self._slices[found["metadata"]["name"]]
            elif kind != "BOOKMARK":
                self._slices[found["metadata"]["name"]] = found
            self._history.append((self._version, {"type": kind, "object": found}))
            self.changed.notify_all()

    # What its handler does.

    def status(self, token: str | None, query: Json) -> int:
        """The status of a request, which is noted."""
        status = 200 if token == f"Bearer {self.token}" else 401
        if "watch" in query and int(query["resourceVersion"]) < self._oldest:
            status = 410
        status = self._refusing or status
        with self.changed:
            self.asked.append({**query, "status": status})
            self.changed.notify_all()
        return status

    def list(self, query: Json) -> Json:
        """One page of all slices that a selector finds."""
        with self.changed:
            name, _, value = query["labelSelector"].partition("=")
            found = [each for each in self._slices.values() if each["metadata"]["labels"].get(name) == value]
            begin = int(query.get("continue", 0))
            metadata = {"resourceVersion": str(self._version)}
            if begin + self.page < len(found):
                metadata["continue"] = str(begin + self.page)
            items = found[begin : begin + self.page]
        return {"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": metadata, "items": items}

    def watch(self, version: int, seconds: float) -> Iterator[Json | None]:
        """Each event after a version; None where the connection breaks off."""
        with self.changed:
            self._watches += 1
            broken = self._broken
            self.changed.notify_all()
        try:
            while True:
                with self.changed:
                    if version < self._oldest:
                        status = {"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410}
                        yield {"type": "ERROR", "object": status}
                        return
                    due = [(at, event) for at, event in self._history if at > version]
                    if not due and broken == self._broken and not self.changed.wait(seconds):
                        return  # its time is over
                for at, event in due:
                    version = at
                    yield event
                if broken != self._broken:
                    yield None
                    return
        finally:
            with self.changed:
                self._watches -= 1


@contextmanager
def api_server() -> Iterator[ApiServer]:
    """An API server that ends with the block."""
    server = ApiServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status = server.status(self.headers["authorization"], query) if parts.path == PATH else 404
            if status != 200:
                self._whole(status, {"kind": "Status", "status": "Failure", "code": status})
            elif "watch" in query:
                with suppress(OSError):
                    self._watch(query)
                self.close_connection = True
            else:
                self._whole(200, server.list(query))

        def _whole(self, status: int, body: Json) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _watch(self, query: Json) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for event in server.watch(int(query["resourceVersion"]), float(query["timeoutSeconds"])):
                if event is None:
                    return
                line = json.dumps(event).encode() + b"\n"
                for piece in (line[: len(line) // 2], line[len(line) // 2 :]):  # no reader may count on whole lines
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server.port = listener.server_address[1]
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.break_off()
        listener.shutdown()
        listener.server_close()
        thread.join()
