"""With a publisher that is a process of its own, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from policies.routing.learned.blocks import links_of, root
from policies.routing.learned.following import EngineCaches
from policies.routing.learned.kv_events import Follower
from policies.routing.learned.kv_stream import Source
from tests.unit.policies.routing.learned.kv_events_written import removed, stored
from tests.unit.policies.routing.learned.kv_publisher import Publisher

TOKENS = list(range(16))
SECONDS = 20.0


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    made = Publisher()
    yield made
    made.kill()


class Listening:
    """Somebody who follows a publisher."""

    def __init__(self, publisher: Publisher, *, replay: bool) -> None:
        self.caches = EngineCaches(1_000)
        again = f"tcp://127.0.0.1:{publisher.replay_port}" if replay else None
        self.caches.follow({"a": Source(f"tcp://127.0.0.1:{publisher.port}", again, "kv")})
        self.task = asyncio.create_task(self.caches.stream("a").run())

    @property
    def follower(self) -> Follower:
        return self.caches.followers["a"]

    @property
    def held(self) -> int:
        return next((count for count, _ in self.caches.blocks.match(links_of(TOKENS, 4, root(None)))), 0)

    async def until(self, look: Callable[[], object]) -> None:
        async with asyncio.timeout(SECONDS):
            while not look():
                assert not self.task.done(), self.task
                await asyncio.sleep(0.005)  # a pause that cannot be helped: another process works meanwhile

    async def hears(self, publisher: Publisher) -> None:
        """A subscription takes effect at the publisher some time after it was made: send until something comes."""
        async with asyncio.timeout(SECONDS):
            before = self.follower.last
            while self.follower.last == before:
                publisher.publish()
                await asyncio.sleep(0.005)  # a pause that cannot be helped: another process works meanwhile

    async def end(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await self.caches.aclose()


@pytest.fixture
async def listening(publisher: Publisher) -> AsyncIterator[Listening]:
    made = Listening(publisher, replay=True)
    yield made
    await made.end()


async def test_what_was_told_before_is_told_again(publisher: Publisher) -> None:
    publisher.publish(stored([1, 2], TOKENS[:8]))
    publisher.publish(removed(2))
    made = Listening(publisher, replay=True)
    await made.until(lambda: made.follower.mode == "precise" and made.follower.last == 1)
    assert made.held == 1
    await made.end()


async def test_more_than_a_socket_takes_at_once_is_told_again_in_parts(publisher: Publisher) -> None:
    """An engine's replay drops what its socket has no room for, and says nothing of it."""
    publisher.publish(stored([1], TOKENS[:4]))
    publisher.publish_many(6_000)
    publisher.publish(stored([2], TOKENS[4:8], parent=1))
    made = Listening(publisher, replay=True)
    await made.until(lambda: made.follower.mode == "precise" and made.held == 2)
    assert made.follower.last == 6_001
    await made.end()


async def test_an_engine_that_has_told_nothing_yet_is_known(publisher: Publisher, listening: Listening) -> None:
    await listening.until(lambda: listening.follower.mode == "precise")
    await listening.hears(publisher)
    publisher.publish(stored([1], TOKENS[:4]))
    await listening.until(lambda: listening.held == 1)


async def test_what_was_lost_is_asked_for(publisher: Publisher, listening: Listening) -> None:
    await listening.hears(publisher)
    publisher.publish(stored([1], TOKENS[:4]))
    publisher.lose(stored([2], TOKENS[4:8], parent=1))
    publisher.lose(stored([3], TOKENS[8:12], parent=2))
    publisher.publish(stored([4], TOKENS[12:], parent=3))
    await listening.until(lambda: listening.held == 4)
    assert (listening.follower.mode, listening.follower.gaps) == ("precise", 1)


async def test_what_is_lost_for_good_leaves_a_part(publisher: Publisher, listening: Listening) -> None:
    await listening.hears(publisher)
    publisher.publish(stored([1], TOKENS[:4]))
    await listening.until(lambda: listening.held == 1)
    publisher.lose(removed(1))
    publisher.forget()
    publisher.publish(stored([5, 6], TOKENS[:8]))
    await listening.until(lambda: listening.held == 2)
    assert listening.follower.mode == "partial"


async def test_without_a_replay_port_a_gap_leaves_a_part(publisher: Publisher) -> None:
    listening = Listening(publisher, replay=False)
    await listening.until(lambda: listening.follower.connected)
    await listening.hears(publisher)
    publisher.publish(stored([1], TOKENS[:4]))
    await listening.until(lambda: listening.held == 1)
    publisher.lose(removed(1))
    publisher.publish(stored([2, 3], TOKENS[4:12], parent=1))
    await listening.until(lambda: listening.follower.mode == "partial" and listening.held == 0)
    await listening.end()


async def test_a_publisher_that_is_gone_is_noticed_and_another_one_begins_anew(
    publisher: Publisher, listening: Listening
) -> None:
    await listening.hears(publisher)
    publisher.publish(stored([1, 2], TOKENS[:8]))
    await listening.until(lambda: listening.held == 2)
    publisher.kill()
    await listening.until(lambda: listening.follower.mode == "estimated")
    restarted = Publisher(publisher.port, publisher.replay_port)
    try:
        restarted.publish(stored([1], TOKENS[:4]))
        await listening.until(lambda: listening.follower.mode == "precise" and listening.held == 1)
    finally:
        restarted.kill()


async def test_who_listens_anew_goes_on_where_the_last_one_was(publisher: Publisher, listening: Listening) -> None:
    """As after a reload: nothing is forgotten, though the publisher cannot tell it from the beginning any more."""
    await listening.hears(publisher)
    publisher.publish(stored([1], TOKENS[:4]))
    await listening.until(lambda: listening.held == 1)
    last = listening.follower.last
    publisher.forget()
    publisher.publish(stored([2], TOKENS[4:8], parent=1))
    await listening.until(lambda: listening.held == 2)
    listening.task.cancel()
    listening.task = asyncio.create_task(listening.caches.stream("a").run())
    publisher.publish(stored([3], TOKENS[8:12], parent=2))
    await listening.until(lambda: listening.held == 3)
    assert last is not None
    assert (listening.follower.mode, listening.follower.last) == ("precise", last + 2)


async def test_what_is_no_batch_is_passed_over(publisher: Publisher, listening: Listening) -> None:
    await listening.hears(publisher)
    publisher.send_raw(b"\xff\xff")
    publisher.publish(stored([1], TOKENS[:4]))
    await listening.until(lambda: listening.held == 1)
    assert (listening.follower.mode, listening.follower.unreadable) == ("partial", 1)
