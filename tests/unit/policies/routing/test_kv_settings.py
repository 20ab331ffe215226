"""Events of engines in the configuration: what is wrong is said at the start, and what is followed is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from gateway import BuildContext, Call, Checkpoint, Model, Replica
from gateway.errors import ConfigError
from gateway.tokens import LearnedCounter
from policies.routing import prefix_affinity
from policies.routing.learned.following import EngineCaches, FollowingService
from policies.routing.learned.kv_stream import Source
from policies.routing.prefix_affinity import PreciseAffinity, PrefixAffinity, PrefixAffinitySettings
from tests.unit.builders import make_replica
from tests.unit.policies.routing.learned.kv_events_written import batch, stored

K2_TINY = Path(__file__).resolve().parents[4] / "deploy" / "lab" / "k2-tiny"
EVENTS = {"replicas": {"vllm": {"port": 5557, "replay_port": 5558, "topic": "kv"}}}


class Context:
    """What a policy is built with."""

    def __init__(self, tokenizer: Path | None = K2_TINY) -> None:
        self.models = [Model("kimi-k2", (), Checkpoint(id="k", context_length=8_192), tokenizer=tokenizer)]
        self.tokens = LearnedCounter()
        self.fleet = self
        self._shared: dict[tuple[str, ...], Any] = {}
        self._replicas = [
            make_replica("a", backend="vllm", url="http://10.0.0.1:8000"),
            make_replica("b", backend="vllm", url="http://[::1]:8000/base"),
            make_replica("c", backend="hosted"),
        ]

    def replicas(self) -> list[Replica]:
        return self._replicas

    def target_sources(self) -> list[Any]:
        return []

    def cache_salt(self, call: Call, replica: Replica) -> str | None:
        return None

    def shared(self, key: tuple[str, ...], create: Callable[[], Any]) -> Any:
        return self._shared.setdefault(key, create())

    def built(self, settings: dict[str, Any]) -> tuple[PrefixAffinity, FollowingService]:
        """The policy, and the service that was built before it."""
        (service,) = prefix_affinity.moegate_services()
        (policy,) = prefix_affinity.moegate_routing_policies()
        context = cast("BuildContext", self)
        listens = service.build(msgspec.convert({}, service.settings), context)
        found = policy.build(msgspec.convert(settings, PrefixAffinitySettings), context)
        assert isinstance(listens, FollowingService)
        assert isinstance(found, PrefixAffinity)
        return found, listens


def test_engines_are_followed_on_the_machines_of_their_urls() -> None:
    policy, service = Context().built({"kv_events": EVENTS})
    assert isinstance(policy, PreciseAffinity)
    ((_, sources),) = service.wanted
    assert sources == {
        "a": Source("tcp://10.0.0.1:5557", "tcp://10.0.0.1:5558", "kv"),
        "b": Source("tcp://[::1]:5557", "tcp://[::1]:5558", "kv"),
    }


async def test_without_them_nothing_is_prepared_and_nobody_listens() -> None:
    policy, service = Context().built({})
    assert not hasattr(policy, "prepare")
    assert service.wanted == []
    await service.run()
    assert list(service.metrics()) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"replicas": {"vlm": {"port": 1}}}, "kv_events.replicas: no replica and no backend of one is named 'vlm'"),
        ({"replicas": {"c": {"port": 1}}, "tokenizer": None}, "model 'kimi-k2' has no `tokenizer`"),
    ],
)
def test_what_is_wrong_is_said(change: dict[str, Any], problem: str) -> None:
    context = Context(change.pop("tokenizer", K2_TINY))
    with pytest.raises(ConfigError, match=problem):
        context.built({"kv_events": change})


def test_without_pyzmq_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_affinity, "is_installed", lambda: False)
    with pytest.raises(ConfigError, match="pip install pyzmq"):
        Context().built({"kv_events": EVENTS})


async def test_how_well_each_is_known_is_counted() -> None:
    _, service = Context().built({"kv_events": EVENTS})
    ((caches, sources),) = service.wanted
    caches.follow(sources)
    follower = caches.followers["a"]
    follower.connected = True
    follower.take(0, batch(stored([1, 2], list(range(8)))))
    found = {metric.name: metric.samples for metric in service.metrics()}
    assert found["moegate_kv_events_mode"]["a", "precise"] == 1.0
    assert found["moegate_kv_events_mode"]["b", "estimated"] == 1.0
    assert found["moegate_kv_events_blocks"] == {("a",): 2.0, ("b",): 0.0}
    assert found["moegate_kv_events_batches"]["a", "taken"] == 1.0
    assert found["moegate_kv_events_prompts"] == {("tokens",): 0.0, ("bytes",): 0.0}


async def test_what_was_told_outlives_a_reload_and_goes_with_a_replica() -> None:
    caches = EngineCaches(1_000)
    here, there = Source("tcp://127.0.0.1:1"), Source("tcp://127.0.0.1:2")
    caches.follow({"a": here, "b": here})
    kept = caches.followers["a"]
    for follower in caches.followers.values():
        follower.take(0, batch(stored([1, 2], list(range(8)))))
    caches.follow({"a": here, "b": there})
    assert caches.followers["a"] is kept
    assert (len(kept.holder), len(caches.followers["b"].holder), caches.blocks.size) == (2, 0, 2)
    await caches.aclose()
    assert (caches.followers, caches.blocks.size) == ({}, 0)
