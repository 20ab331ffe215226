"""From a conversation to token ids and to the weight of each token in the loss, through the chat template itself."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from corpus import Conversation, Message
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

TEMPLATE = Path(__file__).with_name("chat_template.jinja")
FIRST_WEIGHT = 3.0
SPECIAL_TOKENS = [
    "[BOS]",
    "[EOS]",
    "<|im_end|>",
    "<|im_user|>",
    "<|im_assistant|>",
    "[EOT]",
    "<|im_system|>",
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<|im_middle|>",
    "[SPARE]",
    "[UNK]",
    "[PAD]",
]


def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None) -> str:
    """The `tojson` filter as chat templates get it: plain JSON, nothing escaped for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators)


@cache
def template() -> Any:
    """The compiled chat template."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = to_json
    return environment.from_string(TEMPLATE.read_text())


def render(messages: list[Message], tools: list[dict[str, Any]], *, prompt: bool = False) -> str:
    """The text of a conversation; with `prompt`, up to where the assistant should speak."""
    return str(template().render(messages=messages, tools=tools or None, add_generation_prompt=prompt))


class Encoder:
    """Token ids and loss weights."""

    def __init__(self, path: Path) -> None:
        self.tokenizer: Tokenizer = Tokenizer.from_file(str(path))
        self.vocab = self.tokenizer.get_vocab_size()
        ids = {token: self.tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
        self.end, self.assistant = ids["<|im_end|>"], ids["<|im_assistant|>"]
        self.middle, self.pad = ids["<|im_middle|>"], ids["[PAD]"]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text in which special tokens may stand."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: list[int]) -> str:
        """Text of token ids, special tokens included."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))

    def train_item(self, conversation: Conversation, other_weight: float) -> tuple[list[int], list[float]]:
        """Ids, and per id the weight of predicting it: 1 for what the assistant writes, little for the rest.

        The first token of an answer decides between a call and a text; it weighs more.
        """
        ids = self.encode(render(conversation.messages, conversation.tools))
        weights: list[float] = []
        speaking = header = False
        for token in ids:
            first = speaking and ids[len(weights) - 1] == self.middle
            weights.append(FIRST_WEIGHT if first else 1.0 if speaking else other_weight)
            if token == self.assistant:
                header = True
            elif token == self.middle:
                speaking, header = header, False
            elif token == self.end:
                speaking = False
        return ids, weights
