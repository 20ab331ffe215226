"""KTransformers, as recorded from sglang-kt 0.7.2 on a CPU: SGLang as it was when it was forked, and slower to let go."""

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from tests.support.scripted_engine.asked import Asked, Json, Operation
from tests.support.scripted_engine.dialects import sglang
from tests.support.scripted_engine.dialects.chat import ChatShape
from tests.support.scripted_engine.dialects.completions import CompletionShape
from tests.support.scripted_engine.dialects.dialect import Dialect, Said, anthropic
from tests.support.scripted_engine.dialects.judging import Refusal
from tests.support.scripted_engine.dialects.messages import MessagesShape
from tests.support.scripted_engine.dialects.responses import ResponsesShape
from tests.support.scripted_engine.dialects.shape import Shape
from tests.support.scripted_engine.dialects.sides import page

if TYPE_CHECKING:
    from tests.support.scripted_engine.state import EngineState

_USAGE = {"prompt_tokens_details": None, "reasoning_tokens": 0}
_METADATA = {"metadata": {"weight_version": "default"}}
# Of a full queue it says nothing that could be told from its own failure.
_INTERNAL = Said(500, anthropic(Refusal(500, "Internal server error", "internal_error")))


def _empty_response(shape: Shape, asked: Asked) -> Said:
    """A full queue as an answer without a word, in good order."""
    return Said(events=tuple(cast("ResponsesShape", shape).unsaid(sglang.NOTHING_READ, asked, None)))


def _loads(state: "EngineState", _: str) -> bytes:
    about = {"timestamp": "2026-11-22T00:00:00+00:00", "version": "0.0.0.dev0", "dp_rank_count": 1}
    total: Json = {"total_running_reqs": state.running, "total_waiting_reqs": 0, "total_reqs": state.running}
    return page({**about, "loads": [{**sglang.load(state), "num_total_reqs": state.running}], "aggregate": total})


def build(model: str) -> Dialect:
    """The dialect for one served model name."""
    base = sglang.build(model)
    chat = ChatShape(
        model=model,
        id=sglang.RID,
        role={"role": "assistant", "content": "", "reasoning_content": None, "tool_calls": None},
        role_choice=sglang.MATCHED,
        delta={"role": None, "content": None, "reasoning_content": None, "tool_calls": None},
        streamed={"usage": None},
        streamed_choice=sglang.MATCHED,
        stop_key="matched_stop",
        end_token=sglang.END_TOKEN,
        finish_apart=True,
        call_delta={"id": None, "type": "function"},
        function_delta={"name": None},
        whole_call={"index": 0},
        usage_extra=_USAGE,
        no_calls={"tool_calls": None},
        whole_extra=_METADATA,
    )
    completions = replace(
        cast("CompletionShape", base.shapes[Operation.COMPLETIONS]),
        usage_extra=_USAGE,
        counted_extra=None,
        whole_extra=_METADATA,
    )
    messages = MessagesShape(
        model=model, id=f"msg_{sglang.RID}", input_in_start=False, start_nulls=False, **sglang.NO_STOPS
    )
    shapes = {
        Operation.CHAT: chat,
        Operation.COMPLETIONS: completions,
        Operation.MESSAGES: messages,
        Operation.RESPONSES: ResponsesShape(model=model, extra=sglang.RESPONSE_EXTRA, says_incomplete=False),
    }
    return replace(
        base,
        name="ktransformers",
        shapes=shapes,
        judge=replace(base.judge, checks_model=frozenset(), tokenizes_text_only=True),
        overloads={
            **sglang.OVERLOADS,
            (Operation.MESSAGES, False): lambda _, __: _INTERNAL,
            # Not a single event.
            (Operation.MESSAGES, True): lambda _, __: Said(events=()),
            (Operation.RESPONSES, True): _empty_response,
        },
        refuses_in_200=True,
        # Its fork has no /ready, and knows the older name of the load.
        sides={
            **sglang.SIDES,
            "/v1/loads": _loads,
            "/get_load": lambda state, _: page([{"dp_rank": None, "num_reqs": state.running, "num_waiting_reqs": 0}]),
        },
        deaf=True,
    )
