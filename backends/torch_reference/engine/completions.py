"""Plain completions: from the request to what the worker does, and from its events to chunks or one body; no HTTP here."""

from collections.abc import AsyncGenerator
from typing import NamedTuple, TypeGuard

import msgspec
from msgspec import UNSET

from backends.torch_reference.engine import options
from backends.torch_reference.engine.detokenizer import Detokenizer
from backends.torch_reference.engine.errors import InvalidRequest
from backends.torch_reference.engine.generation import Generation
from backends.torch_reference.engine.logprobs import TextLogprobWriter
from backends.torch_reference.engine.protocol import CompletionRequest
from backends.torch_reference.engine.responses import TextChoice, TextCompletion, TextLogprobs, Usage, usage_of
from backends.torch_reference.engine.sequence import (
    Event,
    Finished,
    PromptScored,
    SequenceSpec,
    TokenAdded,
)
from backends.torch_reference.engine.service import Service
from backends.torch_reference.engine.sse import DONE, encode_event

# OpenAI's default for plain completions.
DEFAULT_MAX_TOKENS = 16


class CompletionPlan(NamedTuple):
    """A completion request, judged and translated."""

    request: CompletionRequest
    prompts: list[list[int]]
    specs: list[SequenceSpec]


def plan_completion(service: Service, request: CompletionRequest) -> CompletionPlan:
    """Judge a request and translate it for the worker."""
    options.refuse_unsupported(request)
    options.check_stream_options(request)
    if request.suffix:
        raise InvalidRequest("suffix is not supported by this engine", param="suffix", code="unsupported_parameter")
    served = service.served
    prompts = _read_prompts(service, request.prompt)
    count = options.choice_count(request)
    if count * len(prompts) > options.MAX_CHOICES:
        raise InvalidRequest(f"prompts times n must be at most {options.MAX_CHOICES}", param="prompt")
    top = None if request.logprobs is None else options.logprob_count("logprobs", request.logprobs)
    sampling = options.sampling_params(request, served.default_sampling)
    stops = options.stop_strings(request)
    specs = []
    for position, prompt_ids in enumerate(prompts):
        budget = options.token_budget(
            request.max_tokens,
            len(prompt_ids),
            served.context_length,
            default=DEFAULT_MAX_TOKENS,
            param="max_tokens",
            # Nothing to generate is a way to have a prompt scored.
            smallest=0 if request.echo else 1,
        )
        specs += [
            SequenceSpec(
                index=position * count + number,
                prompt_ids=tuple(prompt_ids),
                max_tokens=budget,
                sampling=sampling,
                end_ids=frozenset() if request.ignore_eos else served.end_ids,
                hidden_ids=frozenset() if request.skip_special_tokens is False else service.tokenizer.special_ids,
                stops=stops,
                top_logprobs=top,
                score_prompt=bool(request.echo) and top is not None,
            )
            for number in range(count)
        ]
    return CompletionPlan(request, prompts, specs)


def _read_prompts(service: Service, prompt: str | list[str | int | list[int]]) -> list[list[int]]:
    """Return the token ids of every prompt."""
    if isinstance(prompt, str):
        return [service.tokenizer.encode(prompt, add_special_tokens=True)]
    if not prompt:
        raise InvalidRequest("prompt must not be empty", param="prompt")
    if _all_ids(prompt):
        return [_check_ids(service, prompt)]
    prompts = []
    for item in prompt:
        if isinstance(item, str):
            prompts.append(service.tokenizer.encode(item, add_special_tokens=True))
        elif isinstance(item, list):
            prompts.append(_check_ids(service, item))
        else:
            raise InvalidRequest(
                "prompt must be a text, a list of texts, a list of token ids, or a list of such lists", param="prompt"
            )
    return prompts


def _all_ids(prompt: list[str | int | list[int]]) -> TypeGuard[list[int]]:
    return all(isinstance(item, int) for item in prompt)


def _check_ids(service: Service, token_ids: list[int]) -> list[int]:
    if not all(0 <= token_id < service.served.vocabulary_size for token_id in token_ids):
        raise InvalidRequest(f"token ids must be between 0 and {service.served.vocabulary_size - 1}", param="prompt")
    return token_ids


