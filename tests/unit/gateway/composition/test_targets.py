from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway import config_file
from gateway.composition.targets import files_of, with_targets
from gateway.config_file import Document
from gateway.errors import ConfigError

A, B, C = ({"name": name, "backend": "vllm", "url": f"http://{name}"} for name in "abc")


def document(*models: Any) -> Document:
    return config_file.parse(json.dumps({"models": list(models)}), {})


def names(found: Document) -> list[list[str]]:
    return [[replica["name"] for replica in model["replicas"]] for model in found.content["models"]]


def written(folder: Path, text: str, name: str = "targets.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_what_stands_in_the_file_comes_after_the_model_s_own(tmp_path: Path) -> None:
    file = written(tmp_path, json.dumps([B, C]))
    found = document({"name": "x", "replicas": [A], "targets": file}, {"name": "y", "replicas": [A]})
    assert names(with_targets(found)) == [["a", "b", "c"], ["a"]]
    assert files_of(found) == [tmp_path / "targets.yaml"]


def test_a_model_may_have_no_other_replicas(tmp_path: Path) -> None:
    assert names(with_targets(document({"name": "x", "targets": written(tmp_path, json.dumps([B]))}))) == [["b"]]


def test_the_environment_is_read_into_it_and_what_is_wrong_names_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "- {name: a, api_key: '${MOEGATE_NOBODY_SET_THIS}'}")
    found = with_targets(document({"name": "x", "targets": file}))
    assert found.problems == (f"{file}: [0].api_key: environment variable MOEGATE_NOBODY_SET_THIS is not set (line 1)",)


@pytest.mark.parametrize("text", ["", "{}", "replicas: []", "a"])
def test_a_file_that_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="must be a list of replicas"):
        with_targets(document({"name": "x", "targets": written(tmp_path, text)}))


def test_so_is_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        with_targets(document({"name": "x", "targets": str(tmp_path / "gone.yaml")}))


@pytest.mark.parametrize(
    "content", [{}, {"models": 3}, {"models": [3, None]}, {"models": [{"targets": 7}]}, [], "text"]
)
def test_what_is_wrong_otherwise_is_left_to_those_who_know(content: Any) -> None:
    found = config_file.parse(json.dumps(content), {})
    assert with_targets(found) is found
    assert files_of(found) == []
