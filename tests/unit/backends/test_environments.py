from __future__ import annotations

import os
from pathlib import Path

import pytest

from backends.environments import MARKER, engine_python, engines_root
from gateway.errors import ConfigError


def install(root: Path, name: str, *, finished: bool = True, at: float = 1_000.0) -> Path:
    folder = root / name
    folder.mkdir()
    if finished:
        (folder / MARKER).touch()
        os.utime(folder / MARKER, (at, at))
    return folder / "bin" / "python"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOEGATE_ENGINES_DIR", str(tmp_path))
    return tmp_path


def test_an_installed_engine_is_found(root: Path) -> None:
    python = install(root, "vllm-0.11.0")
    assert engine_python("vllm") == python


def test_the_one_installed_last_is_taken_whatever_its_number(root: Path) -> None:
    install(root, "vllm-0.9.2", at=2_000)
    newest = install(root, "vllm-0.11.0", at=3_000)
    install(root, "vllm-0.10.0", at=1_000)
    assert engine_python("vllm") == newest


def test_a_half_finished_one_is_none(root: Path) -> None:
    install(root, "vllm-0.11.0", finished=False)
    with pytest.raises(ConfigError, match=r"the engine vllm is not installed; run `make engine-vllm`"):
        engine_python("vllm")


def test_an_engine_whose_name_begins_alike_is_another(root: Path) -> None:
    install(root, "torch-reference-1.0")
    with pytest.raises(ConfigError, match="make engine-torch"):
        engine_python("torch")


def test_without_the_folder_nothing_is_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOEGATE_ENGINES_DIR", str(tmp_path / "absent"))
    with pytest.raises(ConfigError):
        engine_python("vllm")


def test_the_folder_is_in_the_user_s_cache_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MOEGATE_ENGINES_DIR", raising=False)
    assert engines_root() == tmp_path / ".cache" / "moegate" / "engines"
    monkeypatch.setenv("MOEGATE_ENGINES_DIR", "")
    assert engines_root() == tmp_path / ".cache" / "moegate" / "engines"
    monkeypatch.setenv("MOEGATE_ENGINES_DIR", "~/engines")
    assert engines_root() == tmp_path / "engines"
