"""Makes checkpoints that differ from another in exactly one way; it must not know what anyone finds of that."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.engines.torch_reference.engine_process import engine_python, environment

ROOT = Path(__file__).resolve().parents[3]
K2_TINY = ROOT / "deploy" / "lab" / "k2-tiny"
WEIGHTS = "model.safetensors"


def copy(model: Path, folder: Path) -> Path:
    """A checkpoint in a folder of its own."""
    shutil.copytree(model, folder)
    return folder


def with_weights(model: Path, folder: Path, way: str, amount: float) -> Path:
    """A checkpoint with its weights changed; see change_weights.py."""
    copy(model, folder)
    script = Path(__file__).with_name("change_weights.py")
    command = [str(engine_python()), "-P", str(script), str(folder / WEIGHTS), way, str(amount)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment(), check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def with_template(model: Path, folder: Path, change: Callable[[str], str]) -> Path:
    """A checkpoint with another chat template, in both files that engines read it from."""
    copy(model, folder)
    template = folder / "chat_template.jinja"
    text = change(template.read_text())
    assert text != template.read_text()
    template.write_text(text)
    edit(folder / "tokenizer_config.json", lambda config: config.update(chat_template=text))
    return folder


def with_tokenizer(model: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    """A checkpoint with another tokenizer.json."""
    copy(model, folder)
    edit(folder / "tokenizer.json", change)
    return folder


def edit(file: Path, change: Callable[[Any], None]) -> None:
    """Change a JSON file."""
    content = json.loads(file.read_text())
    before = json.dumps(content)
    change(content)
    assert json.dumps(content) != before
    file.write_text(json.dumps(content))


def swap_ids(tokenizer: Any) -> None:
    """Two letters trade their numbers: no count changes, only ids."""
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["o"], vocabulary["e"] = vocabulary["e"], vocabulary["o"]


def lose_merges(tokenizer: Any) -> None:
    """The last fifty merges are gone: what they made comes in pieces."""
    del tokenizer["model"]["merges"][-50:]


def join_digits(tokenizer: Any) -> None:
    """The splitting rule keeps up to three digits together, as other models' tokenizers do."""
    pattern = tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]
    pattern["Regex"] = pattern["Regex"].replace("[0-9]", "[0-9]{1,3}")
    # A merge that only such a splitting rule gives a use to.
    tokenizer["model"]["merges"].append(["1", "7"])
    vocabulary = tokenizer["model"]["vocab"]
    rare = max((token for token in vocabulary if len(token) > 1), key=lambda token: vocabulary[token])
    vocabulary["17"] = vocabulary.pop(rare)
    tokenizer["model"]["merges"] = [pair for pair in tokenizer["model"]["merges"] if "".join(pair) != rare]
