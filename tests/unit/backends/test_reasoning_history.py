from __future__ import annotations

import json
from typing import Any

import pytest

from backends.ktransformers import KTransformers
from backends.llama_cpp import LlamaCpp
from backends.openai_compatible import OpenAICompatible
from backends.sglang import SGLang, SGLangSettings
from backends.shared_engine import SharedEngineSettings
from backends.tensorrt_llm import TensorRTLLM
from backends.torch_reference.plugin import TorchReference
from backends.vllm import VLLM
from gateway import Operation
from tests.unit.backends.asking import ask, prepared

READ_ONE_NAME = [SGLang(SGLangSettings(cache_salt=False)), KTransformers(), LlamaCpp()]
READ_BOTH = [
    VLLM(SharedEngineSettings(cache_salt=False)),
    TensorRTLLM(SharedEngineSettings(cache_salt=False)),
    TorchReference(),
]


def thought(**fields: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho", **fields}]


def messages(backend: OpenAICompatible, sent: Any) -> Any:
    return json.loads(prepared(backend, ask(messages=sent)).body)["messages"]


@pytest.mark.parametrize("engine", READ_ONE_NAME)
@pytest.mark.parametrize("fields", [{"reasoning": "hm"}, {"reasoning": "hm", "reasoning_content": None}])
def test_engines_that_read_one_name_get_that_name(engine: OpenAICompatible, fields: dict[str, Any]) -> None:
    assert messages(engine, thought(**fields)) == thought(reasoning_content="hm")
    assert prepared(engine, ask(messages=thought(**fields))).transforms == ("reasoning_history",)


@pytest.mark.parametrize("engine", READ_ONE_NAME)
@pytest.mark.parametrize(
    "items",
    [
        thought(reasoning_content="hm"),
        thought(reasoning_content="hm", reasoning="mh"),
        thought(reasoning=None),
        [{"role": "user", "content": 'a "reasoning"'}],
    ],
)
def test_and_nothing_else_of_a_message_is_touched(engine: OpenAICompatible, items: list[Any]) -> None:
    assert messages(engine, items) == items
    assert "reasoning_history" not in prepared(engine, ask(messages=items)).transforms


@pytest.mark.parametrize("engine", READ_BOTH)
@pytest.mark.parametrize("fields", [{"reasoning": "hm"}, {"reasoning_content": "hm"}])
def test_engines_that_read_both_names_get_what_the_client_wrote(
    engine: OpenAICompatible, fields: dict[str, Any]
) -> None:
    assert messages(engine, thought(**fields)) == thought(**fields)


def test_a_message_that_is_none_is_left_to_the_engine() -> None:
    items = ['"reasoning"', 1, None, ["reasoning"], {"reasoning": "hm", "role": "assistant"}]
    assert messages(READ_ONE_NAME[2], items)[:4] == items[:4]


def test_responses_have_a_form_of_their_own() -> None:
    call = ask(Operation.RESPONSES, input=[{"type": "reasoning", "reasoning": "x"}])
    assert prepared(READ_ONE_NAME[2], call).body is call.body
