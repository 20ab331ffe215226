"""What clients are told: headers, refusals, their own limits."""

from __future__ import annotations

import pytest

from gateway import Dimension, Principal, Subject
from gateway.errors import QuotaExceeded
from policies.admission.quotas.answers import duration
from policies.admission.quotas.overview import overview
from tests.unit.builders import MODEL, PRINCIPAL, make_call
from tests.unit.policies.admission.quotas.scene import COUNTED, Scene, Tokens, day, ended, limit


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0s"),
        (0.0201, "21ms"),
        (0.9999, "1000ms"),
        (1, "1s"),
        (1.2, "2s"),
        (59, "59s"),
        (60, "1m0s"),
        (360, "6m0s"),
        (3_599.5, "1h0m0s"),
        (93_780, "26h3m0s"),
    ],
)
def test_times_are_written_as_openai_does(seconds: float, written: str) -> None:
    assert duration(seconds) == written.encode()


async def test_headers_tell_of_the_tightest_limit_of_each_kind() -> None:
    node = Scene().node(
        limit(amount=600, name="wide"),
        limit(amount=10, name="narrow"),
        day(amount=10_000, name="day"),
        limit(Dimension.INPUT_TOKENS, 6_000, name="input"),
        limit(Dimension.OUTPUT_TOKENS, 11, name="ignored", mode="shadow"),
        limit(Dimension.CONCURRENT_CALLS, 1, name="now", every=None),
    )
    lease = await node.admit()
    assert dict(lease.headers) == {
        b"x-ratelimit-limit-requests": b"10",
        b"x-ratelimit-remaining-requests": b"9",
        b"x-ratelimit-reset-requests": b"6s",
        b"x-ratelimit-limit-tokens": b"6000",
        b"x-ratelimit-remaining-tokens": b"5900",
        b"x-ratelimit-reset-tokens": b"1s",
    }


async def test_without_such_limits_there_are_no_such_headers() -> None:
    lease = await Scene().node(limit(Dimension.CONCURRENT_CALLS, 1, every=None)).admit()
    assert lease.headers == []


async def test_weighted_tokens_are_told_as_tokens() -> None:
    lease = await Scene().node(day(Dimension.WEIGHTED_TOKENS, 1_000)).admit()
    assert dict(lease.headers)[b"x-ratelimit-limit-tokens"] == b"1000"
    assert dict(lease.headers)[b"x-ratelimit-remaining-tokens"] == b"860"


async def refusal(*limits: object, tokens: Tokens | None = None, calls: int = 2, **changes: object) -> QuotaExceeded:
    node = Scene().node(*limits, tokens=tokens)  # type: ignore[arg-type]
    for _ in range(calls - 1):
        await node.admit(**changes)
    with pytest.raises(QuotaExceeded) as caught:
        await node.admit(**changes)
    return caught.value


async def test_a_refusal_says_which_limit_what_was_asked_what_is_left_and_when_to_retry() -> None:
    error = await refusal(limit(amount=9, name="other"), limit(Dimension.TOTAL_TOKENS, 200, name="tpm"))
    assert error.message == (
        "Limit tpm (200 total_tokens per key a minute): this call asks for 110 "
        "(input 100 tokens, estimated; output 10, the most that the answer may have), and 90 are left. Try again in 6s."
    )
    assert (error.status, error.retry_after_seconds) == (429, 6)
    told = dict(error.headers)
    assert told[b"x-ratelimit-remaining-tokens"] == b"90"
    assert told[b"x-ratelimit-remaining-requests"] == b"8"


async def test_a_refusal_says_how_input_and_output_were_counted() -> None:
    error = await refusal(day(amount=200), tokens=Tokens(exact=90), model=COUNTED, max_tokens=None)
    assert "(input 90 tokens, counted; output 50, as answers typically have)" in error.message


async def test_what_can_never_fit_is_not_to_be_tried_again() -> None:
    error = await refusal(day(amount=100), calls=1)
    assert "more than it ever allows" in error.message
    assert error.retry_after_seconds is None
    assert (b"x-should-retry", b"false") in error.headers


async def test_of_several_the_one_is_told_that_is_whole_last() -> None:
    error = await refusal(limit(amount=1, name="soon"), day(amount=150, name="late"))
    assert error.message.startswith("Limit late ")


async def test_refusals_are_counted_by_limit() -> None:
    node = Scene().node(limit(amount=1))
    await node.admit()
    for _ in range(3):
        with pytest.raises(QuotaExceeded):
            await node.admit()
    assert (node.policy.counts.admitted, node.policy.counts.refused) == (1, {"few": 3})


async def test_a_caller_sees_its_own_limits_and_what_is_left_of_them() -> None:
    scene = Scene()
    node, other = (
        scene.node(day(name="day"), limit(amount=60, name="rpm", per=(Subject.KEY, Subject.MODEL)), name=name)
        for name in "ab"
    )
    lease = await node.admit()
    lease.settle(ended(200, 50))
    await node.rest()
    await node.stop()
    of_day, of_minute = await overview(other.policy, PRINCIPAL, [MODEL], None)
    assert (of_day.name, of_day.used, of_day.remaining, of_day.checked) == ("day", 250, 750, True)
    assert of_day.every == "day"
    assert of_day.resets_in is not None
    assert (of_minute.model, of_minute.remaining) == ("kimi-k2", 59)
    stranger = Principal("b", "b", "demo")
    assert [each.used for each in await overview(other.policy, stranger, [MODEL], None)] == [0, 0]


async def test_what_is_shown_while_the_store_is_lost_says_so() -> None:
    node = Scene().node(day())
    node.store.lost = True
    (shown,) = await overview(node.policy, PRINCIPAL, [MODEL], None)
    assert not shown.checked


async def test_a_model_that_the_key_may_not_use_is_not_shown() -> None:
    node = Scene().node(day())
    bound = Principal("a", "a", "demo", models=frozenset({"another"}))
    assert await overview(node.policy, bound, [MODEL], None) == []
    assert await node.policy.admit(make_call()) is not None
