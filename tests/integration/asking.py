"""What tests ask and what they read of the answers: bodies with fault markers, events, errors; it opens no connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

Json = dict[str, Any]

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"

# Stands in every prompt: no log may ever hold it.
PROMPT = "a prompt that must stay private"
DONE = b"[DONE]"

# What a client must never read of the machine behind the gateway.
HERE = str(Path(__file__).parents[2])
PRIVATE = ("127.0.0.1", "localhost", "http://", "/home", "/opt", HERE, "Traceback", ".py", "EngineCore")


def chat(*, fault: str = "", model: str = "kimi-k2", **fields: Any) -> Json:
    """A chat request; `fault` is what the scripted engine does with it."""
    body: Json = {"model": model, "messages": [{"role": "user", "content": PROMPT}], **fields}
    return {**body, "user": f"[[fault:{fault}]]"} if fault else body


def completion(*, fault: str = "", model: str = "kimi-k2", **fields: Any) -> Json:
    """A completions request."""
    body: Json = {"model": model, "prompt": PROMPT, **fields}
    return {**body, "user": f"[[fault:{fault}]]"} if fault else body


def payloads(stream: bytes) -> list[bytes]:
    """The data of each event of a stream; comments are left out."""
    events = stream.replace(b"\r\n", b"\n").split(b"\n\n")
    lines = [line for event in events for line in event.split(b"\n") if line.startswith(b"data: ")]
    return [line.removeprefix(b"data: ") for line in lines]


def error_of(answer: httpx.Response, status: int, code: str) -> Json:
    """The error of an answer, which must be whole: OpenAI's shape, both headers, and nothing private."""
    assert answer.status_code == status, answer.text
    assert_private(answer)
    error: Json = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["code"] == code == answer.headers["x-moegate-error"]
    assert len(answer.headers["x-moegate-call-id"]) == 32
    return error


def assert_private(answer: httpx.Response) -> None:
    """Neither the body nor the headers tell of the machine."""
    shown = answer.text + str(answer.headers)
    assert not [text for text in PRIVATE if text in shown]
