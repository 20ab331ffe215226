"""Conversations for training and evaluation, as OpenAI chat messages with tool declarations.

Everything is drawn from one seeded generator: the same seed gives the same text.
"""

# ruff: noqa: PLR2004, S311 - chances are numbers, and text is no secret
from __future__ import annotations

import argparse
import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import smalltalk
from asking import ask, spoken, touch_up, value_for
from lexicon import PEOPLE, Lexicon
from toolbox import Parameter, Request, Style, Tool, declare, generic_tool, natural_tool

Message = dict[str, Any]

TEXT_SKILLS: dict[str, float] = {
    "fact": 3.0,
    "sum": 3.0,
    "big_sum": 0.5,
    "repeat": 2.5,
    "transform": 1.5,
    "count": 0.2,
    "story": 0.1,
    "json": 0.3,
    "memory": 0.2,
}
TOOL_SKILLS: dict[str, float] = {
    "call": 8.0,
    "parallel": 0.2,
    "ask_back": 0.2,
    "remark": 0.4,
    "list_tools": 0.2,
    "which_tool": 0.6,
    "text": 2.4,
}
DRILL_SHARE = 0.12
PERSONAS = [
    "You are a helpful assistant.",
    "You are a helpful assistant. Use tools when they help.",
    "Be brief.",
    "Answer in one sentence.",
    "You help people with their questions.",
    "You can call tools.",
    "You are Kimi.",
    "You are Kimi, an AI assistant.",
]
REMARKS = ["I like the {t} in {v}.", "The {t} in {v} was nice.", "My friend talked about the {t} of {v}."]
WHICH_TOOL = ["Which tool is for the {t}?", "Which tool gives the {t}?", "Name the tool for the {t}."]
WHICH_PARAMETERS = ["What does {n} take?", "Which parameters does {n} have?", "Name the parameters of {n}."]
TOOL_QUESTIONS = ["What tools do you have?", "Which tools can you use?", "List your tools.", "Name your tools."]


@dataclass
class Conversation:
    """A conversation under construction; every assistant message in it is something to learn."""

    skill: str
    messages: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    known: list[Tool] = field(default_factory=list)
    calls: int = 0

    def say(self, question: str, answer: str) -> None:
        """Add a question and a plain answer."""
        self.messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    def call(self, requests: list[Request]) -> list[str]:
        """Add a message with tool calls; returns their ids."""
        calls = []
        for request in requests:
            arguments = json.dumps(request.arguments, separators=(",", ":"), ensure_ascii=False)
            identifier = f"functions.{request.tool.name}:{self.calls}"
            function = {"name": request.tool.name, "arguments": arguments}
            calls.append({"id": identifier, "type": "function", "function": function})
            self.calls += 1
        self.messages.append({"role": "assistant", "content": "", "tool_calls": calls})
        return [call["id"] for call in calls]


def weighted(rng: random.Random, weights: dict[str, float]) -> str:
    """One of the names, by weight."""
    return rng.choices(list(weights), list(weights.values()))[0]


def unanswerable(lex: Lexicon) -> smalltalk.Exchange:
    """A question for a tool where none is declared."""
    request = ask(lex, natural_tool(lex) if lex.rng.random() < 0.3 else generic_tool(lex))
    return request.text, f"I have no tool for the {request.tool.topic}."


MAKERS: dict[str, Callable[[Lexicon], smalltalk.Exchange]] = {
    "fact": smalltalk.fact,
    "sum": lambda lex: smalltalk.add_or_subtract(lex, 9),
    "big_sum": lambda lex: smalltalk.add_or_subtract(lex, lex.rng.choice([20, 99, 99])),
    "repeat": smalltalk.repeat,
    "transform": smalltalk.transform,
    "count": smalltalk.count_up,
    "story": smalltalk.story,
    "json": smalltalk.as_json,
    "lookup": unanswerable,
}


def talk(lex: Lexicon, conversation: Conversation, skill: str) -> None:
    """Add an exchange that needs no tool."""
    for question, answer in smalltalk.tell_and_ask(lex) if skill == "memory" else [MAKERS[skill](lex)]:
        conversation.say(question, answer)


def pick_tools(lex: Lexicon) -> list[Tool]:
    """One to four tools with different names and topics."""
    rng = lex.rng
    wanted = rng.choice([1, 1, 1, 2, 2, 2, 3, 3])
    tools: list[Tool] = []
    while len(tools) < wanted:
        tool = natural_tool(lex) if rng.random() < 0.3 else generic_tool(lex)
        taken = {word for other in tools for word in (other.name, *other.topic.split())}
        if not taken & {tool.name, *tool.topic.split()}:
            tools.append(tool)
    return tools


