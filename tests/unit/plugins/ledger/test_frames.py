from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.ledger.frames import HEADER_BYTES, MAGIC, MOST_PAYLOAD_BYTES, Fault, encode_frame, find_frames

payloads = st.lists(st.binary(max_size=60), max_size=8)


def texts(data: bytes, **arguments: object) -> list[bytes]:
    return [frame.payload for frame in find_frames(data, **arguments).frames]


@given(payloads)
def test_what_was_framed_is_found_again(written: list[bytes]) -> None:
    data = b"".join(map(encode_frame, written))
    found = find_frames(data)
    assert [frame.payload for frame in found.frames] == written
    assert found.damages == []
    assert found.end == len(data)


@given(payloads, st.integers(0, 200))
def test_a_search_that_stops_goes_on_where_it_was(written: list[bytes], base: int) -> None:
    data = b"".join(map(encode_frame, written))
    seen, at = [], 0
    while at < len(data):
        found = find_frames(data[at:], base=base + at, most=1)
        (frame,) = found.frames
        assert found.end == frame.end
        seen.append(frame.payload)
        at = found.end - base
    assert seen == written


def test_a_file_torn_at_any_byte_gives_all_frames_before_and_says_so() -> None:
    whole = encode_frame(b"first") + encode_frame(b"second")
    last = encode_frame(b"the last one, \xc1MGJ in it")
    for cut in range(1, len(last)):
        found = find_frames(whole + last[:cut])
        assert [frame.payload for frame in found.frames] == [b"first", b"second"]
        (damage,) = found.damages
        assert (damage.fault, damage.start, damage.length) == (Fault.TORN, len(whole), cut)


def test_zeros_after_the_last_frame_are_torn() -> None:
    """A file that grew before its blocks were written, as after a power cut."""
    found = find_frames(encode_frame(b"one") + bytes(100))
    assert [frame.payload for frame in found.frames] == [b"one"]
    assert [damage.fault for damage in found.damages] == [Fault.TORN]


def test_any_wrong_byte_costs_one_frame_and_is_reported() -> None:
    frames = [encode_frame(payload) for payload in (b"first", b"second one", b"third")]
    start, end = len(frames[0]), len(frames[0]) + len(frames[1])
    for at in range(start, end):
        for flip in (0x01, 0x80, 0xFF):
            data = bytearray(b"".join(frames))
            data[at] ^= flip
            found = find_frames(bytes(data))
            assert [frame.payload for frame in found.frames] == [b"first", b"third"]
            assert [(each.fault, each.start, each.length) for each in found.damages] == [
                (Fault.DAMAGED, start, end - start)
            ]


def test_a_wrong_last_frame_is_damaged_not_torn() -> None:
    data = bytearray(encode_frame(b"one") + encode_frame(b"two"))
    data[-1] ^= 1
    assert [damage.fault for damage in find_frames(bytes(data)).damages] == [Fault.DAMAGED]


@given(payloads, st.data())
def test_no_frame_is_invented(written: list[bytes], data: st.DataObject) -> None:
    """Whatever is cut out or written over, what is found was written, in that order; and damage is never silent."""
    original = b"".join(map(encode_frame, written))
    start = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(start, len(original)))
    changed = original[:start] + data.draw(st.binary(max_size=20)) + original[end:]
    found = find_frames(changed)
    rest = iter(written)
    assert all(frame.payload in rest for frame in found.frames)
    assert found.end == len(changed)
    covered = sum(HEADER_BYTES + len(frame.payload) for frame in found.frames)
    assert covered + sum(damage.length for damage in found.damages) == len(changed)


def test_a_piece_that_is_not_the_end_leaves_what_may_go_on() -> None:
    first, second = encode_frame(b"one"), encode_frame(b"two")
    found = find_frames(first + second[:-1], whole=False)
    assert (found.end, found.damages) == (len(first), [])


def test_a_length_that_cannot_be_is_not_believed() -> None:
    lying = MAGIC + (MOST_PAYLOAD_BYTES + 1).to_bytes(4, "little") + bytes(4)
    assert texts(lying + encode_frame(b"after")) == [b"after"]
    with pytest.raises(ValueError, match="too long"):
        encode_frame(bytes(MOST_PAYLOAD_BYTES + 1))
