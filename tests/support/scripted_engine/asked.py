"""A request of any operation in one form; reads bodies and judges nothing."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Json = dict[str, Any]


class Operation(StrEnum):
    """What engines are asked for."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    MESSAGES = "messages"
    RESPONSES = "responses"
    COUNT_TOKENS = "count_tokens"
    TOKENIZE = "tokenize"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request asks for.

    Attributes:
        question: the text of the last message that a user wrote.
        results: what tools answered since then, in the order of the request.
        past_calls: how many tools were called in the conversation so far.
        tools: names of the declared functions; empty where none may be called.
        forced: a tool must be called.
        words: how many words the prompt has, which is how this engine counts tokens.
    """

    operation: Operation
    body: Json = field(default_factory=dict)
    model: str = ""
    stream: bool = False
    wants_usage: bool = False
    limit: int | None = None
    count: int = 1
    stops: tuple[str, ...] = ()
    top_logprobs: int | None = None
    question: str = ""
    results: tuple[str, ...] = ()
    past_calls: int = 0
    tools: tuple[str, ...] = ()
    forced: bool = False
    parallel: bool = True
    schema: Json | None = None
    words: int = 0

    @property
    def thinks(self) -> bool:
        """Thinking was switched on, in whichever way an engine understands."""
        switches: Json = self.body.get("chat_template_kwargs") or {}
        thinking = self.body.get("thinking")
        return (
            switches.get("thinking") is True
            or switches.get("enable_thinking") is True
            or (isinstance(thinking, dict) and thinking.get("type") == "enabled")
        )


def read(operation: Operation, body: Json) -> Asked:
    """Read a body; what it lacks is as if it had not been said."""
    messages = _messages(operation, body)
    users = [at for at, message in enumerate(messages) if message["role"] == "user"]
    last_user = users[-1] if users else -1
    tools, forced, parallel = _tools(operation, body)
    return Asked(
        operation=operation,
        body=body,
        model=str(body.get("model", "")),
        stream=body.get("stream") is True,
        wants_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        limit=body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens"),
        count=body.get("n") or 1,
        stops=_stops(body.get("stop") or body.get("stop_sequences")),
        top_logprobs=_top_logprobs(operation, body),
        question=messages[last_user]["text"] if users else str(body.get("prompt", "")),
        results=tuple(message["text"] for message in messages[last_user + 1 :] if message["role"] == "tool"),
        past_calls=sum(message["calls"] for message in messages),
        tools=tools,
        forced=forced,
        parallel=parallel,
        schema=_schema(body),
        words=sum(len(message["text"].split()) + 4 for message in messages) or len(str(body.get("prompt", "")).split()),
    )


def _messages(operation: Operation, body: Json) -> list[Json]:
    """Role, text and number of calls of each message; Anthropic's tool results become messages of their own."""
    items = body.get("input") if operation is Operation.RESPONSES else body.get("messages")
    if isinstance(items, str):
        return [{"role": "user", "text": items, "calls": 0}]
    found: list[Json] = []
    for item in items or []:
        kind = item.get("type")
        if kind == "function_call":
            found.append({"role": "assistant", "text": "", "calls": 1})
        elif kind == "function_call_output":
            found.append({"role": "tool", "text": text_of(item.get("output")), "calls": 0})
        else:
            found += _message(item)
    return found


def _message(item: Json) -> list[Json]:
    content = item.get("content")
    blocks = content if isinstance(content, list) else []
    results = [block for block in blocks if block.get("type") == "tool_result"]
    found = [{"role": "tool", "text": text_of(block.get("content")), "calls": 0} for block in results]
    if results and len(results) == len(blocks):
        return found
    calls = len(item.get("tool_calls") or []) + sum(block.get("type") == "tool_use" for block in blocks)
    return [*found, {"role": item.get("role", ""), "text": text_of(content), "calls": calls}]


def text_of(content: object) -> str:
    """The text of a content, whether it is a string, parts, or nothing."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _tools(operation: Operation, body: Json) -> tuple[tuple[str, ...], bool, bool]:
    choice = body.get("tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else choice
    if kind == "none":
        return (), False, True
    declared = [tool.get("function", tool).get("name", "") for tool in body.get("tools") or []]
    named = None
    if isinstance(choice, dict) and kind in ("function", "tool"):
        named = choice.get("function", choice).get("name")
    parallel = body.get("parallel_tool_calls") is not False
    if operation is Operation.MESSAGES and isinstance(choice, dict):
        parallel = not choice.get("disable_parallel_tool_use")
    names = tuple(name for name in declared if named in (None, name))
    return names, kind in ("required", "any", "function", "tool"), parallel and named is None


def _stops(stop: object) -> tuple[str, ...]:
    return tuple(stop) if isinstance(stop, list) else (stop,) if isinstance(stop, str) else ()


def _top_logprobs(operation: Operation, body: Json) -> int | None:
    if operation is Operation.COMPLETIONS:
        return body.get("logprobs")
    return (body.get("top_logprobs") or 0) if body.get("logprobs") else None


def _schema(body: Json) -> Json | None:
    wanted = body.get("response_format") or (body.get("text") or {}).get("format") or {}
    if wanted.get("type") != "json_schema":
        return None
    return wanted.get("schema") or (wanted.get("json_schema") or {}).get("schema") or {}
