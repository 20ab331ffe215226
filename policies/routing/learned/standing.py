"""What is known of one replica: what it has to do, what others have it do, and how fast it has been."""

from __future__ import annotations

from gateway import Replica, ReplicaLoad
from policies.routing.learned.curve import NEWEST_WEIGHT, Curve, Rate

# Tokens of prompts a second and slot, until something is learnt of any replica: wrong for each, but about right between them.
PRIOR_TOKENS_A_SLOT = 40.0
PRIOR_CALL_SECONDS = 10.0
PRIOR_PROMPT_TOKENS = 1_000.0

# What was learnt of a replica that nobody called since is believed less and less, so that a slow start is not held against
# it for ever: after so long, and by half for each so long.
BELIEVED_SECONDS = 60.0
HALF_BELIEVED_SECONDS = 120.0


class Standing:
    """One replica's.

    Attributes:
        load: the report that was taken in last.
        others: calls that others than this gateway had there at that time.
        bases, slope: the curve's, where they are found sooner.
        room: calls of ours beyond which one has to wait for a slot.
        backlog: tokens of prompts that it has to read before it begins with a new one, those of others included.
        turn_seconds: how often a slot comes free when all are taken.
        believed_until: monotonic seconds from which on what was learnt counts less.
    """

    __slots__ = (
        "_call_seconds", "_others_backlog", "_prompt_tokens", "backlog", "bases", "believed_until", "curve", "load", "others",
        "rate", "replica", "room", "slope", "turn_seconds",
    )  # fmt: skip

    def __init__(self, replica: Replica, now: float) -> None:
        self.replica = replica
        self.load: ReplicaLoad | None = None
        self.others = 0
        self.room = replica.max_concurrent
        self.backlog = 0
        self.curve = Curve(1.0 / (PRIOR_TOKENS_A_SLOT * replica.max_concurrent))
        self.bases, self.slope = self.curve.bases, self.curve.slope
        self.rate = Rate()
        self.believed_until = now + BELIEVED_SECONDS
        self.turn_seconds = PRIOR_CALL_SECONDS / replica.max_concurrent
        self._call_seconds = PRIOR_CALL_SECONDS
        self._prompt_tokens = PRIOR_PROMPT_TOKENS
        self._others_backlog = 0

    def take_report(self, in_flight: int) -> None:
        """Take in what the engine said last, when so many of its calls were ours; what it does not say counts as none."""
        self.load = load = self.replica.load
        self.backlog -= self._others_backlog
        self.others = self._others_backlog = 0
        if load is not None:
            waiting = load.waiting or 0
            self.others = max((load.running or 0) + waiting - in_flight, 0)
            self._others_backlog = int(min(waiting, self.others) * self._prompt_tokens)
            self.backlog += self._others_backlog
        self.room = self.replica.max_concurrent - self.others

    def learn_first(self, own: int, work: int, seconds: float, now: float) -> None:
        """A prompt of so many tokens, and so many to be read with what was before it, took so long to its first event."""
        self.curve.learn(own, work, seconds)
        self.slope = self.curve.slope
        self.believed_until = now + BELIEVED_SECONDS

    def learn_call(self, prompt: int, made: int, seconds: float, calls: float) -> None:
        """A whole answer: tokens of its prompt, tokens of it, how long it took, and how many calls there were meanwhile."""
        self._call_seconds += NEWEST_WEIGHT * (seconds - self._call_seconds)
        self.turn_seconds = self._call_seconds / self.replica.max_concurrent
        self._prompt_tokens += NEWEST_WEIGHT * (prompt - self._prompt_tokens)
        self.rate.learn(prompt, (prompt + made) * calls, seconds)

    def expect(self, slope: float) -> None:
        """Begin from another slope; only where nothing was learnt yet."""
        self.curve.expect(slope)
        self.slope = slope

    def belief(self, now: float) -> float:
        """How far what was learnt is to be believed, 0 to 1, where nothing has been for a while."""
        return float(0.5 ** ((now - self.believed_until) / HALF_BELIEVED_SECONDS))
