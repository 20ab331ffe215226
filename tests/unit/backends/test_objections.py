from __future__ import annotations

from typing import Any

import pytest

from backends.ktransformers import KTransformers, KTransformersSettings
from backends.llama_cpp import LlamaCpp
from backends.openai_compatible import EngineSettings, OpenAICompatible
from backends.sglang import SGLang
from backends.tensorrt_llm import TensorRTLLM
from backends.torch_reference.plugin import TorchReference
from backends.vllm import VLLM
from gateway import Operation
from tests.unit.backends.asking import WEATHER, ask, prepared
from tests.unit.builders import make_replica

CHAT, COMPLETIONS = Operation.CHAT, Operation.COMPLETIONS
RESPONSES, MESSAGES, TOKENIZE = Operation.RESPONSES, Operation.MESSAGES, Operation.TOKENIZE

ENGINES: dict[str, OpenAICompatible] = {
    "vllm": VLLM(),
    "sglang": SGLang(),
    "ktransformers": KTransformers(),
    "tensorrt_llm": TensorRTLLM(),
    "llama_cpp": LlamaCpp(),
    "torch_reference": TorchReference(),
}
ALL = set(ENGINES)


def objectors(operation: Operation, **fields: Any) -> set[str]:
    """The engines that object."""
    call = ask(operation, **fields)
    return {name for name, engine in ENGINES.items() if engine.objection(call, make_replica()) is not None}


SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
FLAT_SCHEMA = {"type": "json_schema", "name": "a", "schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("operation", "fields", "expected"),
    [
        # Guided decoding as vLLM once spelled it: no engine knows it any more.
        (CHAT, {"guided_json": {"type": "object"}}, ALL),
        (CHAT, {"guided_regex": "a+"}, ALL),
        (CHAT, {"guided_choice": ["a", "b"]}, ALL),
        (COMPLETIONS, {"guided_grammar": "root ::= a"}, ALL),
        # Each engine's own.
        (CHAT, {"structured_outputs": {"regex": "a+"}}, ALL - {"vllm"}),
        (CHAT, {"regex": "a+"}, ALL - {"sglang", "ktransformers"}),
        (CHAT, {"ebnf": "root ::= a"}, ALL - {"sglang", "ktransformers"}),
        (CHAT, {"grammar": "root ::= a"}, ALL - {"llama_cpp"}),
        (CHAT, {"json_schema": {"type": "object"}}, ALL),
        (COMPLETIONS, {"json_schema": "{}"}, ALL - {"llama_cpp", "sglang", "ktransformers"}),
        # OpenAI's, which all but one enforce in chat.
        (CHAT, {"response_format": SCHEMA}, {"torch_reference", "llama_cpp"}),
        (CHAT, {"response_format": {"type": "json_object"}}, {"torch_reference", "llama_cpp"}),
        (CHAT, {"response_format": {"type": "text"}}, set()),
        (COMPLETIONS, {"response_format": SCHEMA}, {"torch_reference", "llama_cpp"}),
        (RESPONSES, {"text": {"format": FLAT_SCHEMA}}, {"ktransformers", "llama_cpp"}),
        (RESPONSES, {"text": {"verbosity": "low"}}, set()),
        (MESSAGES, {"output_config": {"format": FLAT_SCHEMA}}, {"ktransformers", "llama_cpp"}),
        (MESSAGES, {"output_config": {"effort": "high"}}, set()),
        # Sampling.
        (CHAT, {"top_k": 20, "temperature": 0.5}, set()),
        (CHAT, {"min_p": 0.1}, {"torch_reference"}),
        (CHAT, {"min_p": 0}, set()),
        (CHAT, {"repetition_penalty": 1.1}, {"torch_reference"}),
        (CHAT, {"presence_penalty": 0.5}, {"torch_reference"}),
        (CHAT, {"presence_penalty": 0, "frequency_penalty": 0.0}, set()),
        (CHAT, {"logit_bias": {"5": 1}}, {"torch_reference"}),
        (CHAT, {"min_tokens": 5}, {"torch_reference", "llama_cpp"}),
        (CHAT, {"stop_token_ids": [5]}, {"torch_reference", "llama_cpp"}),
        (CHAT, {"bad_words": ["x"]}, ALL - {"vllm"}),
        (CHAT, {"allowed_token_ids": [5]}, ALL - {"vllm"}),
        (CHAT, {"ignore_eos": True}, set()),
        (CHAT, {"mirostat": 2}, ALL - {"llama_cpp"}),
        (CHAT, {"use_beam_search": True}, ALL - {"vllm", "tensorrt_llm"}),
        (RESPONSES, {"top_k": 20}, {"tensorrt_llm"}),
        (MESSAGES, {"top_k": 20}, set()),
        (MESSAGES, {"min_p": 0.1, "presence_penalty": 1}, {"vllm", "sglang", "ktransformers", "llama_cpp"}),
        # What is shown.
        (CHAT, {"logprobs": True, "top_logprobs": 3}, {"ktransformers"}),
        (COMPLETIONS, {"logprobs": 1}, {"ktransformers"}),
        (CHAT, {"prompt_logprobs": 1}, ALL - {"vllm"}),
        (COMPLETIONS, {"echo": True}, {"llama_cpp"}),
        (CHAT, {"echo": True}, ALL - {"vllm", "tensorrt_llm"}),
        (COMPLETIONS, {"suffix": "x"}, ALL),
        (COMPLETIONS, {"suffix": None}, set()),
        (COMPLETIONS, {"best_of": 2, "n": 1}, ALL - {"tensorrt_llm"}),
        (COMPLETIONS, {"best_of": 2, "n": 2}, set()),
        (COMPLETIONS, {"best_of": 1}, set()),
        # Tools.
        (CHAT, {"parallel_tool_calls": False, "tools": [WEATHER]}, {"ktransformers", "tensorrt_llm"}),
        (CHAT, {"parallel_tool_calls": False}, set()),
        (CHAT, {"parallel_tool_calls": True, "tools": [WEATHER]}, set()),
        (CHAT, {"tool_choice": "required", "tools": [WEATHER]}, set()),
        (
            CHAT,
            {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}, "tools": [WEATHER]},
            {"llama_cpp"},
        ),
        (RESPONSES, {"tool_choice": {"type": "function", "name": "get_weather"}, "tools": [WEATHER]}, {"llama_cpp"}),
        (MESSAGES, {"tool_choice": {"type": "tool", "name": "get_weather"}, "tools": [WEATHER]}, {"llama_cpp"}),
        (MESSAGES, {"tool_choice": {"type": "none"}, "tools": [WEATHER]}, {"llama_cpp"}),
        (MESSAGES, {"tool_choice": {"type": "any"}, "tools": [WEATHER]}, set()),
        (CHAT, {"functions": [{"name": "f"}]}, ALL),
        # Thinking.
        (CHAT, {"thinking": {"type": "disabled"}, "reasoning_effort": "none"}, set()),
        (
            CHAT,
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"sglang", "ktransformers", "torch_reference"},
        ),
        (CHAT, {"thinking_token_budget": 100}, {"sglang", "ktransformers", "torch_reference"}),
        (CHAT, {"thinking_budget_tokens": 100}, {"sglang", "ktransformers", "torch_reference"}),
        (MESSAGES, {"thinking": {"type": "disabled"}}, {"ktransformers"}),
        (MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": 2000}}, set()),
        (RESPONSES, {"reasoning": {"effort": "none"}}, {"tensorrt_llm"}),
        (RESPONSES, {"reasoning": {"effort": "high"}}, set()),
        # The prompt.
        (CHAT, {"continue_final_message": True}, {"tensorrt_llm", "torch_reference"}),
        (COMPLETIONS, {"prompt_embeds": "AAAA"}, ALL),
        (TOKENIZE, {"messages": [{"role": "user", "content": "a"}]}, {"llama_cpp", "ktransformers"}),
        (TOKENIZE, {}, set()),
        # What changes nothing but how a call is kept or billed.
        (CHAT, {"store": True, "service_tier": "auto", "prompt_cache_key": "k", "anything": 1}, set()),
    ],
)
def test_who_would_not_do_what_is_asked(operation: Operation, fields: dict[str, Any], expected: set[str]) -> None:
    able = {name for name, engine in ENGINES.items() if operation in engine.operations} | {"tensorrt_llm"}
    assert objectors(operation, **fields) & able == expected & able


@pytest.mark.parametrize(
    ("engine", "operation", "fields", "sentence"),
    [
        (
            "vllm",
            CHAT,
            {"guided_regex": "a"},
            "`guided_regex` would be ignored by vllm, though it changes the answer; use `structured_outputs.regex` there.",
        ),
        (
            "llama_cpp",
            CHAT,
            {"bad_words": ["a"]},
            "`bad_words` would be ignored by llama_cpp, though it changes the answer; use `logit_bias` there.",
        ),
        (
            "torch_reference",
            CHAT,
            {"guided_json": {}},
            "`guided_json` would be ignored by torch_reference, though it changes the answer.",
        ),
        (
            "vllm",
            RESPONSES,
            {"response_format": SCHEMA},
            "`response_format` would be ignored by vllm, though it changes the answer; use `text.format` there.",
        ),
        (
            "sglang",
            MESSAGES,
            {"guided_json": {}},
            "`guided_json` would be ignored by sglang, though it changes the answer; use `output_config.format` there.",
        ),
        (
            "ktransformers",
            RESPONSES,
            {"guided_json": {}},
            "`guided_json` would be ignored by ktransformers, though it changes the answer.",
        ),
    ],
)
def test_the_client_is_told_which_parameter_and_what_to_use_instead(
    engine: str, operation: Operation, fields: dict[str, Any], sentence: str
) -> None:
    assert ENGINES[engine].objection(ask(operation, **fields), make_replica()) == sentence


