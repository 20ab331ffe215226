"""What each tenant has been served of late: virtual token counters, as in "Fairness in Serving Large Language Models" (2024).

A counter grows by the tokens that its tenant is served, divided by the tenant's share; whoever waits and has the smallest is next.
A tenant that comes back from a pause is lifted to the smallest of those that wait: a pause earns nothing. But calls in
flight are charged before they are served, and those of the others hold every slot: so it begins lower by what it lacks of
its share of the tokens in flight, and is as far as the others once it has its share of the slots.
"""

from __future__ import annotations

from gateway import Principal

MOST_ACCOUNTS = 10_000
"""Tenants whose counters are kept though they have no call here; beyond it they begin anew."""

LEAST_SHARE = 1e-6
_NEWEST = 0.1


class Account:
    """One tenant in one lane.

    Attributes:
        counter: tokens served, divided by the share.
        usual: tokens that a call of this tenant's takes, by what its last ones took.
        waiting, running: calls that wait, and that hold a slot.
        charged: tokens, of those that hold a slot.
        weight: its share as long as it has a call here, else 0.
    """

    __slots__ = ("charged", "counter", "running", "share", "tenant", "usual", "waiting", "weight")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.share = 1.0
        self.counter = 0.0
        self.usual = 0.0
        self.waiting = 0
        self.running = 0
        self.charged = 0.0
        self.weight = 0.0

    def settle(self, charged: float, used: int) -> None:
        """A call is over: put right what it was charged."""
        self.counter += (used - charged) / self.share
        if used:
            self.usual += (used - self.usual) * _NEWEST


class Accounts:
    """The tenants of one lane.

    Attributes:
        charged: tokens of all calls that hold a slot.
        weight: shares of the tenants that have a call here.
    """

    def __init__(self) -> None:
        self.charged = 0.0
        self.weight = 0.0
        self._of_tenant: dict[str, Account] = {}
        self._most = MOST_ACCOUNTS

    def __len__(self) -> int:
        return len(self._of_tenant)

    def of(self, principal: Principal) -> Account:
        """The account of a caller's tenant."""
        account = self._of_tenant.get(principal.tenant)
        if account is None:
            if len(self._of_tenant) >= self._most:
                self._forget()
            account = self._of_tenant[principal.tenant] = Account(principal.tenant)
        if not account.waiting:  # while it waits, its place was found by the old share
            account.share = max(principal.share, LEAST_SHARE)
        return account

    def begin(self, account: Account, charged: float) -> None:
        """One of its calls has got a slot."""
        account.running += 1
        account.charged += charged
        self.charged += charged
        self.weigh(account)

    def end(self, account: Account, charged: float) -> None:
        """One of its calls has given its slot back."""
        account.running -= 1
        account.charged = account.charged - charged if account.running else 0.0
        self.charged -= charged
        self.weigh(account)

    def weigh(self, account: Account) -> None:
        """The number of its calls has changed."""
        weight = account.share if account.waiting or account.running else 0.0
        if weight != account.weight:
            self.weight += weight - account.weight
            account.weight = weight

    def credit(self, account: Account) -> float:
        """How far below the others it may begin: what it lacks of its share of the tokens in flight."""
        weight = self.weight - account.weight + account.share
        return max(self.charged / weight - account.charged / account.share, 0.0)

    def _forget(self) -> None:
        kept = {name: account for name, account in self._of_tenant.items() if account.waiting or account.running}
        self._of_tenant = kept
        self._most = max(MOST_ACCOUNTS, 2 * len(kept))
