"""Each engine's way of speaking, one small file of data an engine."""

from collections.abc import Callable, Mapping

from tests.support.scripted_engine.dialects import (
    ktransformers,
    llama_cpp,
    sglang,
    tensorrt_llm,
    torch_reference,
    vllm,
)
from tests.support.scripted_engine.dialects.dialect import Dialect

DIALECTS: Mapping[str, Callable[[str], Dialect]] = {
    "vllm": vllm.build,
    "sglang": sglang.build,
    "ktransformers": ktransformers.build,
    "tensorrt_llm": tensorrt_llm.build,
    "llama_cpp": llama_cpp.build,
    "torch_reference": torch_reference.build,
}
