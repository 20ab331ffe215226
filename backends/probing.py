"""Looks at engines: their status, and the numbers of a Prometheus page; tells no engine from another."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Mapping, Sequence

import httpx

from gateway import Probe, ReplicaState

# A busy engine may tell of its load late, or only after the step that it is at; then its load is unknown for once.
LOAD_SECONDS = 2.0
# A page of metrics has about a hundred kilobytes; what is longer is no such page.
_MOST_BYTES = 4 * 1024 * 1024

Gauges = Mapping[str, Sequence[float]]

Unready = Callable[[bytes], Probe]
"""What it means that an engine answers a probe with 503 and this body."""


async def look(client: httpx.AsyncClient, url: str, unready: Unready) -> Probe:
    """What the answer to a GET says of an engine."""
    return verdict(await ask(client, url), unready)


async def ask(client: httpx.AsyncClient, url: str) -> httpx.Response | Probe:
    """What a GET is answered with; what it means for the engine if there is no answer."""
    try:
        return await client.get(url)
    except httpx.HTTPError as error:
        return Probe(ReplicaState.UNREACHABLE, f"the probe failed with {type(error).__name__}")


def verdict(answer: httpx.Response | Probe, unready: Unready) -> Probe:
    """What an answer to a probe means for the engine."""
    if isinstance(answer, Probe):
        return answer
    if answer.status_code == httpx.codes.OK:
        return Probe(ReplicaState.READY)
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return unready(answer.content)
    return Probe(ReplicaState.UNREACHABLE, f"the probe was answered with {answer.status_code}")


async def fetch(client: httpx.AsyncClient, url: str) -> bytes | None:
    """What a GET answers with 200, in a short while; None for anything else."""
    try:
        async with asyncio.timeout(LOAD_SECONDS):
            response = await client.get(url, follow_redirects=True)
    except (httpx.HTTPError, TimeoutError):
        return None
    if response.status_code != httpx.codes.OK or len(response.content) > _MOST_BYTES:
        return None
    return response.content


async def fetch_gauges(client: httpx.AsyncClient, url: str, wanted: Collection[str]) -> Gauges:
    """The samples of some metrics of a Prometheus page; those that are not there are left out."""
    page = await fetch(client, url)
    return read_gauges(page.decode(errors="replace"), wanted) if page is not None else {}


def read_gauges(page: str, wanted: Collection[str]) -> dict[str, list[float]]:
    """The samples of some metrics, whatever their labels; no NaN and no infinity, which count nothing."""
    found: dict[str, list[float]] = {}
    for line in page.splitlines():
        name = line[: min(at for at in (line.find("{"), line.find(" "), len(line)) if at >= 0)]
        if name not in wanted:
            continue
        # Labels may hold blanks and braces, but not after the last brace.
        words = line[max(line.rfind("}") + 1, len(name)) :].split()
        value = _number(words[0]) if words else None
        if value is not None:
            found.setdefault(name, []).append(value)
    return found


def count(gauges: Gauges, name: str) -> int | None:
    """The sum of a gauge over the engines of a server."""
    return int(sum(gauges[name])) if name in gauges else None


def mean_share(gauges: Gauges, name: str) -> float | None:
    """The mean of a share over the engines of a server."""
    return share(sum(gauges[name]), len(gauges[name])) if name in gauges else None


def ratio(gauges: Gauges, part: str, whole: str) -> float | None:
    """One counter's share of another, both summed over the engines of a server."""
    return share(sum(gauges[part]), sum(gauges[whole])) if part in gauges and whole in gauges else None


def share(part: float, whole: float) -> float | None:
    """A share between 0 and 1; None of nothing."""
    return min(max(part / whole, 0.0), 1.0) if whole > 0 else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
