#!/bin/sh
# Kimi-K2-Thinking (native INT4) with KTransformers on one consumer GPU of 48 GB and two sockets with AVX512, 650 GB of memory.
# Source: kvcache-ai/ktransformers doc/en/kt-kernel/Kimi-K2-Thinking-Native.md (the row for one RTX 4090 48 GB; its command for two).
# MODEL: the checkpoint's folder, which CPU and GPU read alike. Starts in 2 to 3 minutes; prefill 53 to 290 tokens/s by prompt length.
set -eu

set -- --model-path "$MODEL" --served-model-name kimi-k2
set -- "$@" --host "${LISTEN:-127.0.0.1}" --port 30001
set -- "$@" --trust-remote-code
# The experts: native INT4, all on the CPUs. Threads: the physical cores of both sockets, a pool for each.
set -- "$@" --kt-weight-path "$MODEL" --kt-method RAWINT4
set -- "$@" --kt-cpuinfer "${CORES:-96}" --kt-threadpool-count 2
set -- "$@" --kt-num-gpu-experts 0
set -- "$@" --kt-max-deferred-experts-per-token 1
# Longer prompts are filled layer by layer on the GPU, which takes 9 GB more of its memory and is far faster.
set -- "$@" --kt-gpu-prefill-token-threshold 400
set -- "$@" --disable-shared-experts-fusion
set -- "$@" --tensor-parallel-size 1
set -- "$@" --attention-backend flashinfer
set -- "$@" --mem-fraction-static 0.94
# Tokens of all calls together. The replica's context_length must not be above it, and max_concurrent low.
set -- "$@" --max-total-tokens 30000 --chunked-prefill-size 30000
set -- "$@" --max-running-requests 4 --max-queued-requests 8
set -- "$@" --enable-mixed-chunk
# The source leaves both out; without them thinking and calls of tools stand in the answer's content.
set -- "$@" --tool-call-parser kimi_k2 --reasoning-parser kimi_k2
set -- "$@" --enable-metrics --enable-cache-report

exec python3 -m sglang.launch_server "$@"
