"""The request bodies that the engine understands, as msgspec Structs; it must not judge values beyond their types.

Fields that are declared here but not supported exist to be refused: a client must learn that its answer would not be
constrained. Fields that are not declared are ignored, and named in the `x-ignored-parameters` header.
"""

from typing import Any, Literal

import msgspec


class StreamOptions(msgspec.Struct):
    """What a stream carries besides text."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class ResponseFormat(msgspec.Struct):
    """The wanted shape of the answer; only `text` is supported."""

    type: str


class GenerationFields(msgspec.Struct, kw_only=True):
    """What chat and plain completions have in common."""

    model: str
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    return_token_ids: bool | None = None
    # Declared so that a value with an effect is refused.
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    min_p: float | None = None
    best_of: int | None = None
    logit_bias: dict[str, float] | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: dict[str, Any] | None = None
    guided_json: Any = None
    guided_regex: Any = None
    guided_choice: Any = None
    guided_grammar: Any = None
    regex: Any = None
    ebnf: Any = None


class ContentPart(msgspec.Struct):
    """One part of a message's content."""

    type: str
    text: str | None = None


class FunctionCall(msgspec.Struct):
    """The function half of a tool call in the history."""

    name: str
    arguments: str | dict[str, Any] = ""


class ToolCall(msgspec.Struct):
    """A tool call that the assistant made earlier in the conversation."""

    id: str
    function: FunctionCall
    type: str = "function"


class Message(msgspec.Struct):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class FunctionDeclaration(msgspec.Struct):
    """What a declared tool must at least have."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(msgspec.Struct):
    """A declared tool."""

    type: Literal["function"]
    function: FunctionDeclaration


class FunctionName(msgspec.Struct):
    """The function half of a named tool choice."""

    name: str


class NamedToolChoice(msgspec.Struct):
    """A tool choice that forces one function."""

    type: Literal["function"]
    function: FunctionName


class ChatRequest(GenerationFields, kw_only=True):
    """The body of POST /v1/chat/completions."""

    messages: list[Message]
    # Kept as the client wrote them, key order included: the template prints them into the prompt.
    tools: list[dict[str, Any]] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    functions: list[Any] | None = None
    function_call: Any = None


class CompletionRequest(GenerationFields, kw_only=True):
    """The body of POST /v1/completions."""

    # Of these only: a text, texts, token ids, or lists of token ids. msgspec cannot say so; `completions.py` checks.
    prompt: str | list[str | int | list[int]]
    logprobs: int | None = None
    echo: bool | None = None
    suffix: str | None = None


class TokenizeTextRequest(msgspec.Struct, kw_only=True):
    """The body of POST /tokenize for a plain prompt."""

    prompt: str
    model: str | None = None
    add_special_tokens: bool = True


class TokenizeChatRequest(msgspec.Struct, kw_only=True):
    """The body of POST /tokenize for a conversation."""

    messages: list[Message]
    tools: list[dict[str, Any]] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    model: str | None = None
    add_generation_prompt: bool = True
