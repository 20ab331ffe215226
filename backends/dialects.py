"""What each engine makes of request parameters, as data; each table names the source that it was read from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Raw, Struct

from backends.parameters import CHANGES_ANSWER
from gateway import Operation

Names = frozenset[str]

CHAT, COMPLETIONS = Operation.CHAT, Operation.COMPLETIONS
RESPONSES, MESSAGES = Operation.RESPONSES, Operation.MESSAGES
COUNT_TOKENS, TOKENIZE = Operation.COUNT_TOKENS, Operation.TOKENIZE

# To each token, OpenAI's API tells the log-probabilities of so many alternatives at most.
OPENAIS_MOST: Final = 20


class Dialect(Struct, frozen=True, kw_only=True):
    """What one engine makes of request parameters.

    Attributes:
        honours: per operation, those of `CHANGES_ANSWER` that the engine acts on; an operation that is not here is not
            looked at.
        accepts: per operation where a parameter that the engine does not know is an error, those that it knows.
        renamed: parameters that mean exactly the same under a name of the engine's own.
        respelled: values that mean the same in the engine's own spelling, by parameter and the bytes they come in.
        instead: what to use in place of a parameter that is not honoured.
        refuses_null: null is an error, or not the same as absent, so that it is left out.
        reads_variables: operations in which the engine hands `chat_template_kwargs` to the template.
        variables: those that switch thinking on and off, as this engine's templates are told.
        thinks_always: operations in which neither that nor the API's own field would switch thinking off.
        reasoning_in_history: the one name under which the engine reads in the history what the model thought; None if
            it takes any.
        most_alternatives: for so many alternatives to each token it may be asked for log-probabilities; None where it
            refuses more itself.
    """

    honours: Mapping[Operation, Names]
    accepts: Mapping[Operation, Names] = {}
    renamed: Mapping[str, str] = {}
    respelled: Mapping[str, Mapping[bytes, Raw]] = {}
    instead: Mapping[str, str] = {}
    refuses_null: bool = False
    reads_variables: frozenset[Operation] = frozenset()
    variables: tuple[str, ...] = ("thinking", "enable_thinking")
    thinks_always: frozenset[Operation] = frozenset()
    reasoning_in_history: str | None = None
    most_alternatives: int | None = None

    def ignored(self, operation: Operation) -> Names:
        """Those of `CHANGES_ANSWER` that would be passed over in this operation."""
        if operation not in self.honours:
            return frozenset()
        return frozenset(CHANGES_ANSWER) - self.honours[operation] - self.renamed.keys()


def names(*groups: str | Names) -> Names:
    """One set of words in strings and of other sets."""
    return frozenset(word for group in groups for word in (group.split() if isinstance(group, str) else group))


_PENALTIES: Final = names("presence_penalty frequency_penalty")
_SAMPLING: Final = names(_PENALTIES, "top_k min_p repetition_penalty logit_bias")
_TOOLS: Final = names("tool_choice parallel_tool_calls")

_MODERN: Final = {"functions": "tools", "function_call": "tool_choice"}
_ONE_LIMIT: Final = {"n_predict": "max_tokens", "max_new_tokens": "max_tokens"}

# vLLM 0.32, entrypoints/openai/{chat_completion,completion,responses}/protocol.py (`to_sampling_params`),
# entrypoints/anthropic/{protocol,serving}.py. Unknown fields are allowed and passed over (entrypoints/serve/engine/
# protocol.py: extra="allow"), the removed guided_* among them. `suffix` needs a model that can fill in the middle.
_VLLM_SHARED: Final = names(
    _SAMPLING,
    "response_format structured_outputs allowed_token_ids bad_words use_beam_search length_penalty min_tokens ignore_eos",
    "stop_token_ids include_stop_str_in_output skip_special_tokens spaces_between_special_tokens repetition_detection",
    "echo logprobs prompt_logprobs logprob_token_ids return_token_ids return_tokens_as_token_ids truncate_prompt_tokens",
    "thinking_token_budget",
)
VLLM: Final = Dialect(
    honours={
        CHAT: names(
            _VLLM_SHARED, _TOOLS, "top_logprobs include_reasoning continue_final_message add_generation_prompt documents"
        ),
        COMPLETIONS: _VLLM_SHARED,
        RESPONSES: names(
            _SAMPLING, _TOOLS, "text structured_outputs stop_token_ids ignore_eos include_stop_str_in_output",
            "skip_special_tokens include_reasoning top_logprobs",
        ),
        MESSAGES: names("top_k tool_choice output_config"),
    },
    renamed={"thinking_budget_tokens": "thinking_token_budget"},
    reads_variables=frozenset({CHAT, RESPONSES, MESSAGES, COUNT_TOKENS, TOKENIZE}),
    instead={
        **_MODERN, **_ONE_LIMIT,
        "guided_json": "structured_outputs.json", "guided_regex": "structured_outputs.regex",
        "guided_choice": "structured_outputs.choice", "guided_grammar": "structured_outputs.grammar",
        "regex": "structured_outputs.regex", "ebnf": "structured_outputs.grammar",
        "grammar": "structured_outputs.grammar", "json_schema": "response_format",
        "repeat_penalty": "repetition_penalty", "best_of": "n", "stop_regex": "stop",
        "separate_reasoning": "include_reasoning",
    },
)  # fmt: skip

# SGLang 0.5.23, srt/entrypoints/openai/protocol.py (`to_sampling_params`), serving_completions.py,
# srt/entrypoints/anthropic/{protocol,serving}.py. Unknown fields are passed over. Fields whose type is not optional
# refuse null (frequency_penalty, n, stream …). srt/sampling/sampling_params.py: top_k is -1 or at least 1.
# srt/layers/logprob_processor.py: being asked for more alternatives than there are tokens ends the engine, and all calls.
_SGLANG_SHARED: Final = names(
    _SAMPLING,
    "response_format regex ebnf stop_token_ids stop_regex no_stop_trim min_tokens ignore_eos skip_special_tokens logprobs",
)
_SGLANG_CHAT: Final = names(
    _SGLANG_SHARED, "top_logprobs separate_reasoning stream_reasoning continue_final_message tool_choice"
)
_SGLANG_COMPLETIONS: Final = names(_SGLANG_SHARED, "json_schema echo")
_SGLANG_RESPONSES: Final = names(_PENALTIES, "top_k min_p repetition_penalty tool_choice top_logprobs")
_SGLANG_INSTEAD: Final = {
    **_MODERN, **_ONE_LIMIT,
    "guided_json": "response_format", "guided_regex": "regex", "guided_choice": "regex", "guided_grammar": "ebnf",
    "structured_outputs": "response_format", "grammar": "ebnf", "json_schema": "response_format",
    "repeat_penalty": "repetition_penalty", "bad_words": "logit_bias", "best_of": "n",
    "include_stop_str_in_output": "no_stop_trim", "include_reasoning": "separate_reasoning",
}  # fmt: skip
_TOP_K_IS_NEVER_ZERO: Final = {"top_k": {b"0": Raw(b"-1")}}
SGLANG: Final = Dialect(
    honours={
        CHAT: names(_SGLANG_CHAT, "parallel_tool_calls return_token_ids"),
        COMPLETIONS: names(_SGLANG_COMPLETIONS, "return_token_ids"),
        RESPONSES: names(_SGLANG_RESPONSES, "text parallel_tool_calls"),
        MESSAGES: names("top_k tool_choice output_config"),
    },
    respelled=_TOP_K_IS_NEVER_ZERO,
    instead=_SGLANG_INSTEAD,
    refuses_null=True,
    reads_variables=frozenset({CHAT, RESPONSES, TOKENIZE}),
    reasoning_in_history="reasoning_content",
    most_alternatives=OPENAIS_MOST,
)

# sglang-kt 0.7.2, the same files: its chat knows no parallel_tool_calls, its responses no `text`, its messages neither
# `thinking` nor `output_config`. With transformers 5 it glues a token's alternatives into one (srt/managers/
# tokenizer_manager.py: `batch_decode` of a flat list), so that one is right, and more are not.
KTRANSFORMERS: Final = Dialect(
    honours={
        CHAT: _SGLANG_CHAT,
        COMPLETIONS: _SGLANG_COMPLETIONS,
        RESPONSES: _SGLANG_RESPONSES,
        MESSAGES: names("top_k tool_choice"),
    },
    respelled=_TOP_K_IS_NEVER_ZERO,
    instead=_SGLANG_INSTEAD,
    refuses_null=True,
    reads_variables=frozenset({CHAT, RESPONSES}),
    thinks_always=frozenset({MESSAGES}),
    reasoning_in_history="reasoning_content",
    most_alternatives=1,
)

# TensorRT-LLM (0076e939), tensorrt_llm/serve/openai_protocol.py: chat and completions forbid what they do not know,
# responses pass it over. parallel_tool_calls is accepted and not enforced; top_k 0 means all.
_TENSORRT_SHARED: Final = names(
    _SAMPLING,
    "response_format best_of use_beam_search top_p_min length_penalty early_stopping stop_token_ids ignore_eos min_tokens",
    "include_stop_str_in_output skip_special_tokens spaces_between_special_tokens truncate_prompt_tokens logprobs echo",
    "thinking_token_budget",
)
_TENSORRT_CHAT: Final = names(_TENSORRT_SHARED, "top_logprobs add_generation_prompt documents tool_choice")
_TENSORRT_PLAIN: Final = names(
    "model stream stream_options temperature top_p max_tokens n stop seed user add_special_tokens prompt_ignore_length"
)
TENSORRT_LLM: Final = Dialect(
    honours={
        CHAT: _TENSORRT_CHAT,
        COMPLETIONS: _TENSORRT_SHARED,
        RESPONSES: names("text tool_choice top_logprobs thinking_token_budget"),
    },
    accepts={
        CHAT: names(
            _TENSORRT_CHAT, _TENSORRT_PLAIN, "messages tools parallel_tool_calls max_completion_tokens reasoning_effort",
            "chat_template_kwargs",
        ),
        COMPLETIONS: names(_TENSORRT_SHARED, _TENSORRT_PLAIN, "prompt detokenize"),
    },
    renamed={"thinking_budget_tokens": "thinking_token_budget"},
    respelled={"top_k": {b"-1": Raw(b"0")}},
    instead={
        **_MODERN, **_ONE_LIMIT,
        "guided_json": "response_format", "guided_regex": "response_format", "guided_grammar": "response_format",
        "structured_outputs": "response_format", "regex": "response_format", "ebnf": "response_format",
        "grammar": "response_format", "json_schema": "response_format", "repeat_penalty": "repetition_penalty",
        "allowed_token_ids": "logit_bias", "bad_words": "logit_bias",
    },
    refuses_null=True,
    # It refuses variables that the template does not know, and Kimi's knows one.
    reads_variables=frozenset({CHAT}),
    variables=("thinking",),
    thinks_always=frozenset({RESPONSES}),
)  # fmt: skip

# llama.cpp 11434, tools/server/server-common.cpp (`oaicompat_*_params_parse`), server-chat.cpp, server-schema.cpp.
# Unknown fields are passed over, but best_of and suffix are errors, null or not. Completions read no response_format;
# responses are turned into chat with all that they hold, except that `text` is read by nothing; messages pass on six
# fields. repetition_penalty becomes repeat_penalty over the whole context: see `llama_cpp`. Seen with Kimi's template:
# in chat response_format is passed over and json_schema fails ("Failed to initialize samplers"), while a grammar holds;
# completions, which have no template, honour both a grammar and json_schema.
_LLAMA_SHARED: Final = names(
    _SAMPLING,
    "grammar repeat_penalty typical_p top_n_sigma xtc_probability dynatemp_range mirostat dry_multiplier",
    "adaptive_target samplers min_keep ignore_eos n_predict t_max_predict_ms logprobs",
)
_LLAMA_CHAT: Final = names(
    _LLAMA_SHARED, _TOOLS, "top_logprobs continue_final_message add_generation_prompt reasoning_format",
    "thinking_budget_tokens reasoning_budget_tokens",
)  # fmt: skip
LLAMA_CPP: Final = Dialect(
    honours={
        CHAT: _LLAMA_CHAT,
        COMPLETIONS: names(_LLAMA_SHARED, "json_schema"),
        RESPONSES: _LLAMA_CHAT,
        MESSAGES: names("top_k tool_choice"),
    },
    renamed={"thinking_token_budget": "thinking_budget_tokens"},
    instead={
        **_MODERN, "max_new_tokens": "max_tokens", "response_format": "json_schema",
        "guided_json": "json_schema", "structured_outputs": "json_schema", "guided_regex": "grammar",
        "guided_choice": "grammar", "guided_grammar": "grammar", "regex": "grammar", "ebnf": "grammar",
        "allowed_token_ids": "logit_bias", "bad_words": "logit_bias", "best_of": "n",
        "include_reasoning": "reasoning_format", "separate_reasoning": "reasoning_format",
    },
    refuses_null=True,
    reads_variables=frozenset({CHAT, RESPONSES, MESSAGES, COUNT_TOKENS}),
    reasoning_in_history="reasoning_content",
    most_alternatives=OPENAIS_MOST,
)  # fmt: skip

# Our own engine, backends/torch_reference/engine/protocol.py and options.py: it refuses what it declares and cannot do,
# and passes over what it does not declare.
_REFERENCE: Final = names("top_k ignore_eos skip_special_tokens return_token_ids logprobs")
TORCH_REFERENCE: Final = Dialect(
    honours={CHAT: names(_REFERENCE, _TOOLS, "top_logprobs"), COMPLETIONS: names(_REFERENCE, "echo")},
    instead={**_MODERN, **_ONE_LIMIT, "best_of": "n"},
    reads_variables=frozenset({CHAT, TOKENIZE}),
)

# An engine that nothing is known of gets what the client sends.
UNKNOWN: Final = Dialect(honours={})
