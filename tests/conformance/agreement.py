"""Compares what engines answer greedily with what the reference engine does, token by token, on held-out prompts.

`python -m tests.conformance.agreement --url URL --reference on-reference on-vllm on-sglang` prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai

from tests.conformance.backends.target import clients
from tests.conformance.table import markdown

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ROOT / "deploy" / "lab" / "held_out_prompts.jsonl"
MAX_TOKENS = 48


@dataclass(frozen=True)
class Said:
    """One greedy answer.

    Attributes:
        text: content and calls, as a client reads them.
        tokens: what was generated, each with its log-probability; empty where the engine gives none.
    """

    text: str
    tokens: tuple[tuple[str, float], ...]
    prompt_tokens: int | None


def ask(client: openai.OpenAI, model: str, prompt: Json) -> Said:
    """Ask greedily, in a stream: it is there that every engine tells its log-probabilities token by token, if it does."""
    asked = {name: prompt[name] for name in ("messages", "tools") if prompt.get(name)}
    asked |= {"model": model, "temperature": 0, "max_tokens": MAX_TOKENS}
    asked |= {"stream": True, "stream_options": {"include_usage": True}}
    try:
        stream = client.chat.completions.create(**asked, logprobs=True, top_logprobs=1)
    except openai.BadRequestError as error:
        if "logprobs" not in str(error):
            raise
        stream = client.chat.completions.create(**asked)
    text, tokens, prompt_tokens = "", [], None
    for chunk in stream:
        prompt_tokens = chunk.usage.prompt_tokens if chunk.usage else prompt_tokens
        for choice in chunk.choices:
            text += choice.delta.content or ""
            for call in choice.delta.tool_calls or []:
                text += (call.function.name or "") + (call.function.arguments or "")
            if choice.logprobs:
                tokens += [(token.token, token.logprob) for token in choice.logprobs.content or []]
    return Said(text, tuple(tokens), prompt_tokens)


@dataclass(frozen=True)
class Compared:
    """What comparing two answers to one prompt finds.

    Attributes:
        same_text: clients read the same.
        same_tokens: tokens until the two part, or until one of them ends.
        parted: the two chose different tokens.
        max_delta: the largest difference of log-probabilities on the tokens before that; None if none can be compared.
        same_prompt: both counted the same prompt tokens.
    """

    same_text: bool
    same_tokens: int
    parted: bool
    max_delta: float | None
    same_prompt: bool


def compare(said: Said, reference: Said) -> Compared:
    """Compare an answer with the reference's, token by token from the beginning."""
    deltas: list[float] = []
    parted = False
    for (token, logprob), (wanted, wanted_logprob) in zip(said.tokens, reference.tokens, strict=False):
        if token != wanted:
            parted = True
            break
        deltas.append(abs(logprob - wanted_logprob))
    return Compared(
        said.text.strip() == reference.text.strip(),
        len(deltas),
        parted,
        max(deltas, default=None),
        said.prompt_tokens == reference.prompt_tokens,
    )


def row(name: str, found: Sequence[Compared]) -> list[str]:
    """An engine's line of the table."""
    deltas = [each.max_delta for each in found if each.max_delta is not None]
    tokens = sum(each.same_tokens for each in found)
    parted = sum(each.parted for each in found)
    return [
        name,
        f"{sum(each.same_prompt for each in found)}/{len(found)}",
        f"{sum(each.same_text for each in found)}/{len(found)}",
        f"{tokens} ({parted} part ways)" if tokens else "no log-probabilities",
        f"{max(deltas):.2g}" if deltas else "unknown",
    ]


HEADER = ["engine", "same prompt tokens", "same answer", "tokens alike", "max |Δlogprob| on them"]


def table(client: openai.OpenAI, reference: str, models: Iterable[str], prompts: Sequence[Json]) -> str:
    """The Markdown table of all models."""
    wanted = [ask(client, reference, prompt) for prompt in prompts]
    rows = []
    for model in models:
        said = [ask(client, model, prompt) for prompt in prompts]
        rows.append(row(model, [compare(*pair) for pair in zip(said, wanted, strict=True)]))
    return markdown(HEADER, rows)


def read_prompts(file: Path = PROMPTS) -> list[Json]:
    """The prompts of a file with one JSON object a line."""
    return [json.loads(line) for line in file.read_text().splitlines() if line.strip()]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.agreement", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--key", default=os.environ.get("MOEGATE_KEY", ""))
    parser.add_argument("--reference", required=True, help="a model with only the reference engine behind it")
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument("models", nargs="+", help="models with only one engine behind each")
    options = parser.parse_args()
    with clients(options.url.rstrip("/"), options.key) as asking:
        found = table(asking.openai, options.reference, options.models, read_prompts(options.prompts))
    sys.stdout.write(found + "\n")


if __name__ == "__main__":
    main()
