"""Asks one call of an endpoint and measures when each piece of its answer comes; counts and prints nothing."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from msgspec import Struct

from gateway import Connections
from gateway.dataplane import sse
from gateway.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from plugins.bench.samples import MOST_GAPS, Sample

PATH = "/v1/chat/completions"
OK = 200
MOST_EVENT_BYTES = 8 * 1024 * 1024
MOST_BODY_BYTES = 64 * 1024 * 1024
MOST_DETAIL = 200


class _Said(Struct):
    content: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    tool_calls: Any = None


class _Choice(Struct):
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: Any = None


class _Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Answer(Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    object: Any = None
    message: Any = None


_decode = msgspec.json.Decoder(_Answer).decode


async def ask(connections: Connections, body: bytes, timeout_seconds: float) -> Sample:
    """Ask one call; whatever goes wrong is in the sample."""
    reading = _Reading()
    try:
        async with asyncio.timeout(timeout_seconds):
            await _read(connections, body, reading)
    except (TimeoutError, UpstreamTimeout):
        reading.fail("timed_out", f"no whole answer within {timeout_seconds:g} s")
    except sse.EventTooLong:
        reading.fail("too_long", f"an event of more than {MOST_EVENT_BYTES} bytes")
    except UpstreamUnreachable as error:
        reading.fail("not_reached", error.message)
    except UpstreamBroken as error:
        reading.fail("broken_off", error.message)
    sample = reading.sample
    sample.total = time.perf_counter() - reading.began
    return sample


async def _read(connections: Connections, body: bytes, reading: _Reading) -> None:
    answer = await connections.post(PATH, body)
    try:
        if answer.status != OK:
            reading.refused(answer.status, await answer.read(MOST_EVENT_BYTES))
        elif (answer.header(b"content-type") or b"").startswith(b"text/event-stream"):
            while chunk := await answer.read_chunk():
                reading.take(chunk)
            reading.ended()
        else:
            reading.whole(await answer.read(MOST_BODY_BYTES))
    finally:
        answer.close()


class _Reading:
    """An answer on its way."""

    def __init__(self) -> None:
        self.sample = Sample()
        self.began = self._last = time.perf_counter()
        self._cutter = sse.EventCutter(MOST_EVENT_BYTES)
        self._finished = False

    def fail(self, kind: str, detail: str) -> None:
        if not self.sample.error:  # the first fault is the one that explains the others
            self.sample.error, self.sample.detail = kind, " ".join(detail.split())[:MOST_DETAIL]

    def refused(self, status: int, body: bytes) -> None:
        self.fail(f"status_{status}", _words(body))

    def take(self, chunk: bytes) -> None:
        now = time.perf_counter()
        events = self._cutter.cut(chunk)
        for event in sse.split(events) if events else ():
            payload = sse.data(event)
            if payload is None:
                continue
            if payload == b"[DONE]":
                self._finished = True
            elif self._event(payload):
                self._said(now)

    def ended(self) -> None:
        if not self._finished:
            self.fail("cut_short", "the stream ended with neither [DONE] nor a finish_reason")

    def whole(self, body: bytes) -> None:
        self._finished = True
        self._event(body)

    def _said(self, now: float) -> None:
        sample = self.sample
        sample.events += 1
        if sample.first_token is None:
            sample.first_token = now - self.began
        elif len(sample.gaps) < MOST_GAPS:
            sample.gaps.append(now - self._last)
        self._last = now

    def _event(self, payload: bytes) -> bool:
        """Read one; whether something is said in it."""
        try:
            found = _decode(payload)
        except msgspec.DecodeError as error:
            self.fail("not_openai", f"what came is no chat completion: {error}")
            return False
        if found.error is not None or found.object == "error":
            self.fail("error_event", _words(payload))
            return False
        if found.usage is not None:
            usage, sample = found.usage, self.sample
            sample.prompt_tokens = usage.prompt_tokens
            sample.output_tokens = usage.completion_tokens
        said = False
        for choice in found.choices or ():
            part = choice.delta or choice.message
            self._finished = self._finished or choice.finish_reason is not None
            said = said or (
                part is not None and bool(part.content or part.reasoning or part.reasoning_content or part.tool_calls)
            )
        return said


def _words(body: bytes) -> str:
    """What an error says, of any engine's form."""
    try:
        found = _decode(body)
    except msgspec.DecodeError:
        return body[:MOST_DETAIL].decode("utf-8", "replace")
    inner = found.error.get("message") if isinstance(found.error, dict) else found.error
    return str(inner or found.message or body[:MOST_DETAIL].decode("utf-8", "replace"))
