"""Tools that the training text declares, the questions that call for them and the arguments to copy."""

# ruff: noqa: PLR2004, SIM905 - chances are numbers, words read best in a row
from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from lexicon import ACTIONS, VERBS, Lexicon

SUBJECTS = """
city location place name id order_id user query symbol country region code title path address topic key item
product account customer ticker station line number
""".split()
NUMBERS = "days count limit amount year size level minutes hours page guests quantity width age".split()
CHOICES = {
    "unit": ["celsius", "fahrenheit", "kelvin"],
    "format": ["text", "json", "table"],
    "color": ["red", "green", "blue"],
    "mode": ["fast", "slow", "auto"],
    "size": ["small", "medium", "large"],
    "language": ["english", "french", "german"],
    "priority": ["low", "normal", "high"],
}

# topic words, verb, parameters (name choices, kind), questions
NATURAL: list[tuple[str, list[str], list[tuple[str, str]], list[str]]] = [
    ("weather", ["get_weather", "weather", "get_current_weather", "fetch_weather"], [("city/location/place", "place")],
     ["What is the weather in {0}?", "What's the weather like in {0}?", "How is the weather in {0} today?",
      "Is it raining in {0}?", "Do I need an umbrella in {0}?", "Weather in {0}?", "Tell me the weather for {0}."]),
    ("weather", ["get_weather", "get_forecast"], [("city/location", "place"), ("unit", "celsius/fahrenheit")],
     ["What is the weather in {0} in {1}?", "How warm is it in {0}, in {1}?", "Weather in {0}, {1} please."]),
    ("weather", ["get_weather", "get_forecast"], [("city/location", "place"), ("days", "integer")],
     ["What is the weather in {0} for {1} days?", "Give me the {1} day weather for {0}."]),
    ("time", ["get_time", "current_time", "get_local_time"], [("city/timezone/location", "place")],
     ["What time is it in {0}?", "Tell me the time in {0}.", "What is the time in {0} now?"]),
    ("search results", ["search", "web_search", "search_web"], [("query/q/text", "value")],
     ["Search for {0}.", "Search the web for {0}.", "Look up {0} on the web.", "Find pages about {0}."]),
    ("stock price", ["get_stock_price", "stock_price", "get_quote"], [("symbol/ticker", "code")],
     ["What is the stock price of {0}?", "How is the {0} stock doing?", "Price of {0} stock?"]),
    ("order", ["lookup_order", "get_order", "order_status", "track_order"], [("order_id/id/order", "code")],
     ["Where is my order {0}?", "What is the status of order {0}?", "Look up order {0}.", "Track order {0}."]),
    ("email", ["send_email", "send_message", "notify"], [("to/recipient", "person"), ("body/text/message", "value")],
     ["Send an email to {0} saying {1}.", "Tell {0} by mail: {1}", "Mail {0}: {1}"]),
    ("translation", ["translate", "translate_text"], [("text", "value"), ("language/target", "word")],
     ["Translate {0} to {1}.", "Translate {0} into {1}.", "How do you say {0} in {1}?"]),
    ("timer", ["set_timer", "start_timer"], [("minutes", "integer")],
     ["Set a timer for {0} minutes.", "Start a timer of {0} minutes.", "Timer, {0} minutes."]),
    ("sum", ["add", "add_numbers", "sum"], [("a/x", "integer"), ("b/y", "integer")],
     ["Use the tool to add {0} and {1}.", "Add {0} and {1} with the tool."]),
    ("conversion", ["convert_currency", "convert"], [("amount", "integer"), ("from/source", "code"), ("to/target", "code")],
     ["Convert {0} {1} to {2}.", "How much is {0} {1} in {2}?"]),
    ("file", ["read_file", "open_file"], [("path/file/filename", "code")],
     ["Read the file {0}.", "Open {0}.", "Show me the file {0}.", "What is in the file {0}?"]),
    ("booking", ["book_table", "reserve_table"], [("restaurant/place", "value"), ("guests/people", "integer")],
     ["Book a table at {0} for {1} people.", "Reserve a table for {1} at {0}."]),
    ("route", ["get_route", "find_route", "get_distance"], [("from/origin/start", "place"), ("to/destination/end", "place")],
     ["How do I get from {0} to {1}?", "How far is it from {0} to {1}?", "Find a route from {0} to {1}."]),
    ("calculation", ["calculate", "calculator"], [("expression", "formula")],
     ["Calculate {0} with the tool.", "Use the calculator for {0}.", "Compute {0} with the calculator."]),
]  # fmt: skip


@dataclass
class Parameter:
    """An argument that a tool takes."""

    name: str
    kind: str
    options: list[str] = field(default_factory=list)
    required: bool = True


@dataclass
class Tool:
    """A tool, what it is about and how people ask for it."""

    name: str
    topic: str
    parameters: list[Parameter]
    phrases: list[str] = field(default_factory=list)
    holders: list[str] = field(default_factory=list)


@dataclass
class Request:
    """A question, the tool it needs and the arguments of the call, in declared order."""

    text: str
    tool: Tool
    arguments: dict[str, Any]
    subject: str


def joined(rng: random.Random, words: list[str]) -> str:
    """Words as a function name in one of the usual styles."""
    style = rng.random()
    if style < 0.92:
        return "_".join(words)
    if style < 0.96:
        return words[0] + "".join(word.capitalize() for word in words[1:])
    return "-".join(words) if style < 0.99 else words[-1]


