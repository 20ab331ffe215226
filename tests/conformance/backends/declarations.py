"""What each engine says that it cannot do, whoever runs it; everything else it must do."""

from __future__ import annotations

from collections.abc import Mapping

from tests.conformance.backends.case import Declaration, Feature

NO_ROUTE = "it has no such route"
TEXT_ONLY = "its route takes a text only"

DECLARATIONS: Mapping[str, Declaration] = {
    "vllm": Declaration(),
    "sglang": Declaration(),
    "ktransformers": Declaration(
        {Feature.TOKENIZE_CHAT: TEXT_ONLY},
        {
            "responses.the_limit_ends_the_response": "it says that the response is completed, and nowhere that it was cut"
        },
        vague=frozenset({"messages"}),
    ),
    "tensorrt_llm": Declaration(dict.fromkeys((Feature.MESSAGES, Feature.COUNT_TOKENS, Feature.TOKENIZE), NO_ROUTE)),
    "llama_cpp": Declaration(
        {Feature.TOKENIZE_CHAT: TEXT_ONLY, Feature.NAMED_TOOL: "it reads a tool choice only as a word"},
        # As many alternatives as anyone may ask for, but none without log-probabilities.
        refuses={"top_logprobs": 5},
    ),
    "torch_reference": Declaration(
        {
            **dict.fromkeys((Feature.MESSAGES, Feature.COUNT_TOKENS, Feature.RESPONSES), NO_ROUTE),
            Feature.JSON_SCHEMA: "it has no constrained decoding",
        }
    ),
}
