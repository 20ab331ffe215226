"""One chat answer as it grows: text, tool calls, scores, reason; the same steps feed a stream and a whole body."""

from collections.abc import Iterator, Sequence

from msgspec import UNSET

from backends.torch_reference.engine.logprobs import chat_logprob
from backends.torch_reference.engine.responses import (
    ChatChoice,
    ChatLogprobs,
    ChunkChoice,
    Delta,
    FinishReason,
    FunctionCall,
    Message,
    TokenLogprob,
    ToolCall,
)
from backends.torch_reference.engine.sequence import Event, Finished, TokenAdded
from backends.torch_reference.engine.tool_calls import CallStarted, ContentDelta, ToolCallParser, ToolEvent


class ChatAnswer:
    """One choice of a chat completion."""

    def __init__(self, index: int, token_bytes: Sequence[bytes], *, parse_tools: bool, token_ids: bool) -> None:
        """Start empty."""
        self.tokens = 0
        self._index = index
        self._token_bytes = token_bytes
        self._parser = ToolCallParser() if parse_tools else None
        self._content: list[str] = []
        self._calls: list[tuple[CallStarted, list[str]]] = []
        self._reason: FinishReason | None = None
        self._announced = False
        self._scored = False
        self._list_token_ids = token_ids
        # What the whole answer holds, and what no chunk has carried yet.
        self._scores: list[TokenLogprob] = []
        self._token_ids: list[int] = []
        self._unsent_scores: list[TokenLogprob] = []
        self._unsent_token_ids: list[int] = []

    def feed(self, event: Event) -> Iterator[ChunkChoice]:
        """Take an event; return the chunks that it gives, which a caller that does not stream may drop."""
        deltas: list[Delta] = []
        if not self._announced:
            self._announced = True
            deltas.append(Delta(role="assistant", content=""))
        if isinstance(event, TokenAdded):
            self._count(event)
            deltas += self._text_deltas(event.text)
        elif isinstance(event, Finished):
            deltas += [self._delta(tool_event) for tool_event in self._parser.finish()] if self._parser else []
            called = event.reason == "stop" and bool(self._calls)
            self._reason = "tool_calls" if called else event.reason
            deltas.append(Delta())
        return iter([self._chunk(delta, last=position == len(deltas) - 1) for position, delta in enumerate(deltas)])

    def choice(self) -> ChatChoice:
        """Return the whole answer."""
        content = "".join(self._content)
        message = Message(role="assistant", content=content if content or not self._calls else None)
        if self._calls:
            message.tool_calls = [
                ToolCall(id=call.id, type="function", function=FunctionCall(name=call.name, arguments="".join(text)))
                for call, text in self._calls
            ]
        return ChatChoice(
            index=self._index,
            message=message,
            logprobs=ChatLogprobs(self._scores) if self._scored else None,
            finish_reason=self._reason or "stop",
            token_ids=self._token_ids if self._list_token_ids else UNSET,
        )

    def _count(self, event: TokenAdded) -> None:
        self.tokens += 1
        if event.score is not None:
            self._scored = True
            scored = chat_logprob(event.score, self._token_bytes, token_ids=self._list_token_ids)
            self._scores.append(scored)
            self._unsent_scores.append(scored)
        if self._list_token_ids:
            self._token_ids.append(event.token_id)
            self._unsent_token_ids.append(event.token_id)

    def _text_deltas(self, text: str) -> list[Delta]:
        if not text:
            return []
        if self._parser is None:
            return [self._delta(ContentDelta(text))]
        return [self._delta(event) for event in self._parser.feed(text)]

    def _delta(self, event: ToolEvent) -> Delta:
        """Keep what an event says and return it as a delta."""
        if isinstance(event, ContentDelta):
            self._content.append(event.text)
            return Delta(content=event.text)
        if isinstance(event, CallStarted):
            self._calls.append((event, []))
            function = FunctionCall(name=event.name, arguments="")
            return Delta(tool_calls=[ToolCall(index=event.position, id=event.id, type="function", function=function)])
        self._calls[event.position][1].append(event.text)
        return Delta(tool_calls=[ToolCall(index=event.position, function=FunctionCall(arguments=event.text))])

    def _chunk(self, delta: Delta, *, last: bool) -> ChunkChoice:
        """Return a chunk; the last of an event carries the scores, and the very last one the reason."""
        chunk = ChunkChoice(index=self._index, delta=delta, logprobs=None, finish_reason=None)
        if last:
            if self._unsent_scores:
                chunk.logprobs = ChatLogprobs(self._unsent_scores)
                self._unsent_scores = []
            if self._list_token_ids:
                chunk.token_ids, self._unsent_token_ids = self._unsent_token_ids, []
            chunk.finish_reason = self._reason
        return chunk
