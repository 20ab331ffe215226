from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest

from gateway import Call, Replica
from policies.routing.learned import knowledge
from policies.routing.learned.blocks import Blocks
from policies.routing.learned.knowledge import EngineKnowledge
from policies.routing.learned.kv_events import Follower
from policies.routing.learned.pace import Pace
from policies.routing.learned.prefixes import Prefixes
from policies.routing.prefix_affinity import PreciseAffinity
from tests.unit.builders import make_call, make_replica
from tests.unit.policies.routing.learned.kv_events_written import CLEARED, batch, stored
from tests.unit.policies.routing.ranking import Clock, Counter, names, place, serve

LONG = "one two three four " * 40


class Letters(Counter):
    """Every byte of a call's body is a token; bodies with an image cannot be cut."""

    async def ids(self, call: Call, most_bytes: int) -> Sequence[int] | None:
        return None if b"image" in call.body or len(call.body) > most_bytes else list(call.body)


def turn(*texts: str, number: int = 0, **more: object) -> Call:
    messages = [{"role": "user", "content": text} for text in texts]
    return make_call(call_id=str(number), body=json.dumps({"messages": messages}).encode(), stream=True, **more)


class Scene:
    """Replicas whose engines tell what they hold, but for the last one."""

    def __init__(self) -> None:
        self.replicas = [make_replica(name, max_concurrent=64) for name in ("a", "b", "c", "mute")]
        blocks = Blocks(100_000)
        self.followers = {replica.name: Follower(blocks) for replica in self.replicas[:3]}
        self.salts: dict[str, str] = {}
        for follower in self.followers.values():
            follower.connected = True
            follower.take(0, batch(stored([0], [0, 0, 0, 0])))
        self.pace, self.estimate = Pace(Letters(), Clock()), Prefixes(10_000)
        self.knowledge = EngineKnowledge(
            self.estimate, blocks, self.followers, Letters(), lambda _, name: self.salts.get(name), 50_000
        )
        self.policy = PreciseAffinity(self.pace, self.knowledge)
        for replica in self.replicas:
            for _ in range(5):
                warm = make_call(body=b"x" * 1_000, stream=True)
                serve([self.pace], warm, replica, 1.0, 2.0, prompt_tokens=1_000, completion_tokens=10)
        self._names = 0

    def tell(self, name: str, call: Call, **more: object) -> None:
        """An engine has read a prompt."""
        follower, tokens = self.followers[name], list(call.body)
        tokens = tokens[: len(tokens) // 4 * 4]
        first = self._names + 1
        self._names += len(tokens) // 4
        follower.take((follower.last or 0) + 1, batch(stored([*range(first, self._names + 1)], tokens, **more)))

    def send(self, call: Call, name: str) -> None:
        """It is served there, and nothing told of it."""
        serve(self.policy.observers, call, self._replica(name), len(call.body) / 1_000, 9.0)

    async def ranks(self, call: Call) -> list[str]:
        await self.policy.prepare(call)
        return names(self.policy, call, self.replicas)

    async def share(self, call: Call, name: str) -> float:
        await self.policy.prepare(call)
        return self.knowledge.cached_share(call, self._replica(name))

    def _replica(self, name: str) -> Replica:
        return next(each for each in self.replicas if each.name == name)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_conversation_goes_where_its_engine_says_that_it_is_held(scene: Scene) -> None:
    """Though another gateway sent it there."""
    scene.tell("c", turn(LONG))
    assert await scene.ranks(turn(LONG, "two")) == ["c", "a", "b", "mute"]
    assert await scene.share(turn(LONG, "two"), "c") > 0.9


async def test_what_was_sent_there_and_is_forgotten_counts_no_more(scene: Scene) -> None:
    scene.send(turn(LONG), "b")
    scene.tell("b", turn(LONG, "else"))
    assert (await scene.ranks(turn(LONG, "two", number=1)))[0] == "b"
    follower = scene.followers["b"]
    follower.take((follower.last or 0) + 1, batch(CLEARED, stored([0], [0, 0, 0, 0])))
    assert await scene.ranks(turn(LONG, "two", number=2)) == ["a", "b", "c", "mute"]


async def test_what_is_on_its_way_is_held_before_the_engine_tells(scene: Scene) -> None:
    call = turn(LONG, number=1)
    await scene.policy.prepare(call)
    attempt = place(scene.policy.observers, call, scene.replicas[1])
    attempt.answered(0.1)
    assert await scene.share(turn(LONG, "two", number=2), "b") > 0.9
    attempt.ended(1.0)
    assert await scene.share(turn(LONG, "two", number=3), "b") == 0.0


async def test_an_engine_that_nobody_hears_is_estimated(scene: Scene) -> None:
    scene.send(turn(LONG), "b")
    assert await scene.share(turn(LONG, "two", number=1), "b") == 0.0
    scene.followers["b"].connected = False
    assert await scene.share(turn(LONG, "two", number=2), "b") > 0.9
    assert (await scene.ranks(turn(LONG, "two", number=3)))[0] == "b"


async def test_one_that_is_known_in_part_is_estimated_too(scene: Scene) -> None:
    scene.followers["b"].begin(50)
    scene.tell("b", turn("other " * 90))
    scene.send(turn(LONG), "b")
    assert await scene.share(turn(LONG, "two", number=1), "b") > 0.9
    assert await scene.share(turn("other " * 90, "two", number=2), "b") > 0.9


async def test_one_that_tells_nothing_is_estimated_beside_the_others(scene: Scene) -> None:
    scene.send(turn(LONG), "mute")
    assert (await scene.ranks(turn(LONG, "two")))[0] == "mute"


@pytest.mark.parametrize("text", ["image " * 200, "long " * 20_000])
async def test_what_cannot_be_cut_into_tokens_is_looked_up_by_its_bytes(scene: Scene, text: str) -> None:
    scene.send(turn(text), "b")
    assert (await scene.ranks(turn(text, "two", number=1)))[0] == "b"
    assert scene.knowledge.looked_up == {"tokens": 0, "bytes": 1}


async def test_tenants_with_different_salts_find_only_their_own(scene: Scene) -> None:
    scene.tell("b", turn(LONG), cache_salt="acme")
    scene.salts = {"a": "acme", "b": "acme", "c": "acme"}
    assert await scene.share(turn(LONG, "two", number=1), "b") > 0.9
    scene.salts = dict.fromkeys("abc", "other")
    assert await scene.share(turn(LONG, "two", number=2), "b") == 0.0


async def test_a_long_prompt_does_not_keep_the_loop(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "MOST_INLINE_BLOCKS", 10)
    scene.tell("c", turn(LONG))
    loop_ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(loop_ran.set)
    assert (await scene.ranks(turn(LONG, "two")))[0] == "c"
    assert loop_ran.is_set()


async def test_calls_without_number_do_not_fill_the_memory(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "MOST_BLOCKS", 1_000)
    scene.tell("c", turn(LONG))
    for number in range(20):
        await scene.policy.prepare(turn(LONG, "two", number=number))
    shares = [scene.knowledge.cached_share(turn(LONG, "two", number=number), scene.replicas[2]) for number in range(20)]
    assert shares[0] == 0.0  # estimated, and nothing was sent there
    assert min(shares[-3:]) > 0.9
