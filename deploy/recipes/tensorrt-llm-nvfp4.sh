#!/bin/sh
# Kimi-K2-Thinking (NVIDIA's NVFP4 quantisation) with TensorRT-LLM on one node of 8 B200.
# Source: NVIDIA/TensorRT-LLM docs/source/deployment-guide/deployment-guide-for-kimi-k2-thinking-on-trtllm.md, and its
# examples/configs/curated/kimi-k2-thinking.yaml, which tensorrt-llm-nvfp4.engine.yaml follows; tensorrt_llm/commands/serve.py,
# serve/tool_parser/tool_parser_factory.py and llmapi/reasoning_parser.py (options and parsers).
# MODEL: the folder of nvidia/Kimi-K2-Thinking-NVFP4. Its weights are not Moonshot's own INT4: say so in the replica's checkpoint.
set -eu

set -- --host "${LISTEN:-127.0.0.1}" --port 8000
set -- "$@" --config "$(dirname "$0")/tensorrt-llm-nvfp4.engine.yaml"
# The guide leaves both out, and its own sample answer shows <think> in the content.
set -- "$@" --tool_parser kimi_k2
set -- "$@" --reasoning_parser kimi_k2

exec trtllm-serve serve "$MODEL" "$@"
