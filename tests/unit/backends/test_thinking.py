from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.ktransformers import KTransformers
from backends.llama_cpp import LlamaCpp
from backends.openai_compatible import OpenAICompatible
from backends.sglang import SGLang, SGLangSettings
from backends.shared_engine import SharedEngineSettings
from backends.tensorrt_llm import TensorRTLLM
from backends.torch_reference.plugin import TorchReference
from backends.vllm import VLLM
from gateway import Operation
from tests.unit.backends.asking import ask, prepared, sent

PLAIN = SharedEngineSettings(cache_salt=False)
ENGINES: dict[str, OpenAICompatible] = {
    "vllm": VLLM(PLAIN),
    "sglang": SGLang(SGLangSettings(cache_salt=False)),
    "ktransformers": KTransformers(),
    "tensorrt_llm": TensorRTLLM(PLAIN),
    "llama_cpp": LlamaCpp(),
    "torch_reference": TorchReference(),
}
ON, OFF = {"thinking": True, "enable_thinking": True}, {"thinking": False, "enable_thinking": False}

WAYS_TO_SAY_NO: list[dict[str, Any]] = [
    {"thinking": {"type": "disabled"}},
    {"thinking": False},
    {"reasoning_effort": "none"},
    {"reasoning": {"effort": "none"}},
    {"reasoning": {"enabled": False}},
    {"enable_thinking": False},
    {"chat_template_kwargs": {"thinking": False}},
    {"chat_template_kwargs": {"enable_thinking": False}},
]
WAYS_TO_SAY_YES: list[dict[str, Any]] = [
    {"thinking": {"type": "enabled"}},
    {"thinking": {"type": "adaptive"}},
    {"thinking": True},
    {"reasoning": {"enabled": True}},
    {"enable_thinking": True},
    {"chat_template_kwargs": {"thinking": True}},
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("fields", "told"), [(way, OFF) for way in WAYS_TO_SAY_NO] + [(way, ON) for way in WAYS_TO_SAY_YES]
)
def test_every_way_to_say_it_reaches_every_engine_s_template(
    engine: str, fields: dict[str, Any], told: dict[str, bool]
) -> None:
    expected = {"thinking": told["thinking"]} if engine == "tensorrt_llm" else told
    body = sent(ENGINES[engine], ask(**fields))
    body.pop("rid", None)
    given_variables = fields.get("chat_template_kwargs", {})
    assert body == {"chat_template_kwargs": {**given_variables, **expected}}
    already = given_variables == expected
    assert prepared(ENGINES[engine], ask(**fields)).transforms == (() if already else ("thinking",))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"thinking": {"type": "enabled"}, "reasoning_effort": "none"}, ON),
        ({"thinking": {"type": "enabled"}, "chat_template_kwargs": {"thinking": False}}, OFF),
        ({"chat_template_kwargs": {"thinking": True, "enable_thinking": False}}, ON),
        ({"enable_thinking": True, "reasoning": {"effort": "none"}}, ON),
    ],
)
def test_what_is_more_particular_counts(fields: dict[str, Any], told: dict[str, bool]) -> None:
    assert sent(ENGINES["vllm"], ask(**fields)) == {"chat_template_kwargs": told}


def test_the_other_variables_stay() -> None:
    call = ask(chat_template_kwargs={"mine": [1.50, None]}, enable_thinking=False)
    assert sent(ENGINES["vllm"], call) == {"chat_template_kwargs": {"mine": [1.5, None], **OFF}}


def test_an_effort_other_than_none_stays_an_effort() -> None:
    assert sent(ENGINES["vllm"], ask(reasoning_effort="high")) == {"reasoning_effort": "high"}
    assert sent(ENGINES["vllm"], ask(reasoning={"effort": "low"})) == {"reasoning_effort": "low"}
    assert sent(ENGINES["vllm"], ask(thinking={"type": "enabled", "effort": "low"}))["reasoning_effort"] == "low"


@pytest.mark.parametrize(
    ("engine", "name"), [("vllm", "thinking_token_budget"), ("llama_cpp", "thinking_budget_tokens")]
)
@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 500}},
        {"thinking_token_budget": 500},
        {"thinking_budget_tokens": 500},
    ],
)
def test_a_budget_is_said_in_the_engine_s_own_words(engine: str, name: str, fields: dict[str, Any]) -> None:
    body = sent(ENGINES[engine], ask(**fields))
    body.pop("chat_template_kwargs", None)
    assert body == {name: 500}


@pytest.mark.parametrize(
    ("engine", "operation", "fields", "added"),
    [
        ("vllm", Operation.RESPONSES, {"reasoning": {"effort": "none"}}, {"chat_template_kwargs": OFF}),
        ("ktransformers", Operation.RESPONSES, {"reasoning": {"effort": "none"}}, {"chat_template_kwargs": OFF}),
        ("vllm", Operation.RESPONSES, {"reasoning": {"effort": "high"}}, {}),
        ("vllm", Operation.MESSAGES, {"thinking": {"type": "disabled"}}, {"chat_template_kwargs": OFF}),
        ("vllm", Operation.COUNT_TOKENS, {"thinking": {"type": "disabled"}}, {"chat_template_kwargs": OFF}),
        ("llama_cpp", Operation.MESSAGES, {"thinking": {"type": "disabled"}}, {"chat_template_kwargs": OFF}),
        ("sglang", Operation.MESSAGES, {"thinking": {"type": "disabled"}}, {}),
    ],
)
def test_other_apis_keep_their_own_field_and_the_template_is_told(
    engine: str, operation: Operation, fields: dict[str, Any], added: dict[str, Any]
) -> None:
    body = sent(ENGINES[engine], ask(operation, **fields))
    body.pop("request_id", None)
    assert body == {**fields, **added}


@pytest.mark.parametrize("fields", [*WAYS_TO_SAY_NO, *WAYS_TO_SAY_YES])
def test_an_engine_that_nothing_is_known_of_gets_what_the_client_says(fields: dict[str, Any]) -> None:
    call = ask(**fields)
    assert prepared(OpenAICompatible(), call).body is call.body


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "effort", "enabled"]), inner),
    max_leaves=4,
)
NAMES = ["thinking", "enable_thinking", "reasoning", "reasoning_effort", "chat_template_kwargs"]


@given(
    st.dictionaries(st.sampled_from(NAMES), JSON),
    st.sampled_from([Operation.CHAT, Operation.MESSAGES, Operation.RESPONSES]),
)
def test_whatever_stands_there_nothing_crashes_and_asking_again_changes_nothing_more(
    fields: dict[str, Any], operation: Operation
) -> None:
    first = sent(ENGINES["vllm"], ask(operation, **fields))
    assert sent(ENGINES["vllm"], ask(operation, **first)) == first
