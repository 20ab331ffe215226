"""Questions that call for a tool, written so that every argument can be copied from them."""

# ruff: noqa: PLR2004 - chances are numbers
from __future__ import annotations

import random
from typing import Any

from lexicon import CITIES, PEOPLE, Lexicon
from toolbox import Parameter, Request, Tool

LOOKUPS = [
    "What is the {t} for {v}?", "What is the {t} of {v}?", "What is the {t} in {v}?", "What's the {t} in {v}?",
    "Tell me the {t} of {v}.", "Get the {t} for {v}.", "Get me the {t} in {v}.", "Find the {t} for {v}.",
    "I need the {t} of {v}.", "Show me the {t} for {v}.", "Can you check the {t} in {v}?", "{t} for {v}",
    "{t} in {v}?", "Please look up the {t} of {v}.", "Could you tell me the {t} for {v}?",
    "How is the {t} in {v}?", "Do you know the {t} of {v}?", "Which {t} does {v} have?",
    "Give me the {t} for {v}.", "I want to know the {t} in {v}.", "Check {t} for {v}.", "Please show {t} of {v}.",
]  # fmt: skip
DIRECT = [
    "Use {n} for {v}.", "Call {n} with {v}.", "Run {n} on {v}.", "Use the {n} tool for {v}.",
    "Please call {n} for {v}.", "Use {n} to look up {v}.", "Call the tool {n} with {v}.", "{n}({v})",
]  # fmt: skip
KEYED = [
    "Call {n} with {a}.", "Use {n} with {a}.", "Get the {t} with {a}.", "What is the {t} for {a}?",
    "Run {n} for {a}.", "Find the {t} with {a}.", "I need the {t} for {a}.", "Please use {n}, {a}.",
]  # fmt: skip
BARE = ["What is the {t}?", "Tell me the {t}.", "Get the {t}.", "Show me the {t}.", "I need the {t}.", "Check the {t}."]
PAIRS = ["{k} {v}", "{k} {v}", "{k}={v}", "{k}: {v}", "{k} = {v}", '{k} "{v}"', "the {k} {v}", "{k} set to {v}"]


def touch_up(rng: random.Random, text: str) -> str:
    """Vary politeness, case of the first letter and the final mark; nothing else of the text changes."""
    if rng.random() < 0.08:
        text = rng.choice(["Please ", "Hi, ", "Hello. ", "OK, ", "Now ", "Hey Kimi, "]) + text[0].lower() + text[1:]
    if rng.random() < 0.1 and text[-1] in ".?" and text[-2:].isalpha() is False:
        text = text[:-1] + rng.choice(["", " please", ", please.", "!", "??", " ?"])
    if rng.random() < 0.15 and not text.split()[0].isupper():
        text = text[0].lower() + text[1:]
    return text


def value_for(lex: Lexicon, parameter: Parameter, hint: str = "") -> Any:
    """A value of the right type."""
    rng = lex.rng
    if parameter.kind == "integer":
        return int(lex.digits(4))
    if parameter.kind == "boolean":
        return rng.random() < 0.5
    return rng.choice(parameter.options) if parameter.kind == "enum" else text_for(lex, hint)


def text_for(lex: Lexicon, hint: str) -> str:
    """A text of the kind that the hint asks for, most of the time."""
    rng = lex.rng
    if hint in ("place", "person") and rng.random() < 0.9:
        listed = CITIES if hint == "place" else PEOPLE
        return lex.pick(listed) if rng.random() < 0.6 else lex.word().capitalize()
    if hint == "code" and rng.random() < 0.9:
        return lex.code()
    if hint == "word":
        return lex.word().capitalize() if rng.random() < 0.6 else lex.word()
    if hint == "formula":
        return f"{lex.digits(3)}{rng.choice(['+', '-', '*', '/', ' + ', ' * '])}{lex.digits(3)}"
    if hint == "value" and rng.random() < 0.3:
        return " ".join(lex.phrase(2, 3))
    return lex.value()


