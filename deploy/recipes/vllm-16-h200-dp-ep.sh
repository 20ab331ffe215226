#!/bin/sh
# Kimi-K2-Instruct (block FP8) with vLLM on two nodes of 8 H200, data parallel attention and expert parallelism: the most throughput.
# Source: MoonshotAI/Kimi-K2 docs/deploy_guidance.md, "Data Parallelism + Expert Parallelism", and
# vllm-project/recipes moonshotai/Kimi-K2.md (--max-model-len, and how to trade latency for throughput). DeepEP and DeepGEMM help.
# MODEL: the checkpoint's folder, on both nodes. MASTER: address of node 0. NODE_RANK: 0 there, 1 on the other.
set -eu

set -- --served-model-name kimi-k2
set -- "$@" --trust-remote-code
set -- "$@" --data-parallel-size 16 --data-parallel-size-local 8
set -- "$@" --data-parallel-address "$MASTER" --data-parallel-rpc-port 13345
# The experts are spread over all 16; attention runs 16 times beside each other, each with its own KV cache.
set -- "$@" --enable-expert-parallel
# Of each of the 16. Fewer tokens a batch: less latency, less memory for activations.
set -- "$@" --max-num-batched-tokens 8192
set -- "$@" --max-num-seqs 256
# Enough for most; the full 131072 leaves less room for KV cache. The replica's context_length must say the same.
set -- "$@" --max-model-len 65536
set -- "$@" --gpu-memory-utilization 0.85
set -- "$@" --enable-auto-tool-choice --tool-call-parser kimi_k2
set -- "$@" --enable-prompt-tokens-details
if [ "${NODE_RANK:-0}" = 0 ]; then
    set -- "$@" --host "${LISTEN:-127.0.0.1}" --port 8000
else
    set -- "$@" --headless --data-parallel-start-rank 8
fi

exec vllm serve "$MODEL" "$@"
