"""Reads the few fields of a request that the gateway acts on, and refuses what no engine could make sense of."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from gateway.contracts.call import Operation
from gateway.errors import InvalidRequest
from gateway.http import peeks
from gateway.http.peeks import Peek

_PEEKS: dict[Operation, type[Peek]] = {
    Operation.CHAT: peeks.ChatPeek,
    Operation.COMPLETIONS: peeks.CompletionsPeek,
    Operation.RESPONSES: peeks.ResponsesPeek,
    Operation.MESSAGES: peeks.MessagesPeek,
    Operation.COUNT_TOKENS: peeks.CountTokensPeek,
    Operation.TOKENIZE: peeks.TokenizePeek,
}
_DECODERS: dict[Operation, msgspec.json.Decoder[Any]] = {
    operation: msgspec.json.Decoder(wanted) for operation, wanted in _PEEKS.items()
}

_TOP_LEVEL = msgspec.json.Decoder(dict[str, Raw])


def peek(operation: Operation, body: bytes) -> Peek:
    """Read a body.

    Raises:
        InvalidRequest: it is not JSON, not an object, or a field is of the wrong type or out of bounds; `param` names it.
    """
    try:
        if not body.isascii():
            body.decode()  # msgspec looks for invalid UTF-8 only in the fields that it builds
        found: Peek = _DECODERS[operation].decode(body)
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
