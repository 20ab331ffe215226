"""Plain completions, as each dialect's data says."""

from dataclasses import dataclass
from typing import ClassVar

import msgspec

from tests.support.scripted_engine.asked import Asked, Json
from tests.support.scripted_engine.dialects.shape import OpenAIShape, completion_logprobs, logprob
from tests.support.scripted_engine.turns import Turn
from tests.support.scripted_engine.wire import sse


@dataclass(frozen=True, kw_only=True)
class CompletionShape(OpenAIShape):
    """How completions are answered. `chat_logprobs`: log-probabilities have the form that chat gives them."""

    chunk_kind: ClassVar[str] = "text_completion"
    chat_logprobs: bool = False

    def _chunk(self, index: int, text: str, ended: Turn | None, logprobs: Json | None, *, counted: bool) -> bytes:
        """One chunk; `ended` is the answer that it ends."""
        finish = None if ended is None else ended.finish
        choice: Json = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}
        choice |= self.streamed_choice | ({} if ended is None else self.stopped(ended))
        last = self.last if finish is not None and not counted else {}
        usage = {"usage": None} if counted and self.null_usage else {}
        return sse({**self.envelope(self.chunk_kind, [choice]), **self.streamed, **last, **usage})

    def events(self, turn: Turn, asked: Asked) -> list[bytes]:
        """Every event of the stream."""
        events = [event for index in range(asked.count) for event in self._choice(index, turn, asked)]
        return [*events, *self.tail(turn, asked)]

    def _choice(self, index: int, turn: Turn, asked: Asked) -> list[bytes]:
        texts = (*turn.content, "") if self.finish_apart or not turn.content else turn.content
        top = asked.top_logprobs
        return [
            self._chunk(
                index,
                text,
                turn if at == len(texts) - 1 else None,
                self._logprobs((text,), top) if top is not None and text else None,
                counted=asked.wants_usage,
            )
            for at, text in enumerate(texts)
        ]

    def _logprobs(self, texts: tuple[str, ...], top: int) -> Json:
        if self.chat_logprobs:
            scored = [{"id": 1, **logprob(text, top)} for text in texts]
            others = [
                {**each, "top_logprobs": [{"id": 1, **other} for other in each["top_logprobs"]]} for each in scored
            ]
            return {"content": others}
        return completion_logprobs(texts, top)

    def whole(self, turn: Turn, asked: Asked) -> bytes:
        """The body."""
        logprobs = None if asked.top_logprobs is None else self._logprobs(turn.content, asked.top_logprobs)
        stopped = self.stopped(turn)
        choices = [
            {
                "index": index,
                "text": turn.text,
                "logprobs": logprobs,
                "finish_reason": turn.finish,
                **self.choice,
                **stopped,
            }
            for index in range(asked.count)
        ]
        usage = {"usage": self.usage(turn, asked.count)}
        extra = {**self.whole_extra, **(self.counted_extra(turn) if self.counted_extra is not None else {})}
        return msgspec.json.encode({**self.envelope(self.chunk_kind, choices), **usage, **extra})
