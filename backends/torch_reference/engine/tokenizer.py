"""The checkpoint's tokenizer: text to ids, conversation to prompt, id to bytes; it must not know about generation."""

from pathlib import Path
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerFast

from backends.torch_reference.engine.detokenizer import build_token_bytes
from backends.torch_reference.engine.errors import InvalidRequest
from backends.torch_reference.engine.tool_calls import MARKERS

TURN_END = "<|im_end|>"


class CheckpointTokenizer:
    """A byte-level tokenizer with Kimi's special tokens and its chat template."""

    def __init__(self, folder: Path, context_length: int) -> None:
        """Load tokenizer.json and the template; raises OSError or ValueError for what cannot be used."""
        self._context_length = context_length
        self._tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        added = self._tokenizer.added_tokens_decoder
        self.token_bytes = build_token_bytes(
            self._tokenizer.get_vocab(), {token_id: token.content for token_id, token in added.items()}
        )
        self._longest_token = max(len(token) for token in self.token_bytes)
        self.special_ids = frozenset(token_id for token_id, token in added.items() if token.special)
        self.marker_ids = {marker: token_id for marker in MARKERS if (token_id := self.token_id(marker)) is not None}
        self.has_template = bool(self._tokenizer.chat_template)

    @property
    def supports_tools(self) -> bool:
        """Whether every tool-call marker is one token of the vocabulary."""
        return len(self.marker_ids) == len(MARKERS)

    def token_id(self, token: str) -> int | None:
        """Return the id of a token that is written exactly so."""
        found = self._tokenizer.get_vocab().get(token)
        return found if isinstance(found, int) else None

    def end_ids(self) -> frozenset[int]:
        """Return the ids by which the tokenizer says that a text or a turn is over."""
        # Kimi's eos token ends a document; its turns end with <|im_end|>, which only generation_config.json repeats.
        found = (self._tokenizer.eos_token_id, self.token_id(TURN_END))
        return frozenset(token_id for token_id in found if isinstance(token_id, int))

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the token ids of a text, unless it is so long that it cannot fit the context however it is cut."""
        # Cutting megabytes would keep the event loop from everybody else, only to refuse them afterwards.
        if len(text) > self._longest_token * self._context_length:
            raise InvalidRequest(
                f"This model's maximum context length is {self._context_length} tokens. However, your prompt of "
                f"{len(text)} characters has more. Please shorten it.",
                param="max_tokens",
                code="context_length_exceeded",
            )
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return ids

    def render(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        arguments: dict[str, Any],
        *,
        add_generation_prompt: bool = True,
    ) -> list[int]:
        """Return the token ids of a conversation, as transformers' own apply_chat_template writes it."""
        if not self.has_template:
            raise InvalidRequest("this checkpoint has no chat template: use /v1/completions", param="messages")
        try:
            text: str = self._tokenizer.apply_chat_template(
                messages,
                tools=tools or None,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **arguments,
            )
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            # TypeError and ValueError: what a template's filters and slices raise at values it did not expect.
            # Only what a template itself says by raise_exception is meant for readers.
            reason = f": {error}"[:300] if type(error) is jinja2.TemplateError else ""
            raise InvalidRequest(
                f"the checkpoint's chat template cannot render this conversation{reason}", param="messages"
            ) from error
        # The template writes the special tokens itself.
        return self.encode(text, add_special_tokens=False)
