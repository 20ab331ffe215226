"""Reads the few fields of a request that the gateway acts on, and refuses what no engine could make sense of."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from gateway.contracts.call import Operation
from gateway.errors import InvalidRequest

_Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class StreamOptions(Struct, frozen=True):
    """`stream_options` as far as it concerns us."""

    include_usage: bool | None = None


class Peek(Struct, frozen=True, kw_only=True):
    """What chat and completions share. Bounds are OpenAI's; what is not named here passes unread to the engine."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: _Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    user: str | None = None


class ChatPeek(Peek, frozen=True, kw_only=True):
    """`POST /v1/chat/completions`."""

    messages: Raw
    max_completion_tokens: _Tokens | None = None
    tools: Raw = Raw(b"null")  # msgspec takes Raw alone for "anything", but not Raw in a union

    def __post_init__(self) -> None:
        start = _start(self.messages)
        if not start.startswith(b"["):
            raise ValueError("Expected `array`, got another type - at `$.messages`")
        if start[1:].lstrip().startswith(b"]"):
            raise ValueError("Expected at least one message - at `$.messages`")


class CompletionsPeek(Peek, frozen=True, kw_only=True):
    """`POST /v1/completions`."""

    prompt: Raw


_DECODERS: dict[Operation, msgspec.json.Decoder[Any]] = {
    Operation.CHAT: msgspec.json.Decoder(ChatPeek),
    Operation.COMPLETIONS: msgspec.json.Decoder(CompletionsPeek),
}

_TOP_LEVEL = msgspec.json.Decoder(dict[str, Raw])


def peek(operation: Operation, body: bytes) -> ChatPeek | CompletionsPeek:
    """Read a body.

    Raises:
        InvalidRequest: it is not JSON, not an object, or a field is of the wrong type or out of bounds; `param` names it.
    """
    try:
        if not body.isascii():
            body.decode()  # msgspec looks for invalid UTF-8 only in the fields that it builds
        found: ChatPeek | CompletionsPeek = _DECODERS[operation].decode(body)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$")
        param = where.strip("`.") or None
        if text.startswith("Object missing required field `"):
            param = text.split("`")[1]
        raise InvalidRequest(f"{param or 'The body'}: {text[0].lower()}{text[1:]}.", param=param) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise InvalidRequest("The body is nested too deeply.") from error
    return found


def cut(body: bytes) -> dict[str, Raw]:
    """The body's top level, each value as it was written; `peek` has found the body sound before."""
    return _TOP_LEVEL.decode(body)


def answer_limit(found: ChatPeek | CompletionsPeek) -> int | None:
    """The longest answer asked for, in tokens; the newer name wins, as it does in OpenAI's API."""
    newer = found.max_completion_tokens if isinstance(found, ChatPeek) else None
    return newer if newer is not None else found.max_tokens


def has_tools(found: ChatPeek | CompletionsPeek) -> bool:
    """Whether tools are declared."""
    return isinstance(found, ChatPeek) and _start(found.tools) not in (b"null", b"[]")


def _start(raw: Raw) -> bytes:
    """The first bytes of a value: a prompt may be megabytes long, and is not copied to look at its first one."""
    return memoryview(raw)[:64].tobytes()
