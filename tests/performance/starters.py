"""All that can be measured, by name."""

from collections.abc import Callable

from tests.performance.moegate_targets import (
    moegate,
    moegate_bare,
    moegate_governed,
    moegate_hedged,
    moegate_keyed,
    moegate_unshipped,
)
from tests.performance.peers_gateways import bifrost, litellm, portkey, tensorzero
from tests.performance.peers_proxies import haproxy, nginx
from tests.performance.peers_routers import sglang_router, smg, vllm_router
from tests.performance.targets import Place, Target, direct

STARTERS: dict[str, Callable[[Place], Target]] = {
    "direct": direct,
    "moegate": moegate,
    "nginx": nginx,
    "haproxy": haproxy,
    "vllm-router": vllm_router,
    "sglang-router": sglang_router,
    "smg": smg,
    "tensorzero": tensorzero,
    "portkey": portkey,
    "litellm": litellm,
    "bifrost": bifrost,
    "moegate-bare": moegate_bare,
    "moegate-governed": moegate_governed,
    "moegate-unshipped": moegate_unshipped,
    "moegate-hedged": moegate_hedged,
    "moegate-keyed": moegate_keyed,
}
# What a claim against peers needs; the others are for what keys, limits and the ledger cost.
USUAL = tuple(name for name in STARTERS if not name.startswith("moegate-"))
