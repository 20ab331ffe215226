#!/bin/sh
# Kimi-K2-Instruct as GGUF with llama.cpp: the experts in main memory, the rest on one GPU of 24 GB. RAM and VRAM together must hold the file.
# Sources: docs.unsloth.ai/basics/kimi-k2-how-to-run-locally (files, sizes, which tensors to keep off the GPU, min_p);
# ggml-org/llama.cpp tools/server/README.md (options).
# MODEL: the first file, such as Kimi-K2-Instruct-UD-Q2_K_XL-00001-of-00009.gguf (381 GB). CORES: physical cores.
set -eu

set -- --model "$MODEL" --alias kimi-k2
set -- "$@" --host "${LISTEN:-127.0.0.1}" --port 8080
# All layers on the GPU, but for what the next line takes back: the experts' weights of every layer.
set -- "$@" --n-gpu-layers 99
set -- "$@" --override-tensor '.ffn_.*_exps.=CPU'
set -- "$@" --threads "${CORES:-32}"
# The context is shared out among the slots: 2 of 16384 tokens. The gateway's max_concurrent and context_length say the same.
set -- "$@" --parallel 2 --ctx-size 32768
set -- "$@" --cache-type-k q8_0
# The template in the file, and with it the calls of tools.
set -- "$@" --jinja
set -- "$@" --metrics --slots --no-ui

exec llama-server "$@"