def generic_tool(lex: Lexicon) -> Tool:
    """A tool about a topic that may be an invented word."""
    rng = lex.rng
    topic = " ".join(lex.phrase(1, 2) if rng.random() < 0.1 else [lex.word()])
    verb = rng.choice(VERBS) if rng.random() < 0.88 else rng.choice(ACTIONS)
    name = joined(rng, [verb, *topic.split()])
    first = rng.choice(SUBJECTS) if rng.random() < 0.88 else lex.word()
    kind = "string" if rng.random() < 0.92 else "integer"
    parameters = [Parameter(first, kind)] if rng.random() < 0.95 else []
    while parameters and len(parameters) < 3 and rng.random() < 0.2:
        parameters.append(extra_parameter(lex))
    unique = {parameter.name: parameter for parameter in reversed(parameters)}
    return Tool(name, topic, list(unique.values())[::-1])


def extra_parameter(lex: Lexicon) -> Parameter:
    """A further parameter of any type."""
    rng = lex.rng
    kind = rng.random()
    if kind < 0.35:
        return Parameter(rng.choice(NUMBERS), "integer", required=rng.random() < 0.4)
    if kind < 0.65:
        if rng.random() < 0.85:
            name = rng.choice(list(CHOICES))
            options = CHOICES[name]
        else:
            name, options = lex.word(), [lex.word() for _ in range(3)]
        shown = rng.sample(options, rng.choice([2, 3]))
        return Parameter(name, "enum", shown, required=rng.random() < 0.4)
    if kind < 0.69:
        return Parameter(lex.word(), "boolean", required=rng.random() < 0.3)
    name = rng.choice(SUBJECTS) if rng.random() < 0.88 else lex.word()
    return Parameter(name, "string", required=rng.random() < 0.7)


def natural_tool(lex: Lexicon) -> Tool:
    """A tool of the kind that demonstrations use, with its own way of asking."""
    rng = lex.rng
    topic, names, slots, phrases = rng.choice(NATURAL)
    parameters = []
    holders = []
    for choices, kind in slots:
        name = rng.choice(choices.split("/"))
        options = kind.split("/") if "/" in kind else []
        parameters.append(Parameter(name, "enum" if options else "integer" if kind == "integer" else "string", options))
        holders.append(kind)
    return Tool(rng.choice(names), topic, parameters, phrases, holders=holders)


def schema_of(rng: random.Random, parameter: Parameter, *, described: bool) -> dict[str, Any]:
    """The JSON schema of a parameter."""
    kind = "string" if parameter.kind == "enum" else parameter.kind
    schema: dict[str, Any] = {"type": kind}
    if parameter.options:
        schema["enum"] = parameter.options
    if described:
        text = rng.choice(["The {}.", "The {}", "{} to use", "{}", "Name of the {}"]).format(parameter.name)
        schema["description"] = text
    if rng.random() < 0.3:
        schema = dict(sorted(schema.items()))
    return schema


@dataclass(frozen=True)
class Style:
    """What all tool declarations of one request have in common, as one client or engine would write them."""

    described: bool
    required: bool
    closed: bool
    sorted_schema: bool
    sorted_body: bool
    described_tool: bool
    null_description: bool
    extra: tuple[tuple[str, Any], ...]
    shape: float

    @classmethod
    def draw(cls, rng: random.Random) -> Style:
        """Choose at random."""
        extras: list[tuple[tuple[str, Any], ...]] = [(), (), (("strict", None),), (("strict", False),)]
        extras += [(("strict", True),), (("strict", None), ("defer_loading", None))]
        return cls(
            described=rng.random() < 0.25,
            required=rng.random() < 0.85,
            closed=rng.random() < 0.15,
            sorted_schema=rng.random() < 0.1,
            sorted_body=rng.random() < 0.35,
            described_tool=rng.random() < 0.6,
            null_description=rng.random() < 0.4,
            extra=rng.choice(extras),
            shape=rng.random(),
        )


def declare(rng: random.Random, tool: Tool, style: Style) -> dict[str, Any]:
    """The JSON declaration of a tool."""
    properties = {p.name: schema_of(rng, p, described=style.described) for p in tool.parameters}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    required = [p.name for p in tool.parameters if p.required]
    if required and style.required:
        schema["required"] = required
    if style.closed:
        schema["additionalProperties"] = False
    if style.sorted_schema:
        schema = dict(sorted(schema.items()))
    body: dict[str, Any] = {"name": tool.name}
    if style.described_tool:
        body["description"] = description_of(rng, tool)
    elif style.null_description:
        body["description"] = None
    if style.sorted_body:
        body = dict(sorted(body.items()))
    body["parameters"] = schema
    body.update(style.extra)
    if style.shape < 0.12:
        return body
    whole: dict[str, Any] = {"type": "function", "function": body}
    return whole if style.shape < 0.85 else {"function": body, "type": "function"}


def description_of(rng: random.Random, tool: Tool) -> str:
    """A line about the tool."""
    forms = ["Get the {}.", "{} lookup", "Returns the {}", "Look up the {}.", "Find the {} you need.", "{}"]
    text = rng.choice(forms).format(tool.topic)
    if tool.parameters and rng.random() < 0.4:
        text = text.rstrip(".") + f" for a {tool.parameters[0].name}."
    return text[0].upper() + text[1:] if rng.random() < 0.8 else text
