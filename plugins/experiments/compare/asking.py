"""Asks one call through the gateway, streamed, and measures when each piece comes; judges and keeps nothing."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from gateway.dataplane import sse
from gateway.errors import NoReplicaAvailable
from plugins.experiments.compare.arms import Arm
from plugins.experiments.compare.parts import Parts, error_text
from plugins.experiments.compare.results import Answer

MOST_EVENT_BYTES = 16 * 1024 * 1024
MOST_GAPS = 100_000
# A pinned call that finds no slot free waits here, so that its clock does not run.
MOST_TRIES = 120
TRY_AGAIN_SECONDS = 0.5
# The caller's or the gateway's fault, whatever the arm: to go on would only write down the same refusal each time.
_STOPPING = (401, 403)
_NOBODY_FREE = NoReplicaAvailable.code
_STOPPING_CODES = ("model_not_found", "quota_exceeded", "too_many_connections")

Json = dict[str, Any]


class StopRun(Exception):
    """Asking on makes no sense; one line for people. What was under way is not written down, and can be asked again."""


class Target(Struct, frozen=True, kw_only=True):
    """Where and how to ask.

    Attributes:
        url: of the gateway, without a path.
        model: the name that it serves.
        timeout_seconds: for a whole answer.
        changes: what is put into every body, e.g. a temperature.
    """

    url: str
    model: str
    timeout_seconds: float
    changes: Mapping[str, Any]


def asked_body(body: Json, target: Target) -> Json:
    """A call's body as it is sent."""
    return {
        **body,
        **target.changes,
        "model": target.model,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def ask(client: httpx.AsyncClient, target: Target, arm: Arm, body: Json) -> Answer:
    """Ask one call of one arm.

    Raises:
        StopRun: the key, the pin or the gateway is at fault, not the arm.
    """
    for tries in itertools.count(1):
        answer = await _ask_once(client, target, arm, body)
        # Not the engine's answer: nothing was free there, most likely because of ourselves.
        if answer.error != _NOBODY_FREE or tries == MOST_TRIES:
            break
        await asyncio.sleep(TRY_AGAIN_SECONDS)
    answer.tries = tries
    return answer


async def _ask_once(client: httpx.AsyncClient, target: Target, arm: Arm, body: Json) -> Answer:
    reading = _Reading()
    content = msgspec.json.encode(asked_body(body, target))
    headers = {"x-moegate-pin": arm.pin, "content-type": "application/json"}
    try:
        async with (
            asyncio.timeout(target.timeout_seconds),
            client.stream("POST", f"{target.url}/v1/chat/completions", headers=headers, content=content) as response,
        ):
            reading.head(response)
            if response.status_code != httpx.codes.OK:
                reading.refused(response, await response.aread())
            else:
                async for chunk in response.aiter_bytes():
                    reading.take(chunk)
    except TimeoutError:
        return reading.failed("timed_out", f"no whole answer within {target.timeout_seconds:g} s")
    except sse.EventTooLong:
        return reading.failed("event_too_long", f"an event of more than {MOST_EVENT_BYTES} bytes")
    except httpx.HTTPError as error:
        # The gateway ends what its engines break off in an orderly way: this is the gateway's own end.
        raise StopRun(f"the gateway does not answer at {target.url} ({type(error).__name__})") from error
    return reading.whole()


class _Reading:
    """An answer that is on its way."""

    def __init__(self) -> None:
        self._parts = Parts()
        self._answer = self._parts.answer
        self._began = self._last = time.perf_counter()
        self._cutter = sse.EventCutter(MOST_EVENT_BYTES)

    def head(self, response: httpx.Response) -> None:
        answer, headers = self._answer, response.headers
        answer.status = response.status_code
        answer.replica = headers.get("x-moegate-replica", "")
        answer.backend = headers.get("x-moegate-backend", "")
        answer.call_id = headers.get("x-moegate-call-id", "")
        answer.transforms = headers.get("x-moegate-transforms", "")
        attempts = headers.get("x-moegate-attempts", "")
        answer.attempts = int(attempts) if attempts.isdecimal() else 0

    def refused(self, response: httpx.Response, content: bytes) -> None:
        code = response.headers.get("x-moegate-error", "")
        message = error_text(content)
        wrong_pin = response.status_code == httpx.codes.BAD_REQUEST and "x-moegate-pin" in message
        if response.status_code in _STOPPING or code in _STOPPING_CODES or wrong_pin:
            raise StopRun(f"the gateway refuses ({response.status_code}): {message}")
        self._parts.fail(code or f"status_{response.status_code}", message)

    def take(self, chunk: bytes) -> None:
        now = time.perf_counter()
        said = False
        for event in sse.split(self._cutter.cut(chunk)):
            payload = sse.data(event)
            if payload is not None:
                said = self._parts.event(payload) or said
        if not said:
            return
        if self._answer.ttft_seconds is None:
            self._answer.ttft_seconds = round(now - self._began, 6)
        elif len(self._answer.gaps_seconds) < MOST_GAPS:
            self._answer.gaps_seconds.append(round(now - self._last, 6))
        self._last = now

    def failed(self, error: str, detail: str) -> Answer:
        self._parts.fail(error, detail)
        return self.whole()

    def whole(self) -> Answer:
        self._answer.total_seconds = round(time.perf_counter() - self._began, 6)
        return self._parts.whole()
