from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway import config_file
from gateway.composition.runtime import build_runtime
from gateway.errors import ConfigError
from gateway.plugin_manager import BUILT_INS
from gateway.registry import Registry
from gateway.shared import SharedObjects
from tests.unit.gateway.plugin_modules import extension, plugin, registry_of

SECRET = "mg-abcd1234-" + "s" * 43

GOOD = """\
server: {port: 8080}
models:
  - name: kimi-k2
    aliases: [kimi-latest]
    checkpoint: {id: moonshotai/Kimi-K2-Instruct, context_length: 131072}
    replicas:
      - {name: a, backend: vllm, url: "http://127.0.0.1:8031"}
policies:
  admission: [{use: concurrency_limit, per_key: 64}]
  routing: [{use: context_fit}, {use: least_loaded}]
plugins: [{use: api_keys, keys: [{name: demo, tenant: demo, secret: "${KEY}"}]}, {use: prometheus}]
"""


class Counting(SharedObjects):
    """Knows what is still held."""

    @property
    def held(self) -> dict[tuple[str, ...], int]:
        return self._holders


async def problems(text: str, registry: Registry | None = None) -> list[str]:
    """What is wrong with a configuration; nothing may stay held."""
    shared, found = Counting(), ()
    document = config_file.parse(text, {"KEY": SECRET})
    try:
        runtime = await build_runtime(document, registry or Registry.from_plugins(), shared)
    except ConfigError as error:
        found = error.problems
    else:
        await runtime.stop()
    assert shared.held == {}
    assert SECRET not in "".join(found)
    return list(found)


async def problem(old: str, new: str) -> str:
    """The one thing that is wrong when this part of a good configuration is replaced."""
    assert old in GOOD
    (found,) = await problems(GOOD.replace(old, new, 1))
    return found


async def test_a_good_configuration_is_built() -> None:
    assert await problems(GOOD) == []


async def test_all_faults_are_listed_at_once(tmp_path: Path) -> None:
    text = f"""\
    server: {{port: 0, hots: x}}
    models:
      - name: kimi-k2
        aliases: [kimi-k2]
        checkpoint: {{id: x, context_length: 10}}
        replicas:
          - {{name: a, backend: vlm, url: "http://127.0.0.1:1"}}
          - {{name: a, backend: vllm}}
          - {{name: b, backend: vllm, url: "http://127.0.0.1:1", launch: {{}}}}
          - {{name: c, backend: vllm, launch: {{model: x, port: 1}}}}
          - {{name: d, backend: vllm, url: "ftp://127.0.0.1"}}
          - {{name: e, backend: vllm, url: "http://127.0.0.1:1", options: {{fast: true}}}}
          - {{name: f, backend: torch_reference, launch: {{model: {tmp_path}, port: 1}}}}
          - {{name: g, backend: torch_reference, launch: {{model: 1, prot: 1}}}}
      - {{name: empty, checkpoint: {{id: x, context_length: 10}}, replicas: []}}
    policies:
      admission: [{{use: concurency_limit}}, {{use: concurrency_limit, per_key: 0}}, {{per_key: 1}}]
      routing: [{{use: 7}}]
    plugins:
      - {{use: api_keys, keys: [{{name: one, tenant: t, secret: short}}]}}
      - {{use: prometheus, pubic: true}}
      - {{use: prometheus}}
      - {{use: bookkeeper}}
    """
    found = await problems(text)
    assert {line.partition(":")[0] for line in found} == {
        "server.port",
        "server.hots",
        "models[0].aliases[0]",
        "models[0].replicas[0].backend",
        "models[0].replicas[1].name",
        "models[0].replicas[1]",
        "models[0].replicas[2]",
        "models[0].replicas[3].launch",
        "models[0].replicas[4].url",
        "models[0].replicas[5].options.fast",
        "models[0].replicas[6].launch",
        "models[0].replicas[7].launch.model",
        "models[0].replicas[7].launch.port",
        "models[0].replicas[7].launch.prot",
        "models[1].replicas",
        "policies.admission[0].use",
        "policies.admission[1].per_key",
        "policies.admission[2].use",
        "policies.routing[0].use",
        "plugins[0]",
        "plugins[1].pubic",
        "plugins[2].use",
        "plugins[3].use",
    }
    assert all("(line " in line for line in found)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("kimi-latest", "kimi-k2", "models[0].aliases[0]: 'kimi-k2' is the name of another model already (line 4)"),
        ("backend: vllm", "backend: vlm", "did you mean 'vllm'?"),
        (', url: "http://127.0.0.1:8031"', "", "either `url` (it runs already) or `launch`"),
        ("least_loaded", "lest_loaded", "did you mean 'least_loaded'?"),
        ("use: prometheus", "use: promteus", "no plugin is registered as 'promteus'; did you mean 'prometheus'?"),
        ("use: prometheus", "use: api_keys, keys: []", "plugins[1].use: 'api_keys' stands twice"),
        ("use: least_loaded", "use: least_loaded, speed: 1", "policies.routing[1].speed: unknown setting; known: none"),
        ('"${KEY}"', "mg-short", "the secret of key 'demo' is not of the form mg-<public id>-<secret>"),
        ('"${KEY}"', '"${OTHER}"', "environment variable OTHER is not set (line 11)"),
        ("http://127.0.0.1:8031", "http://user:pass@127.0.0.1", "must not hold credentials"),
    ],
)
async def test_one_fault_is_told_with_its_place_and_a_way_out(old: str, new: str, found: str) -> None:
    text = await problem(old, new)
    assert found in text
    assert "pass@" not in text


