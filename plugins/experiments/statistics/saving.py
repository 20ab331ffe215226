"""States of running sequences as bytes and back: numpy's numbers and arrays become plain ones."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import numpy as np

S = TypeVar("S", bound=msgspec.Struct)


def save(state: msgspec.Struct) -> bytes:
    """A state's bytes: MessagePack, so that infinite numbers keep their value."""
    return msgspec.msgpack.encode(state, enc_hook=_plain)


def load(kind: type[S], saved: bytes) -> S:
    """A state that `save` wrote; msgspec.ValidationError if it is of another kind."""
    return msgspec.msgpack.decode(saved, type=kind)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise NotImplementedError(f"{type(value)} is no part of a state")
