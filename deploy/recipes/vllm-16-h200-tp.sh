#!/bin/sh
# Kimi-K2-Instruct (block FP8, about 1 TB) with vLLM on two nodes of 8 H200, tensor parallelism over all 16: the lowest latency.
# Source: MoonshotAI/Kimi-K2 docs/deploy_guidance.md, "Tensor Parallelism" (there by Ray; nodes that know each other's address, as
# here, are newer). 16 such GPUs are the smallest unit for FP8 with 128K of context.
# MODEL: the checkpoint's folder, on both nodes. MASTER: address of node 0. NODE_RANK: 0 there, 1 on the other.
set -eu

set -- --served-model-name kimi-k2
set -- "$@" --trust-remote-code
set -- "$@" --tensor-parallel-size 16
set -- "$@" --nnodes 2 --node-rank "${NODE_RANK:-0}" --master-addr "$MASTER"
set -- "$@" --gpu-memory-utilization 0.90
set -- "$@" --max-num-seqs 256
set -- "$@" --enable-auto-tool-choice --tool-call-parser kimi_k2
set -- "$@" --enable-prompt-tokens-details
set -- "$@" --scheduling-policy priority
if [ "${NODE_RANK:-0}" = 0 ]; then
    # Only node 0 answers; the gateway knows this address alone.
    set -- "$@" --host "${LISTEN:-127.0.0.1}" --port 8000
else
    set -- "$@" --headless
fi

exec vllm serve "$MODEL" "$@"
