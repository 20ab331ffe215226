"""What the policy has decided and how its store has answered, as metrics; decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct, field

from gateway import Metric
from gateway.contracts.metrics import counter, gauge
from policies.admission.quotas.exchanger import Exchanger

# Limits come with tenants and keys too, and these may be many. Beyond so many names, all others are counted as one.
MOST_NAMES = 1_000
OTHERS = "other"


class QuotaCounts(Struct):
    """What has been decided, by the names of limits. A `shadow` would have refused; `while_lost` are among the `refused`."""

    admitted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    shadow: Counter[str] = field(default_factory=Counter)
    while_lost: Counter[str] = field(default_factory=Counter)
    counted_exactly: int = 0


def count(counts: Counter[str], names: Iterable[str]) -> None:
    """One more for each of these limits."""
    for name in names:
        counts[name if name in counts or len(counts) < MOST_NAMES else OTHERS] += 1


def metrics_of(counts: QuotaCounts, exchanger: Exchanger) -> list[Metric]:
    """For exporters."""
    refused: dict[tuple[str, ...], float] = {(name, "enforce"): number for name, number in counts.refused.items()}
    refused |= {(name, "shadow"): number for name, number in counts.shadow.items()}
    asked = exchanger.counts
    return [
        counter("moegate_quota_admitted", "Calls that the limits let pass.", counts.admitted),
        counter(
            "moegate_quota_refused",
            "Calls that lacked units of a limit: refused where it is enforced, let pass where it is a shadow.",
            refused,
            "limit",
            "mode",
        ),
        counter(
            "moegate_quota_unchecked",
            "Calls that were refused because the store could not be asked; they are among the refused ones.",
            {(name,): number for name, number in counts.while_lost.items()},
            "limit",
        ),
        counter(
            "moegate_quota_counted_exactly",
            "Calls whose input was counted by the model's tokenizer rather than estimated.",
            counts.counted_exactly,
        ),
        counter("moegate_quota_exchanges", "Exchanges with the store of budgets.", asked.exchanges),
        counter("moegate_quota_exchanged_budgets", "Budgets in those exchanges.", asked.budgets),
        counter("moegate_quota_lost_exchanges", "Exchanges that the store did not answer in time.", asked.lost),
        gauge("moegate_quota_store_lost", "1 while the store of budgets cannot be reached.", int(exchanger.down)),
        gauge("moegate_quota_slices", "Budgets of which this node holds or owes something.", len(exchanger)),
    ]
