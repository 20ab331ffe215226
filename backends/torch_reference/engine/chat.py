"""Chat completions: from the request to what the worker does, and from its events to chunks or one body; no HTTP here."""

from collections.abc import AsyncGenerator, Iterator
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from backends.torch_reference.engine import options
from backends.torch_reference.engine.chat_template import (
    check_template_arguments,
    check_tools,
    count_calls,
    template_messages,
)
from backends.torch_reference.engine.choices import ChatAnswer
from backends.torch_reference.engine.errors import InvalidRequest
from backends.torch_reference.engine.generation import Generation
from backends.torch_reference.engine.protocol import ChatRequest, NamedToolChoice
from backends.torch_reference.engine.responses import ChatChunk, ChatCompletion, ChunkChoice, usage_of
from backends.torch_reference.engine.sequence import Event, SequenceSpec
from backends.torch_reference.engine.service import Service
from backends.torch_reference.engine.sse import DONE, encode_event
from backends.torch_reference.engine.tool_calls import CALL_END, forced_call_text


class ChatPlan(NamedTuple):
    """A chat request, judged and translated."""

    request: ChatRequest
    prompt_ids: list[int]
    specs: list[SequenceSpec]
    parse_tools: bool


def plan_chat(service: Service, request: ChatRequest) -> ChatPlan:
    """Judge a request and translate it for the worker."""
    options.refuse_unsupported(request)
    options.check_stream_options(request)
    if request.functions or request.function_call is not None:
        raise InvalidRequest(
            "functions and function_call are not supported: use tools and tool_choice",
            param="functions",
            code="unsupported_parameter",
        )
    tools_active, forced_text = _judge_tools(service, request)
    tokenizer, served = service.tokenizer, service.served
    prompt_ids = tokenizer.render(
        template_messages(request.messages),
        request.tools if tools_active else None,
        check_template_arguments(request.chat_template_kwargs),
    )
    wanted = request.max_completion_tokens if request.max_completion_tokens is not None else request.max_tokens
    param = "max_tokens" if request.max_completion_tokens is None else "max_completion_tokens"
    budget = options.token_budget(wanted, len(prompt_ids), served.context_length, default=None, param=param)
    markers = frozenset(tokenizer.marker_ids.values())
    # A named choice and parallel_tool_calls=false both mean one call: the answer is over where it ends.
    one_call = tools_active and (
        request.parallel_tool_calls is False or isinstance(request.tool_choice, NamedToolChoice)
    )
    hidden = tokenizer.special_ids - markers if tools_active else tokenizer.special_ids
    sampling = options.sampling_params(request, served.default_sampling)
    stops = options.stop_strings(request)
    top_logprobs = _top_logprobs(request)
    specs = [
        SequenceSpec(
            index=index,
            prompt_ids=tuple(prompt_ids),
            max_tokens=budget,
            sampling=sampling,
            end_ids=frozenset() if request.ignore_eos else served.end_ids,
            hidden_ids=frozenset() if request.skip_special_tokens is False else hidden,
            stops=stops,
            forced_ids=tuple(tokenizer.encode(forced_text, add_special_tokens=False)) if forced_text else (),
            last_ids=frozenset({tokenizer.marker_ids[CALL_END]}) if one_call else frozenset(),
            top_logprobs=top_logprobs,
        )
        for index in range(options.choice_count(request))
    ]
    return ChatPlan(request, prompt_ids, specs, tools_active)


def _judge_tools(service: Service, request: ChatRequest) -> tuple[bool, str]:
    """Return whether tools are in play, and the markup to force."""
    names = check_tools(request.tools or [])
    choice = request.tool_choice
    forcing = isinstance(choice, NamedToolChoice) or choice == "required"
    if not names:
        if forcing:
            raise InvalidRequest("tool_choice needs tools", param="tool_choice")
        return False, ""
    if choice == "none":
        return False, ""
    if not service.tokenizer.supports_tools:
        raise InvalidRequest(
            "this checkpoint's vocabulary has no tool-call tokens", param="tools", code="unsupported_parameter"
        )
    if not forcing:
        return True, ""
    name = choice.function.name if isinstance(choice, NamedToolChoice) else None
    if name is not None and name not in names:
        raise InvalidRequest(f"tool_choice names {name[:100]!r}, which is not among the tools", param="tool_choice")
    return True, forced_call_text(name, count_calls(request.messages))


def _top_logprobs(request: ChatRequest) -> int | None:
    if not request.logprobs:
        if request.top_logprobs:
            raise InvalidRequest("top_logprobs needs logprobs to be true", param="top_logprobs")
        return None
    return options.logprob_count("top_logprobs", request.top_logprobs or 0)


class ChatResponder:
    """Turns one generation's events into the bytes of a chat completion."""

    def __init__(self, service: Service, plan: ChatPlan, response_id: str, created: int) -> None:
        """Answer under this id."""
        self._service = service
        self._plan = plan
        self._id = response_id
        self._created = created
        request = plan.request
        self._answers = [
            ChatAnswer(
                spec.index,
                service.tokenizer.token_bytes,
                parse_tools=plan.parse_tools,
                token_ids=bool(request.return_token_ids),
            )
            for spec in plan.specs
        ]
        stream_options = request.stream_options
        self._include_usage = bool(stream_options and stream_options.include_usage)
        self._running_usage = bool(stream_options and stream_options.continuous_usage_stats)

    async def whole(self, generation: Generation) -> AsyncGenerator[bytes, None]:
        """Yield the whole answer in one piece."""
        async for event in generation.events():
            self._feed(event)
        completion = ChatCompletion(
            id=self._id,
            object="chat.completion",
            created=self._created,
            model=self._service.served.name,
            choices=[answer.choice() for answer in self._answers],
            usage=usage_of(len(self._plan.prompt_ids), self._completion_tokens()),
            system_fingerprint=self._service.fingerprint,
            prompt_token_ids=self._plan.prompt_ids if self._plan.request.return_token_ids else UNSET,
        )
        yield msgspec.json.encode(completion)

    async def stream(self, generation: Generation) -> AsyncGenerator[bytes, None]:
        """Yield the answer as server-sent events."""
        first = True
        async for event in generation.events():
            for choice in self._feed(event):
                chunk = self._chunk([choice])
                if first and self._plan.request.return_token_ids:
                    chunk.prompt_token_ids = self._plan.prompt_ids
                first = False
                yield encode_event(chunk)
        if self._include_usage:
            chunk = self._chunk([])
            chunk.usage = usage_of(len(self._plan.prompt_ids), self._completion_tokens())
            yield encode_event(chunk)
        yield DONE

    def _feed(self, event: Event) -> Iterator[ChunkChoice]:
        return self._answers[event.choice].feed(event)

    def _completion_tokens(self) -> int:
        return sum(answer.tokens for answer in self._answers)

    def _chunk(self, choices: list[ChunkChoice]) -> ChatChunk:
        chunk = ChatChunk(
            id=self._id,
            object="chat.completion.chunk",
            created=self._created,
            model=self._service.served.name,
            choices=choices,
            system_fingerprint=self._service.fingerprint,
        )
        if self._running_usage:
            chunk.usage = usage_of(len(self._plan.prompt_ids), self._completion_tokens())
        elif self._include_usage:
            chunk.usage = None
        return chunk
