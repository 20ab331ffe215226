"""TensorRT-LLM's trtllm-serve, after its sources: no engine of this kind was run for it."""

from dataclasses import dataclass

from tests.support.scripted_engine.asked import Asked, Operation
from tests.support.scripted_engine.dialects.chat import ChatShape
from tests.support.scripted_engine.dialects.completions import CompletionShape
from tests.support.scripted_engine.dialects.dialect import Dialect, flat
from tests.support.scripted_engine.dialects.judging import CONTEXT_LENGTH, Judge, Refusal
from tests.support.scripted_engine.dialects.responses import ResponsesShape
from tests.support.scripted_engine.dialects.sides import health, metrics, model_list, page
from tests.support.scripted_engine.turns import Turn
from tests.support.scripted_engine.wire import CREATED

_CHOICE = {"disaggregated_params": None, "avg_decoded_tokens_per_iter": 1.0}
_USAGE = {"prompt_tokens_details": {"cached_tokens": 0}}
_SHARED_FIELDS = """
    model stream stream_options temperature top_p top_k min_p n best_of seed stop logprobs max_tokens
    max_completion_tokens presence_penalty frequency_penalty repetition_penalty logit_bias user response_format
    ignore_eos min_tokens skip_special_tokens spaces_between_special_tokens truncate_prompt_tokens stop_token_ids
    include_stop_str_in_output lora_request use_beam_search length_penalty early_stopping top_p_min add_special_tokens
    disaggregated_params conversation_params echo
"""
_FIELDS = {
    Operation.CHAT: f"""{_SHARED_FIELDS} messages tools tool_choice parallel_tool_calls top_logprobs reasoning_effort
    thinking thinking_token_budget prompt_ignore_length add_generation_prompt documents chat_template
    chat_template_kwargs media_io_kwargs cache_salt priority agent_hierarchy mm_processor_kwargs prompt_token_ids""",
    Operation.COMPLETIONS: f"{_SHARED_FIELDS} prompt suffix detokenize",
}


@dataclass(frozen=True, kw_only=True)
class TensorrtChat(ChatShape):
    """Its first chunk ends in a space before the blank line."""

    def events(self, turn: Turn, asked: Asked) -> list[bytes]:
        """Every event of the stream."""
        first, *rest = super().events(turn, asked)
        return [first.replace(b"\n\n", b" \n\n"), *rest]


def build(model: str) -> Dialect:
    """The dialect for one served model name."""
    chat = TensorrtChat(
        model=model,
        id="chatcmpl-8d2f6c1e4b7a49f0a3c5e7d9b1f2a4c6",
        role={"role": "assistant"},
        streamed_choice={"avg_decoded_tokens_per_iter": 1.0},
        stop_key="stop_reason",
        omits_nulls=True,
        usage_extra=_USAGE,
        message={"reasoning": None},
        no_calls={"tool_calls": []},
        content_of_calls="",
        choice={"mm_embedding_handle": None, **_CHOICE},
        whole_extra={"prompt_token_ids": None, "prompt_token_ids_b64": None},
    )
    completions = CompletionShape(
        model=model,
        id="cmpl-8d2f6c1e4b7a49f0a3c5e7d9b1f2a4c6",
        streamed={"usage": None},
        stop_key="stop_reason",
        streamed_choice={"token_ids": None, "stop_reason": None, "avg_decoded_tokens_per_iter": 1.0},
        usage_extra=_USAGE,
        choice={"token_ids": None, "context_logits": None, **_CHOICE},
        whole_extra={"prompt_token_ids": None},
    )
    return Dialect(
        name="tensorrt_llm",
        shapes={
            Operation.CHAT: chat,
            Operation.COMPLETIONS: completions,
            Operation.RESPONSES: ResponsesShape(model=model, extra={"service_tier": "auto", "background": False}),
        },
        error=flat,
        # Its generator raises: the connection just ends.
        stream_error=None,
        judge=Judge(
            too_long=Refusal(400, f"The prompt length (9001) should not exceed max_num_tokens ({CONTEXT_LENGTH})"),
            known_fields=frozenset(" ".join(_FIELDS.values()).split()),
            checks_model=frozenset(),
        ),
        queue_full=Refusal(503, "The server is overloaded.", "ServiceUnavailableError"),
        drain=Refusal(503, "LLM is not ready.", "ServiceUnavailableError"),
        aborts_with="error",
        sides={
            "/health": health,
            "/version": lambda _, __: page({"version": "1.2.0"}),
            "/v1/models": lambda _, name: model_list(name, created=CREATED, owned_by="tensorrt_llm"),
            # Read once, gone: whoever polls it takes it away from somebody else.
            "/metrics": lambda _, __: page([]),
            "/prometheus/metrics": metrics(
                "trtllm_",
                '{{engine_type="trtllm",model_name="undefined"}}',
                {"num_requests_running": "running", "num_requests_waiting": "", "kv_cache_utilization": ""},
            ),
        },
        live=False,
    )
