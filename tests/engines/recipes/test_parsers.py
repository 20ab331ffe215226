"""Whether each engine's own parser takes what the recipes tell it. What is not installed here is skipped, and says so."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from backends.environments import engine_python
from gateway.errors import ConfigError
from tests.support.recipe_commands import Command, commands

PARSERS = Path(__file__).with_name("parsers.py")
PARSER_SECONDS = 900.0
COMMANDS = commands()
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TORCH_COMPILE_DISABLE": "1",
    "SGLANG_USE_CPU_ENGINE": "1",
    "SGLANG_APPLY_CONFIG_BACKUP": "none",
    "PYTHONPATH": "",
}
# KTransformers brings its own SGLang.
ARGPARSE = {"vllm": "vllm", "sglang": "sglang", "ktransformers": "sglang"}
NOT_HERE = {
    "tensorrt-llm": "TensorRT-LLM needs CUDA and cannot be installed here",
    "sglang-router": "sglang-router is not part of the lab",
}


def interpreter(engine: str) -> Path:
    """The environment's interpreter; skips where there is none."""
    if engine in NOT_HERE:
        pytest.skip(NOT_HERE[engine])
    try:
        return engine_python(engine)
    except ConfigError as error:
        pytest.skip(error.message)


@cache
def answers(engine: str) -> dict[str, dict[str, Any]]:
    """What the engine's parser makes of each of its recipes; one process for all, for its imports take a minute."""
    mine = [command for command in COMMANDS if command.engine == engine]
    ended = subprocess.run(
        [interpreter(engine), "-P", PARSERS, ARGPARSE[engine]],
        input=json.dumps([command.arguments for command in mine]),
        env={**os.environ, **OFFLINE},
        capture_output=True,
        text=True,
        timeout=PARSER_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    return {command.label: answer for command, answer in zip(mine, found, strict=True)}


@pytest.mark.timeout(PARSER_SECONDS)
@pytest.mark.parametrize(
    "command", [each for each in COMMANDS if each.engine != "llama-cpp"], ids=lambda each: each.label
)
def test_the_engine_s_parser_takes_every_option(command: Command) -> None:
    interpreter(command.engine)
    answer = answers(command.engine)[command.label]
    assert answer["error"] == []
    assert answer["unknown"] == []
    assert answer["values"]["host"] in (command.value("--host"), "None", "127.0.0.1")
    assert answer["values"]["tool_call_parser"] == "kimi_k2"


@pytest.mark.timeout(PARSER_SECONDS)
@pytest.mark.parametrize("engine", ARGPARSE)
def test_a_parser_that_is_told_nonsense_says_so(engine: str) -> None:
    """What these tests rely on."""
    told = [["--model", "m", "--no-such-option", "1"], ["--model", "m", "--tool-call-parse", "kimi_k2"]]
    ended = subprocess.run(
        [interpreter(engine), "-P", PARSERS, ARGPARSE[engine]],
        input=json.dumps(told),
        env={**os.environ, **OFFLINE},
        capture_output=True,
        text=True,
        timeout=PARSER_SECONDS,
        check=True,
    )
    nonsense, beginning = json.loads(ended.stdout.splitlines()[-1])
    assert nonsense["error"]
    assert nonsense["unknown"] == ["--no-such-option"]
    assert beginning["unknown"] == ["--tool-call-parse"]


def llama_server(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the server with `--version` behind what it is told: it parses all of it first, and loads nothing."""
    program = interpreter("llama-cpp").with_name("llama-server")
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        timeout=PARSER_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    "command", [each for each in COMMANDS if each.engine == "llama-cpp"], ids=lambda each: each.label
)
def test_llama_server_takes_every_option(command: Command) -> None:
    ended = llama_server(*command.arguments, "--help")
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "error" not in ended.stderr.lower()


@pytest.mark.parametrize("nonsense", [["--no-such-option"], ["--ctx-size", "many"], ["--override-tensor", "no-place"]])
def test_llama_server_refuses_what_it_does_not_know(nonsense: list[str]) -> None:
    """What the test above relies on."""
    assert llama_server(*nonsense, "--help").returncode != 0
