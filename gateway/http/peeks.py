"""What the gateway reads of a request, one type per operation; what is not named here passes unread to the engine."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Raw, Struct

_Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]

# msgspec takes Raw alone for "anything", but not Raw in a union; these stand for what the body does not hold.
_NULL = Raw(b"null")
_ABSENT = Raw(b"")


class StreamOptions(Struct, frozen=True):
    """`stream_options` as far as it concerns us."""

    include_usage: bool | None = None


class Metadata(Struct, frozen=True):
    """`metadata` of Anthropic's API as far as it concerns us."""

    user_id: str | None = None


class Peek(Struct, frozen=True, kw_only=True):
    """What a call is made of; the properties mean the same for every operation.

    Bounds of the fields are OpenAI's, for what is Anthropic's too: the engines behind both take the same.
    """

    model: str
    tools: Raw = _NULL

    @property
    def streamed(self) -> bool:
        """Whether the answer shall come in events."""
        return False

    @property
    def wants_usage(self) -> bool:
        """Whether a stream shall tell of its usage."""
        return False

    @property
    def sets_stream_options(self) -> bool:
        """Whether the body holds `stream_options`."""
        return False

    @property
    def answer_limit(self) -> int | None:
        """The longest answer asked for, in tokens."""
        return None

    @property
    def caller(self) -> str | None:
        """Whom the caller asks for: its own name for one of its users."""
        return None

    @property
    def declares_tools(self) -> bool:
        """Whether the model may call tools."""
        if self.tools is _NULL:
            return False
        start = _start(self.tools)
        return start != b"null" and not _is_empty(start)


class Generation(Peek, frozen=True, kw_only=True):
    """What all operations share that make a model write."""

    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None

    @property
    def streamed(self) -> bool:
        """As asked for."""
        return bool(self.stream)


class Completion(Generation, frozen=True, kw_only=True):
    """What chat and completions share."""

    stream_options: StreamOptions | None = None
    max_tokens: _Tokens | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    user: str | None = None

    @property
    def wants_usage(self) -> bool:
        """Only if asked for: a chunk of usage alone is not what every client expects."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def sets_stream_options(self) -> bool:
        """As it says."""
        return self.stream_options is not None

    @property
    def answer_limit(self) -> int | None:
        """`max_tokens`."""
        return self.max_tokens

    @property
    def caller(self) -> str | None:
        """`user`."""
        return self.user


class ChatPeek(Completion, frozen=True, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: Raw
    max_completion_tokens: _Tokens | None = None

    def __post_init__(self) -> None:
        _check_filled_array("messages", self.messages)

    @property
    def answer_limit(self) -> int | None:
        """The newer name wins, as it does in OpenAI's API."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


class CompletionsPeek(Completion, frozen=True, kw_only=True):
    """`POST /v1/completions`."""

    prompt: Raw


class ResponsesPeek(Generation, frozen=True, kw_only=True):
    """`POST /v1/responses`. The gateway keeps no answers, so none can be asked for later or be gone on from."""

    input: Raw
    max_output_tokens: _Tokens | None = None
    user: str | None = None
    background: bool | None = None
    previous_response_id: str | None = None

    def __post_init__(self) -> None:
        if not _start(self.input).startswith(b'"'):
            _check_filled_array("input", self.input, "`str` or `array`")
        if self.background:
            raise _wrong("background", "Not served here, because no answer is kept to be asked for later")
        if self.previous_response_id is not None:
            raise _wrong(
                "previous_response_id", "Not served here, because no answer is kept; send the conversation in `input`"
            )

    @property
    def wants_usage(self) -> bool:
        """Always: it is part of the last event."""
        return True

    @property
    def answer_limit(self) -> int | None:
        """`max_output_tokens`."""
        return self.max_output_tokens

    @property
    def caller(self) -> str | None:
        """`user`."""
        return self.user


class CountTokensPeek(Peek, frozen=True, kw_only=True):
    """`POST /v1/messages/count_tokens`."""

    messages: Raw
    system: Raw = _NULL

    def __post_init__(self) -> None:
        _check_conversation(self.messages, self.system, self.tools)


class MessagesPeek(Generation, frozen=True, kw_only=True):
    """`POST /v1/messages`."""

    max_tokens: _Tokens
    messages: Raw
    system: Raw = _NULL
    metadata: Metadata | None = None

    def __post_init__(self) -> None:
        _check_conversation(self.messages, self.system, self.tools)

    @property
    def wants_usage(self) -> bool:
        """Always: it is part of the first and of the last but one event."""
        return True

    @property
    def answer_limit(self) -> int | None:
        """`max_tokens`, which must be there."""
        return self.max_tokens

    @property
    def caller(self) -> str | None:
        """`metadata.user_id`."""
        return self.metadata.user_id if self.metadata is not None else None


class TokenizePeek(Peek, frozen=True, kw_only=True):
    """`POST /tokenize`: a text, or a conversation as the chat template writes it."""

    prompt: Raw = _ABSENT
    messages: Raw = _ABSENT

    def __post_init__(self) -> None:
        if (self.prompt == _ABSENT) is (self.messages == _ABSENT):
            raise _wrong("prompt", "Expected either `prompt` or `messages`")
        if self.messages != _ABSENT:
            _check_filled_array("messages", self.messages)
        elif not _start(self.prompt).startswith((b'"', b"[")):
            raise _wrong("prompt", "Expected `str` or `array`, got another type")


def _check_conversation(messages: Raw, system: Raw, tools: Raw) -> None:
    """What Anthropic's two operations share."""
    _check_filled_array("messages", messages)
    if not _start(system).startswith((b'"', b"[", b"null")):
        raise _wrong("system", "Expected `str` or `array`, got another type")
    if not _start(tools).startswith((b"[", b"null")):
        raise _wrong("tools", "Expected `array`, got another type")


def _check_filled_array(name: str, raw: Raw, expected: str = "`array`") -> None:
    start = _start(raw)
    if not start.startswith(b"["):
        raise _wrong(name, f"Expected {expected}, got another type")
    if _is_empty(start):
        raise _wrong(name, "Expected at least one item")


def _wrong(param: str, text: str) -> ValueError:
    """Worded as msgspec words its own findings, so that one place reads both."""
    return ValueError(f"{text} - at `$.{param}`")


def _is_empty(start: bytes) -> bool:
    """Whether an array that begins so has nothing in it."""
    return start.startswith(b"[") and start[1:].lstrip().startswith(b"]")


def _start(raw: Raw) -> bytes:
    """The first bytes of a value: a prompt may be megabytes long, and is not copied to look at its first one."""
    return memoryview(raw)[:64].tobytes()
