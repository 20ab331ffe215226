"""Shows what each launcher plans: its own interpreter, what to serve, an address of this machine only; and what it misses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.launchers.ktransformers import KTransformersLaunch, KTransformersLauncher
from backends.launchers.llama_cpp import LlamaCppLaunch, LlamaCppLauncher
from backends.launchers.prepared_weights import MARKER, digest_of
from backends.launchers.sglang import SGLangLaunch, SGLangLauncher
from backends.launchers.vllm import VLLMLaunch, VLLMLauncher
from gateway import Launcher, LaunchPlan, LaunchSettings, config_file
from gateway.errors import ConfigError
from gateway.validation import INVALID, Validator

VLLM = (VLLMLauncher(), VLLMLaunch)
SGLANG = (SGLangLauncher(), SGLangLaunch)
KTRANSFORMERS = (KTransformersLauncher(), KTransformersLaunch)
LLAMA_CPP = (LlamaCppLauncher(), LlamaCppLaunch)
ALL = pytest.mark.parametrize(
    "engine", [VLLM, SGLANG, KTRANSFORMERS, LLAMA_CPP], ids=["vllm", "sglang", "ktransformers", "llama_cpp"]
)
Engine = tuple[Launcher, type[LaunchSettings]]


def plan_of(engine: Engine, **launch: Any) -> LaunchPlan:
    launcher, settings = engine
    return launcher.plan(settings(port=8041, **launch), served_model="kimi-k2", max_concurrent=4)


def prepare(model: Path, target: str) -> Path:
    folder = model.parent / "weights" / digest_of(model) / target
    folder.mkdir(parents=True)
    (folder / MARKER).touch()
    return folder


def option(plan: LaunchPlan, name: str) -> str:
    assert plan.argv.count(name) == 1
    return plan.argv[plan.argv.index(name) + 1]


@ALL
def test_an_engine_listens_to_this_machine_only_whatever_it_is_told(engine: Engine, engines: Path, model: Path) -> None:
    prepare(model, "gguf")
    plan = plan_of(engine, model=model, arguments=("--host=0.0.0.0", "--port", "1"))
    assert plan.argv[-4:] == ("--host", "127.0.0.1", "--port", "8041")
    assert plan.url == "http://127.0.0.1:8041"


@ALL
def test_arguments_are_handed_on_after_ours(engine: Engine, engines: Path, model: Path) -> None:
    prepare(model, "gguf")
    plan = plan_of(engine, model=model, arguments=("--log-level", "debug"))
    assert plan.argv[-6:-4] == ("--log-level", "debug")


@ALL
def test_it_runs_what_its_own_environment_holds(engine: Engine, engines: Path, model: Path) -> None:
    prepare(model, "gguf")
    program = Path(plan_of(engine, model=model).argv[0])
    assert program.parent.name == "bin"
    assert program.parents[2] == engines


@ALL
def test_a_folder_without_a_model_is_named(engine: Engine, engines: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent holds no model: there is no config\.json in it"):
        plan_of(engine, model=tmp_path / "absent")


@ALL
def test_an_engine_that_is_not_installed_says_how_to(
    engine: Engine, engines: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(model, "gguf")
    monkeypatch.setenv("MOEGATE_ENGINES_DIR", str(model))
    with pytest.raises(ConfigError, match=r"run `make engine-"):
        plan_of(engine, model=model)


@ALL
def test_a_relative_folder_is_meant_from_where_the_gateway_runs(
    engine: Engine, engines: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(model, "gguf")
    monkeypatch.chdir(model.parent)
    assert plan_of(engine, model=Path("k2-tiny")) == plan_of(engine, model=model)


@pytest.mark.parametrize("engine", [VLLM, SGLANG, KTRANSFORMERS], ids=["vllm", "sglang", "ktransformers"])
def test_no_python_engine_reaches_for_a_hub_or_takes_our_modules_for_its_own(
    engine: Engine, engines: Path, model: Path
) -> None:
    environment = plan_of(engine, model=model, threads=2).environment
    assert environment["HF_HUB_OFFLINE"] == environment["TRANSFORMERS_OFFLINE"] == "1"
    assert environment["PYTHONPATH"] == ""
    assert environment["OMP_NUM_THREADS"] == "2"


def test_vllm_is_told_its_limits(engines: Path, model: Path) -> None:
    plan = plan_of(VLLM, model=model, context_length=4096, kv_cache_mib=64)
    assert (option(plan, "--model"), option(plan, "--served-model-name")) == (str(model), "kimi-k2")
    assert (option(plan, "--max-model-len"), option(plan, "--max-num-seqs")) == ("4096", "4")
    assert option(plan, "--kv-cache-memory-bytes") == str(64 << 20)
    assert option(plan, "--dtype") == "float32"


def test_sglang_is_told_its_limits(engines: Path, model: Path) -> None:
    plan = plan_of(SGLANG, model=model, context_length=4096, kv_cache_tokens=1024, max_queued=2)
    assert (option(plan, "--model-path"), option(plan, "--served-model-name")) == (str(model), "kimi-k2")
    assert (option(plan, "--context-length"), option(plan, "--max-total-tokens")) == ("4096", "1024")
    assert (option(plan, "--max-running-requests"), option(plan, "--max-queued-requests")) == ("4", "2")
    assert "--max-queued-requests" not in plan_of(SGLANG, model=model).argv


def test_ktransformers_reads_bf16_experts_from_the_model_itself(engines: Path, model: Path) -> None:
    plan = plan_of(KTRANSFORMERS, model=model)
    assert (option(plan, "--kt-method"), option(plan, "--kt-weight-path")) == ("BF16", str(model))
    assert option(plan, "--kt-num-gpu-experts") == "0"
    assert plan.environment["SGLANG_APPLY_CONFIG_BACKUP"] == "none"


def test_ktransformers_finds_the_experts_that_were_made_for_this_model(engines: Path, model: Path) -> None:
    folder = prepare(model, "ktransformers-rawint4")
    plan = plan_of(KTRANSFORMERS, model=model, method="RAWINT4")
    assert (option(plan, "--kt-method"), option(plan, "--kt-weight-path")) == ("RAWINT4", str(folder))


def test_experts_that_were_not_made_name_the_command(engines: Path, model: Path) -> None:
    command = rf"run `python3 deploy/lab/prepare_weights.py ktransformers-amxint8 --model {model}`"
    with pytest.raises(ConfigError, match=command):
        plan_of(KTRANSFORMERS, model=model, method="AMXINT8")


def test_named_experts_must_be_there(engines: Path, model: Path, tmp_path: Path) -> None:
    plan = plan_of(KTRANSFORMERS, model=model, method="FP8", weights=model)
    assert option(plan, "--kt-weight-path") == str(model)
    with pytest.raises(ConfigError, match="there is no folder"):
        plan_of(KTRANSFORMERS, model=model, method="FP8", weights=tmp_path / "gone")


def test_llama_cpp_gives_every_slot_the_whole_context(engines: Path, model: Path) -> None:
    folder = prepare(model, "gguf")
    plan = plan_of(LLAMA_CPP, model=model, context_length=2048, threads=3)
    assert Path(plan.argv[0]).name == "llama-server"
    assert (option(plan, "--model"), option(plan, "--alias")) == (str(folder / "model.gguf"), "kimi-k2")
    assert (option(plan, "--parallel"), option(plan, "--ctx-size"), option(plan, "--threads")) == ("4", "8192", "3")


def test_llama_cpp_has_threads_for_more_connections_than_calls(engines: Path, model: Path) -> None:
    prepare(model, "gguf")
    assert int(option(plan_of(LLAMA_CPP, model=model), "--threads-http")) == 16


def test_llama_cpp_serves_a_file_that_is_named(engines: Path, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "k2.gguf"
    with pytest.raises(ConfigError, match="there is no GGUF file"):
        plan_of(LLAMA_CPP, model=file)
    file.touch()
    assert option(plan_of(LLAMA_CPP, model=file), "--model") == str(file)
    assert option(plan_of(LLAMA_CPP, model=model, gguf=file), "--model") == str(file)


def test_a_gguf_that_was_not_made_names_the_command(engines: Path, model: Path) -> None:
    with pytest.raises(ConfigError, match=rf"run `python3 deploy/lab/prepare_weights.py gguf --model {model}`"):
        plan_of(LLAMA_CPP, model=model)


def test_weights_of_another_model_do_not_count(engines: Path, model: Path) -> None:
    prepare(model, "gguf")
    (model / "model.safetensors").write_bytes(b"trained on")
    with pytest.raises(ConfigError, match="has no weights of the kind gguf"):
        plan_of(LLAMA_CPP, model=model)


@pytest.mark.parametrize(
    ("settings", "text", "problem"),
    [
        (VLLMLaunch, "{model: a, port: 8041, dtype: float16}", "dtype: expected"),
        (SGLangLaunch, "{model: a, port: 8041, threads: 0}", "threads: expected a whole number >= 1"),
        (SGLangLaunch, "{model: a, port: 8041, arguments: --x}", "arguments: expected"),
        (KTransformersLaunch, "{model: a, port: 8041, method: INT3}", "method: expected"),
        (LlamaCppLaunch, "{model: a, port: 8041, ggfu: b}", "ggfu: unknown setting; did you mean 'gguf'?"),
    ],
)
def test_what_a_launch_block_may_say(settings: type[LaunchSettings], text: str, problem: str) -> None:
    document = config_file.parse(text, {})
    validator = Validator(document)
    assert validator.extension_settings(document.content, settings, ()) is INVALID
    assert validator.problems[0].startswith(problem)
