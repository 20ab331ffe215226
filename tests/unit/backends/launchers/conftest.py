from __future__ import annotations

from pathlib import Path

import pytest

from backends.environments import MARKER

ENGINES = ("vllm-0.32.0", "sglang-0.5.23", "ktransformers-0.7.2", "llama-cpp-11434.0.0")


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of environments that look installed, and an empty one for weights."""
    folder = tmp_path / "engines"
    for name in ENGINES:
        (folder / name).mkdir(parents=True)
        (folder / name / MARKER).touch()
    monkeypatch.setenv("MOEGATE_ENGINES_DIR", str(folder))
    monkeypatch.setenv("MOEGATE_WEIGHTS_DIR", str(tmp_path / "weights"))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "k2-tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder
