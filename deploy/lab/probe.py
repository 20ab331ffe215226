"""Held-out skill rates straight from the training network, cheap enough to look at every few minutes.

A greedy answer is right to the letter exactly when every token of it is the most likely one after the right
tokens before it, so one forward pass tells, and no text needs to be generated.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import islice

import torch
from corpus import Conversation, held_out_conversations
from network import Network
from rendering import Encoder

SKILLS: list[tuple[str, bool]] = [
    ("fact", False),
    ("sum", False),
    ("big_sum", False),
    ("repeat", False),
    ("transform", False),
    ("json", False),
    ("memory", False),
    ("lookup", False),
    ("call", True),
    ("parallel", True),
    ("ask_back", True),
    ("which_tool", True),
    ("text", True),
]


def turns(encoder: Encoder, conversation: Conversation) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids of a conversation and the spans that the assistant writes, ends included."""
    ids, weights = encoder.train_item(conversation, 0.0)
    spans = []
    start = -1
    for position, weight in enumerate(weights):
        if weight and start < 0:
            start = position
        if start >= 0 and ids[position] == encoder.end:
            spans.append((start, position + 1))
            start = -1
    return ids, spans


@torch.no_grad()
def rates(network: Network, encoder: Encoder, count: int, seed: int) -> dict[str, tuple[int, int]]:
    """Per skill: answers right to the letter, answers looked at."""
    network.eval()
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for skill, with_tools in SKILLS:
        found = []
        for conversation in islice(held_out_conversations(seed, skill, with_tools=with_tools), count):
            ids, spans = turns(encoder, conversation)
            kinds = [m.get("tool_calls") for m in conversation.messages if m["role"] == "assistant"]
            roles = [m["role"] for m in conversation.messages]
            found.append((ids, spans, kinds, "tool" in roles))
        width = max(len(ids) for ids, *_ in found)
        for start in range(0, len(found), 16):
            some = found[start : start + 16]
            tokens = torch.tensor([ids + [encoder.pad] * (width - len(ids)) for ids, *_ in some])
            best = network(tokens[:, :-1]).argmax(-1)
            for row, (_, spans, kinds, used) in enumerate(some):
                for (first, last), calls in zip(spans, kinds, strict=True):
                    name = skill if calls or not used else "result"
                    right = bool((best[row, first - 1 : last - 1] == tokens[row, first:last]).all())
                    tally[name][0] += right
                    tally[name][1] += 1
    network.train()
    return {name: (right, seen) for name, (right, seen) in tally.items()}


def report(network: Network, encoder: Encoder, count: int = 24, seed: int = 77) -> str:
    """The rates as one line for the log."""
    found = rates(network, encoder, count, seed)
    return "held out: " + "  ".join(f"{name} {right}/{seen}" for name, (right, seen) in found.items())
