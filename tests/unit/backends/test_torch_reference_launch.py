from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gateway
from backends.environments import MARKER
from backends.torch_reference.plugin import TorchReference, TorchReferenceLaunch
from gateway import LaunchPlan, config_file
from gateway.errors import ConfigError
from gateway.validation import INVALID, Validator


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The interpreter of an environment that looks installed."""
    monkeypatch.setenv("MOEGATE_ENGINES_DIR", str(tmp_path / "engines"))
    folder = tmp_path / "engines" / "torch-reference-2.9"
    folder.mkdir(parents=True)
    (folder / MARKER).touch()
    return folder / "bin" / "python"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "k2-tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def plan_of(**launch: Any) -> LaunchPlan:
    launcher = TorchReference().launcher
    assert launcher is not None
    return launcher.plan(TorchReferenceLaunch(port=8041, **launch), served_model="kimi-k2", max_concurrent=4)


def option(plan: LaunchPlan, name: str) -> str:
    return plan.argv[plan.argv.index(name) + 1]


def test_the_engine_runs_in_its_own_environment_as_a_module_of_ours(python: Path, model: Path) -> None:
    plan = plan_of(model=model)
    assert plan.argv[:4] == (str(python), "-P", "-m", "backends.torch_reference.engine")
    root = Path(plan.environment["PYTHONPATH"])
    assert root == Path(gateway.__path__[0]).parent
    assert (root / "backends" / "torch_reference" / "engine" / "__main__.py").is_file()


def test_it_is_told_what_to_serve_and_where(python: Path, model: Path) -> None:
    plan = plan_of(model=model, dtype="bfloat16")
    assert option(plan, "--model") == str(model)
    assert option(plan, "--served-model-name") == "kimi-k2"
    assert (option(plan, "--host"), option(plan, "--port")) == ("127.0.0.1", "8041")
    assert option(plan, "--max-concurrent") == "4"
    assert option(plan, "--dtype") == "bfloat16"
    assert plan.url == "http://127.0.0.1:8041"


def test_it_takes_one_thread_unless_more_are_asked_for(python: Path, model: Path) -> None:
    assert option(plan_of(model=model), "--threads") == "1"
    assert option(plan_of(model=model, threads=2), "--threads") == "2"


def test_a_relative_folder_is_meant_from_where_the_gateway_runs(
    python: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    assert option(plan_of(model=Path("k2-tiny")), "--model") == str(model)


def test_a_folder_without_a_model_is_named(python: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent holds no model: there is no config\.json in it"):
        plan_of(model=tmp_path / "absent")


def test_an_engine_that_is_not_installed_says_how_to(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEGATE_ENGINES_DIR", str(model))
    with pytest.raises(ConfigError, match="run `make engine-torch-reference`"):
        plan_of(model=model)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{model: a, port: 8041, dtype: float16}", "dtype: expected 'float32' or 'bfloat16' (line 1)"),
        ("{model: a, port: 8041, threads: 0}", "threads: expected a whole number >= 1 (line 1)"),
        ("{model: a}", "port: missing; it must be a whole number (line 1)"),
        ("{model: a, port: 99999}", "port: expected a whole number <= 65535 (line 1)"),
        ("{port: 8041}", "model: missing; it must be a path (line 1)"),
        (
            "{model: a, port: 8041, gpu: 1}",
            "gpu: unknown setting; known: dtype, model, port, ready_seconds, threads (line 1)",
        ),
    ],
)
def test_what_a_launch_block_may_say(text: str, problem: str) -> None:
    document = config_file.parse(text, {})
    validator = Validator(document)
    assert validator.extension_settings(document.content, TorchReferenceLaunch, ()) is INVALID
    assert validator.problems == [problem]
