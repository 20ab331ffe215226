"""The bodies that the engine answers with, as msgspec Structs; it must not hold logic."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

FinishReason = Literal["stop", "length", "tool_calls"]


class PromptTokensDetails(msgspec.Struct):
    """Where prompt tokens came from."""

    # Always 0, and said: there is no prefix cache, so that no answer depends on an earlier one.
    cached_tokens: int = 0


class Usage(msgspec.Struct):
    """Token counts of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


def usage_of(prompt_tokens: int, completion_tokens: int) -> Usage:
    """Return the counts as one body."""
    total = prompt_tokens + completion_tokens
    return Usage(prompt_tokens, completion_tokens, total, PromptTokensDetails())


class TopLogprob(msgspec.Struct):
    """One token that could have stood there; with its id for those who asked for ids."""

    token: str
    logprob: float
    bytes: list[int]
    id: int | UnsetType = UNSET


class TokenLogprob(msgspec.Struct):
    """One generated token of a chat answer."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]
    id: int | UnsetType = UNSET


class ChatLogprobs(msgspec.Struct):
    """All generated tokens of a chat answer, tool-call markup and end token included."""

    content: list[TokenLogprob]


class TextLogprobs(msgspec.Struct):
    """The older shape, of plain completions.

    Those who asked for ids get the generated tokens in chat's shape as well: parts of characters have no text to go by.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]
    content: list[TokenLogprob] | UnsetType = UNSET


class FunctionCall(msgspec.Struct):
    """The function half of a tool call, or of a piece of one."""

    arguments: str
    name: str | UnsetType = UNSET


class ToolCall(msgspec.Struct):
    """A tool call; in a stream, a piece of one that says which by its index."""

    function: FunctionCall
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    index: int | UnsetType = UNSET


class Message(msgspec.Struct):
    """A whole chat answer."""

    role: Literal["assistant"]
    content: str | None
    tool_calls: list[ToolCall] | UnsetType = UNSET


class ChatChoice(msgspec.Struct):
    """One answer of a chat completion."""

    index: int
    message: Message
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason
    token_ids: list[int] | UnsetType = UNSET


class ChatCompletion(msgspec.Struct):
    """The body of a chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: str
    prompt_token_ids: list[int] | UnsetType = UNSET


class Delta(msgspec.Struct):
    """What a chunk adds to a chat answer."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET


class ChunkChoice(msgspec.Struct):
    """What a chunk adds to one choice."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None
    token_ids: list[int] | UnsetType = UNSET


class ChatChunk(msgspec.Struct):
    """One event of a chat stream."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    system_fingerprint: str
    usage: Usage | UnsetType | None = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET


class TextChoice(msgspec.Struct):
    """One answer of a plain completion, or a piece of one."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    token_ids: list[int] | UnsetType = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET


class TextCompletion(msgspec.Struct):
    """The body of a plain completion, and each event of its stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    system_fingerprint: str
    usage: Usage | UnsetType | None = UNSET


class ModelCard(msgspec.Struct):
    """The served model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int
    context_length: int


class ModelList(msgspec.Struct):
    """All served models: one."""

    object: Literal["list"]
    data: list[ModelCard]


class Tokenized(msgspec.Struct):
    """The answer of /tokenize."""

    count: int
    max_model_len: int
    tokens: list[int]


class VersionInfo(msgspec.Struct):
    """What is at work here, for whoever compares engines."""

    version: str
    engine: str
    torch: str
    transformers: str
    dtype: str
