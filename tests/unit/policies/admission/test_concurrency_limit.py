from __future__ import annotations

from typing import Any

import pytest

from gateway import Call, Ending, Lease, Outcome, Principal
from gateway.errors import QuotaExceeded
from policies.admission.concurrency_limit import ConcurrencyLimit, Slots
from tests.unit.builders import make_call

ENDED = Outcome(ending=Ending.COMPLETED, status=200)


def call_of(key: str) -> Call:
    return make_call(principal=Principal(key, key, "tenant"))


async def admitted(policy: ConcurrencyLimit, *keys: str) -> list[Lease]:
    return [await policy.admit(call_of(key)) for key in keys]


async def test_a_key_may_have_so_many_calls_in_flight_and_no_more() -> None:
    policy = ConcurrencyLimit(2, Slots())
    await admitted(policy, "a", "a")
    with pytest.raises(QuotaExceeded, match="2 calls in flight") as caught:
        await policy.admit(call_of("a"))
    assert (caught.value.status, caught.value.retry_after_seconds) == (429, 1.0)


async def test_keys_do_not_share_a_limit() -> None:
    policy = ConcurrencyLimit(1, Slots())
    assert len(await admitted(policy, "a", "b", "c")) == 3


@pytest.mark.parametrize("ending", Ending)
async def test_a_slot_comes_back_however_the_call_ended(ending: Ending) -> None:
    policy = ConcurrencyLimit(1, Slots())
    for _ in range(3):
        (lease,) = await admitted(policy, "a")
        lease.settle(Outcome(ending=ending, status=0))


async def test_a_refusal_takes_no_slot() -> None:
    slots = Slots()
    policy = ConcurrencyLimit(1, slots)
    (lease,) = await admitted(policy, "a")
    with pytest.raises(QuotaExceeded):
        await policy.admit(call_of("a"))
    lease.settle(ENDED)
    assert slots.taken("a") == 0


async def test_a_key_without_calls_takes_no_memory() -> None:
    slots = Slots()
    policy = ConcurrencyLimit(3, slots)
    for lease in await admitted(policy, *(f"key-{number}" for number in range(100))):
        lease.settle(ENDED)
    assert slots == Slots() or not any(vars(slots).values())


async def test_a_reload_counts_on_with_its_own_limit() -> None:
    """The slots are shared by the runtimes, as the extension asks for them; the limit is each one's own."""
    slots: Any = Slots()
    before, after = ConcurrencyLimit(5, slots), ConcurrencyLimit(2, slots)
    leases = await admitted(before, "a", "a", "a")
    with pytest.raises(QuotaExceeded):
        await after.admit(call_of("a"))
    for lease in leases[:2]:
        lease.settle(ENDED)
    assert await after.admit(call_of("a"))
