"""What request parameters mean: which are never a client's to set, and which change the answer; decides for no engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

NULL: Final = Raw(b"null")

# Where a request runs, under whose name, with whose weights and whose cache: the gateway's and the operator's to say.
# Taken out of every client's request, whichever engine it goes to.
INTERNAL: Final = frozenset({
    # vLLM 0.32: entrypoints/openai/{chat_completion,completion,responses}/protocol.py, entrypoints/anthropic/protocol.py
    "priority", "cache_salt", "request_id", "session_id", "kv_transfer_params", "ec_transfer_params", "vllm_xargs",
    "chat_template", "mm_processor_kwargs", "media_io_kwargs", "mm_payload", "return_mm_kwargs", "watermarking",
    "routed_experts_prompt_start", "previous_input_messages", "enable_response_messages",
    # SGLang 0.5.23 and sglang-kt 0.7.2: srt/entrypoints/openai/protocol.py
    "rid", "extra_key", "session_params", "bootstrap_host", "bootstrap_port", "bootstrap_room", "routed_dp_rank",
    "data_parallel_rank", "disagg_prefill_dp_rank", "lora_path", "custom_logit_processor", "custom_params",
    "custom_labels", "input_ids", "return_hidden_states", "return_routed_experts", "routed_experts_start_len",
    "images_config", "video_config", "watermark", "conversation_id", "return_meta_info", "return_sampling_mask",
    "return_flat_raw_output_top_logprobs", "return_flat_raw_top_logprobs_b64", "return_input_ids_in_sglext",
    "return_output_ids_in_sglext", "return_cached_tokens_details", "return_spec_tokens_details", "sampling_logprobs_mode",
    # TensorRT-LLM (0076e939): tensorrt_llm/serve/openai_protocol.py
    "disaggregated_params", "conversation_params", "lora_request", "agent_hierarchy", "prompt_token_ids",
    "prompt_token_ids_b64", "injected_chat_template_kwargs", "return_context_logits",
    # llama.cpp 11434: tools/server/server-schema.cpp, server-common.cpp
    "id_slot", "lora", "chat_format", "chat_parser", "parse_tool_calls", "generation_prompt", "grammar_lazy",
    "grammar_triggers", "grammar_type", "preserved_tokens", "response_fields", "verbose", "sse_ping_interval",
    "backend_sampling", "n_cache_reuse", "message_delimiters", "reasoning_control", "reasoning_budget_start_tag",
    "reasoning_budget_end_tag", "reasoning_budget_end_tags", "__metadata_user_id",
})  # fmt: skip

# Arguments of the renderer itself, which template variables of the same name would replace or collide with.
INTERNAL_TEMPLATE_VARIABLES: Final = frozenset({
    "chat_template", "conversation", "messages", "tools", "tokenize", "tokenizer_kwargs", "add_generation_prompt",
    "continue_final_message", "padding", "truncation", "max_length", "return_tensors", "return_dict",
    "return_assistant_tokens_mask",
})  # fmt: skip

# Parameters that change what a client gets, each with the values that change nothing (null never does). An engine that
# does not honour one of them would answer another question than the one that was asked.
CHANGES_ANSWER: Final[Mapping[str, tuple[Any, ...]]] = {
    # The shape of the answer. What these hold is looked into: see `constrains`.
    "response_format": (), "text": (), "output_config": (),
    "structured_outputs": (), "guided_json": (), "guided_regex": (), "guided_choice": (), "guided_grammar": (),
    "regex": (), "ebnf": (), "grammar": ("",), "json_schema": (),
    # Which tokens may come, and how likely.
    "presence_penalty": (0,), "frequency_penalty": (0,),
    "top_k": (0, -1), "min_p": (0,), "repetition_penalty": (1,), "repeat_penalty": (1,), "typical_p": (1,),
    "top_n_sigma": (-1,), "top_p_min": (0,), "xtc_probability": (0,), "dynatemp_range": (0,), "mirostat": (0,),
    "dry_multiplier": (0,), "adaptive_target": (-1,), "samplers": (), "min_keep": (0,),
    "logit_bias": ({}, []), "allowed_token_ids": (), "bad_words": ([],),
    "use_beam_search": (False,), "length_penalty": (1,), "early_stopping": (False,), "best_of": (1,),
    # Where the answer ends, and what of it is shown.
    "min_tokens": (0,), "ignore_eos": (False,), "stop_token_ids": ([],), "stop_regex": ("", []), "no_stop_trim": (False,),
    "include_stop_str_in_output": (False,), "skip_special_tokens": (True,), "spaces_between_special_tokens": (True,),
    "n_predict": (-1,), "max_new_tokens": (), "t_max_predict_ms": (0, -1), "repetition_detection": (),
    "echo": (False,), "suffix": ("",),
    "logprobs": (False,), "top_logprobs": (0,), "prompt_logprobs": (), "logprob_token_ids": ([],),
    "return_token_ids": (False,), "return_tokens_as_token_ids": (False,),
    # What the model thinks, and whether it is shown.
    "thinking_token_budget": (-1,), "thinking_budget_tokens": (-1,), "reasoning_budget_tokens": (-1,),
    "include_reasoning": (True,), "separate_reasoning": (True,), "stream_reasoning": (True,),
    "reasoning_format": ("auto", "deepseek"),
    # The prompt.
    "continue_final_message": (False,), "add_generation_prompt": (True,), "truncate_prompt_tokens": (),
    "documents": ([],), "prompt_embeds": (),
    # Tools, and what only OpenAI's own models can do.
    "tool_choice": ("auto",), "parallel_tool_calls": (True,), "functions": ([],), "function_call": ("auto", "none"),
    "modalities": (["text"],), "audio": (), "web_search_options": (),
}  # fmt: skip

# Where, in a parameter that may say much, the shape of the answer is said.
_FORMAT_FIELD: Final[Mapping[str, str | None]] = {"response_format": None, "text": "format", "output_config": "format"}

# Longer than any value that changes nothing.
_NEUTRAL_BYTES: Final = 32


def changes_answer(name: str, value: Raw) -> bool:
    """Whether a parameter of `CHANGES_ANSWER` with this value changes the answer. An unreadable value does."""
    if name in _FORMAT_FIELD:
        return _constrains(value, _FORMAT_FIELD[name])
    if len(memoryview(value)) > _NEUTRAL_BYTES:
        return True
    found = decoded(value)
    return found is not None and not any(_same(found, neutral) for neutral in CHANGES_ANSWER[name])


def decoded(value: Raw) -> Any:
    """A small value as Python has it.

    Returns:
        The value's own bytes, which equal no value of JSON, where it cannot be read: the engine shall judge it.
    """
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return bytes(value)


def _constrains(value: Raw, field: str | None) -> bool:
    """Whether a format is asked for other than plain text."""
    found = decoded(value)
    if field is not None and isinstance(found, dict):
        found = found.get(field)
    if isinstance(found, dict):
        return found.get("type") not in (None, "text")
    return found is not None


def _same(found: Any, neutral: Any) -> bool:
    """Equality that tells False from 0, but not 0 from 0.0."""
    return isinstance(found, bool) is isinstance(neutral, bool) and bool(found == neutral)
