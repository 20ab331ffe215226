"""One run: a workload against a fleet, with real placement code, a rule, and virtual time."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway import AttemptEnd, AttemptWatch, Decision, Replica, RoutingObserver, Usage
from gateway.contracts.policy import Observant
from gateway.dataplane.placement import place
from gateway.errors import NoReplicaAvailable
from tests.simulator.engines import Curve, Engine, Job, Part
from tests.simulator.rules import RULES
from tests.simulator.timeline import Timeline
from tests.simulator.workloads import Conversation
from tests.unit.builders import make_call, make_pool, make_replica

BYTES_A_TOKEN = 4
POLL_SECONDS = 5.0
UNBOUNDED = 100_000


@dataclass
class Result:
    """What came of one run.

    Attributes:
        first_seconds: per call, from its arrival to its first event, waiting at the gateway included.
        over_slots: by how many calls the fullest engine was beyond its slots, at worst.
    """

    first_seconds: list[float] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    over_slots: int = 0
    placed: dict[str, int] = field(default_factory=dict)

    def quantile(self, share: float) -> float:
        """Seconds to the first event that this share of calls did not exceed."""
        ordered = sorted(self.first_seconds)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    @property
    def hit_share(self) -> float:
        """Of all prompts' tokens, those that an engine had in its cache."""
        return self.cached_tokens / self.prompt_tokens

    @property
    def answer_tokens_a_second(self) -> float:
        """Of all engines together, over the whole run."""
        return self.answer_tokens / self.seconds


class Run:
    """A gateway before a fleet.

    Args:
        capped: whether the gateway keeps to the engines' slots and lets calls wait; without it all is sent at once.
    """

    def __init__(
        self, rule: str, fleet: Mapping[str, Curve], workload: Sequence[Conversation], seed: int, *, capped: bool
    ) -> None:
        self.timeline = Timeline()
        self.engines = {name: Engine(curve, self.timeline) for name, curve in fleet.items()}
        self.result = Result(placed=dict.fromkeys(fleet, 0))
        replicas = [
            make_replica(name, backend=curve.backend, max_concurrent=curve.slots if capped else UNBOUNDED)
            for name, curve in fleet.items()
        ]
        self._pool = make_pool(*replicas)
        self._policies = RULES[rule](self.timeline.clock, random.Random(seed))
        self._observers: list[RoutingObserver] = []
        for _, policy in self._policies:
            if isinstance(policy, Observant):
                self._observers += [each for each in policy.observers if each not in self._observers]
        self._waiting: deque[_Asked] = deque()
        self._open = len(workload)
        for conversation in workload:
            self.timeline.after(conversation.starts_at, _Talk(self, conversation).ask)
        self._poll(replicas)

    def finish(self) -> Result:
        """Let it run to its end."""
        self.timeline.run()
        self.result.seconds = self.timeline.now
        self.result.over_slots = max(max(each.most_at_once - each.curve.slots, 0) for each in self.engines.values())
        return self.result

    def arrive(self, asked: _Asked) -> None:
        """A call comes."""
        self._waiting.append(asked)
        self._place()

    def over(self) -> None:
        """A conversation has ended."""
        self._open -= 1

    def _poll(self, replicas: Sequence[Replica]) -> None:
        for replica in replicas:
            replica.load = self.engines[replica.name].load()
        if self._open:
            self.timeline.after(POLL_SECONDS, lambda: self._poll(replicas))

    def _place(self) -> None:
        while self._waiting:
            asked = self._waiting[0]
            try:
                ranked = place(self._policies, asked.call, self._pool, Decision())
            except NoReplicaAvailable:
                return  # it waits until a slot comes free, first come first served
            self._waiting.popleft()
            self._send(asked, ranked[0])

    def _send(self, asked: _Asked, replica: Replica) -> None:
        replica.in_flight += 1
        self.result.placed[replica.name] += 1
        watches = [watch for each in self._observers if (watch := each.placed(asked.call, replica)) is not None]
        attempt = _Attempt(self, asked, replica, watches)
        self.engines[replica.name].submit(attempt.job)

    def ended(self, replica: Replica) -> None:
        """A slot has come free."""
        replica.in_flight -= 1
        self._place()


