"""All that can be measured, by name."""

from collections.abc import Callable

from tests.performance.moegate_targets import moegate, moegate_bare, moegate_governed
from tests.performance.targets import Place, Target, direct, litellm, vllm_router

STARTERS: dict[str, Callable[[Place], Target]] = {
    "direct": direct,
    "moegate": moegate,
    "vllm-router": vllm_router,
    "litellm": litellm,
    "moegate-bare": moegate_bare,
    "moegate-governed": moegate_governed,
}
# What a claim against peers needs; the other two are for what keys, limits and the ledger cost.
USUAL = ("direct", "moegate", "vllm-router", "litellm")
