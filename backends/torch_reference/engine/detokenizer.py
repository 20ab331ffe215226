"""Turns token ids into text as they come, never splitting a character; it must not know about models or requests."""

import codecs
from collections.abc import Mapping, Sequence


def byte_level_alphabet() -> dict[str, int]:
    """Return the byte that each printable stand-in of byte-level BPE means.

    Byte-level vocabularies are written with one visible character per byte: printable bytes stand for themselves, and
    the others take the code points from 256 on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    alphabet = {chr(byte): byte for byte in printable}
    hidden = [byte for byte in range(256) if byte not in printable]
    alphabet.update({chr(256 + rank): byte for rank, byte in enumerate(hidden)})
    return alphabet


def build_token_bytes(vocabulary: Mapping[str, int], added_tokens: Mapping[int, str]) -> list[bytes]:
    """Return the bytes of every token id; added tokens are written as they read, all others in the byte alphabet."""
    alphabet = byte_level_alphabet()
    size = max([*vocabulary.values(), *added_tokens], default=-1) + 1
    table = [b""] * size
    for token, token_id in vocabulary.items():
        if token_id in added_tokens:
            continue
        try:
            table[token_id] = bytes(alphabet[character] for character in token)
        except KeyError as error:
            raise ValueError(f"token {token!r} is not written in the byte-level alphabet") from error
    for token_id, text in added_tokens.items():
        table[token_id] = text.encode()
    return table


class Detokenizer:
    """The text of one growing sequence of tokens."""

    def __init__(self, token_bytes: Sequence[bytes], hidden: frozenset[int] = frozenset()) -> None:
        """Decode with this table, passing over the `hidden` ids (special tokens that are no text)."""
        self._token_bytes = token_bytes
        self._hidden = hidden
        # "replace" marks bytes that can never become a character; bytes that still may are held back instead.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token_id: int) -> str:
        """Return the characters that this token completes."""
        if token_id in self._hidden or not 0 <= token_id < len(self._token_bytes):
            # A model's vocabulary may be padded past the tokenizer's: such ids stand for nothing.
            return ""
        return self._decoder.decode(self._token_bytes[token_id])

    def feed_all(self, token_ids: Sequence[int]) -> str:
        """Return the characters that these tokens complete."""
        return "".join([self.feed(token_id) for token_id in token_ids])

    # There is no `finish`: a character that the end of the text cut in half is dropped, as no reader can use half of it.


def token_text(token_bytes: bytes) -> str:
    r"""Return a token as logprobs name it: its text, or `bytes:\xf0\x9f` where it is only part of a character."""
    try:
        return token_bytes.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join([f"\\x{byte:02x}" for byte in token_bytes])
