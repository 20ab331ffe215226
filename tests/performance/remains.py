"""Looks at what a gateway holds: memory, files, client connections and its own in-flight gauges; it changes nothing."""

import http.client
import re
from dataclasses import dataclass, field
from pathlib import Path

from tests.performance.accounting import memory_bytes, process_tree

ESTABLISHED = "01"
MEBI = 1024 * 1024
# Gauges that must be zero when nobody calls; their exact names are the gateway's own business.
IN_FLIGHT = re.compile(
    r"^(moegate_\w*(?:in_?flight|running|active|leases|queued)\w*(?:\{[^}]*\})?) ([0-9.e+-]+)$", re.MULTILINE
)
NOT_GAUGES = re.compile(r"_(?:total|created|bucket|sum|count)(?:\{|$)")
# A pool may keep connections to the engine, and the interpreter a few files that it opened late.
SPARE_FILES = 64


@dataclass(frozen=True)
class Remains:
    """One look."""

    rss_bytes: int
    pss_bytes: int
    files: int
    threads: int
    client_connections: int
    gauges: dict[str, float] = field(default_factory=dict)

    def text(self) -> str:
        """Say it in a line."""
        gauges = f", in flight {sum(self.gauges.values()):g}" if self.gauges else ""
        return (
            f"{self.rss_bytes / MEBI:.1f} MiB, {self.files} files, {self.threads} threads, "
            f"{self.client_connections} client connections{gauges}"
        )

    def left_over(self, before: "Remains") -> list[str]:
        """List what should have gone but is still there."""
        left = [f"{name} is {value:g}" for name, value in self.gauges.items() if value]
        if self.client_connections > before.client_connections:
            left.append(f"{self.client_connections} client connections")
        if self.files > before.files + SPARE_FILES:
            left.append(f"{self.files} open files, {before.files} before")
        return left


def look(pid: int, port: int, headers: tuple[str, ...] | None = None) -> Remains:
    """Look at a process tree that listens on this port; with headers, ask its /metrics too."""
    gauges = {} if headers is None else in_flight(port, headers)
    tree = process_tree(pid)
    memory = memory_bytes(tree)
    return Remains(
        rss_bytes=memory["rss_bytes"],
        pss_bytes=memory["pss_bytes"],
        files=sum(entries(Path("/proc") / str(each) / "fd") for each in tree),
        threads=sum(entries(Path("/proc") / str(each) / "task") for each in tree),
        client_connections=established(port),
        gauges=gauges,
    )


def entries(folder: Path) -> int:
    """Count a folder's entries; a process that ended has none."""
    try:
        return sum(1 for _ in folder.iterdir())
    except OSError:
        return 0


def established(port: int) -> int:
    """Count connections that clients hold to this port."""
    wanted = f":{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(1 for row in rows if row[1].endswith(wanted) and row[3] == ESTABLISHED)


def in_flight(port: int, headers: tuple[str, ...]) -> dict[str, float]:
    """Read the gauges that count what is under way; none when there is no /metrics."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        sent = dict(header.split(": ", 1) for header in headers)
        connection.request("GET", "/metrics", headers={**sent, "connection": "close"})
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
    except OSError:
        return {}
    finally:
        connection.close()
    if answer.status != http.client.OK:
        return {}
    return {name: float(value) for name, value in IN_FLIGHT.findall(text) if not NOT_GAUGES.search(name)}
