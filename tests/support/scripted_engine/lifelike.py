"""A model of a few rules: what it answers to the questions that the conformance cases ask; shapes nothing.

The same questions go to real engines that serve k2-tiny, so the rules say what that model learned to say.
"""

import json
import re

from tests.support.scripted_engine.asked import Asked, Json, Operation
from tests.support.scripted_engine.turns import WORDS, ToolCall, Turn, pieces

_CITY = re.compile(r"\b(?:Paris|Oslo|Rome|Tokyo)\b")
_SUM = re.compile(r"(\d{1,4}) \+ (\d{1,4})")
THOUGHT = ("Let", " me", " think", " about", " it", ".")
_VALUES = {"boolean": True, "integer": 1, "number": 1, "null": None, "array": []}


def answer(asked: Asked) -> Turn:
    """Say what the model says, within the limits of the request."""
    turn = _free(asked)
    if asked.thinks and not turn.calls:
        turn = Turn(content=turn.content, reasoning=THOUGHT, finish=turn.finish)
    turn = turn.stopped(asked.stops)
    turn = turn.cut(asked.limit) if asked.limit is not None else turn
    return Turn(
        content=turn.content,
        reasoning=turn.reasoning,
        calls=turn.calls,
        finish=turn.finish,
        stopped_by=turn.stopped_by,
        prompt_tokens=max(1, asked.words),
    )


def _free(asked: Asked) -> Turn:
    if asked.schema is not None:
        return Turn(content=pieces(json.dumps(example(asked.schema))))
    if asked.results:
        return Turn(content=pieces(f"It says: {' and '.join(asked.results)}."))
    calls = _calls(asked)
    if calls:
        return Turn(calls=calls, finish="tool_calls")
    found = _SUM.search(asked.question)
    if found is not None:
        return Turn(content=pieces(f"{found[0]} = {int(found[1]) + int(found[2])}"))
    return Turn(content=(WORDS[0].lstrip(), *WORDS[1:]))


def _calls(asked: Asked) -> tuple[ToolCall, ...]:
    if not asked.tools or asked.operation is Operation.COMPLETIONS:
        return ()
    cities = _CITY.findall(asked.question) if "weather" in asked.question else []
    if asked.forced and not cities:
        cities = ["Paris"]
    if not asked.parallel:
        cities = cities[:1]
    name = asked.tools[0]
    return tuple(
        ToolCall(
            name, json.dumps({"city": city}, separators=(",", ":")), f"functions.{name}:{asked.past_calls + at}", at
        )
        for at, city in enumerate(cities)
    )


def example(schema: Json) -> object:
    """The least that satisfies a schema, as a constrained engine would write it."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if kind == "object":
        properties: Json = schema.get("properties") or {}
        return {name: example(properties[name]) for name in schema.get("required") or properties}
    return _VALUES.get(kind, "x")
