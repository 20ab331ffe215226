"""Which limits hold for a caller and a model, found once and remembered: a call looks up its plan and no more."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import structlog

from gateway import Call, Model, Principal
from gateway.errors import PolicyFailed
from policies.admission.quotas.accounts import Account, Accounts, Crowd
from policies.admission.quotas.currencies import mixture
from policies.admission.quotas.rules import Rule, rules_of

log = structlog.get_logger("moegate.quotas")

MOST_PLANS = 20_000
MOST_WARNINGS = 1_000

Entry = tuple[Rule, Account]


class Plan:
    """The limits of one caller for one model.

    Attributes:
        entries: those whose account does not depend on the user.
        crowds: those where it does.
        counts_tokens: some of them count tokens or costs.
        in_calendar: some have windows that end.
    """

    __slots__ = ("counts_tokens", "crowds", "entries", "in_calendar", "is_empty", "principal")

    def __init__(
        self, principal: Principal, entries: Sequence[Entry], crowds: Sequence[tuple[Rule, Crowd | Account]]
    ) -> None:
        self.principal = principal
        self.entries = tuple(entries)
        self.crowds = tuple(crowds)
        rules = [rule for rule, _ in (*entries, *crowds)]
        self.counts_tokens = any(not rule.of_requests and not rule.concurrent for rule in rules)
        self.in_calendar = any(rule.calendar is not None for rule in rules)
        self.is_empty = not rules

    def of_user(self, user: str | None) -> tuple[Entry, ...]:
        """All entries, for a call of this user."""
        if not self.crowds:
            return self.entries
        found = list(self.entries)
        for rule, crowd in self.crowds:
            if rule.only_users is None or (user or "") in rule.only_users:
                found.append((rule, crowd if isinstance(crowd, Account) else crowd.account(user)))
        return tuple(found)


class Plans:
    """The plans of all callers, the longest unused forgotten first.

    Args:
        rules: of the configuration, before those that come with a caller.
        models: the served ones.
    """

    def __init__(
        self, rules: Sequence[Rule], accounts: Accounts, models: Sequence[Model] = (), most: int = MOST_PLANS
    ) -> None:
        self.rules = tuple(rules)
        self._models = tuple(models)
        self._mixed: set[str] = set()
        self.accounts = accounts
        self._most = most
        self._plans: OrderedDict[tuple[str, str], Plan] = OrderedDict()

    def of_call(self, call: Call) -> Plan:
        """The plan for a call.

        Raises:
            PolicyFailed: a limit that came with the caller cannot be counted.
        """
        return self.of(call.principal, call.model.name)

    def of(self, principal: Principal, model: str) -> Plan:
        """The plan of a caller for a model."""
        place = (principal.key_id, model)
        plan = self._plans.get(place)
        if plan is not None and (plan.principal is principal or _is_same(plan.principal, principal)):
            self._plans.move_to_end(place)
            return plan
        plan = self._plans[place] = self._build(principal, model)
        self._plans.move_to_end(place)
        if len(self._plans) > self._most:
            self._plans.popitem(last=False)
        return plan

    def _build(self, principal: Principal, model: str) -> Plan:
        entries: list[Entry] = []
        crowds: list[tuple[Rule, Crowd | Account]] = []
        seen: dict[str, int] = {}
        own = _own_rules(principal)
        self._warn(own, principal)
        for rule in (*self.rules, *own):
            if not rule.holds_for(principal, model):
                continue
            key = rule.base_key(principal, model)
            seen[key] = seen.get(key, 0) + 1
            # Two limits of one name, say a key's and its tenant's, have a budget each.
            suffix = f"~{seen[key]}" if seen[key] > 1 else ""
            if rule.by_user:
                crowds.append((rule, self.accounts.crowd(rule, principal, model, suffix)))
            elif rule.only_users is not None:
                crowds.append((rule, self.accounts.get(rule, key + suffix)))
            else:
                entries.append((rule, self.accounts.get(rule, key + suffix)))
        return Plan(principal, entries, crowds)

    def _warn(self, rules: Sequence[Rule], principal: Principal) -> None:
        """Of limits that no start could refuse, because they came with a caller: once each, and not without end."""
        allowed = principal.models
        models = [model for model in self._models if allowed is None or model.name in allowed]
        for rule in rules:
            problem = mixture(rule, models)
            place = f"{principal.tenant} {rule.name}"
            if problem is not None and place not in self._mixed and len(self._mixed) < MOST_WARNINGS:
                self._mixed.add(place)
                log.warning("a limit adds up currencies", tenant=principal.tenant, problem=problem)


def _own_rules(principal: Principal) -> list[Rule]:
    rules: list[Rule] = []
    for limit in principal.limits:
        found, problems = rules_of((limit,))
        if problems:
            # To run without it would be to run without a limit.
            raise PolicyFailed(f"key {principal.key_id}: {problems[0]}")
        rules += found
    return rules


def _is_same(one: Principal, other: Principal) -> bool:
    return one.tenant == other.tenant and one.team == other.team and one.limits == other.limits