class _Asked:
    """A call and the part of a conversation that it is."""

    def __init__(self, talk: _Talk, prompt: Sequence[Part], texts: Sequence[str], number: int, answer: int) -> None:
        messages = [
            {"role": "system" if not index else ("user", "assistant")[(index - 1) % 2], "content": text}
            for index, text in enumerate(texts)
        ]
        body = json.dumps({"model": "kimi-k2", "stream": True, "messages": messages}).encode()
        self.call = make_call(body=body, stream=True, call_id=f"{talk.conversation.name}-{number}")
        self.talk, self.prompt, self.number, self.answer_tokens = talk, prompt, number, answer


class _Talk:
    """A conversation on its way."""

    def __init__(self, run: Run, conversation: Conversation) -> None:
        self.conversation = conversation
        self.run = run
        self.asked_at = 0.0
        self._turn = 0
        self._prompt: list[Part] = [conversation.opening]
        self._texts = [_text(*conversation.opening)]

    def ask(self) -> None:
        """Ask the next question."""
        turn, number = self.conversation.turns[self._turn], self._turn
        self._add(f"{self.conversation.name} asks {number}", turn.asked_tokens)
        self.asked_at = self.run.timeline.now
        self.run.arrive(_Asked(self, tuple(self._prompt), tuple(self._texts), number, turn.answer_tokens))

    def answered(self) -> None:
        """The answer is complete."""
        turn = self.conversation.turns[self._turn]
        self._add(self.answer_part, turn.answer_tokens)
        self._turn += 1
        if self._turn < len(self.conversation.turns):
            self.run.timeline.after(turn.pause_seconds, self.ask)
        else:
            self.run.over()

    @property
    def answer_part(self) -> str:
        """What the answer to the question that was asked last is called."""
        return f"answer to {self.conversation.name} {self._turn}"

    def _add(self, name: str, tokens: int) -> None:
        self._prompt.append((name, tokens))
        self._texts.append(_text(name, tokens))


class _Attempt:
    """A call on its engine, and who is told of it."""

    def __init__(self, run: Run, asked: _Asked, replica: Replica, watches: Sequence[AttemptWatch]) -> None:
        self._run, self._asked, self._replica, self._watches = run, asked, replica, watches
        self._sent_at = run.timeline.now
        self._first_seconds = 0.0
        self.job = Job(asked.prompt, asked.talk.answer_part, asked.answer_tokens, self._on_first, self._on_end)

    def _on_first(self) -> None:
        now, result, job = self._run.timeline.now, self._run.result, self.job
        self._first_seconds = now - self._sent_at
        result.first_seconds.append(now - self._asked.talk.asked_at)
        result.prompt_tokens += job.prompt_tokens
        result.cached_tokens += job.cached_tokens
        for watch in self._watches:
            watch.answered(self._first_seconds)

    def _on_end(self) -> None:
        job = self.job
        self._run.result.answer_tokens += job.answer_tokens
        end = AttemptEnd(
            seconds=self._run.timeline.now - self._sent_at,
            first_event_seconds=self._first_seconds,
            usage=Usage(
                prompt_tokens=job.prompt_tokens, cached_tokens=job.cached_tokens, completion_tokens=job.answer_tokens
            ),
            events=job.answer_tokens,
        )
        for watch in self._watches:
            watch.ended(end)
        self._run.ended(self._replica)
        self._asked.talk.answered()


def _text(name: str, tokens: int) -> str:
    """A text of so many tokens that is another for each name."""
    length = tokens * BYTES_A_TOKEN
    unit = f"{name}; "
    return (unit * (length // len(unit) + 1))[:length]


def simulate(
    rule: str, fleet: Mapping[str, Curve], workload: Sequence[Conversation], seed: int = 1, *, capped: bool = True
) -> Result:
    """Run a workload against a fleet."""
    return Run(rule, fleet, workload, seed, capped=capped).finish()
