"""Reads request bodies into Structs and says what it passed over; it must not judge values."""

import re
from typing import TypeVar

import msgspec

from backends.torch_reference.engine.errors import InvalidRequest

BodyT = TypeVar("BodyT")

_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]+)`")
_NAMEABLE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NAMED_AT_MOST = 20
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode_body(body: bytes, kind: type[BodyT]) -> BodyT:
    """Return the body as this type, or refuse it with the parameter to blame."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not valid JSON: {str(error)[:200]}", code="invalid_json") from error


def ignored_parameters(body: bytes, kind: type[msgspec.Struct]) -> str:
    """Return the names of the body's fields that have no meaning here, fit for a header."""
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    unknown = [name for name in _object_decoder.decode(body) if name not in known]
    # Names come from the client: only plain ones go into a header, the rest is counted.
    named = [name for name in unknown if _NAMEABLE.fullmatch(name)][:_NAMED_AT_MOST]
    more = len(unknown) - len(named)
    return ", ".join([*named, *([f"and-{more}-more"] if more else [])])


def _refusal(reason: str) -> InvalidRequest:
    path = _PATH.search(reason)
    missing = _MISSING.search(reason)
    param = missing["field"] if missing else None
    if path is not None:
        # The outermost name: `messages` for a fault anywhere in them.
        param = re.split(r"[.\[]", path["path"])[0] or None
    return InvalidRequest(reason[:500], param=param, code="invalid_type")
