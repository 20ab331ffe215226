"""An engine with continuous batching and a prefix cache, by its service curves; it knows nothing of gateways and policies."""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway import ReplicaLoad
from tests.simulator.timeline import Timeline

# A part of a prompt that is the same wherever it is the same: what it is called, and how many tokens it has.
Part = tuple[str, int]


@dataclass(frozen=True)
class Curve:
    """How fast an engine is.

    Attributes:
        slots: answers that it generates at a time; what comes beyond waits in its own queue.
        prefill_seconds: to read so many tokens of a prompt that are not in its cache; prompts are read one after another.
        step_seconds: for the next token of each answer, when so many are generated.
        cache_tokens: of prompts and answers that its KV cache can keep.
    """

    backend: str
    slots: int
    prefill_seconds: Callable[[int], float]
    step_seconds: Callable[[int], float]
    cache_tokens: int


@dataclass(eq=False)
class Job:
    """A call as an engine sees it: parts of the prompt, length of the answer, and who is told.

    Attributes:
        answer_part: what the answer is called where a later prompt contains it.
        cached_tokens: what was found in the cache; known at the first event.
    """

    prompt: Sequence[Part]
    answer_part: str
    answer_tokens: int
    on_first: Callable[[], None]
    on_end: Callable[[], None]
    cached_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        """The whole prompt's."""
        return sum(tokens for _, tokens in self.prompt)


class PrefixCache:
    """Prefixes of prompts, the longest unused forgotten first, ends before beginnings."""

    def __init__(self, most_tokens: int) -> None:
        self.tokens = 0
        self._most = most_tokens
        self._kept: OrderedDict[int, int] = OrderedDict()

    def match(self, prompt: Sequence[Part]) -> int:
        """Tokens at the beginning of a prompt that are there."""
        found = chain = 0
        for name, tokens in prompt:
            chain = hash((chain, name))
            if chain not in self._kept:
                break
            found += tokens
        return found

    def keep(self, prompt: Sequence[Part]) -> None:
        """Keep a prompt, or note that it was used."""
        links = []
        chain = 0
        for name, tokens in prompt:
            chain = hash((chain, name))
            links.append((chain, tokens))
        for link, tokens in reversed(links):
            if link not in self._kept:
                self._kept[link] = tokens
                self.tokens += tokens
            self._kept.move_to_end(link)
        while self.tokens > self._most:
            _, tokens = self._kept.popitem(last=False)
            self.tokens -= tokens


@dataclass(eq=False)
class Engine:
    """One engine.

    Prompts are read one after another, while answers that have begun go on; all of those grow at the same speed, which
    depends on how many they are. That is processor sharing: `_grown` is how many tokens an answer has got that was there
    from the beginning, so that each ends when `_grown` reaches a number that is known when it begins.
    """

    curve: Curve
    timeline: Timeline
    most_at_once: int = 0
    _waiting: deque[Job] = field(default_factory=deque)
    _reading: deque[Job] = field(default_factory=deque)
    _answers: list[tuple[float, int, Job]] = field(default_factory=list)
    _grown: float = 0.0
    _grown_at: float = 0.0
    _number: int = 0

    def __post_init__(self) -> None:
        """Begin with nothing in the cache."""
        self.cache = PrefixCache(self.curve.cache_tokens)

    @property
    def running(self) -> int:
        """Prompts that are read and answers that are generated."""
        return len(self._reading) + len(self._answers)

    def load(self) -> ReplicaLoad:
        """What it says of itself when it is asked."""
        return ReplicaLoad(running=self.running, waiting=len(self._waiting))

    def submit(self, job: Job) -> None:
        """Take a call."""
        self._waiting.append(job)
        self.most_at_once = max(self.most_at_once, self.running + len(self._waiting))
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.running < self.curve.slots:
            self._reading.append(self._waiting.popleft())
            if len(self._reading) == 1:
                self._read()

    def _read(self) -> None:
        job = self._reading[0]
        job.cached_tokens = min(self.cache.match(job.prompt), job.prompt_tokens - 1)
        self.timeline.after(self.curve.prefill_seconds(job.prompt_tokens - job.cached_tokens), self._begin_answer)

    def _begin_answer(self) -> None:
        self._grow()
        job = self._reading.popleft()
        self.cache.keep(job.prompt)
        self._number += 1
        heapq.heappush(self._answers, (self._grown + max(job.answer_tokens - 1, 0), self._number, job))
        self._plan()
        if self._reading:
            self._read()
        job.on_first()

    def _grow(self) -> None:
        if self._answers:
            self._grown += (self.timeline.now - self._grown_at) / self.curve.step_seconds(len(self._answers))
        self._grown_at = self.timeline.now

    def _plan(self) -> None:
        """Look again when the first answer would be complete if nothing else happened until then."""
        if self._answers:
            left = max(self._answers[0][0] - self._grown, 0.0)
            number = self._number
            self.timeline.after(left * self.curve.step_seconds(len(self._answers)), lambda: self._look(number))

    def _look(self, number: int) -> None:
        if number != self._number:
            return  # something else happened since, and planned anew
        self._grow()
        ended = []
        while self._answers and self._answers[0][0] <= self._grown + 1e-6:
            ended.append(heapq.heappop(self._answers)[2])
        self._number += 1
        self._plan()
        for job in ended:
            self.cache.keep([*job.prompt, (job.answer_part, job.answer_tokens)])
        self._admit()
        for job in ended:
            job.on_end()
