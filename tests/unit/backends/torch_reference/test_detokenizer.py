"""Text out of byte-level tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.torch_reference.engine.detokenizer import (
    Detokenizer,
    build_token_bytes,
    byte_level_alphabet,
    token_text,
)

# One token per byte, so that every character beyond ASCII is split; then two special tokens.
SPECIAL, TURN_END = 256, 257
BYTE_LEVEL = byte_level_alphabet()
TABLE = build_token_bytes(
    BYTE_LEVEL | {"<|special|>": SPECIAL, "<|im_end|>": TURN_END}, {SPECIAL: "<|special|>", TURN_END: "<|im_end|>"}
)


def test_every_byte_has_one_stand_in() -> None:
    assert sorted(BYTE_LEVEL.values()) == list(range(256))
    assert BYTE_LEVEL["Ġ"] == ord(" ")
    assert BYTE_LEVEL["Ċ"] == ord("\n")
    assert BYTE_LEVEL["Ã"] == 0xC3


@given(st.text())
def test_text_survives_being_split_into_bytes(text: str) -> None:
    assert Detokenizer(TABLE).feed_all(list(text.encode())) == text


@given(st.text())
def test_no_character_is_shown_before_it_is_whole(text: str) -> None:
    detokenizer = Detokenizer(TABLE)
    shown = ""
    for byte in text.encode():
        shown += detokenizer.feed(byte)
        assert text.startswith(shown)


def test_a_character_cut_by_the_end_is_dropped() -> None:
    assert Detokenizer(TABLE).feed_all(list("a🌍".encode()[:-1])) == "a"


def test_bytes_that_are_no_text_are_marked() -> None:
    assert Detokenizer(TABLE).feed_all([0xFF, ord("a")]) == "�a"
    # Half a character, then something else: it can never become whole.
    assert Detokenizer(TABLE).feed_all([0xC3, ord("a")]) == "�a"


def test_special_tokens_are_text_unless_hidden() -> None:
    ids = [ord("a"), SPECIAL, ord("b"), TURN_END]
    assert Detokenizer(TABLE).feed_all(ids) == "a<|special|>b<|im_end|>"
    assert Detokenizer(TABLE, frozenset({TURN_END})).feed_all(ids) == "a<|special|>b"


def test_ids_beyond_the_vocabulary_are_nothing() -> None:
    assert Detokenizer(TABLE).feed(100_000) == ""


def test_a_vocabulary_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="byte-level"):
        build_token_bytes({"▁the": 0}, {})


def test_tokens_are_named_by_text_or_else_by_bytes() -> None:
    assert token_text("é".encode()) == "é"
    assert token_text(b"\xf0\x9f") == "bytes:\\xf0\\x9f"
