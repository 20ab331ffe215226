"""All that can be measured, by name."""

from collections.abc import Callable

from tests.performance.moegate_targets import moegate, moegate_bare, moegate_governed, moegate_unshipped
from tests.performance.targets import Place, Target, direct, litellm, vllm_router

STARTERS: dict[str, Callable[[Place], Target]] = {
    "direct": direct,
    "moegate": moegate,
    "vllm-router": vllm_router,
    "litellm": litellm,
    "moegate-bare": moegate_bare,
    "moegate-governed": moegate_governed,
    "moegate-unshipped": moegate_unshipped,
}
# What a claim against peers needs; the others are for what keys, limits and the ledger cost.
USUAL = ("direct", "moegate", "vllm-router", "litellm")
