"""For any sequence of attestations, expiries, fallbacks and reloads, what is emitted is of the weights that made the bytes.

Each run drives a whole gateway in this process. Its fake engines number their answers, so that it is known which replica made
which; the replicas' weights are swapped by reloads, and the policy's clock is moved.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import BuildContext, Extension, NoSettings
from gateway.errors import UpstreamOverloaded
from gateway.http.edge import Edge
from policies.attribution.model_licence.building import resolved
from policies.attribution.model_licence.emitted import parse
from policies.attribution.model_licence.lineage import Lineage
from policies.attribution.model_licence.policy import ASKED, ModelLicence
from policies.attribution.model_licence.products import Snapshot
from policies.attribution.model_licence.settings import Mode, ModelLicenceSettings
from policies.attribution.model_licence.standing import Standing
from policies.attribution.model_licence.states import State
from tests.support.gateway_process import FORGETFUL
from tests.unit.builders import BODY
from tests.unit.fakes import EVENT_STREAM, FakeResponse
from tests.unit.gateway.in_process import STREAMED, Gateway, config, replica, running
from tests.unit.gateway.plugin_modules import extension, plugin
from tests.unit.policies.attribution.model_licence.licensed import (
    CHECKPOINTS,
    LICENCES,
    RECORDS,
    Clock,
    attested,
    shown,
    snapshot,
)

NAMES = ("a", "b", "c")
WEIGHTS = tuple(CHECKPOINTS)
STRICT = {State.ABOVE_NOT_DISPLAYED: Mode.BLOCK, State.EXPIRED: Mode.REQUIRE_ACK}

placed = st.tuples(*(st.sampled_from(WEIGHTS) for _ in NAMES))
operations = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(0, len(NAMES)), st.booleans()),
        st.tuples(st.just("attest"), st.sampled_from([None, 5, 90_000_000, 10**9]), st.integers(1, 30), st.booleans()),
        st.tuples(st.just("pass"), st.integers(0, 40)),
        st.tuples(st.just("reload"), placed),
    ),
    min_size=3,
    max_size=14,
)


class World:
    """A gateway, who wrote what, and what is known of the shop."""

    def __init__(self, strict: bool) -> None:
        self.clock = Clock()
        self.standing = Standing(anonymous(snapshot()))
        self.settings = ModelLicenceSettings(modes=STRICT if strict else {})
        self.records: list[str] = []
        self.said: tuple[Any, ...] = ()

    def build(self, _: NoSettings, context: BuildContext) -> ModelLicence:
        """As the package does it, but with our clock and our products."""
        replicas = context.fleet.replicas()
        lineage = Lineage(RECORDS, CHECKPOINTS.values())
        descents = resolved(lineage, {each.name: each.checkpoint for each in replicas})
        policy = ModelLicence(self.settings, descents, lineage, self.clock)
        self.standing.tell(policy)
        return policy

    def append(self, call: Any, outcome: Any, decision: Any) -> None:
        """As a journal: what the ledger would keep."""
        self.records += outcome.attribution

    def attest(self, users: int | None, seconds: int, displayed: bool) -> None:
        """Say something that holds for so long."""
        now = int(self.clock())
        self.said = (*self.said, attested(users, attested_at=now, valid_until=now + seconds))
        evidence = tuple(shown(licence, given_at=now, displayed=displayed) for licence in set(LICENCES.values()))
        self.standing.publish(anonymous(snapshot(*self.said, evidence=evidence)))


def anonymous(known: Snapshot) -> Snapshot:
    """The shop is whoever calls."""
    return msgspec.structs.replace(known, of_teams={("anonymous", None): "shop"})


def configured(weights: tuple[str, ...]) -> dict[str, Any]:
    """A gateway that tries its replicas in order, whatever became of them before."""
    replicas = [
        replica(name, checkpoint=msgspec.to_builtins(CHECKPOINTS[weight]))
        for name, weight in zip(NAMES, weights, strict=True)
    ]
    found = config(
        replicas=replicas, policies={"routing": [], "attribution": [{"use": "licensed"}]}, plugins=[{"use": "kept"}]
    )
    found["models"][0]["breaker"] = {"enabled": False}
    found["models"][0]["retries"] = {**FORGETFUL["retries"], "minimum_calls": 10_000}
    return found


def expected(weight: str) -> str:
    record = RECORDS.get(LICENCES[weight])
    return record.display.string if record is not None and record.display is not None else ""


async def call(gateway: Gateway, world: World, weights: tuple[str, ...], failing: int, stream: bool) -> None:
    """One call whose first engines are full; the answer says of whose weights it is."""
    asked = len(gateway.asked)
    written = len(world.records)
    mark = f"bytes {asked}"
    answer = (
        FakeResponse(headers=EVENT_STREAM, pieces=[f"data: {mark}\n\n".encode(), b"data: [DONE]\n\n"])
        if stream
        else FakeResponse(pieces=[mark.encode()])
    )
    served = failing < len(NAMES)
    gateway.connections.script(*[UpstreamOverloaded("full")] * min(failing, len(NAMES)), *[answer] * served)
    found = await gateway.ask(body=STREAMED if stream else BODY)
    refused = found.headers.get("x-moegate-error", "").startswith("attribution_")
    if found.status != 200 and not refused:
        assert not served
        return
    # Of who was asked last, or of who would have been asked next, are the bytes or would have been.
    tried = len(gateway.asked) - asked
    weight = weights[tried] if refused else weights[NAMES.index(gateway.asked[-1])]
    assert refused or mark in found.body.decode()
    assert found.headers.get("x-moegate-attribution", "") == expected(weight)
    assert found.headers["x-moegate-licence"].split(";")[0] == LICENCES[weight]
    (record,) = world.records[written:]
    kept = parse(record)
    assert kept is not None
    assert (kept.licence, kept.shown, bool(kept.refused)) == (LICENCES[weight], expected(weight), refused)
    record_of = RECORDS.get(LICENCES[weight])
    assert kept.digest == (record_of.digest[:16] if record_of is not None else "")
    assert found.headers["x-moegate-licence"].split("state=")[1].split(";")[0] == kept.state.value


async def play(first: tuple[str, ...], done: list[tuple[Any, ...]], strict: bool) -> None:
    world = World(strict)
    ours = plugin(
        moegate_attribution_policies=lambda: [Extension("licensed", NoSettings, world.build)],
        moegate_journals=lambda: [extension("kept", world)],
    )
    weights = first
    async with running(ours, settings=configured(first)) as gateway:
        for operation, *arguments in [*done, ("call", 0, False)]:
            if operation == "call":
                await call(gateway, world, weights, *arguments)
            elif operation == "attest":
                world.attest(*arguments)
            elif operation == "pass":
                world.clock.now += arguments[0]
            else:
                (weights,) = arguments
                old, gateway.runtime = gateway.runtime, await gateway.build(configured(weights))
                gateway.runtime.start()
                gateway.edge = Edge(gateway.runtime)
                while gateway.runtime.fleet.not_ready():
                    await gateway.runtime.fleet.wait_for_change()
                await old.retire()


async def test_what_a_stream_began_with_it_ends_with() -> None:
    """An attestation that ends while an answer streams changes the next call, not this one."""
    world = World(strict=False)
    ours = plugin(
        moegate_attribution_policies=lambda: [Extension("licensed", NoSettings, world.build)],
        moegate_journals=lambda: [extension("kept", world)],
    )
    world.attest(5, 10, displayed=False)
    asked = {name.decode(): value.decode() for name, value in (ASKED,)}
    gate = asyncio.Event()
    pieces = [b'data: {"choices":[]}\n\n', gate, b"data: [DONE]\n\n"]
    async with running(ours, settings=configured(("k2", "k2", "k2"))) as gateway:
        gateway.connections.script(*(FakeResponse(headers=EVENT_STREAM, pieces=list(pieces)) for _ in range(2)))
        asking = asyncio.create_task(gateway.ask(body=STREAMED, **asked))
        while not gateway.asked and not asking.done():  # noqa: ASYNC110 - it has no event to wait for
            await asyncio.sleep(0)
        world.clock.now += 10
        gate.set()
        begun, following = await asking, await gateway.ask(body=STREAMED, **asked)
    for answer, state in ((begun, "below"), (following, "expired")):
        assert answer.headers["x-moegate-licence"] == f"kimi-k2; state={state}"
        comment = answer.body.decode().partition(": moegate.attribution ")[2]
        assert msgspec.json.decode(comment)["state"] == state
    states = [kept.state for record in world.records if (kept := parse(record)) is not None]
    assert states == [State.BELOW, State.EXPIRED]


@settings(max_examples=25, deadline=None)
@given(first=placed, done=operations, strict=st.booleans())
def test_what_is_emitted_is_of_the_weights_that_made_the_bytes(
    first: tuple[str, ...], done: list[tuple[Any, ...]], strict: bool
) -> None:
    asyncio.run(play(first, done, strict))