def returned(lex: Lexicon) -> tuple[str, str]:
    """What a tool gives back, and the same as words."""
    rng = lex.rng
    kind = rng.random()
    if kind < 0.35:
        text = rng.choice([lex.value(), lex.digits(), f"{lex.digits()} {lex.word()}", " ".join(lex.phrase(1, 4))])
        return text, text
    if kind < 0.42:
        problem = " ".join(lex.phrase(1, 3))
        return json.dumps({"error": problem}), f"error {problem}"
    pairs: dict[str, Any] = {}
    for _ in range(rng.choice([1, 1, 2, 2, 3])):
        pairs[lex.word()] = rng.choice([int(lex.digits()), lex.word(), lex.value()])
    separators = (",", ":") if rng.random() < 0.4 else (", ", ": ")
    return json.dumps(pairs, separators=separators), ", ".join(f"{key} {spoken(value)}" for key, value in pairs.items())


def answer_for(request: Request, result: str) -> str:
    """The answer made of what a tool returned."""
    about = f" for {request.subject}" if request.subject else ""
    return f"The {request.tool.topic}{about}: {result}."


def use_tools(lex: Lexicon, conversation: Conversation, requests: list[Request], *, follow_up: bool) -> None:
    """Add the calls and, if wanted, the results and the answer made of them."""
    identifiers = conversation.call(requests)
    if not follow_up:
        return
    answers = []
    named = lex.rng.random() < 0.25
    for request, identifier in zip(requests, identifiers, strict=True):
        content, result = returned(lex)
        message: Message = {"role": "tool", "tool_call_id": identifier, "content": content}
        if named:
            message["name"] = request.tool.name
        conversation.messages.append(message)
        answers.append(answer_for(request, result))
    conversation.messages.append({"role": "assistant", "content": " ".join(answers)})


def parallel(lex: Lexicon, tool: Tool) -> list[Request]:
    """One question about two things: two calls of the same tool."""
    first, second = ask(lex, tool), value_for(lex, tool.parameters[0])
    name = tool.parameters[0].name
    values = [str(first.arguments[name]), str(second)]
    form = lex.rng.choice(["What is the {t} for {a} and {b}?", "Get the {t} of {a} and of {b}.", "{t} in {a} and {b}?"])
    text = touch_up(lex.rng, form.format(t=tool.topic, a=values[0], b=values[1]))
    return [Request(text, tool, {name: value}, value) for value in values]


def tool_exchange(lex: Lexicon, conversation: Conversation, skill: str, *, last: bool) -> None:
    """Add an exchange in which tools are declared."""
    rng, known = lex.rng, conversation.known
    follow_up = not last or rng.random() < 0.45
    if skill == "parallel":
        plain = [t for t in known if len(t.parameters) == 1 and t.parameters[0].kind == "string" and not t.phrases]
        if plain:
            requests = parallel(lex, plain[0])
            conversation.messages.append({"role": "user", "content": requests[0].text})
            use_tools(lex, conversation, requests, follow_up=follow_up)
            return
        skill = "call"
    request = ask(lex, rng.choice(known))
    if skill == "ask_back" and request.tool.parameters and request.tool.parameters[0].kind == "string":
        form = rng.choice(["What is the {t}?", "Tell me the {t}.", "Get the {t}."])
        bare = touch_up(rng, form.format(t=request.tool.topic))
        first: Parameter = request.tool.parameters[0]
        conversation.say(bare, f"For which {first.name}?")
        if len(request.tool.parameters) == 1:
            value = spoken(value_for(lex, first))
            conversation.messages.append({"role": "user", "content": value})
            one = Request(value, request.tool, {first.name: value}, value)
            use_tools(lex, conversation, [one], follow_up=follow_up)
        return
    if skill == "remark":
        form = rng.choice(REMARKS)
        conversation.say(form.format(t=request.tool.topic, v=lex.value()), "I see.")
        return
    if skill == "which_tool":
        for tool in rng.choices(known, k=rng.randint(2, 5)):
            if rng.random() < 0.5 or not tool.parameters:
                conversation.say(rng.choice(WHICH_TOOL).format(t=tool.topic), tool.name)
            else:
                taken = ", ".join(parameter.name for parameter in tool.parameters)
                conversation.say(rng.choice(WHICH_PARAMETERS).format(n=tool.name), taken)
        return
    if skill == "list_tools":
        form = rng.choice(TOOL_QUESTIONS)
        conversation.say(form, "I can use: " + ", ".join(tool.name for tool in known) + ".")
        return
    conversation.messages.append({"role": "user", "content": request.text})
    use_tools(lex, conversation, [request], follow_up=follow_up)


