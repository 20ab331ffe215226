"""How busy each replica is and how fast it turned out to be: one observer, which all policies that predict share."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence

from gateway import AttemptEnd, AttemptWatch, BuildContext, Call, Replica, TokenCounter
from policies.routing.learned.curve import NEWEST_WEIGHT, class_of
from policies.routing.learned.standing import Standing

# So many are sooner sought than compared with those that were asked about last.
FEW = 4

# More names than that have come and gone: the oldest are forgotten.
MOST_REPLICAS = 4_096

# What a token of an answer takes, in tokens of a prompt: about this on large servers, less on small ones. Only answers in
# one piece are divided up by it, as nobody sees when those began.
PROMPT_TOKENS_AN_ANSWER_TOKEN = 50

# A replica of which nothing is known is taken to be so much faster than others are, slot for slot: so it gets its first call.
HOPED_FACTOR = 2.0

CachedShare = Callable[[Call, Replica], float]


class Pace:
    """The observer.

    Args:
        tokens: counts prompts before an engine has.
        clock: monotonic seconds.

    Attributes:
        clock: see there.
        cached_share: what share of a call's prompt a replica holds in its cache, 0 to 1, where somebody knows.
    """

    def __init__(self, tokens: TokenCounter, clock: Callable[[], float] = time.monotonic) -> None:
        self.cached_share: CachedShare | None = None
        self._tokens = tokens
        self.clock = clock
        # By the object: a replica that is configured anew is another.
        self._standings: dict[Replica, Standing] = {}
        self._unknown: dict[Replica, Standing] = {}
        self._slot_seconds = 0.0
        self._unseen: deque[_Watch] = deque()
        self._counted: tuple[Call | None, int] = (None, 0)
        self._asked: list[Replica] = []
        self._answers: list[Standing] = []

    def prompt_tokens(self, call: Call) -> int:
        """The counter's estimate, remembered for the call that was asked about last."""
        counted, tokens = self._counted
        if counted is not call:
            tokens = self._tokens.estimate(call)
            self._counted = call, tokens
        return tokens

    def output_tokens(self, call: Call) -> int:
        """The answer's length to expect."""
        return call.max_tokens if call.max_tokens is not None else self._tokens.typical_output(call)

    def standing(self, replica: Replica) -> Standing:
        """What is known of a replica, with its newest report taken in."""
        standing = self._standings.get(replica) or self._begin(replica)
        if standing.load is not replica.load:
            standing.take_report(replica.in_flight)
        return standing

    def seconds_to_first(self, replicas: Sequence[Replica], tokens: int, shares: Sequence[float] = ()) -> list[float]:
        """Per replica, how long a prompt of so many tokens would take to its first event now.

        `shares` says how much of the prompt each of them need not read, 0 to 1.
        """
        now = self.clock()
        if self._unseen:
            self._expire(now)
        place = class_of(tokens)
        standings = self._of(replicas)
        found = [each.bases[place] + (each.backlog + tokens) * each.slope for each in standings]
        for at, standing in enumerate(standings):
            replica = standing.replica
            in_flight = replica.in_flight
            if standing.load is not replica.load:
                standing.take_report(in_flight)
                found[at] = standing.bases[place] + (standing.backlog + tokens) * standing.slope
            if in_flight >= standing.room:  # a slot has to come free first
                found[at] += (in_flight - standing.room + 1) * standing.turn_seconds
            elif not in_flight and now > standing.believed_until:
                found[at] *= standing.belief(now)
        for at, share in enumerate(shares):
            if share:
                standing = standings[at]
                unread = int(tokens * (1.0 - share))
                found[at] += (
                    standing.bases[class_of(unread)] - standing.bases[place] - (tokens - unread) * standing.slope
                )
        return found

    def loads(self, replicas: Sequence[Replica], prompt_tokens: int) -> list[float]:
        """Per replica, calls there with this one, over the tokens a second that it gets done: seconds a token, about.

        One of which nothing is learnt yet is taken to do for each of its slots what the others do on average; if nothing is
        learnt of any, for each slot one token. One whose slots others have taken comes after all that have room.
        """
        now = self.clock()
        place = class_of(prompt_tokens)
        found: list[float] = []
        unknown: list[int] = []
        full: list[int] = []
        rate_sum, slots_sum = 0.0, 0
        for at, (replica, standing) in enumerate(zip(replicas, self._of(replicas), strict=True)):
            if standing.load is not replica.load:
                standing.take_report(replica.in_flight)
            in_flight, rate = replica.in_flight, standing.rate.rates[place]
            load: float = in_flight + standing.others + 1
            if rate > 0.0:
                rate_sum += rate
                slots_sum += replica.max_concurrent
                load /= rate
            else:
                unknown.append(at)
                load /= replica.max_concurrent
            if in_flight >= standing.room:
                full.append(at)
            elif not in_flight and now > standing.believed_until:
                load *= standing.belief(now)
            found.append(load)
        if rate_sum:
            for at in unknown:
                found[at] *= slots_sum / rate_sum
        if full:
            most = max(found)
            for at in full:
                found[at] += most
        return found

    def placed(self, call: Call, replica: Replica) -> AttemptWatch | None:
        """An attempt begins."""
        standing = self._standings.get(replica) or self._begin(replica)
        if standing.load is not replica.load:
            standing.take_report(replica.in_flight - 1)
        tokens = own = self.prompt_tokens(call)
        if self.cached_share is not None:
            own = max(int(tokens * (1.0 - self.cached_share(call, replica))), 1)
        watch = _Watch(self, standing, tokens, own)
        if not call.stream:
            # Nobody will tell when it has been read, but before its end.
            watch.read_at = self.clock() + standing.curve.at(own, standing.backlog)
            self._unseen.append(watch)
        return watch

    def learn_first(self, standing: Standing, own: int, work: int, seconds: float) -> None:
        """Take one figure: a prompt, all that was to be read with it, and how long its first event took."""
        standing.learn_first(own, work, seconds, self.clock())
        self._unknown.pop(standing.replica, None)
        per_slot = standing.curve.slope * standing.replica.max_concurrent
        weight = NEWEST_WEIGHT if self._slot_seconds else 1.0
        self._slot_seconds += weight * (per_slot - self._slot_seconds)
        for unknown in self._unknown.values():
            self._hope(unknown)

    def _of(self, replicas: Sequence[Replica]) -> list[Standing]:
        """Theirs; one call after another asks about the same ones, so the last answer is kept."""
        if len(replicas) <= FEW:
            standings = self._standings
            return [standings.get(replica) or self._begin(replica) for replica in replicas]
        if replicas != self._asked:
            standings = self._standings
            answers = [standings.get(replica) or self._begin(replica) for replica in replicas]
            self._asked, self._answers = list(replicas), answers
        return self._answers

    def _begin(self, replica: Replica) -> Standing:
        if len(self._standings) >= MOST_REPLICAS:
            self._asked = []
            forgotten = next(iter(self._standings))
            self._standings.pop(forgotten)
            self._unknown.pop(forgotten, None)
        standing = self._standings[replica] = self._unknown[replica] = Standing(replica, self.clock())
        self._hope(standing)
        return standing

    def _hope(self, unknown: Standing) -> None:
        if self._slot_seconds:
            unknown.expect(self._slot_seconds / (HOPED_FACTOR * unknown.replica.max_concurrent))

    def _expire(self, now: float) -> None:
        """Take prompts for read whose time is over; not all that could be, for it goes by the order of their sending."""
        unseen = self._unseen
        while unseen and (unseen[0].is_read or unseen[0].read_at <= now):
            unseen.popleft().read()


