#!/bin/sh
# Kimi-K2-Instruct (block FP8) with SGLang on two nodes of 8 H200, tensor parallelism over all 16.
# Sources: MoonshotAI/Kimi-K2 docs/deploy_guidance.md, "SGLang Deployment"; sgl-project/sglang
# docs_new/cookbook/autoregressive/Moonshotai/Kimi-K2.mdx (FP8 KV cache, data parallel attention for throughput).
# MODEL: the checkpoint's folder, on both nodes. MASTER: address of node 0. NODE_RANK: 0 there, 1 on the other.
set -eu

set -- --model-path "$MODEL" --served-model-name kimi-k2
set -- "$@" --host "${LISTEN:-127.0.0.1}" --port 30000
set -- "$@" --trust-remote-code
set -- "$@" --tp-size 16 --nnodes 2 --node-rank "${NODE_RANK:-0}" --dist-init-addr "$MASTER:50000"
set -- "$@" --context-length 131072
set -- "$@" --max-running-requests 256
# What is queued beyond this is refused at once, so that the gateway can place it elsewhere while the client still waits.
set -- "$@" --max-queued-requests 64
set -- "$@" --tool-call-parser kimi_k2
# The gateway reads the load from /v1/loads and /metrics, and cached tokens from the usage.
set -- "$@" --enable-metrics --enable-cache-report
set -- "$@" --enable-priority-scheduling
# For more throughput at more latency, add: --dp-size 4 --enable-dp-attention --ep-size 4

exec python3 -m sglang.launch_server "$@"