async def test_without_an_authenticator_there_must_be_a_word_for_it() -> None:
    plugins = GOOD[GOOD.index("plugins:") :]
    assert "no plugin knows callers" in await problem(plugins, "plugins: []\n")
    assert await problems(GOOD.replace(plugins, "").replace("{port: 8080}", "{anonymous: true}")) == []


async def test_two_keys_of_one_public_id() -> None:
    keys = '{name: demo, tenant: demo, secret: "${KEY}"}'
    assert "key 'demo' has the public id of another key" in await problem(keys, f"{keys}, {keys}")


async def test_replicas_of_two_models_share_one_space_of_names() -> None:
    second = GOOD[GOOD.index("  - name: kimi-k2") : GOOD.index("policies:")].replace("kimi", "other")
    (found,) = await problems(GOOD.replace("policies:", second + "policies:"))
    assert found.startswith("models[1].replicas[0].name: 'a' is the name of another replica already")


@pytest.mark.parametrize("text", ["", "models: []", "models:"])
async def test_a_model_is_needed(text: str) -> None:
    assert any(line.startswith("models:") for line in await problems(text))


async def test_an_extension_that_crashes_while_it_is_built_is_a_fault_like_any_other() -> None:
    def crashes(_: Any, __: Any) -> None:
        raise RuntimeError("no luck")

    registry = registry_of(plugin(moegate_services=lambda: [extension("wild", build=crashes)]), built_ins=BUILT_INS)
    found = await problems(GOOD.replace("use: prometheus", "use: wild"), registry)
    assert found == ["plugins[1]: wild cannot be built: RuntimeError('no luck') (line 11)"]


async def test_a_backend_must_not_ask_for_the_fleet() -> None:
    registry = registry_of(
        plugin(moegate_backends=lambda: [extension("nosy", build=lambda _, context: context.fleet)]),
        built_ins=BUILT_INS,
    )
    (found,) = await problems(GOOD.replace("vllm", "nosy"), registry)
    assert "backends are built before the fleet" in found


async def test_routes_that_crash_while_they_are_given_are_a_fault_like_any_other() -> None:
    class Provider:
        @property
        def handlers(self) -> Any:
            raise RuntimeError("no luck")

    registry = registry_of(plugin(moegate_routes=lambda: [extension("wild", Provider())]), built_ins=BUILT_INS)
    (found,) = await problems(GOOD.replace("use: prometheus", "use: wild"), registry)
    assert "wild" in found
    assert "no luck" in found


async def test_colliding_routes_do_not_hide_other_faults() -> None:
    text = GOOD.replace("use: prometheus", 'use: prometheus, path: "/healthz"').replace("least_loaded", "absent")
    found = await problems(text)
    assert any("collide" in line for line in found)
    assert any("absent" in line for line in found)
