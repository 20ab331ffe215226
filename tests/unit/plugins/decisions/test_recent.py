from __future__ import annotations

from plugins.decisions import recent
from plugins.decisions.recent import Recent


def filled(calls: int, size: int, *, most_calls: int = 10, most_bytes: int = 10**6) -> Recent:
    kept = Recent()
    kept.limit(most_calls, most_bytes)
    for number in range(calls):
        kept.put(f"c{number}", b"x" * size)
    return kept


def test_the_latest_so_many_calls_are_kept() -> None:
    kept = filled(12, 5)
    assert len(kept) == 10
    assert (kept.get("c1"), kept.get("c2")) == (None, b"xxxxx")


def test_and_no_more_bytes_than_allowed() -> None:
    kept = filled(100, 1_000, most_calls=1_000, most_bytes=50_000)
    assert kept.bytes <= 50_000
    assert 30 < len(kept) < 50
    assert kept.get("c99") is not None


def test_a_record_that_is_larger_than_all_is_not_kept() -> None:
    kept = filled(1, 2_000, most_bytes=1_000)
    assert (len(kept), kept.bytes) == (0, 0)


def test_the_same_call_is_kept_once() -> None:
    kept = filled(1, 5)
    before = kept.bytes
    kept.put("c0", b"yyyyy")
    assert (len(kept), kept.bytes, kept.get("c0")) == (1, before, b"yyyyy")


def test_a_lower_limit_holds_at_once() -> None:
    kept = filled(10, 5)
    kept.limit(3, 10**6)
    assert len(kept) == 3


def test_what_waits_is_bounded_too() -> None:
    kept = Recent()
    for number in range(recent.MOST_WAITING + 5):
        kept.wait((str(number), 0, "m", "{}"))
    assert (len(kept.waiting), kept.lost, kept.waiting[0][0]) == (recent.MOST_WAITING, 5, "5")
