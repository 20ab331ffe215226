from __future__ import annotations

import pytest

from gateway.shared import SharedObjects


class Thing:
    def __init__(self, *, fails: bool = False) -> None:
        self.closed = 0
        self.fails = fails

    async def aclose(self) -> None:
        self.closed += 1
        if self.fails:
            raise RuntimeError("stuck")


async def test_one_key_is_one_object() -> None:
    shared = SharedObjects()
    first = shared.hold(("a",), Thing)
    assert shared.hold(("a",), Thing) is first
    assert shared.hold(("b",), Thing) is not first


async def test_the_last_to_let_go_closes_it() -> None:
    shared = SharedObjects()
    thing = shared.hold(("a",), Thing)
    shared.hold(("a",), Thing)
    await shared.release(("a",))
    assert thing.closed == 0
    await shared.release(("a",))
    assert thing.closed == 1


async def test_what_was_closed_is_made_anew() -> None:
    shared = SharedObjects()
    first = shared.hold(("a",), Thing)
    await shared.release(("a",))
    assert shared.hold(("a",), Thing) is not first


async def test_an_object_needs_nothing_to_close() -> None:
    shared = SharedObjects()
    shared.hold(("a",), dict)
    await shared.release(("a",))


async def test_an_object_that_fails_to_close_is_gone_all_the_same() -> None:
    shared = SharedObjects()
    first = shared.hold(("a",), lambda: Thing(fails=True))
    await shared.release(("a",))
    assert first.closed == 1
    assert shared.hold(("a",), Thing) is not first


async def test_an_object_that_cannot_be_made_is_not_held() -> None:
    shared = SharedObjects()
    with pytest.raises(ZeroDivisionError):
        shared.hold(("a",), lambda: 1 // 0)
    thing = shared.hold(("a",), Thing)
    await shared.release(("a",))
    assert thing.closed == 1


async def test_a_release_too_many_is_an_error() -> None:
    shared = SharedObjects()
    shared.hold(("a",), Thing)
    await shared.release(("a",))
    with pytest.raises(KeyError):
        await shared.release(("a",))
