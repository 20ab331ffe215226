"""Service curves of engines that serve Kimi K2, from published measurements, and the fleet that is made of them."""

from __future__ import annotations

from tests.simulator.engines import Curve

# 8 x H200: about 11 ms a token alone and 1,100 tokens a second with 100 answers; 8,000 tokens read in 0.7 s.
# KV pool of 715,072 tokens (vLLM's recipe for Kimi K2 Thinking, tensor parallel 8).
VLLM = Curve(
    backend="vllm",
    slots=256,
    prefill_seconds=lambda tokens: 0.02 + tokens / 12_000,
    step_seconds=lambda answers: 0.010 + 0.0008 * answers,
    cache_tokens=715_000,
)
# 8 GPUs, data parallel 4: 61 tokens a second and 141 ms to the first alone, 1,113 a second with 100 (SGLang's cookbook).
SGLANG = Curve(
    backend="sglang",
    slots=256,
    prefill_seconds=lambda tokens: 0.03 + tokens / 9_000,
    step_seconds=lambda answers: 0.0157 + 0.00074 * answers,
    cache_tokens=600_000,
)
# CPU and a few GPUs: 45.9 tokens a second in all with 37 answers at 800 ms between tokens; prompts at 130 tokens a
# second of 2,000 and 1,055 of 32,000 (KTransformers' guides for Kimi K2 Thinking). Four slots, as its owners set it.
KTRANSFORMERS = Curve(
    backend="ktransformers",
    slots=4,
    prefill_seconds=lambda tokens: min(tokens / 53, 14 + tokens / 1_900),
    step_seconds=lambda answers: 0.090 + 0.019 * answers,
    cache_tokens=150_000,
)

MIXED: dict[str, Curve] = {
    "vllm-a": VLLM,
    "vllm-b": VLLM,
    "sglang": SGLANG,
    "kt-a": KTRANSFORMERS,
    "kt-b": KTRANSFORMERS,
}
