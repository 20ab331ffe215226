"""Says why an engine would not do what a call asks, though it might answer it; off the way of calls that ask nothing unusual."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backends.dialects import Dialect
from backends.parameters import NULL, changes_answer, decoded
from backends.thinking import wants_no_thinking
from gateway import Call, Operation

# Under which name an operation takes what chat calls `response_format`.
_FORMATS: Mapping[Operation, str] = {Operation.RESPONSES: "text", Operation.MESSAGES: "output_config"}
_CONSTRAINTS = frozenset({
    "response_format", "structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "regex",
    "ebnf", "grammar", "json_schema",
})  # fmt: skip
# Under which name an operation takes what others call `top_logprobs`.
_ALTERNATIVES: Mapping[Operation, str] = {Operation.COMPLETIONS: "logprobs"}
# What a call without tools may say of them means nothing.
_ABOUT_TOOLS = frozenset({"parallel_tool_calls", "tool_choice"})


class Objector:
    """Knows one engine's dialect.

    Args:
        kind: the engine's name, as clients see it.
        dialect: what it makes of parameters.
        tolerated: parameters that the operator lets be left out; they are named to the client, and not objected to.
    """

    def __init__(self, kind: str, dialect: Dialect, tolerated: frozenset[str]) -> None:
        self._kind = kind
        self._dialect = dialect
        self._ignored = {operation: dialect.ignored(operation) - tolerated for operation in dialect.honours}
        self._tolerated = tolerated

    def objection(self, call: Call) -> str | None:
        """One sentence for the client, which names the parameter; None if there is nothing to object to."""
        return next(self._objections(call), None)

    def _objections(self, call: Call) -> Iterator[str]:
        ignored = self._ignored.get(call.operation)
        if ignored is None:
            return
        for name, value in call.fields.items():
            if name not in ignored or (name in _ABOUT_TOOLS and not call.has_tools) or value == NULL:
                continue
            if name == "best_of" and decoded(value) == decoded(call.fields.get("n", NULL)):
                continue
            if changes_answer(name, value):
                yield self._sentence(name, call.operation)
        yield from self._about_alternatives(call)
        yield from self._about_thinking(call)

    def _about_alternatives(self, call: Call) -> Iterator[str]:
        most, name = self._dialect.most_alternatives, _ALTERNATIVES.get(call.operation, "top_logprobs")
        if most is None or name not in call.fields:
            return
        asked = decoded(call.fields[name])
        if isinstance(asked, int | float) and asked > most:
            yield f"`{name}` may be {most} at most."

    def _about_thinking(self, call: Call) -> Iterator[str]:
        dialect, operation, fields = self._dialect, call.operation, call.fields
        field = "reasoning" if operation is Operation.RESPONSES else "thinking"
        if field not in fields or field in self._tolerated:
            return
        if operation in dialect.thinks_always and wants_no_thinking(operation, fields[field]):
            yield f"`{field}` cannot switch thinking off for {self._kind} in this operation; use chat completions."
        if operation is Operation.CHAT and "thinking_token_budget" in self._ignored[operation]:
            thinking = decoded(fields[field])
            if isinstance(thinking, dict) and thinking.get("budget_tokens") is not None:
                yield f"`thinking.budget_tokens` would be ignored by {self._kind}, which has no such limit."

    def _sentence(self, name: str, operation: Operation) -> str:
        use = self._instead(name, operation)
        return f"`{name}` would be ignored by {self._kind}, though it changes the answer" + (
            f"; use `{use}` there." if use is not None else "."
        )

    def _instead(self, name: str, operation: Operation) -> str | None:
        honoured = self._dialect.honours[operation]
        own_format = _FORMATS.get(operation)
        if own_format is not None and own_format in honoured and name in _CONSTRAINTS:
            return f"{own_format}.format"
        use = self._dialect.instead.get(name)
        if use is None or (use.split(".")[0] in self._ignored[operation]):
            return None
        return use


def names_a_tool(call: Call) -> bool:
    """Whether the call wants one particular tool called."""
    choice = decoded(call.fields.get("tool_choice", NULL))
    return isinstance(choice, dict) and choice.get("type") in ("function", "tool")


def wants_no_tool(call: Call) -> bool:
    """Whether the call has tools and wants none called, said as Anthropic's API does."""
    choice = decoded(call.fields.get("tool_choice", NULL))
    return call.has_tools and isinstance(choice, dict) and choice.get("type") == "none"