@pytest.mark.parametrize("engine", ["sglang", "llama_cpp"])
@pytest.mark.parametrize(
    ("operation", "fields", "name"),
    [
        (CHAT, {"logprobs": True, "top_logprobs": 20}, None),
        (CHAT, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (CHAT, {"top_logprobs": 1e30}, "top_logprobs"),
        (COMPLETIONS, {"logprobs": 20}, None),
        (COMPLETIONS, {"logprobs": 21}, "logprobs"),
        (RESPONSES, {"top_logprobs": 21}, "top_logprobs"),
    ],
)
def test_nobody_asks_for_more_alternatives_than_an_engine_survives(
    engine: str, operation: Operation, fields: dict[str, Any], name: str | None
) -> None:
    sentence = ENGINES[engine].objection(ask(operation, **fields), make_replica())
    assert sentence == (f"`{name}` may be 20 at most." if name else None)


@pytest.mark.parametrize(
    ("operation", "fields", "stream", "objects"),
    [
        (CHAT, {"logprobs": True}, False, True),
        (CHAT, {"logprobs": False, "top_logprobs": 0}, False, False),
        (CHAT, {"logprobs": True, "top_logprobs": 1}, True, False),
        (CHAT, {"logprobs": True, "top_logprobs": 1, "tools": [WEATHER]}, True, True),
        (CHAT, {"logprobs": True, "top_logprobs": 2}, True, True),
        (COMPLETIONS, {"logprobs": 0}, False, True),
        (COMPLETIONS, {"logprobs": 1}, True, False),
        (COMPLETIONS, {"logprobs": 2}, True, True),
        (RESPONSES, {"top_logprobs": 1}, False, True),
    ],
)
def test_ktransformers_is_not_asked_for_log_probabilities_that_it_glues_together(
    operation: Operation, fields: dict[str, Any], stream: bool, objects: bool
) -> None:
    sentence = ENGINES["ktransformers"].objection(ask(operation, stream=stream, **fields), make_replica())
    assert ("logprobs" in (sentence or "")) is objects


@pytest.mark.parametrize(
    ("stream", "logprobs", "tools"), [(True, True, True), (False, True, True), (True, False, True), (True, True, False)]
)
def test_llama_cpp_scores_no_streams_with_tools(stream: bool, logprobs: bool, tools: bool) -> None:
    call = ask(stream=stream, logprobs=logprobs, **({"tools": [WEATHER]} if tools else {}))
    assert (ENGINES["llama_cpp"].objection(call, make_replica()) is not None) is (stream and logprobs and tools)


def test_what_is_offered_instead_is_not_objected_to_in_turn() -> None:
    for name, engine in ENGINES.items():
        for operation, honoured in engine.dialect.honours.items():
            for parameter in engine.dialect.ignored(operation):
                value = 1.5 if parameter.endswith("_penalty") else "x"
                sentence = engine.objection(ask(operation, **{parameter: value}), make_replica())
                if sentence is None or "use `" not in sentence:
                    continue
                offered = sentence.split("use `")[1].split("`")[0].split(".")[0]
                assert offered not in engine.dialect.ignored(operation), (name, operation, parameter)
                assert offered in honoured or offered in ("tools", "max_tokens", "n", "stop"), (
                    name,
                    operation,
                    parameter,
                )


def test_an_operator_may_have_a_parameter_left_out_and_the_client_is_told() -> None:
    call = ask(parallel_tool_calls=False, min_tokens=3, tools=[WEATHER])
    engine = KTransformers(KTransformersSettings(leave_out=["parallel_tool_calls", "min_tokens"]))
    assert engine.objection(call, make_replica()) is None
    request = prepared(engine, call)
    assert request.dropped_params == ("parallel_tool_calls",)
    assert b"parallel_tool_calls" not in request.body
    assert b"min_tokens" in request.body  # which this engine honours


def test_also_where_an_engine_has_no_other_settings() -> None:
    engine = TorchReference(EngineSettings(leave_out=["min_p"]))
    call = ask(min_p=0.1)
    assert engine.objection(call, make_replica()) is None
    assert prepared(engine, call).dropped_params == ("min_p",)
