"""Turns every way in which clients ask a model to think or not to think into the one that Kimi's chat template reads.

Clients write `thinking: {type}` (Moonshot, Anthropic), `reasoning_effort: none` (OpenAI), `reasoning: {effort, enabled}`
(OpenRouter, OpenAI's responses), `enable_thinking` (Qwen), or the template's variables themselves. Engines read one or
two of these each, and none reads them all. What counts in the end is a variable of the template: `thinking` for Kimi
and DeepSeek, `enable_thinking` for most others; a template that does not know a variable does not look at it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from backends.parameters import decoded
from backends.request_edit import RequestEdit, cut, encode
from gateway import Operation

VARIABLES = ("thinking", "enable_thinking")

TOGGLES = frozenset({"thinking", "enable_thinking", "reasoning", "reasoning_effort", "chat_template_kwargs"})


def translate(edit: RequestEdit, variables: Sequence[str]) -> None:
    """Write what the client wants into the template's variables, which are these, and take it out where else it stands."""
    if TOGGLES.isdisjoint(edit.fields):
        return
    read = _READERS.get(edit.call.operation)
    wanted = read(edit) if read is not None else None
    if wanted is None:
        return
    fields = _variables(edit)
    told = {name: Raw(b"true" if wanted else b"false") for name in variables}
    if all(fields.get(name) == value for name, value in told.items()):
        return
    edit.put("chat_template_kwargs", Raw(encode({**fields, **told})))
    edit.note("thinking")


def _chat(edit: RequestEdit) -> bool | None:
    """What a chat call says, the most particular first; top-level toggles are taken out."""
    found = [_told(edit)]
    if "thinking" in edit.fields:
        thinking = decoded(edit.take("thinking"))
        found.append(_kind(thinking))
        _pass_on(edit, thinking, "budget_tokens", "thinking_token_budget")
        _pass_on(edit, thinking, "effort", "reasoning_effort")
        edit.note("thinking")
    if "enable_thinking" in edit.fields:
        found.append(_truth(decoded(edit.take("enable_thinking"))))
        edit.note("thinking")
    if "reasoning" in edit.fields:
        reasoning = decoded(edit.take("reasoning"))
        if isinstance(reasoning, dict):
            found.append(_truth(reasoning.get("enabled")))
            _pass_on(edit, reasoning, "effort", "reasoning_effort")
        edit.note("thinking")
    if decoded(edit.fields.get("reasoning_effort", Raw(b"null"))) == "none":
        edit.take("reasoning_effort")
        edit.note("thinking")
        found.append(False)
    return next((wanted for wanted in found if wanted is not None), None)


def _responses(edit: RequestEdit) -> bool | None:
    """What a call of the Responses API says; its own field stays, because the engine repeats it in its answer."""
    reasoning = decoded(edit.fields.get("reasoning", Raw(b"null")))
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
    told = _told(edit)
    return told if told is not None else False if effort == "none" else None


def _messages(edit: RequestEdit) -> bool | None:
    """What a call of Anthropic's API says; its own field stays, because it may hold a budget."""
    told = _told(edit)
    return told if told is not None else _kind(decoded(edit.fields.get("thinking", Raw(b"null"))))


_READERS: dict[Operation, Callable[[RequestEdit], bool | None]] = {
    Operation.CHAT: _chat,
    Operation.TOKENIZE: _chat,
    Operation.RESPONSES: _responses,
    Operation.MESSAGES: _messages,
    Operation.COUNT_TOKENS: _messages,
}


def wants_no_thinking(operation: Operation, value: Raw) -> bool:
    """Whether an API's own field (`thinking` of messages, `reasoning` of responses) switches thinking off."""
    found = decoded(value)
    if operation is Operation.RESPONSES:
        return isinstance(found, dict) and found.get("effort") == "none"
    return _kind(found) is False


def _variables(edit: RequestEdit) -> dict[str, Raw]:
    try:
        return cut(edit.fields.get("chat_template_kwargs", Raw(b"{}")))
    except msgspec.DecodeError:  # null
        return {}


def _told(edit: RequestEdit) -> bool | None:
    """What the template's variables say already."""
    variables = _variables(edit)
    found = [_truth(decoded(variables[name])) for name in VARIABLES if name in variables]
    return next((wanted for wanted in found if wanted is not None), None)


def _kind(thinking: Any) -> bool | None:
    """`{type: enabled | adaptive | disabled}`, or the bare truth."""
    if isinstance(thinking, dict):
        return {"enabled": True, "adaptive": True, "disabled": False}.get(str(thinking.get("type")))
    return _truth(thinking)


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _pass_on(edit: RequestEdit, found: Any, field: str, name: str) -> None:
    """Keep what a toggle says besides, under the name that says the same at the top level."""
    if isinstance(found, dict) and found.get(field) is not None and name not in edit.fields:
        edit.put(name, Raw(encode(found[field])))