class TextAnswer:
    """One choice of a plain completion as it grows."""

    def __init__(self, service: Service, spec: SequenceSpec, request: CompletionRequest) -> None:
        """Start empty; an echo begins with the prompt."""
        self.tokens = 0
        self._spec = spec
        self._request = request
        self._token_bytes = service.tokenizer.token_bytes
        ids = bool(request.return_token_ids)
        self._writer = TextLogprobWriter(self._token_bytes, spec.hidden_ids, token_ids=ids) if self._scored else None
        self._echoed = not request.echo

    @property
    def _scored(self) -> bool:
        return self._spec.top_logprobs is not None

    def feed(self, event: Event) -> TextChoice | None:
        """Take an event; return what it adds, or None when there is nothing to show yet."""
        choice = TextChoice(index=self._spec.index, text="", logprobs=None, finish_reason=None)
        listing = bool(self._request.return_token_ids)
        if isinstance(event, PromptScored):
            if self._writer is not None:
                self._writer.add_prompt(self._spec.prompt_ids, event.scores)
            return None
        if not self._echoed:
            self._echoed = True
            choice.text = Detokenizer(self._token_bytes).feed_all(self._spec.prompt_ids)
        if isinstance(event, TokenAdded):
            self.tokens += 1
            choice.text += event.text
            if listing:
                choice.token_ids = [event.token_id]
            if self._writer is not None and event.score is not None:
                self._writer.add(event.score)
            if not choice.text and not listing:
                return None
        elif isinstance(event, Finished):
            choice.finish_reason = event.reason
        if self._writer is not None:
            entries = self._writer.take()
            choice.logprobs = entries if entries.tokens else None
        return choice


class CompletionResponder:
    """Turns one generation's events into the bytes of a plain completion."""

    def __init__(self, service: Service, plan: CompletionPlan, response_id: str, created: int) -> None:
        """Answer under this id."""
        self._service = service
        self._plan = plan
        self._id = response_id
        self._created = created
        self._answers = [TextAnswer(service, spec, plan.request) for spec in plan.specs]
        stream_options = plan.request.stream_options
        self._include_usage = bool(stream_options and stream_options.include_usage)
        self._running_usage = bool(stream_options and stream_options.continuous_usage_stats)

    async def whole(self, generation: Generation) -> AsyncGenerator[bytes, None]:
        """Yield the whole answer in one piece."""
        whole = [TextChoice(index=spec.index, text="", logprobs=None, finish_reason=None) for spec in self._plan.specs]
        async for event in generation.events():
            piece = self._answers[event.choice].feed(event)
            if piece is not None:
                _merge(whole[event.choice], piece)
        if self._plan.request.return_token_ids:
            for choice, spec in zip(whole, self._plan.specs, strict=True):
                choice.prompt_token_ids = list(spec.prompt_ids)
        completion = self._completion(whole)
        completion.usage = self._usage()
        yield msgspec.json.encode(completion)

    async def stream(self, generation: Generation) -> AsyncGenerator[bytes, None]:
        """Yield the answer as server-sent events."""
        async for event in generation.events():
            piece = self._answers[event.choice].feed(event)
            if piece is not None:
                chunk = self._completion([piece])
                if self._running_usage:
                    chunk.usage = self._usage()
                elif self._include_usage:
                    chunk.usage = None
                yield encode_event(chunk)
        if self._include_usage:
            chunk = self._completion([])
            chunk.usage = self._usage()
            yield encode_event(chunk)
        yield DONE

    def _usage(self) -> Usage:
        prompt_tokens = sum(len(prompt) for prompt in self._plan.prompts)
        return usage_of(prompt_tokens, sum(answer.tokens for answer in self._answers))

    def _completion(self, choices: list[TextChoice]) -> TextCompletion:
        return TextCompletion(
            id=self._id,
            object="text_completion",
            created=self._created,
            model=self._service.served.name,
            choices=choices,
            system_fingerprint=self._service.fingerprint,
        )


def _merge(whole: TextChoice, piece: TextChoice) -> None:
    """Add a piece of an answer to the whole of it."""
    whole.text += piece.text
    whole.finish_reason = piece.finish_reason or whole.finish_reason
    if piece.token_ids is not UNSET:
        whole.token_ids = ([] if whole.token_ids is UNSET else whole.token_ids) + piece.token_ids
    if piece.logprobs is not None:
        entries = whole.logprobs = whole.logprobs or TextLogprobs([], [], [], [])
        entries.tokens += piece.logprobs.tokens
        entries.token_logprobs += piece.logprobs.token_logprobs
        entries.top_logprobs += piece.logprobs.top_logprobs
        entries.text_offset += piece.logprobs.text_offset
        if piece.logprobs.content is not UNSET:
            entries.content = ([] if entries.content is UNSET else entries.content) + piece.logprobs.content
