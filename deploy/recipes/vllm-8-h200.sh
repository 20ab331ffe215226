#!/bin/sh
# Kimi-K2-Thinking (native INT4, about 600 GB) with vLLM on one node of 8 H200.
# Sources: vllm-project/recipes moonshotai/Kimi-K2-Think.md (tensor and decode context parallelism, parsers);
# MoonshotAI/Kimi-K2.5 docs/deploy_guidance.md (the same for K2.5 and K2.6, with --mm-encoder-tp-mode data besides).
# MODEL: the checkpoint's folder. LISTEN: the address that the gateway reaches, and nobody else.
set -eu

set -- --served-model-name kimi-k2
set -- "$@" --host "${LISTEN:-127.0.0.1}" --port 8000
set -- "$@" --trust-remote-code
set -- "$@" --tensor-parallel-size 8
# Each of the 8 keeps an eighth of every sequence's KV cache instead of all of it: 8 times as many tokens fit.
set -- "$@" --decode-context-parallel-size 8
set -- "$@" --gpu-memory-utilization 0.90
# As many as the gateway's max_concurrent; what comes beyond waits in the engine or is refused, and the gateway tries another.
set -- "$@" --max-num-seqs 256
set -- "$@" --enable-auto-tool-choice --tool-call-parser kimi_k2
# Without it the model's thinking stands in the answer's content.
set -- "$@" --reasoning-parser kimi_k2
# Says in the usage how many prompt tokens were cached; without it the gateway can only say that it does not know.
set -- "$@" --enable-prompt-tokens-details
# Lets the gateway's priorities count (`options: {priority: true}`); without it vLLM answers 400 to any.
set -- "$@" --scheduling-policy priority

exec vllm serve "$MODEL" "$@"
