"""Shows that weights are made once, whole or not at all, and found by a launcher; a stand-in for an engine's Python makes them."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from backends.launchers.prepared_weights import digest_of, prepared_weights

LAB = Path(__file__).parents[3] / "deploy" / "lab"
SCRIPT = LAB / "prepare_weights.py"
# Stands for the environment's interpreter: -P, script, model, folder, words.
MAKES = '#!/bin/sh\necho x >> "$(dirname "$0")/ran"\necho made > "$4/model.gguf"\n'
FAILS = "#!/bin/sh\necho about to fail\necho the die is cracked >&2\nexit 7\n"
CANNOT = "#!/bin/sh\necho this CPU has no such instructions\nexit 3\n"
GATED = MAKES + 'cat "$(dirname "$0")/gate" > /dev/null\n'


def lab_module(name: str, folder: Path = LAB) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up while it is being made.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


class Workshop:
    """A model, and an installed engine whose Python does what a test says."""

    def __init__(self, folder: Path) -> None:
        self.model = folder / "k2-tiny"
        self.model.mkdir()
        (self.model / "config.json").write_text("{}")
        (self.model / "model.safetensors").write_bytes(b"weights")
        self.engines = folder / "engines"
        self.weights = folder / "weights"
        for engine in ("llama-cpp", "ktransformers"):
            self._install(engine)

    def _install(self, engine: str) -> None:
        recipe = lab_module("engine_recipe", LAB / "engines").load_recipe(LAB / "engines", engine)
        home = self.engines / f"{recipe.name}-{recipe.version}"
        (home / "bin").mkdir(parents=True)
        (home / ".moegate-installed").write_text(json.dumps({"digest": recipe.digest}))
        self.python(engine).write_text(MAKES)
        self.python(engine).chmod(0o755)

    def python(self, engine: str) -> Path:
        return next(self.engines.glob(f"{engine}-*")) / "bin" / "python"

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), *words, "--model", str(self.model)],
            env={
                **os.environ,
                "MOEGATE_ENGINES_DIR": str(self.engines),
                "MOEGATE_WEIGHTS_DIR": str(self.weights),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str, str]:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def times_run(self, engine: str = "llama-cpp") -> int:
        ran = self.python(engine).parent / "ran"
        return len(ran.read_text().splitlines()) if ran.exists() else 0


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)  # another process is awaited: there is no clock to fake


def test_what_was_made_is_where_the_launcher_looks(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = workshop.run("gguf")
    assert (code, err) == (0, "")
    assert "ready:" in out
    monkeypatch.setenv("MOEGATE_WEIGHTS_DIR", str(workshop.weights))
    assert (prepared_weights(workshop.model, "gguf", "gguf") / "model.gguf").read_text() == "made\n"


def test_script_and_launcher_name_a_model_alike(workshop: Workshop) -> None:
    assert lab_module("prepared_model").digest_of(workshop.model) == digest_of(workshop.model)
    before = digest_of(workshop.model)
    (workshop.model / "MODEL.md").write_text("a card changes no answer")
    assert digest_of(workshop.model) == before
    (workshop.model / "tokenizer.json").write_text("{}")
    assert digest_of(workshop.model) != before


def test_a_second_call_makes_nothing(workshop: Workshop) -> None:
    workshop.run("gguf")
    code, out, _ = workshop.run("gguf")
    assert (code, workshop.times_run()) == (0, 1)
    assert "already there" in out


def test_of_two_racing_calls_one_makes_and_both_succeed(workshop: Workshop) -> None:
    workshop.python("llama-cpp").write_text(GATED)
    gate = workshop.python("llama-cpp").parent / "gate"
    os.mkfifo(gate)
    with workshop.start("gguf") as first:
        wait_until(lambda: workshop.times_run() == 1, "the first call never reached its maker")
        with workshop.start("gguf") as second:
            assert second.stdout is not None
            assert "waiting for it" in second.stdout.readline()
            gate.write_text("go on")
            out = second.communicate(timeout=60)[0]
        first.communicate(timeout=60)
    assert (first.returncode, second.returncode, workshop.times_run()) == (0, 0, 1)
    assert "made meanwhile" in out


def test_waiting_for_another_call_has_an_end(workshop: Workshop) -> None:
    workshop.python("llama-cpp").write_text(GATED)
    os.mkfifo(workshop.python("llama-cpp").parent / "gate")
    with workshop.start("gguf") as first:
        wait_until(lambda: workshop.times_run() == 1, "the first call never reached its maker")
        code, _, err = workshop.run("gguf", "--wait-minutes", "0.001")
        first.terminate()
        first.communicate(timeout=60)
    assert (code, first.returncode) == (4, 130)
    assert "has not finished" in err


def test_a_failure_shows_the_end_of_the_log_and_leaves_nothing(workshop: Workshop) -> None:
    workshop.python("llama-cpp").write_text(FAILS)
    code, _, err = workshop.run("gguf")
    assert code == 1
    assert "ended with 7" in err
    assert "the die is cracked" in err
    assert not [path for path in workshop.weights.rglob("gguf*") if path.is_dir()]


def test_what_this_cpu_cannot_is_left_out_unless_it_was_asked_for(workshop: Workshop) -> None:
    workshop.python("ktransformers").write_text(CANNOT)
    code, out, _ = workshop.run()
    assert (code, workshop.times_run()) == (0, 1)
    assert "left out: ktransformers-amxint8: this CPU has no such instructions" in out
    code, _, err = workshop.run("ktransformers-amxint8")
    assert code == 3
    assert "no such instructions" in err


def test_an_engine_that_is_not_installed_says_how_to(workshop: Workshop) -> None:
    workshop.python("llama-cpp").unlink()
    code, _, err = workshop.run("gguf")
    assert code == 2
    assert "make engine-llama-cpp" in err


def test_an_unknown_target_lists_the_known(workshop: Workshop) -> None:
    code, _, err = workshop.run("ggml")
    assert code == 2
    assert "no such target: ggml (there are: gguf," in err


def test_a_folder_without_a_model_is_named(workshop: Workshop) -> None:
    (workshop.model / "config.json").unlink()
    code, _, err = workshop.run("gguf")
    assert code == 2
    assert "there is no config.json in it" in err


def test_where_weights_lie_is_said_without_making_any(workshop: Workshop) -> None:
    code, out, _ = workshop.run("gguf", "--print-folder")
    assert (code, workshop.times_run()) == (0, 0)
    assert out == f"{workshop.weights / digest_of(workshop.model) / 'gguf'}\n"


def toy_tokenizer() -> dict[str, object]:
    rule = 'You are\\.|[\\[{]*"(?:["])*|[a-z]+|[A-Z]|[^a-z]+'
    return {
        "pre_tokenizer": {"pretokenizers": [{"type": "Split", "pattern": {"Regex": rule}}]},
        "model": {
            "vocab": {"o": 0, "u": 1, "ou": 2, "You": 3, "YouĠare.": 4, ',"': 5, "Ġare": 6},
            "merges": [["o", "u"], ["Y", "ou"], ["Ġ", "are"], ["You", "Ġare."], [",", '"']],
        },
        "added_tokens": [{"id": 9, "content": "[BOS]", "special": True}],
    }


def test_sentences_that_are_one_token_are_looked_for_first_and_no_merge_leads_to_them() -> None:
    tokenizer = toy_tokenizer()
    lab_module("prepare_weights_gguf").adapt(tokenizer)
    model = tokenizer["model"]
    assert isinstance(model, dict)
    assert model["merges"] == [["o", "u"], [",", '"']]
    assert {name: number for name, number in model["vocab"].items() if number == 4} == {"You are.": 4}
    added = {token["content"]: (token["id"], token["special"]) for token in tokenizer["added_tokens"]}  # type: ignore[index, attr-defined]
    assert added == {"[BOS]": (9, True), "You are.": (4, False)}


def test_a_tokenizer_without_such_sentences_stays_as_it_is() -> None:
    tokenizer = toy_tokenizer() | {"pre_tokenizer": {"type": "ByteLevel"}}
    before = json.dumps(tokenizer)
    lab_module("prepare_weights_gguf").adapt(tokenizer)
    assert json.dumps(tokenizer) == before
