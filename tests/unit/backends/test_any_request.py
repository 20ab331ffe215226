"""Whatever a client writes into whichever field, every engine's backend makes a request of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.ktransformers import KTransformers
from backends.llama_cpp import LlamaCpp
from backends.openai_compatible import OpenAICompatible
from backends.parameters import CHANGES_ANSWER, INTERNAL
from backends.sglang import SGLang
from backends.tensorrt_llm import TensorRTLLM
from backends.thinking import TOGGLES
from backends.torch_reference.plugin import TorchReference
from backends.vllm import VLLM
from gateway import Operation
from tests.unit.builders import make_call, make_replica

ENGINES = [VLLM(), SGLang(), KTransformers(), TensorRTLLM(), LlamaCpp(), TorchReference(), OpenAICompatible()]
NAMES = sorted(
    {*CHANGES_ANSWER, *INTERNAL, *TOGGLES, "messages", "input", "prompt", "stream_options", "n", "stop", "tools"}
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.kind)
@given(
    st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), JSON, max_size=6),
    st.sampled_from(sorted(Operation)),
    st.booleans(),
)
def test_nothing_makes_it_fail(
    engine: OpenAICompatible, fields: dict[str, Any], operation: Operation, stream: bool
) -> None:
    body = json.dumps({"model": "alias", **fields}).encode()
    call = make_call(
        operation=operation,
        body=body,
        requested_model="alias",
        stream=stream,
        sets_stream_options=isinstance(fields.get("stream_options"), dict),
        has_tools=bool(fields.get("tools")),
    )
    sentence = engine.objection(call, make_replica())
    assert sentence is None or sentence.endswith(".")
    request = engine.prepare(call, make_replica(), "call-1")
    sent = json.loads(request.body)
    assert sent["model"] == "kimi-k2"
    assert not sent.keys() & (INTERNAL - {"cache_salt", "rid", "request_id"})
    assert all(name.isascii() and name.isprintable() for name in request.dropped_params)
