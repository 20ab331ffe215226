"""A scripted engine behind an httpx client, for probes: per path the status, the page or the fault that it answers with."""

from __future__ import annotations

from typing import Any

import httpx

from backends.openai_compatible import OpenAICompatible
from gateway import Probe
from tests.unit.builders import make_replica

Answer = int | str | bytes | dict[str, Any] | httpx.Response | Exception


async def probe(backend: OpenAICompatible, pages: dict[str, Answer], **replica: Any) -> tuple[Probe, list[str]]:
    """What the backend finds, and which paths it asked for; a path that is not scripted is not there."""
    asked: list[str] = []

    def engine(request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        asked.append(path)
        answer = pages.get(path, 404)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        if isinstance(answer, int):
            return httpx.Response(answer)
        if isinstance(answer, dict):
            return httpx.Response(200, json=answer)
        return httpx.Response(200, content=answer)

    async with httpx.AsyncClient(transport=httpx.MockTransport(engine)) as client:
        return await backend.probe(client, make_replica(**{"url": "http://engine:8000", **replica})), asked
