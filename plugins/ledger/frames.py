r"""The journal's frames: how a payload is framed, and how frames are found again, whatever happened to the bytes between.

A frame is `\xc1MGJ`, the payload's length and its CRC-32 (both 4 bytes, little-endian; the CRC starts from the length), and
the payload. Neither MessagePack's own bytes nor UTF-8 hold 0xC1, so a frame's start is seldom found where there is none.
"""

from __future__ import annotations

import zlib
from enum import StrEnum
from struct import Struct as Layout

from msgspec import Struct

MAGIC = b"\xc1MGJ"
MOST_PAYLOAD_BYTES = 65_536

_HEADER = Layout("<4sII")
HEADER_BYTES = _HEADER.size
_pack = _HEADER.pack
_crc32 = zlib.crc32


class Fault(StrEnum):
    """What is wrong. Torn: the last frame, not written to its end. Unreadable: a whole frame whose payload says nothing."""

    TORN = "torn"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"


class Frame(Struct, frozen=True, gc=False):
    """A whole frame; `end` is the offset after it."""

    payload: bytes
    end: int


class Damage(Struct, frozen=True):
    """Bytes that tell nothing: where they start, and how many."""

    fault: Fault
    start: int
    length: int


class Found(Struct, frozen=True):
    """What some bytes hold; `end` is the offset after all that was looked at."""

    frames: list[Frame]
    damages: list[Damage]
    end: int


def encode_frame(payload: bytes) -> bytes:
    """Frame a payload.

    Raises:
        ValueError: it is longer than a frame may be.
    """
    length = len(payload)
    if length > MOST_PAYLOAD_BYTES:
        raise ValueError(f"a frame of {length} bytes is too long")
    return _pack(MAGIC, length, _crc32(payload, length)) + payload


def find_frames(data: bytes, *, base: int = 0, most: int | None = None, whole: bool = True) -> Found:
    """Find the frames in a piece of a file.

    Args:
        data: the piece.
        base: the offset in the file at which the piece starts.
        most: stop after so many frames.
        whole: the file ends with the piece. Otherwise the search ends before what may go on after it.
    """
    frames: list[Frame] = []
    damages: list[Damage] = []
    at, size = 0, len(data)
    while at < size and (most is None or len(frames) < most):
        end = _frame_end(data, at)
        if end is not None:
            frames.append(Frame(data[at + HEADER_BYTES : end], base + end))
            at = end
            continue
        following = _next_frame(data, at + 1)
        if following is None and not whole:
            break
        until = size if following is None else following
        fault = Fault.TORN if following is None and _is_torn(data, at) else Fault.DAMAGED
        damages.append(Damage(fault, base + at, until - at))
        at = until
    return Found(frames, damages, base + at)


def _frame_end(data: bytes, at: int) -> int | None:
    """Where the frame that starts here ends; None if no whole frame does."""
    if len(data) - at < HEADER_BYTES:
        return None
    magic, length, crc = _HEADER.unpack_from(data, at)
    end = at + HEADER_BYTES + length
    if magic != MAGIC or length > MOST_PAYLOAD_BYTES or end > len(data):
        return None
    return end if _crc32(data[at + HEADER_BYTES : end], length) == crc else None


def _next_frame(data: bytes, at: int) -> int | None:
    """Where the next whole frame starts."""
    at = data.find(MAGIC, at)
    while at >= 0:
        if _frame_end(data, at) is not None:
            return at
        at = data.find(MAGIC, at + 1)
    return None


def _is_torn(data: bytes, at: int) -> bool:
    """Whether the last bytes look like a frame that was begun: a part of one, or the zeros of a file that grew first."""
    rest = data[at:]
    if not rest.strip(b"\0"):
        return True
    if len(rest) < HEADER_BYTES:
        return rest.startswith(MAGIC[: len(rest)])
    magic, length, _ = _HEADER.unpack_from(rest)
    return bool(magic == MAGIC and length <= MOST_PAYLOAD_BYTES and HEADER_BYTES + length > len(rest))
