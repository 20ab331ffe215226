#!/bin/sh
# Kimi-K2-Instruct (block FP8) with SGLang, prefill and decode apart: 4 nodes of 8 H200 fill caches, 12 decode, one router in front.
# Sources: MoonshotAI/Kimi-K2 docs/deploy_guidance.md, "Data Parallelism + Expert Parallelism" (4P12D; flags have new names since:
# --enable-deepep-moe is --moe-a2a-backend deepep); sgl-project/sglang docs/advanced_features/pd_disaggregation.md (roles, router);
# lmsys.org/blog/2025-07-20-k2-large-scale-ep (224k tokens/s prefill and 288k decode on 128 H200).
# ROLE: prefill, decode or router. MODEL: the checkpoint's folder. MASTER: node 0 of this role. NODE_RANK: which node of the role this is.
# LISTEN: this node's own address. IB_DEVICE: its InfiniBand devices. PREFILL, DECODE: for the router, node 0 of each role.
set -eu

if [ "$ROLE" = router ]; then
    # This is what the gateway speaks to: one replica, whatever stands behind it.
    set -- --pd-disaggregation
    set -- "$@" --prefill "http://$PREFILL:30000" --decode "http://$DECODE:30000"
    set -- "$@" --host "${LISTEN:-127.0.0.1}" --port 8000
    exec python3 -m sglang_router.launch_router "$@"
fi

set -- --model-path "$MODEL" --served-model-name kimi-k2
set -- "$@" --host "${LISTEN:-127.0.0.1}" --port 30000
set -- "$@" --trust-remote-code
set -- "$@" --disaggregation-mode "$ROLE" --disaggregation-ib-device "$IB_DEVICE"
set -- "$@" --dist-init-addr "$MASTER:5757" --node-rank "$NODE_RANK"
set -- "$@" --enable-dp-attention --enable-dp-lm-head --moe-dense-tp-size 1
set -- "$@" --moe-a2a-backend deepep
set -- "$@" --disable-shared-experts-fusion
set -- "$@" --enable-two-batch-overlap
# A prefix cache pays where prompts repeat; with data parallel attention over this many ranks they seldom meet again.
set -- "$@" --disable-radix-cache
set -- "$@" --tool-call-parser kimi_k2
set -- "$@" --enable-metrics
if [ "$ROLE" = prefill ]; then
    set -- "$@" --nnodes 4 --tp-size 32 --dp-size 32
    set -- "$@" --deepep-mode normal
    set -- "$@" --ep-dispatch-algorithm dynamic --eplb-algorithm deepseek
    set -- "$@" --chunked-prefill-size 131072 --max-running-requests 1024
    set -- "$@" --mem-fraction-static 0.85
else
    set -- "$@" --nnodes 12 --tp-size 96 --dp-size 96
    set -- "$@" --deepep-mode low_latency
    # A second copy of the 96 busiest experts evens out the load.
    set -- "$@" --ep-num-redundant-experts 96
    set -- "$@" --max-running-requests 46080
    # Short on purpose: it is what makes room for so many. The replica's context_length must say the same.
    set -- "$@" --context-length 2176
    set -- "$@" --mem-fraction-static 0.8
fi

exec python3 -m sglang.launch_server "$@"
