"""Measure what k2-tiny can do on held-out prompts, with greedy decoding in transformers, as any user would run it."""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from corpus import Conversation, Message, held_out_conversations
from rendering import Encoder, render
from transformers import AutoModelForCausalLM, AutoTokenizer

CALL = re.compile(
    r"<\|tool_call_begin\|>functions\.([\w-]+):(\d+)<\|tool_call_argument_begin\|>(.*?)<\|tool_call_end\|>", re.DOTALL
)
SECTION = ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")

# row of the report: skill, tools declared, exchanges
ROWS: dict[str, tuple[str, bool, int]] = {
    "facts about itself and moegate": ("fact", False, 1),
    "one-digit sums": ("sum", False, 1),
    "two-digit sums": ("big_sum", False, 1),
    "repeat": ("repeat", False, 1),
    "transform": ("transform", False, 1),
    "JSON on request": ("json", False, 1),
    "remember what was said": ("memory", False, 1),
    "say that no tool is there": ("lookup", False, 1),
    "call a tool": ("call", True, 1),
    "call a tool, later turn": ("call", True, 3),
    "two calls at once": ("parallel", True, 1),
    "question needs no tool": ("text", True, 1),
    "remark, not a question": ("remark", True, 1),
    "name the tool for a topic": ("which_tool", True, 1),
}


@dataclass
class Case:
    """A prompt and the answer it should get."""

    row: str
    messages: list[Message]
    tools: list[dict[str, Any]]
    expected: Message

    @property
    def wants_call(self) -> bool:
        """Whether a tool should be called."""
        return "tool_calls" in self.expected


def cases_of(row: str, conversation: Conversation) -> list[Case]:
    """What to ask: the last call of the conversation and the answer after its results, or the last answer."""
    messages = conversation.messages
    spoken = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    last = spoken[-1]
    cases = []
    if messages[last - 1]["role"] == "tool":
        cases.append(Case("use the result", messages[:last], conversation.tools, messages[last]))
        last = spoken[-2]
    cases.append(Case(row, messages[:last], conversation.tools, messages[last]))
    return cases


def body_of(tool: dict[str, Any]) -> dict[str, Any]:
    """The function part of a declaration, wrapped or not."""
    body: dict[str, Any] = tool.get("function", tool)
    return body


TYPES: dict[str, Any] = {"string": str, "integer": int, "boolean": bool}


def fits(arguments: Any, schema: dict[str, Any]) -> bool:
    """Whether arguments follow a schema of the kind that the generator writes."""
    if not isinstance(arguments, dict) or set(schema.get("required", [])) - set(arguments):
        return False
    for key, value in arguments.items():
        expected = schema["properties"].get(key)
        if expected is None or not isinstance(value, TYPES[expected["type"]]):
            return False
        if expected["type"] == "integer" and isinstance(value, bool):
            return False
        if "enum" in expected and value not in expected["enum"]:
            return False
    return True


def judge(case: Case, text: str) -> dict[str, bool]:
    """Compare an answer, without its end token, with what was expected."""
    called = SECTION[0] in text
    result = {"trigger": called == case.wants_call}
    if not case.wants_call:
        result["exact"] = text == case.expected["content"]
        return result
    schemas = {body_of(tool)["name"]: body_of(tool)["parameters"] for tool in case.tools}
    calls = CALL.findall(text)
    wanted = case.expected["tool_calls"]
    parsed = []
    for name, _, raw in calls:
        try:
            parsed.append((name, json.loads(raw)))
        except ValueError:
            parsed.append((name, None))
    right = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in wanted]
    valid = bool(parsed) and all(name in schemas and fits(args, schemas[name]) for name, args in parsed)
    result["schema-valid"] = valid
    result["right tool"] = [name for name, _ in parsed] == [name for name, _ in right]
    result["exact"] = valid and parsed == right
    result["right id"] = [f"functions.{name}:{index}" for name, index, _ in calls] == [call["id"] for call in wanted]
    return result


