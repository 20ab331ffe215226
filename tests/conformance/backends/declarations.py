"""What each engine says that it cannot do, whoever runs it; everything else it must do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.conformance.backends.case import Declaration, Feature

NO_ROUTE = "it has no such route"
UNTOLD = "it says that the response is completed, and nowhere that it was cut"
TEXT_ONLY = "its route takes a text only"
# These two pass on any number of alternatives, which the gateway bounds.
NO_SUCH_TOKEN: Mapping[str, object] = {"logit_bias": {"999999": 5}}
STOPS: Mapping[str, str] = {
    "messages.a_stop_sequence_ends_the_message": "the message ends there, but says that its turn was over"
}

DECLARATIONS: Mapping[str, Declaration] = {
    "vllm": Declaration(),
    "sglang": Declaration(known=STOPS, refuses=NO_SUCH_TOKEN),
    "ktransformers": Declaration(
        {
            Feature.TOKENIZE_CHAT: TEXT_ONLY,
            **dict.fromkeys(
                (Feature.LOGPROBS, Feature.COMPLETION_LOGPROBS), "outside streams it lists one for all of an answer"
            ),
        },
        {"responses.the_limit_ends_the_response": UNTOLD, **STOPS},
        vague=frozenset({"messages"}),
        refuses=NO_SUCH_TOKEN,
    ),
    "tensorrt_llm": Declaration(dict.fromkeys((Feature.MESSAGES, Feature.COUNT_TOKENS, Feature.TOKENIZE), NO_ROUTE)),
    "llama_cpp": Declaration(
        {
            Feature.TOKENIZE_CHAT: TEXT_ONLY,
            Feature.NAMED_TOOL: "it reads a tool choice only as a word",
            Feature.JSON_SCHEMA: "with Kimi's template it passes over the schema",
        },
        {"responses.the_limit_ends_the_response": UNTOLD},
        # Any number of alternatives, which the gateway bounds, but none without log-probabilities.
        refuses={"top_logprobs": 5},
    ),
    "torch_reference": Declaration(
        {
            **dict.fromkeys((Feature.MESSAGES, Feature.COUNT_TOKENS, Feature.RESPONSES), NO_ROUTE),
            Feature.JSON_SCHEMA: "it has no constrained decoding",
        }
    ),
}

# What real engines do, and their scripted likenesses do not.
KNOWN_LIVE: Mapping[str, Mapping[str, str]] = {
    "llama_cpp": {
        "leaving.a_plain_answer_that_nobody_waits_for_stops_the_engine": (
            "it does not look whether anyone waits for a plain answer, and has no way to be told"
        )
    },
}


def live_declaration(engine: str) -> Declaration:
    """What a real engine says of itself; nothing of one that is not known."""
    found = DECLARATIONS.get(engine, Declaration())
    return replace(found, known={**found.known, **KNOWN_LIVE.get(engine, {})})
