"""Runs calls of the past against other limits, with the policy's own code, a store in memory, and the past's clock."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import AsyncIterable, Mapping, Sequence

from msgspec import Struct, field

from gateway import Attempt, Call, Checkpoint, Ending, Model, Operation, Outcome, Principal, Subject, Usage
from policies.admission.quotas.accounts import Accounts
from policies.admission.quotas.answers import Refusal
from policies.admission.quotas.exchanger import SERVICE_SECONDS, TELL_SECONDS, Exchanger
from policies.admission.quotas.plans import Plans
from policies.admission.quotas.policy import QuotaLease, Quotas
from policies.admission.quotas.rules import Rule
from policies.admission.quotas.simulation_store import SimulationStore
from policies.admission.quotas.slices import IDLE_SECONDS

_HOUR = 3_600
_FIRST_GUESS = 512.0
_SLOWEST = 20

# In a longer pause what was spent is told first, and then the slices go back.
_SERVICE_PAUSES = (TELL_SECONDS, IDLE_SECONDS + SERVICE_SECONDS)


class PastCall(Struct, frozen=True, kw_only=True):
    """A call of the ledger. Times are in seconds, `received_at` since 1970; `max_tokens` is what it asked for, if anything."""

    call_id: str
    received_at: float
    seconds: float
    tenant: str
    team: str
    key_id: str
    user: str
    operation: Operation
    model: str
    streamed: bool
    max_tokens: int | None
    usage: Usage | None
    cost_nanos: int | None


class Finding(Struct, kw_only=True):
    """Refusals of one limit for one caller. `by_hour` counts them by the hour since 1970."""

    limit: str
    mode: str
    tenant: str
    team: str
    key_id: str
    user: str | None
    model: str
    refused: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    by_hour: Counter[int] = field(default_factory=Counter)

    def add(self, moment: float) -> None:
        """One more, later than those before."""
        self.first_at = self.first_at or moment
        self.last_at = moment
        self.refused += 1
        self.by_hour[int(moment) // _HOUR] += 1


class Result(Struct, kw_only=True):
    """What a simulation has found. Of the calls, so many would have been refused by some limit that is enforced."""

    calls: int = 0
    refused: int = 0
    findings: dict[tuple[str, ...], Finding] = field(default_factory=dict)


class _PastTokens:
    """Knows what the prompt of the call at hand had, and guesses answers by those before."""

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self._means: dict[tuple[str, str], tuple[int, float]] = {}

    def estimate(self, call: Call) -> int:  # noqa: ARG002 - there is but one at a time
        return self.prompt_tokens

    async def exact(self, call: Call) -> int | None:  # noqa: ARG002
        return self.prompt_tokens

    def produced(self, call: Call, backend: str, events: int) -> int:  # noqa: ARG002
        return events

    def typical_output(self, call: Call) -> int:
        _, mean = self._means.get((call.principal.key_id, call.model.name), (0, _FIRST_GUESS))
        return max(round(mean), 1)

    def learn(self, call: Call, tokens: int) -> None:
        place = (call.principal.key_id, call.model.name)
        count, mean = self._means.get(place, (0, _FIRST_GUESS))
        count = min(count + 1, _SLOWEST)
        self._means[place] = (count, mean + (tokens - mean) / count)


class Simulation:
    """One run.

    Args:
        models: by name; those that are not among them have no prices.
    """

    def __init__(self, rules: Sequence[Rule], models: Mapping[str, Model]) -> None:
        self._now = 0.0
        self._tokens = _PastTokens()
        self._exchanger = Exchanger(SimulationStore(self.clock), self.clock)
        plans = Plans(rules, Accounts(self.clock, self.clock))
        self._policy = Quotas(plans, self._exchanger, self._tokens, 0)
        self._rules = {rule.name: rule for rule in rules}
        self._models = dict(models)
        self._ends: list[tuple[float, int, QuotaLease, Outcome]] = []
        self._numbers = itertools.count()
        self._reviewed_at = 0.0
        self.result = Result()

    def clock(self) -> float:
        """The time of the call at hand."""
        return self._now

    async def run(self, calls: AsyncIterable[PastCall]) -> Result:
        """Replay calls, in the order in which they came."""
        async for past in calls:
            await self._until(past.received_at)
            await self._admit(past)
        return self.result

    async def _until(self, moment: float) -> None:
        while self._ends and self._ends[0][0] <= moment:
            ended_at, _, lease, outcome = heapq.heappop(self._ends)
            await self._at(ended_at)
            lease.settle(outcome)
        await self._at(moment)

    async def _at(self, moment: float) -> None:
        """Let the time go on, and have told and given back in it what a service would have."""
        await self._exchanger.settled()
        for pause in _SERVICE_PAUSES:
            if moment - self._now > pause:
                await self._review(self._now + pause)
        if moment - self._reviewed_at >= SERVICE_SECONDS:
            await self._review(max(moment, self._now))
        self._now = max(moment, self._now)

    async def _review(self, moment: float) -> None:
        self._now = self._reviewed_at = moment
        self._exchanger.review()
        await self._exchanger.settled()

    async def _admit(self, past: PastCall) -> None:
        call = self._call(past)
        usage = past.usage
        self._tokens.prompt_tokens = (usage.prompt_tokens or 0) if usage is not None else 0
        self.result.calls += 1
        shadows = self._policy.counts.shadow.copy()
        try:
            lease = await self._policy.admit(call)
        except Refusal as refusal:
            self.result.refused += 1
            for name in refusal.limits:
                self._find(self._rules[name], past).add(past.received_at)
            return
        for name in self._policy.counts.shadow - shadows:
            self._find(self._rules[name], past).add(past.received_at)
        if usage is not None and usage.completion_tokens is not None:
            self._tokens.learn(call, usage.completion_tokens)
        if lease is not None:
            outcome = Outcome(
                ending=Ending.COMPLETED,
                status=200,
                usage=usage,
                cost_nanos=past.cost_nanos,
                attempts=(Attempt("", ""),),
            )
            heapq.heappush(self._ends, (past.received_at + past.seconds, next(self._numbers), lease, outcome))

    def _call(self, past: PastCall) -> Call:
        model = self._models.get(past.model)
        if model is None:
            model = self._models[past.model] = Model(past.model, (), Checkpoint(id=past.model, context_length=1))
        return Call(
            call_id=past.call_id,
            operation=past.operation,
            model=model,
            requested_model=past.model,
            principal=Principal(past.key_id, past.key_id, past.tenant, past.team or None),
            body=b"",
            fields={},
            stream=past.streamed,
            max_tokens=past.max_tokens,
            user=past.user or None,
        )

    def _find(self, rule: Rule, past: PastCall) -> Finding:
        user = past.user if Subject.USER in rule.limit.per else None
        place = (rule.name, past.tenant, past.team, past.key_id, user or "", past.model)
        found = self.result.findings.get(place)
        if found is None:
            found = self.result.findings[place] = Finding(
                limit=rule.name,
                mode=rule.limit.mode,
                tenant=past.tenant,
                team=past.team,
                key_id=past.key_id,
                user=user,
                model=past.model,
            )
        return found
