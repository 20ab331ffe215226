"""The policy `quotas`: reserves what a call may take of all its limits at once, and settles it by what the call used."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import Call, Metric, Outcome
from gateway.contracts.tokens import TokenCounter
from policies.admission.quotas import answers, tally
from policies.admission.quotas.amounts import Size, is_free, output_of, used
from policies.admission.quotas.answers import Headers, Moment, Refusal, Shortage
from policies.admission.quotas.counts import QuotaCounts, count, metrics_of
from policies.admission.quotas.exchanger import Exchanger
from policies.admission.quotas.plans import Entry, Plans
from policies.admission.quotas.tally import Taken, needed

# How often a call asks the store before it is refused, where others were faster to take what it got.
ROUNDS = 3

# A budget that has less left than so many calls of this size is near its end: then input is counted exactly.
NEAR_END_CALLS = 4


class QuotaLease:
    """What one call has reserved."""

    __slots__ = ("_call", "_moment", "_policy", "_taken")

    def __init__(self, policy: Quotas, call: Call, taken: Taken, moment: Moment) -> None:
        self._policy = policy
        self._call = call
        self._taken = taken
        self._moment = moment

    @property
    def headers(self) -> Headers:
        """What is left, for the client."""
        return answers.headers(self._taken, self._moment)

    def settle(self, outcome: Outcome) -> None:
        """Book what was really used; the second time, nothing."""
        taken, self._taken = self._taken, []
        if not taken:
            return
        tally.give_back(taken, used(self._call, outcome))
        self._policy.exchanger.note(taken)


class Quotas:
    """The policy.

    Args:
        exact_bytes: a body that is no longer has its input counted exactly, where the model has a tokenizer.
        counts: goes on with these, as after a reload.
    """

    def __init__(
        self,
        plans: Plans,
        exchanger: Exchanger,
        tokens: TokenCounter,
        exact_bytes: int,
        counts: QuotaCounts | None = None,
    ) -> None:
        self.plans = plans
        self.exchanger = exchanger
        self.counts = QuotaCounts() if counts is None else counts
        self._tokens = tokens
        self._exact_bytes = exact_bytes
        self._clock = plans.accounts.clock
        self._wall = plans.accounts.wall

    async def admit(self, call: Call) -> QuotaLease | None:
        """Reserve what the call may take, of all limits or of none.

        Raises:
            QuotaExceeded: one of them has too little left.
        """
        plan = self.plans.of_call(call)
        if plan.is_empty:
            return None
        entries = plan.of_user(call.user)
        size = None
        if plan.counts_tokens and not is_free(call):
            size = await self._size(call)
        if not self.exchanger.down:
            moment = Moment(self._clock(), self._wall())
            taken, short = self._take(entries, call, size, moment)
            if not short:
                return self._granted(call, taken, moment)
        return await self._admit_slowly(entries, call, size)

    def metrics(self) -> list[Metric]:
        """What has been decided."""
        return metrics_of(self.counts, self.exchanger)

    async def _size(self, call: Call) -> Size:
        if call.model.tokenizer is not None and len(call.body) <= self._exact_bytes:
            exact = await self._tokens.exact(call)
            if exact is not None:
                self.counts.counted_exactly += 1
                return Size(call, exact, output_of(call, self._tokens), exact=True)
        return Size(call, self._tokens.estimate(call), output_of(call, self._tokens), exact=False)

    def _take(
        self, entries: Sequence[Entry], call: Call, size: Size | None, moment: Moment
    ) -> tuple[Taken, Sequence[Shortage]]:
        """Take of each limit, or of none; the second are those that lack units."""
        taken, short = tally.take(entries, call, size, moment.now, moment.wall)
        if short:
            return taken, [Shortage(*each) for each in short]
        for _, piece, _ in taken:
            if piece.tight:
                self.exchanger.taken(piece)
        return taken, ()

    async def _admit_slowly(self, entries: Sequence[Entry], call: Call, size: Size | None) -> QuotaLease:
        """The way of a call for which this node's slices do not do: ask the store, and refuse by what it says."""
        for asked in range(ROUNDS):
            moment = Moment(self._clock(), self._wall())
            if self.exchanger.down:
                await self.exchanger.ask(())  # has it looked for, and does not wait
                return self._admit_lost(entries, call, size)
            taken, short = self._take(entries, call, size, moment)
            if not short:
                return self._granted(call, taken, moment)
            if asked and _is_decided(short, moment):
                break
            size = await self._exactly(call, size, short, moment)
            self._refuse_for_ever(entries, call, size, moment)
            if not await self.exchanger.ask([(each.piece, needed(each.rule, call, size)) for each in short]):
                return self._admit_lost(entries, call, size)
        return self._decide(entries, call, size)

    async def _exactly(self, call: Call, size: Size | None, short: Sequence[Shortage], moment: Moment) -> Size | None:
        """The size with its input counted, if that may matter."""
        if size is None or size.exact or call.model.tokenizer is None:
            return size
        if not any(each.piece.remaining(moment.now) < NEAR_END_CALLS * each.need for each in short):
            return size
        exact = await self._tokens.exact(call)
        if exact is None:
            return size
        self.counts.counted_exactly += 1
        return Size(call, exact, size.output, exact=True)

    def _refuse_for_ever(self, entries: Sequence[Entry], call: Call, size: Size | None, moment: Moment) -> None:
        for rule, account in entries:
            need = needed(rule, call, size)
            if need > rule.capacity and rule.enforced:
                short = Shortage(rule, account.current(moment.now, moment.wall), need)
                raise self._refused([short], answers.refusal([short], size, self._held(entries, moment), moment))

    def _decide(self, entries: Sequence[Entry], call: Call, size: Size | None) -> QuotaLease:
        """Let it pass if only shadows are against it."""
        moment = Moment(self._clock(), self._wall())
        taken, short = self._take(entries, call, size, moment)
        against = [each for each in short if each.rule.enforced]
        if against:
            raise self._refused(against, answers.refusal(against, size, self._held(entries, moment), moment))
        passed = {each.rule for each in short}
        if passed:
            # What it would have refused it does not count either: so it shows what would be if it were enforced.
            count(self.counts.shadow, (rule.name for rule in passed))
            taken, _ = self._take([entry for entry in entries if entry[0] not in passed], call, size, moment)
        return self._granted(call, taken, moment)

    def _admit_lost(self, entries: Sequence[Entry], call: Call, size: Size | None) -> QuotaLease:
        """While the store is lost each limit says itself what then."""
        moment = Moment(self._clock(), self._wall())
        taken: Taken = []
        for rule, account in entries:
            need = needed(rule, call, size)
            if not need:
                continue
            piece = account.current(moment.now, moment.wall)
            has = piece.free >= need and piece.until > moment.now
            if rule.enforced and (rule.loss == "closed" or (rule.loss == "leased" and not has)):
                tally.undo(taken)
                count(self.counts.while_lost, (rule.name,))
                error = answers.uncheckable(rule, self._held(entries, moment), moment)
                raise self._refused([Shortage(rule, piece, need)], error)
            if has or (rule.enforced and rule.loss == "open"):
                piece.take(need, moment.now)
                taken.append((rule, piece, need))
        self.exchanger.note(taken)
        return self._granted(call, taken, moment)

    def _granted(self, call: Call, taken: Taken, moment: Moment) -> QuotaLease:
        self.counts.admitted += 1
        return QuotaLease(self, call, taken, moment)

    def _refused(self, short: Sequence[Shortage], error: Refusal) -> Refusal:
        error.limits = tuple(sorted({each.rule.name for each in short}))
        count(self.counts.refused, error.limits)
        return error

    def _held(self, entries: Sequence[Entry], moment: Moment) -> Taken:
        return [(rule, account.current(moment.now, moment.wall), 0) for rule, account in entries]


def _is_decided(short: Sequence[Shortage], moment: Moment) -> bool:
    """Whether the store has said that there is not enough, so that asking again is of no use."""
    hopeless = [each for each in short if each.need - max(each.piece.free, 0) > max(each.piece.unheld(moment.now), 0)]
    return len(hopeless) == len(short) or any(each.rule.enforced for each in hopeless)
