"""Puts a replica first that has read the beginning of this prompt before, if that saves more time than it would wait there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from gateway import (
    BuildContext,
    Call,
    Extension,
    NoSettings,
    Ranking,
    Replica,
    RoutingObserver,
    RoutingPolicy,
    Service,
    hookimpl,
)
from gateway.errors import ConfigError
from policies.routing.learned.following import SERVICE, EngineCaches, FollowingService, Ports
from policies.routing.learned.knowledge import EngineKnowledge, PrefixKnowledge
from policies.routing.learned.kv_stream import is_installed
from policies.routing.learned.pace import Pace, shared_pace
from policies.routing.learned.prefixes import Prefixes
from policies.routing.replica_names import ByReplica, check_names


class KvEventsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Engines that tell what their prefix caches hold. Their models need a `tokenizer`.

    Attributes:
        replicas: where each publishes, by the name of a replica or of a backend.
        most_prompt_bytes: a longer prompt is not cut into tokens; what is held of it is estimated.
        most_blocks: blocks of all engines that are remembered, some 200 bytes each.
    """

    replicas: Annotated[dict[str, Ports], Meta(min_length=1)]
    most_prompt_bytes: Annotated[int, Meta(ge=1, le=1_048_576)] = 262_144
    most_blocks: Annotated[int, Meta(ge=1_000, le=100_000_000)] = 1_000_000


class PrefixAffinitySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is remembered of prompts.

    Attributes:
        most_blocks: places of prompts, some 200 bytes each; those that were not used for longest are forgotten.
        across_tenants: tenants share prefixes. Only where the backends' `cache_salt` is off, else the engines do not.
        kv_events: know by what engines tell, instead of by what they were sent.
    """

    most_blocks: Annotated[int, Meta(ge=1_000, le=10_000_000)] = 200_000
    across_tenants: bool = False
    kv_events: KvEventsSettings | None = None


class PrefixAffinity:
    """The policy. A call that matches nowhere keeps its predecessor's order, so that a miss goes where there is least to do.

    One that matches goes ahead of the predecessor's first choice only where its first event is expected sooner, with what
    is queued there and without what need not be read again.
    """

    def __init__(self, pace: Pace, prefixes: PrefixKnowledge) -> None:
        self._pace = pace
        self._prefixes = prefixes
        pace.cached_share = prefixes.cached_share

    @property
    def observers(self) -> Sequence[RoutingObserver]:
        """What was sent where, and how fast that went: the latter first, for it asks what was there before."""
        return (self._pace, *self._prefixes.observers)

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica] | Ranking:
        """Move those ahead that save time."""
        if len(replicas) <= 1:
            return replicas
        first, prefixes = replicas[0], self._prefixes
        longer = prefixes.longer(call, first, replicas)
        if not longer:
            return replicas
        compared = [first, *longer]
        shares = [prefixes.cached_share(call, each) for each in compared]
        seconds = self._pace.seconds_to_first(compared, self._pace.prompt_tokens(call), shares)
        least = seconds[0]
        sooner = sorted([at for at, each in enumerate(seconds) if each < least], key=seconds.__getitem__)
        if not sooner:
            return replicas
        ranked = list(replicas)
        for at in reversed(sooner):
            ranked.remove(compared[at])
            ranked.insert(0, compared[at])
        return Ranking(ranked, note=f"{ranked[0].name} holds {shares[sooner[0]]:.0%} of the prompt")


class PreciseAffinity(PrefixAffinity):
    """The same, where engines tell what they hold: each prompt is cut into tokens before it is placed."""

    def __init__(self, pace: Pace, knowledge: EngineKnowledge) -> None:
        super().__init__(pace, knowledge)
        self._knowledge = knowledge

    async def prepare(self, call: Call) -> None:
        """Look up what is held of its prompt."""
        await self._knowledge.look_up(call)


class _Node:
    """What this process has: the service of the runtime that is being built, which its policies tell what they want."""

    def __init__(self) -> None:
        self.building = FollowingService()


def _node(context: BuildContext) -> _Node:
    return context.shared(("routing", SERVICE), _Node)


def _build_service(_: NoSettings, context: BuildContext) -> Service:
    node = _node(context)
    node.building = FollowingService()
    return node.building


def _build(settings: PrefixAffinitySettings, context: BuildContext) -> RoutingPolicy:
    most, across = settings.most_blocks, settings.across_tenants
    key = ("routing", "prefixes", str(most), str(across))
    pace, prefixes = shared_pace(context), context.shared(key, lambda: Prefixes(most, across_tenants=across))
    if settings.kv_events is None:
        return PrefixAffinity(pace, prefixes)
    return PreciseAffinity(pace, _follow(settings.kv_events, prefixes, context))


def _follow(settings: KvEventsSettings, prefixes: Prefixes, context: BuildContext) -> EngineKnowledge:
    if not is_installed():
        raise ConfigError(
            "kv_events: pyzmq is not installed; it is not among what moegate always needs: pip install pyzmq"
        )
    check_names(settings.replicas, context, "kv_events.replicas")
    ports: ByReplica[Ports | None] = ByReplica(settings.replicas, None)
    followed = {each.name: (each, found) for each in context.fleet.replicas() if (found := ports.of(each)) is not None}
    models = {model.name: model for model in context.models}
    problems = [
        f"kv_events: model {name!r} has no `tokenizer`, and its prompts cannot be cut into tokens"
        for name in sorted({replica.model for replica, _ in followed.values()})
        if models[name].tokenizer is None
    ]
    if problems:
        raise ConfigError(*problems)
    key = ("routing", SERVICE, msgspec.json.encode(settings, order="deterministic").decode())
    caches = context.shared(key, lambda: EngineCaches(settings.most_blocks))
    fleet = context.fleet

    def salt(call: Call, name: str) -> str | None:
        return fleet.cache_salt(call, followed[name][0])

    knowledge = EngineKnowledge(
        prefixes, caches.blocks, caches.followers, context.tokens, salt, settings.most_prompt_bytes
    )
    service = _node(context).building
    service.wanted.append((caches, {name: found.source(replica) for name, (replica, found) in followed.items()}))
    service.knowledge.append(knowledge)
    return knowledge


_SERVICE = Extension(SERVICE, NoSettings, _build_service, automatic=True)


@hookimpl
def moegate_routing_policies() -> Iterable[Extension[RoutingPolicy]]:
    """Register the policy."""
    return [Extension("prefix_affinity", PrefixAffinitySettings, _build)]


@hookimpl
def moegate_services() -> Iterable[Extension[Service]]:
    """Register what listens to engines."""
    return [_SERVICE]
