"""The recipes as texts: each configuration can be served, and says the same as the engine's command beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import config_file
from gateway.composition.runtime import Runtime, build_runtime
from gateway.contracts.backend import Replica
from gateway.contracts.keys import generate_key
from gateway.registry import Registry
from gateway.shared import SharedObjects
from tests.support.recipe_commands import PLACES, RECIPES, Command, commands, recipes

COMMANDS = commands()
ROUTED = {"sglang-pd": "router"}


def serving(recipe: str) -> Command:
    """The command whose engine, or router, the gateway speaks to."""
    wanted = ROUTED.get(recipe, "0")
    return next(each for each in COMMANDS if each.recipe == recipe and each.variant in (wanted, ""))


def replica_of(recipe: str) -> Replica:
    """The replica of a recipe's configuration, built as `moegate check` does."""

    async def build() -> Replica:
        environment = {"MOEGATE_KEY": generate_key(), "ENGINE": PLACES["LISTEN"]}
        document = config_file.read(RECIPES / f"{recipe}.yaml", environment)
        runtime: Runtime = await build_runtime(document, Registry.from_plugins(), SharedObjects())
        try:
            (replica,) = runtime.fleet.replicas()
            return replica
        finally:
            await runtime.stop()

    return asyncio.run(build())


def test_every_engine_of_the_mission_has_one() -> None:
    assert {command.engine for command in COMMANDS} == {
        *("vllm", "sglang", "sglang-router", "ktransformers", "tensorrt-llm", "llama-cpp")
    }
    assert len(recipes()) >= 8


@pytest.mark.parametrize("recipe", recipes())
def test_the_gateway_speaks_to_where_the_engine_listens(recipe: str) -> None:
    replica, command = replica_of(recipe), serving(recipe)
    assert replica.url == f"http://{command.value('--host')}:{command.value('--port')}"
    assert replica.backend == recipe_backend(recipe)


def recipe_backend(recipe: str) -> str:
    engine = serving(recipe).engine.removesuffix("-router")
    return engine.replace("-", "_")


@pytest.mark.parametrize("recipe", recipes())
def test_the_gateway_calls_the_model_what_the_engine_does(recipe: str) -> None:
    replica = replica_of(recipe)
    for command in COMMANDS:
        if command.recipe == recipe and command.engine not in ("sglang-router", "tensorrt-llm"):
            assert command.value("--served-model-name", "--alias") == replica.served_model


@pytest.mark.parametrize("recipe", recipes())
def test_the_gateway_sends_no_more_than_the_engine_takes(recipe: str) -> None:
    """Tokens and calls: what the engine would refuse or let wait, the gateway places elsewhere, if it knows."""
    replica = replica_of(recipe)
    tokens, calls = limits(recipe)
    assert tokens is None or replica.context_length <= tokens
    assert calls is None or replica.max_concurrent <= calls


def limits(recipe: str) -> tuple[int | None, int | None]:
    """How long a call may be, and how many there may be, as far as the engine is told."""
    if recipe == "tensorrt-llm-nvfp4":
        said: dict[str, Any] = yaml.safe_load((RECIPES / f"{recipe}.engine.yaml").read_text())
        return said["max_seq_len"], said["max_batch_size"]
    tokens, calls = [], []
    for command in COMMANDS:
        if command.recipe != recipe or command.engine == "sglang-router" or command.variant == "prefill":
            continue
        slots = int(command.value("--parallel") or 1)
        ranks = int(command.value("--data-parallel-size") or 1)
        for option in ("--max-model-len", "--context-length", "--max-total-tokens"):
            tokens += [int(value)] if (value := command.value(option)) else []
        tokens += [int(value) // slots] if (value := command.value("--ctx-size")) else []
        calls += [slots] if command.value("--parallel") else []
        calls += [int(value) * ranks] if (value := command.value("--max-num-seqs")) else []
        calls += [int(value)] if (value := command.value("--max-running-requests")) else []
    return min(tokens, default=None), min(calls, default=None)


@pytest.mark.parametrize("recipe", recipes())
def test_the_kimi_parser_is_on_wherever_an_engine_has_one(recipe: str) -> None:
    for command in COMMANDS:
        if command.recipe == recipe and command.engine not in ("sglang-router", "llama-cpp"):
            assert command.value("--tool-call-parser", "--tool_parser") == "kimi_k2"


@pytest.mark.parametrize("recipe", recipes())
def test_a_thinking_model_s_thoughts_are_told_apart(recipe: str) -> None:
    if "Thinking" in replica_of(recipe).checkpoint.id:
        assert serving(recipe).value("--reasoning-parser", "--reasoning_parser") == "kimi_k2"


@pytest.mark.parametrize("recipe", recipes())
def test_an_engine_is_open_to_nobody_unless_told(recipe: str) -> None:
    assert '--host "${LISTEN:-127.0.0.1}"' in (RECIPES / f"{recipe}.sh").read_text()


@pytest.mark.parametrize("recipe", recipes())
def test_its_source_is_named(recipe: str) -> None:
    head = (RECIPES / f"{recipe}.sh").read_text().partition("set -eu")[0]
    assert "# Source" in head
    assert f"`{recipe}`" in (RECIPES / "README.md").read_text()


def test_every_configuration_has_its_command() -> None:
    configurations = {Path(file).stem for file in RECIPES.glob("*.yaml")} - {"tensorrt-llm-nvfp4.engine"}
    assert configurations == set(recipes())
