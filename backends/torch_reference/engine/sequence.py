"""One growing answer: what was asked of it, and what each step adds; it must not touch tensors or the event loop."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from backends.torch_reference.engine.detokenizer import Detokenizer
from backends.torch_reference.engine.stop_strings import StopStrings

FinishReason = Literal["stop", "length"]


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """How the next token is chosen. A temperature of 0 is greedy, and 0 leaves top_k off."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None


class TokenScore(NamedTuple):
    """The log-probability of a token, and of the likeliest ones in its place."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...]


class SequenceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides one answer."""

    index: int
    prompt_ids: tuple[int, ...]
    max_tokens: int
    sampling: SamplingParams
    end_ids: frozenset[int]
    hidden_ids: frozenset[int]
    stops: tuple[str, ...] = ()
    # Tokens that are written whatever the model says, first of all: a forced tool call.
    forced_ids: tuple[int, ...] = ()
    # Tokens that end the answer and stay in its text.
    last_ids: frozenset[int] = frozenset()
    # How many alternatives to score beside each token; None scores nothing.
    top_logprobs: int | None = None
    score_prompt: bool = False


class TokenChoice(NamedTuple):
    """What one forward pass gave."""

    token_id: int
    score: TokenScore | None


class TokenSource(Protocol):
    """A model at work on one sequence."""

    def absorb(self) -> int:
        """Run the model over a piece of the prompt; return how many of its tokens are left."""

    def prompt_scores(self) -> list[TokenScore | None]:
        """Return the scores of the absorbed prompt, if they are wanted; its first token has none, as nothing precedes it."""

    def advance(self, forced_id: int | None) -> TokenChoice:
        """Choose the next token after all that was absorbed and chosen; a forced id is taken instead of a sampled one."""


class LanguageModel(Protocol):
    """What the worker drives."""

    token_bytes: Sequence[bytes]

    def open(self, spec: SequenceSpec) -> TokenSource:
        """Begin a sequence."""


class PromptScored(NamedTuple):
    """The scores of the prompt."""

    choice: int
    scores: list[TokenScore | None]


class TokenAdded(NamedTuple):
    """One more token, and the text that can be shown now; the text of a token may come with a later one."""

    choice: int
    token_id: int
    text: str
    score: TokenScore | None


class Finished(NamedTuple):
    """The end of an answer."""

    choice: int
    reason: FinishReason


class Failed(NamedTuple):
    """The engine failed at this answer."""

    choice: int


Event = PromptScored | TokenAdded | Finished | Failed


class GrowingSequence:
    """One answer on its way through the worker."""

    def __init__(self, spec: SequenceSpec, deliver: Callable[[Event], None]) -> None:
        """Start with nothing written; `deliver` is called on the worker's thread."""
        self.spec = spec
        self.deliver = deliver
        # Set by the event loop, read by the worker before each step: a plain attribute is enough under one writer.
        self.cancelled = False
        self.generated = 0
        self.absorbed = 0
        self._source: TokenSource | None = None
        self._detokenizer: Detokenizer | None = None
        self._stops = StopStrings(spec.stops)

    def step(self, model: LanguageModel) -> tuple[list[Event], bool]:
        """Add one token, or read on in a long prompt; return what there is to deliver, and whether the answer is complete."""
        spec = self.spec
        events: list[Event] = []
        if self._source is None or self._detokenizer is None:
            self._detokenizer = Detokenizer(model.token_bytes, spec.hidden_ids)
            self._source = model.open(spec)
        if self.absorbed < len(spec.prompt_ids):
            self.absorbed = len(spec.prompt_ids) - self._source.absorb()
            if self.absorbed < len(spec.prompt_ids):
                return [], False
            if spec.score_prompt:
                events.append(PromptScored(spec.index, self._source.prompt_scores()))
            if spec.max_tokens == 0:
                return [*events, Finished(spec.index, "length")], True
        forced = spec.forced_ids[self.generated] if self.generated < len(spec.forced_ids) else None
        choice = self._source.advance(forced)
        self.generated += 1
        text, reason = self._text_of(choice.token_id, self._detokenizer, forced=forced is not None)
        events.append(TokenAdded(spec.index, choice.token_id, text, choice.score))
        if reason is not None:
            events.append(Finished(spec.index, reason))
        return events, reason is not None

    def _text_of(self, token_id: int, detokenizer: Detokenizer, *, forced: bool) -> tuple[str, FinishReason | None]:
        """Return the text that can be shown after this token, and why the answer ends if it does."""
        if not forced and token_id in self.spec.end_ids:
            return self._stops.finish(), "stop"
        text, stopped = self._stops.feed(detokenizer.feed(token_id))
        if stopped:
            return text, "stop"
        if not forced and token_id in self.spec.last_ids:
            return text + self._stops.finish(), "stop"
        if self.generated >= self.spec.max_tokens:
            return text + self._stops.finish(), "length"
        return text, None

    def close(self) -> None:
        """Drop the model's state: the cache is the memory that a waiting sequence needs."""
        self._source = None