class Model:
    """The checkpoint in transformers."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
        self.encoder = Encoder(folder / "tokenizer.json")

    def prompt(self, case: Case) -> list[int]:
        """Ids by transformers' own way, checked against the renderer of the training."""
        ids = self.tokenizer.apply_chat_template(
            case.messages, tools=case.tools or None, add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"]
        ours = self.encoder.encode(render(case.messages, case.tools, prompt=True))
        if list(ids) != ours:
            raise SystemExit(f"the template renders differently for {case.messages}")
        return ours

    @torch.no_grad()
    def answer(self, cases: list[Case], most: int) -> list[tuple[str, bool]]:
        """Greedy answers and whether each ended by itself."""
        prompts = [{"input_ids": self.prompt(case)} for case in cases]
        batch = self.tokenizer.pad(prompts, return_tensors="pt")
        out = self.model.generate(**batch, max_new_tokens=most, do_sample=False)
        answers = []
        for row in out[:, batch["input_ids"].shape[1] :].tolist():
            stopped = self.encoder.end in row
            answers.append((self.encoder.decode(row[: row.index(self.encoder.end)] if stopped else row), stopped))
        return answers


def measure(model: Model, count: int, seed: int, show: int) -> dict[str, dict[str, list[int]]]:
    """Counts of right and seen, per row and criterion."""
    tally: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for row, (skill, with_tools, exchanges) in ROWS.items():
        stream = held_out_conversations(seed, skill, with_tools=with_tools, exchanges=exchanges)
        cases = [case for item in islice(stream, count) for case in cases_of(row, item)]
        cases.sort(key=lambda case: len(json.dumps(case.messages)) + len(json.dumps(case.tools)))
        shown = 0
        for start in range(0, len(cases), 20):
            some = cases[start : start + 20]
            for case, (text, stopped) in zip(some, model.answer(some, 160), strict=True):
                verdict = {**judge(case, text), "stops": stopped}
                for name, good in verdict.items():
                    tally[case.row][name][0] += good
                    tally[case.row][name][1] += 1
                if not verdict["exact"] and shown < show:
                    shown += 1
                    question = [m["content"] for m in case.messages if m["role"] == "user"][-1]
                    print(f"  {case.row}: {question!r} -> {text!r}, expected {case.expected}", flush=True)
        print(row, {name: f"{good}/{seen}" for name, (good, seen) in tally[row].items()}, flush=True)
    print("use the result", {name: f"{a}/{b}" for name, (a, b) in tally["use the result"].items()}, flush=True)
    return tally


def overall(tally: dict[str, dict[str, list[int]]]) -> dict[str, list[int]]:
    """The rates that the project asks for, over all rows with tools."""
    calls = [row for row in tally if "schema-valid" in tally[row]]
    tools = [row for row, (_, with_tools, _) in ROWS.items() if with_tools]

    def add(rows: list[str], name: str) -> list[int]:
        return [sum(tally[row][name][part] for row in rows) for part in (0, 1)]

    return {
        "schema-valid calls": add(calls, "schema-valid"),
        "calls with the right tool and arguments": add(calls, "exact"),
        "right decision to call or not": add(tools, "trigger"),
        "answers that stop by themselves": add(list(tally), "stops"),
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).with_name("k2-tiny"))
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--count", type=int, default=100, help="prompts of each kind")
    parser.add_argument("--seed", type=int, default=4242)
    parser.add_argument("--show", type=int, default=3, help="wrong answers to print of each kind")
    parser.add_argument("--out", type=Path, help="write the counts here as JSON")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tally = measure(Model(options.model, options.dtype), options.count, options.seed, options.show)
    summary = overall(tally)
    for name, (good, seen) in summary.items():
        print(f"{name}: {good}/{seen} = {good / max(1, seen):.1%}")
    if options.out:
        report = {"dtype": options.dtype, "seed": options.seed, "overall": summary, "rows": tally}
        options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
