"""The TokenCounter: estimates by length that learn from what engines tell, and counts exactly where a tokenizer is at hand."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from gateway.contracts.call import Call, Operation, Outcome
from gateway.tokens.calibration import Line, Mean, Ratio
from gateway.tokens.prompts import Conversation, Texts, Unreadable, choices, prompt_bytes, read
from gateway.tokens.tokenizer import PromptTokenizer, Unusable, load

log = structlog.get_logger("moegate.tokens")

T = TypeVar("T")

# A longer prompt would keep the event loop from the others for a millisecond and more.
INLINE_BYTES = 2_048
# For a longer one an estimate is good, and exactness would cost seconds of a processor.
MOST_EXACT_BYTES = 1_048_576
# Long prompts that may be counted at once; the next is estimated rather than made to wait.
THREADS = 2

Work = Callable[[PromptTokenizer, Conversation | Texts], T]
"""What is done with a prompt that was decoded."""

TYPICAL_TOKENS = 512
TOKENS_A_SECOND = 20.0
MOST_KEYS = 10_000


class LearnedCounter:
    """See `TokenCounter`. Its memory is bounded by the models, the kinds of engine, and `MOST_KEYS` keys.

    Args:
        most_keys: how many pairs of key and model are remembered; the longest unused is forgotten first.
    """

    def __init__(self, *, most_keys: int = MOST_KEYS) -> None:
        self._lines: dict[tuple[str, Operation], Line] = {}
        self._per_event: dict[tuple[str, Operation], Ratio] = {}
        self._per_second: dict[str, Ratio] = {}
        self._of_model: dict[str, Mean] = {}
        self._of_key: OrderedDict[tuple[str, str], Mean] = OrderedDict()
        self._most_keys = most_keys
        self._tokenizers: dict[Path, asyncio.Future[PromptTokenizer | None]] = {}
        self._threads = threading.BoundedSemaphore(THREADS)

    def estimate(self, call: Call) -> int:
        """Tokens of the prompt, by its length."""
        return self._line_of(call).at(prompt_bytes(call))

    async def exact(self, call: Call) -> int | None:
        """Tokens of the prompt by the model's own tokenizer and chat template; None where that cannot be said."""
        return await self._read(call, MOST_EXACT_BYTES, PromptTokenizer.count)

    async def ids(self, call: Call, most_bytes: int) -> list[int] | None:
        """The prompt's tokens; None where they cannot be said, or not within so many bytes."""
        return await self._read(call, min(most_bytes, MOST_EXACT_BYTES), PromptTokenizer.ids)

    async def _read(self, call: Call, most_bytes: int, work: Work[T]) -> T | None:
        folder = call.model.tokenizer
        if folder is None:
            return None
        length = prompt_bytes(call)
        if length > most_bytes:
            return None
        tokenizer = await self._tokenizer(folder)
        if tokenizer is None:
            return None
        if length <= INLINE_BYTES:
            return _worked(tokenizer, call, work)
        if not self._threads.acquire(blocking=False):
            return None
        # Shielded: what was begun in a thread goes on there, and gives its place back itself.
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(None, self._work_in_thread, tokenizer, call, work))

    def produced(self, call: Call, backend: str, events: int) -> int:
        """Tokens in `events` relayed events of an answer that was cut short."""
        ratio = self._per_event.get((backend, call.operation))
        return _bounded(call, events * (ratio.value if ratio is not None else 1.0))

    def produced_unseen(self, call: Call, seconds: float) -> int:
        """Tokens that an engine made in so many seconds of an answer that comes in one piece, and did not come."""
        ratio = self._per_second.get(call.model.name)
        return _bounded(call, seconds * (ratio.value if ratio is not None else TOKENS_A_SECOND))

    def typical_output(self, call: Call) -> int:
        """Tokens of the answer to expect where the call sets no limit: its key's typical ones, else its model's."""
        mean = self._of_key.get((call.principal.key_id, call.model.name)) or self._of_model.get(call.model.name)
        return max(1, math.ceil((mean.value if mean is not None else TYPICAL_TOKENS) * choices(call)))

    def learn(self, call: Call, outcome: Outcome) -> None:
        """Take the engine's own figures of a complete answer; what it did not tell is left out."""
        usage, model = outcome.usage, call.model.name
        if usage is None or outcome.usage_estimated or not outcome.attempts:
            return
        if usage.prompt_tokens:
            length = prompt_bytes(call)
            if length:
                self._line_of(call).learn(length, usage.prompt_tokens)
        if usage.completion_tokens is None:
            return
        seconds = outcome.total_seconds - (outcome.placed_seconds or 0.0)
        if seconds > 0:
            speed = self._per_second.get(model)
            if speed is None:
                speed = self._per_second[model] = Ratio(TOKENS_A_SECOND, 5.0)
            speed.learn(usage.completion_tokens, seconds)
        if call.stream and outcome.streamed_events:
            place = (outcome.attempts[-1].backend, call.operation)
            ratio = self._per_event.get(place)
            if ratio is None:
                ratio = self._per_event[place] = Ratio(1.0, 20.0)
            ratio.learn(usage.completion_tokens, outcome.streamed_events)
        if call.max_tokens is None:
            self._learn_size(call, usage.completion_tokens / choices(call))

    def _line_of(self, call: Call) -> Line:
        line = self._lines.get((call.model.name, call.operation))
        if line is None:
            line = self._lines[call.model.name, call.operation] = Line()
        return line

    def _learn_size(self, call: Call, tokens: float) -> None:
        model, key = call.model.name, (call.principal.key_id, call.model.name)
        of_model = self._of_model.get(model)
        if of_model is None:
            of_model = self._of_model[model] = Mean(TYPICAL_TOKENS)
        mean = self._of_key.get(key)
        if mean is None:
            mean = self._of_key[key] = Mean(of_model.value)
            if len(self._of_key) > self._most_keys:
                self._of_key.popitem(last=False)
        else:
            self._of_key.move_to_end(key)
        mean.learn(tokens)
        of_model.learn(tokens)

    async def _tokenizer(self, folder: Path) -> PromptTokenizer | None:
        found = self._tokenizers.get(folder)
        if found is not None and found.done():
            return found.result()
        if found is None:
            loop = asyncio.get_running_loop()
            found = self._tokenizers[folder] = asyncio.ensure_future(loop.run_in_executor(None, _loaded, folder))
        return await asyncio.shield(found)

    def _work_in_thread(self, tokenizer: PromptTokenizer, call: Call, work: Work[T]) -> T | None:
        try:
            return _worked(tokenizer, call, work)
        finally:
            self._threads.release()


def _worked(tokenizer: PromptTokenizer, call: Call, work: Work[T]) -> T | None:
    try:
        return work(tokenizer, read(call))
    except Unreadable:
        return None


def _loaded(folder: Path) -> PromptTokenizer | None:
    try:
        return load(folder)
    except Unusable as error:
        log.warning(
            "a model's tokenizer cannot be used: its prompts are estimated", tokenizer=folder.name, reason=str(error)
        )
        return None


def _bounded(call: Call, tokens: float) -> int:
    """No answer is longer than what was asked for."""
    made = math.ceil(tokens)
    return made if call.max_tokens is None else min(made, call.max_tokens * choices(call))
