"""Tool calls as engines stream them, and as clients see them."""

from __future__ import annotations

import json
from typing import Any

from backends.answers.tool_leaks import ARGUMENT_BEGIN, CALL_BEGIN, CALL_END, SECTION_BEGIN, SECTION_END
from backends.sent import Sent
from gateway import Meter
from tests.unit.backends.answers.asking import DONE, TIGHT

PARIS = '{"city":"Paris"}'
LEAK = f"{SECTION_BEGIN}{CALL_BEGIN}functions.get_weather:0{ARGUMENT_BEGIN}{PARIS}{CALL_END}{SECTION_END}"
LATER = Sent(engine_model="kimi-k2", next_call_index=4)


def begun(name: str = "get_weather", identity: str | None = "functions.get_weather:0", index: int = 0) -> bytes:
    call = {"index": index, "id": identity, "type": "function", "function": {"name": name, "arguments": ""}}
    return TIGHT.delta(tool_calls=[call])


def went_on(arguments: str, index: int = 0, **more: Any) -> bytes:
    return TIGHT.delta(tool_calls=[{"index": index, "function": {"arguments": arguments}, **more}])


END = TIGHT.delta("tool_calls") + DONE
STOP = TIGHT.delta("stop") + DONE


def made(index: int, name: str = "get_weather", arguments: str = PARIS) -> dict[str, str]:
    return {"id": f"functions.{name}:{index}", "name": name, "arguments": arguments}


def whole(reading: Meter, message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    """A plain answer with this message, as the client sees it: its one choice."""
    body = json.dumps({"model": "kimi-k2", "choices": [{"index": 0, "message": message, "finish_reason": finish}]})
    choice: dict[str, Any] = json.loads(reading.read_body(body.encode()))["choices"][0]
    return choice


def native(identity: str | None = "functions.get_weather:0", name: str = "get_weather") -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": PARIS}}