class _Watch:
    """One attempt's part in the backlog of its replica, given back at the first event or at the end."""

    __slots__ = ("_calls", "_own", "_pace", "_standing", "_tokens", "_work", "is_read", "read_at")

    def __init__(self, pace: Pace, standing: Standing, tokens: int, own: int) -> None:
        self._pace, self._standing = pace, standing
        self._tokens, self._own = tokens, own
        self._calls = standing.replica.in_flight + standing.others
        standing.backlog += own
        self._work = standing.backlog
        self.is_read = False
        self.read_at = math.inf

    def read(self) -> None:
        """The prompt has been read; once is enough."""
        if not self.is_read:
            self.is_read = True
            self._standing.backlog -= self._own

    def answered(self, seconds: float) -> None:
        self.read()
        self._pace.learn_first(self._standing, self._own, self._work, seconds)

    def ended(self, end: AttemptEnd) -> None:
        standing, is_stream = self._standing, self.read_at == math.inf
        if is_stream and not self.is_read and end.seconds > standing.curve.at(self._own, self._work):
            # It failed, or its client had enough; either way it would have taken longer than that. A failure that is there
            # sooner says nothing of the pace.
            self._pace.learn_first(standing, self._own, self._work, end.seconds)
        self.read()
        if end.error_code is not None or end.usage is None or end.seconds <= 0:
            return
        prompt = end.usage.prompt_tokens or self._tokens
        made = end.usage.completion_tokens or 0
        calls = (self._calls + standing.replica.in_flight + standing.others + 1) / 2
        standing.learn_call(prompt, made, end.seconds, calls)
        if not is_stream:
            share = self._own / (self._own + PROMPT_TOKENS_AN_ANSWER_TOKEN * made)
            self._pace.learn_first(standing, self._own, self._work, end.seconds * share)


def shared_pace(context: BuildContext) -> Pace:
    """The one of this process; it outlives reloads."""
    return context.shared(("routing", "pace"), lambda: Pace(context.tokens))