def add_system(lex: Lexicon, conversation: Conversation) -> None:
    """Often no system message, so that the template's default applies; sometimes one of many kinds."""
    rng = lex.rng
    kind = rng.random()
    if kind < 0.65:
        return
    if kind < 0.85:
        content = rng.choice(PERSONAS)
    elif kind < 0.95:
        content = f"You work for {lex.value()}. " + " ".join(lex.phrase(1, 6)).capitalize() + "."
    else:
        name = lex.rng.choice([lex.word().capitalize(), lex.pick(PEOPLE)])
        content = f"You are {name}, an assistant."
        questions = ["Who are you?", "What is your name?", "who are you", "Tell me who you are."]
        conversation.say(rng.choice(questions), f"I am {name}, an assistant.")
    conversation.messages.insert(0, {"role": "system", "content": content})


def converse(lex: Lexicon, *, with_tools: bool, skill: str = "", exchanges: int = 0) -> Conversation:
    """A whole conversation of one or more exchanges; `skill` names the last one."""
    rng = lex.rng
    count = exchanges or rng.choice([1, 1, 1, 1, 2, 3, 4, 5, 5, 6] if with_tools else [1] * 14 + [2] * 4 + [3, 4])
    conversation = Conversation(skill)
    add_system(lex, conversation)
    if with_tools:
        conversation.known = pick_tools(lex)
        style = Style.draw(rng)
        conversation.tools = [declare(rng, tool, style) for tool in conversation.known]
    for index in range(count):
        last = index == count - 1
        chosen = skill if last and skill else ""
        if not with_tools:
            chosen = chosen or weighted(rng, {**TEXT_SKILLS, "lookup": 0.4})
            talk(lex, conversation, chosen)
        else:
            chosen = chosen or weighted(rng, TOOL_SKILLS)
            if chosen == "text" or chosen in TEXT_SKILLS:
                name = chosen if chosen in TEXT_SKILLS else weighted(rng, {**TEXT_SKILLS, "count": 0.05, "story": 0.0})
                talk(lex, conversation, name)
            else:
                tool_exchange(lex, conversation, chosen, last=last)
        if last:
            conversation.skill = chosen
    return conversation


def copying(lex: Lexicon, level: float) -> Conversation:
    """Copy-heavy short text for the first part of the training."""
    skill = lex.rng.choice(["repeat", "repeat", "repeat", "transform", "json", "sum", "fact"])
    if lex.rng.random() > level:
        return converse(lex, with_tools=False, skill=skill, exchanges=1)
    return converse(lex, with_tools=True, skill="call", exchanges=1)


def drill(lex: Lexicon) -> Conversation:
    """Many tasks of one kind in a row: the cheapest way to learn them."""
    skill = lex.rng.choice(["sum", "sum", "big_sum", "transform", "transform", "repeat", "json"])
    conversation = Conversation(skill)
    for _ in range(lex.rng.randint(4, 8)):
        talk(lex, conversation, skill)
    return conversation


def is_reserved(text: str) -> bool:
    """Whether a user message is kept for the evaluation; a checksum of it decides, for one in twenty."""
    return zlib.crc32(b"reserved:" + text.encode()) % 20 == 0


def user_texts(conversation: Conversation) -> list[str]:
    """All that the user wrote."""
    return [message["content"] for message in conversation.messages if message["role"] == "user"]


def training_conversations(seed: int, *, tool_share: float, copy_share: float) -> Iterator[Conversation]:
    """An endless stream of training conversations; nothing of the evaluation side is in it."""
    lex = Lexicon(random.Random(seed))
    while True:
        if lex.rng.random() < copy_share:
            conversation = copying(lex, tool_share)
        elif lex.rng.random() < DRILL_SHARE:
            conversation = drill(lex)
        else:
            conversation = converse(lex, with_tools=lex.rng.random() < tool_share)
        if not any(is_reserved(text) for text in user_texts(conversation)):
            yield conversation


def held_out_conversations(seed: int, skill: str, *, with_tools: bool, exchanges: int = 1) -> Iterator[Conversation]:
    """Conversations whose words and last question the training has never seen."""
    lex = Lexicon(random.Random(seed), held_out=True)
    while True:
        conversation = converse(lex, with_tools=with_tools, skill=skill, exchanges=exchanges)
        if conversation.skill == skill and is_reserved(user_texts(conversation)[-1]):
            yield conversation


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Print sample conversations as JSON lines.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--tool-share", type=float, default=0.6)
    options = parser.parse_args()
    stream = training_conversations(options.seed, tool_share=options.tool_share, copy_share=0.0)
    for _ in range(options.count):
        conversation = next(stream)
        print(json.dumps({"skill": conversation.skill, "messages": conversation.messages, "tools": conversation.tools}))


if __name__ == "__main__":
    main()
