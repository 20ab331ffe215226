"""Writes token scores in OpenAI's two shapes; it must not compute any."""

from collections.abc import Sequence

from msgspec import UNSET

from backends.torch_reference.engine.detokenizer import Detokenizer, token_text
from backends.torch_reference.engine.responses import TextLogprobs, TokenLogprob, TopLogprob
from backends.torch_reference.engine.sequence import TokenScore


def _bytes_of(token_bytes: Sequence[bytes], token_id: int) -> bytes:
    return token_bytes[token_id] if token_id < len(token_bytes) else b""


def chat_logprob(score: TokenScore, token_bytes: Sequence[bytes], *, token_ids: bool) -> TokenLogprob:
    """Return one token as chat completions list it."""
    raw = _bytes_of(token_bytes, score.token_id)
    top = []
    for token_id, logprob in score.top:
        raw_top = _bytes_of(token_bytes, token_id)
        top.append(TopLogprob(token_text(raw_top), logprob, list(raw_top), token_id if token_ids else UNSET))
    return TokenLogprob(token_text(raw), score.logprob, list(raw), top, score.token_id if token_ids else UNSET)


class TextLogprobWriter:
    """The token list of one plain completion, with the offsets of its tokens in the text."""

    def __init__(self, token_bytes: Sequence[bytes], hidden: frozenset[int], *, token_ids: bool) -> None:
        """Start at the beginning of the text."""
        self._token_bytes = token_bytes
        self._list_token_ids = token_ids
        self._detokenizer = Detokenizer(token_bytes, hidden)
        self._offset = 0
        self._entries = TextLogprobs([], [], [], [])

    def add_prompt(self, token_ids: Sequence[int], scores: Sequence[TokenScore | None]) -> None:
        """Add the tokens of an echoed prompt."""
        # The prompt is echoed with all its tokens, special ones too.
        detokenizer = Detokenizer(self._token_bytes)
        for token_id, score in zip(token_ids, scores, strict=True):
            self._add(token_id, score, detokenizer)

    def add(self, score: TokenScore) -> None:
        """Add a generated token."""
        self._add(score.token_id, score, self._detokenizer)
        if self._list_token_ids:
            entries = self._entries
            entries.content = [] if entries.content is UNSET else entries.content
            entries.content.append(chat_logprob(score, self._token_bytes, token_ids=True))

    def take(self) -> TextLogprobs:
        """Return what was added since the last time."""
        entries, self._entries = self._entries, TextLogprobs([], [], [], [])
        return entries

    def _add(self, token_id: int, score: TokenScore | None, detokenizer: Detokenizer) -> None:
        entries = self._entries
        entries.tokens.append(token_text(_bytes_of(self._token_bytes, token_id)))
        entries.token_logprobs.append(None if score is None else score.logprob)
        entries.top_logprobs.append(None if score is None else self._top(score))
        entries.text_offset.append(self._offset)
        self._offset += len(detokenizer.feed(token_id))

    def _top(self, score: TokenScore) -> dict[str, float]:
        top = {token_text(_bytes_of(self._token_bytes, token_id)): logprob for token_id, logprob in score.top}
        # The chosen token is always listed, as OpenAI's API has it: up to one more than was asked for.
        top.setdefault(token_text(_bytes_of(self._token_bytes, score.token_id)), score.logprob)
        return top
