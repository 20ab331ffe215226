"""Says whether a call may join an experiment, and with which replicas each arm could serve it; on the call's way."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from fnmatch import fnmatchcase

from gateway import Able, Call, Fleet, Replica
from gateway.contracts.tokens import TokenCounter
from gateway.errors import ConfigError
from plugins.experiments.live.settings import ArmSettings, Eligible, ExperimentSettings

_PIN = b"x-moegate-pin"

Arms = list[tuple[list[Replica], frozenset[str]]]
"""Per arm its replicas, and their names."""


def belongs(replica: Replica, arm: ArmSettings) -> bool:
    """Whether a replica is one of the arm's."""
    checkpoint = replica.checkpoint
    return (
        (not arm.backends or replica.backend in arm.backends)
        and (not arm.replicas or any(fnmatchcase(replica.name, pattern) for pattern in arm.replicas))
        and (not arm.revisions or checkpoint.revision in arm.revisions or checkpoint.id in arm.revisions)
    )


def load(replicas: Sequence[Replica]) -> float:
    """Share of their slots in use."""
    in_use = slots = 0
    for replica in replicas:
        in_use += replica.in_flight
        slots += replica.max_concurrent
    return in_use / slots if slots else 0.0


class Joining:
    """One experiment's rules. Reasons are words for metrics; None is none."""

    def __init__(self, settings: ExperimentSettings, tokens: TokenCounter) -> None:
        eligible = settings.eligible
        self._arms = settings.arms
        self._tokens = tokens
        self._tenants = None if eligible.tenants is None else frozenset(eligible.tenants)
        self._operations = None if eligible.operations is None else frozenset(eligible.operations)
        self._tools = eligible.tools
        self._least, self._most = eligible.least_prompt_tokens, eligible.most_prompt_tokens
        self._by_length = eligible != Eligible() and bool(self._least or self._most)
        # By the object: a replica that is configured anew is another.
        self._arm_of: dict[Replica, int | None] = {}
        self._asked: list[Replica] = []
        self._answer: Arms = [([], frozenset()) for _ in settings.arms]
        self._shortest = 0

    def objection(self, call: Call) -> str | None:
        """Why this call may not join, as far as the call itself says."""
        if self._tenants is not None and call.principal.tenant not in self._tenants:
            return "tenant"
        if self._operations is not None and call.operation not in self._operations:
            return "operation"
        if self._tools is not None and call.has_tools is not self._tools:
            return "tools"
        for name, _ in call.headers:  # a loop, at half the price of `any` on each call
            if name == _PIN:
                return "pinned"
        if self._by_length:
            tokens = self._tokens.estimate(call)
            if tokens < self._least or (self._most is not None and tokens > self._most):
                return "prompt_length"
        return None

    def arms(self, call: Call, able: Able) -> Arms:
        """Per arm, the replicas that can serve the call: they can do what it asks, and it fits into their context."""
        found = able()
        if found != self._asked:  # nearly always the same ones
            self._asked, self._answer = list(found), self._sort(found)
            self._shortest = min([replica.context_length for replica in found], default=0)
        answer = call.max_tokens or 1
        # A token is a byte at least: what fits by its bytes need not be counted.
        if len(call.body) + answer <= self._shortest:
            return self._answer
        needed = self._tokens.estimate(call) + answer
        return self._sort([replica for replica in found if needed <= replica.context_length])

    def _sort(self, replicas: Sequence[Replica]) -> Arms:
        arms: list[list[Replica]] = [[] for _ in self._arms]
        for replica in replicas:
            at = self._place(replica)
            if at is not None:
                arms[at].append(replica)
        return [(arm, frozenset([replica.name for replica in arm])) for arm in arms]

    def _place(self, replica: Replica) -> int | None:
        if replica not in self._arm_of:
            self._arm_of[replica] = next((at for at, arm in enumerate(self._arms) if belongs(replica, arm)), None)
        return self._arm_of[replica]


def check_all(found: Iterable[ExperimentSettings], fleet: Fleet, models: Container[str]) -> None:
    """Refuse experiments that cannot be, with this fleet and these models.

    Raises:
        ConfigError: with everything that is wrong.
    """
    problems: list[str] = []
    names: set[str] = set()
    for settings in found:
        try:
            settings.check()
        except ConfigError as error:
            problems += error.problems
            continue
        said = [f"model: there is no model {settings.model!r}"] if settings.model not in models else []
        said += ["name: stands twice"] if settings.name in names else []
        names.add(settings.name)
        problems += [f"experiment {settings.name}: {problem}" for problem in said or _faults(settings, fleet)]
    if problems:
        raise ConfigError(*problems)


def _faults(settings: ExperimentSettings, fleet: Fleet) -> list[str]:
    """What is wrong with its arms for the replicas of its model; others may come where targets are searched for."""
    replicas = [replica for replica in fleet.replicas() if replica.model == settings.model]
    found = []
    for arm in settings.arms:
        if not fleet.target_sources() and not any(belongs(replica, arm) for replica in replicas):
            names = ", ".join(f"{replica.name} ({replica.backend})" for replica in replicas)
            found.append(f"arms: {arm.name} matches no replica of {settings.model}; there are {names or 'none'}")
    for replica in replicas:
        taken = [arm.name for arm in settings.arms if belongs(replica, arm)]
        if len(taken) > 1:
            found.append(f"arms: {' and '.join(taken)} share the replica {replica.name}")
    return found
