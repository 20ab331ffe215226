from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from gateway import Call, Replica
from gateway.composition.runtime import build_runtime
from gateway.config_file import parse
from gateway.errors import ConfigError
from gateway.plugin_manager import DEFAULT_ROUTING
from gateway.registry import Registry
from gateway.shared import SharedObjects
from tests.unit.fakes import FakeResponse
from tests.unit.gateway.in_process import config, running
from tests.unit.gateway.plugin_modules import extension, plugin

YAML = """\
server: {anonymous: true}
models:
  - name: kimi-k2
    checkpoint: {id: moonshotai/Kimi-K2-Instruct, context_length: 131072}
    replicas:
      - {name: large, backend: vllm, url: "http://127.0.0.1:8031"}
      - {name: small, backend: ktransformers, url: "http://127.0.0.1:8032"}
    routing: [ROUTING]
"""


class Noting:
    """A policy that leaves everything as it is."""

    def __init__(self) -> None:
        self.calls = 0

    def rank(self, call: Call, replicas: Sequence[Replica]) -> Sequence[Replica]:
        self.calls += 1
        return replicas


async def build(routing: str) -> Any:
    return await build_runtime(parse(YAML.replace("ROUTING", routing), {}), Registry.from_plugins(), SharedObjects())


@pytest.mark.parametrize(("own", "asked"), [(None, "common"), ([{"use": "own"}], "own"), ([], "neither")])
async def test_a_model_s_own_list_stands_in_place_of_the_common_one(own: Any, asked: str) -> None:
    policies = {"common": Noting(), "own": Noting(), "neither": Noting()}
    brings = plugin(
        moegate_routing_policies=lambda: [extension(name, policies[name]) for name in ("common", "own", "neither")]
    )
    settings = config(policies={"routing": [{"use": "common"}]})
    if own is not None:
        settings["models"][0]["routing"] = own
    async with running(brings, settings=settings, replies=(FakeResponse(pieces=[b"{}"]),)) as gateway:
        assert (await gateway.ask()).status == 200
    assert [name for name, policy in policies.items() if policy.calls] == ([asked] if asked != "neither" else [])


async def test_without_any_list_the_default_one_is_used_with_policies_that_are_built_in() -> None:
    runtime = await build("")
    try:
        assert tuple(entry["use"] for entry in runtime.routing) == DEFAULT_ROUTING
    finally:
        await runtime.stop()


@pytest.mark.parametrize(
    ("routing", "problem"),
    [
        ("{use: weighted, weights: {lage: 2}}", "'lage'; did you mean 'large'?"),
        ("{use: priority_tiers, tiers: [[vllm], [small, vllm]]}", "'vllm' stands in two places"),
        ("{use: priority_tiers, tiers: [[ktransformer]]}", "'ktransformer'; did you mean 'ktransformers'?"),
        ("{use: cost_aware, prices: {nobody: {input: 1, output: 1}}}", "'nobody'; there are ktransformers, large"),
        (
            "{use: cost_aware, prices: {large: {input: 1, output: 1}, small: {input: 1, output: 1, currency: EUR}}}",
            "cannot compare EUR with USD",
        ),
        ("{use: time_window, windows: [{replicas: [smal]}]}", "'smal'; did you mean 'small'?"),
        ("{use: time_window, windows: [{replicas: [small], time_zone: Mars}]}", "no time zone is called 'Mars'"),
        ("{use: session_affinity, weights: {larg: 1}}", "'larg'; did you mean 'large'?"),
        ("{use: predicted_ttft, slo: {models: {kimi: 500}}}", "no model is named 'kimi'"),
        ("{use: predicted_ttft, slo: {ttft: 500}}", "unknown setting"),
        ("{use: capacity_weighted, choices: 1}", "choices"),
    ],
)
async def test_what_is_wrong_with_a_policy_s_settings_is_found_at_the_start(routing: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await build(routing)
    (found,) = caught.value.problems
    assert problem in found
    assert found.startswith("models[0].routing[0]")


@pytest.mark.parametrize(
    "routing",
    [
        "{use: weighted, weights: {vllm: 2, small: 0}}",
        "{use: priority_tiers, tiers: [[vllm], [small]]}",
        "{use: cost_aware, prices: {vllm: {input: 1, output: 2}}, slo: {operations: {chat: 900}}}",
        '{use: time_window, windows: [{replicas: [small], days: [mon], from: "22:00", to: "06:00", time_zone: Asia/Tokyo}]}',
        "{use: session_affinity, by: [user], weights: {large: 3}}",
        "{use: predicted_ttft, slo: {ttft_ms: 2000, models: {kimi-k2: 500}}}",
        "{use: capacity_weighted, choices: 2}, {use: prefix_affinity, most_blocks: 1000}",
        "{use: peak_ewma, of: whole}, {use: round_robin}, {use: pin}",
    ],
)
async def test_what_is_right_is_built(routing: str) -> None:
    await (await build(routing)).stop()