def spoken(value: Any) -> str:
    """A value as people write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def quoted(rng: random.Random, value: Any) -> str:
    """A value as it stands in the question, now and then between quotation marks."""
    text = spoken(value)
    if isinstance(value, str) and rng.random() < 0.06:
        return rng.choice(['"{}"', "'{}'"]).format(text)
    return text


def ask(lex: Lexicon, tool: Tool) -> Request:
    """A question that needs this tool."""
    rng = lex.rng
    if tool.phrases and rng.random() < 0.85:
        return ask_natural(lex, tool)
    if not tool.parameters:
        form = rng.choice(BARE) if rng.random() < 0.7 else rng.choice(["Call {n}.", "Use {n}."])
        return Request(touch_up(rng, form.format(t=tool.topic, n=tool.name)), tool, {}, "")
    first, rest = tool.parameters[0], tool.parameters[1:]
    strings = [p for p in tool.parameters if p.kind in ("string", "boolean")]
    if len(strings) > 1 or first.kind == "boolean" or rng.random() < 0.2:
        return ask_keyed(lex, tool)
    value = value_for(lex, first)
    extras = [p for p in rest if p.required or rng.random() < 0.5]
    forms = DIRECT if rng.random() < 0.2 and tool.name else LOOKUPS
    text = rng.choice(forms).format(t=tool.topic, v=quoted(rng, value), n=tool.name)
    arguments: dict[str, Any] = {first.name: value}
    for parameter in extras:
        arguments[parameter.name] = value_for(lex, parameter)
        text = add_detail(rng, text, parameter, arguments[parameter.name])
    return Request(touch_up(rng, text), tool, arguments, spoken(value))


def add_detail(rng: random.Random, text: str, parameter: Parameter, value: Any) -> str:
    """Append one more argument to a question."""
    mark = text[-1] if text[-1] in ".?" else ""
    text = text[: len(text) - len(mark)]
    if parameter.kind == "integer":
        forms = [" for {v} {k}", ", {k} {v}", " with {k} {v}", ", {k}: {v}", " and {k} {v}", ", {v} {k}"]
    else:
        forms = [" in {v}", ", {k} {v}", " with {k} {v}", ", {k}: {v}", " and {k} {v}", " as {v}", ", {v}"]
    return text + rng.choice(forms).format(k=parameter.name, v=spoken(value)) + mark


def ask_natural(lex: Lexicon, tool: Tool) -> Request:
    """A question in the tool's own wording."""
    rng = lex.rng
    values = [value_for(lex, p, hint) for p, hint in zip(tool.parameters, tool.holders, strict=True)]
    text = rng.choice(tool.phrases).format(*[quoted(rng, value) for value in values])
    arguments = {p.name: value for p, value in zip(tool.parameters, values, strict=True)}
    return Request(touch_up(rng, text), tool, arguments, spoken(values[0]))


def ask_keyed(lex: Lexicon, tool: Tool) -> Request:
    """A question that names each parameter, in any order."""
    rng = lex.rng
    chosen = [p for p in tool.parameters if p.required or rng.random() < 0.6] or tool.parameters[:1]
    values = {p.name: value_for(lex, p) for p in chosen}
    order = list(chosen)
    if rng.random() < 0.4:
        rng.shuffle(order)
    pair = rng.choice(PAIRS)
    pieces = [pair.format(k=p.name, v=spoken(values[p.name])) for p in order]
    comma = rng.choice([", ", ", ", "; "])
    listed = comma.join(pieces)
    if len(pieces) > 1 and rng.random() < 0.6:
        listed = comma.join(pieces[:-1]) + rng.choice([" and ", ", "]) + pieces[-1]
    text = rng.choice(KEYED).format(t=tool.topic, n=tool.name, a=listed)
    return Request(touch_up(rng, text), tool, values, spoken(values[chosen[0].name]))
