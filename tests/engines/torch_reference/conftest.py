"""Checkpoints and engines for these tests: built and started once each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.torch_reference.engine_process import PROJECT, Engine, run_tool, running_engine

HERE = Path(__file__).parent
TRAINED = PROJECT / "deploy" / "lab" / "k2-tiny"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.engine("torch_reference"))
            # A first test builds a checkpoint and starts an engine, which takes a while on a busy machine.
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("k2-random")
    run_tool("build_checkpoint.py", "random", str(folder))
    return folder


@pytest.fixture(scope="session")
def scripted_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("k2-scripted")
    run_tool("build_checkpoint.py", "scripted", str(folder))
    return folder


@pytest.fixture(scope="session")
def random_engine(random_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running_engine(random_checkpoint, folder=tmp_path_factory.mktemp("random-engine")) as engine:
        yield engine


@pytest.fixture(scope="session")
def scripted_engine(scripted_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running_engine(scripted_checkpoint, folder=tmp_path_factory.mktemp("scripted-engine")) as engine:
        yield engine


@pytest.fixture(scope="session")
def trained_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    if not list(TRAINED.glob("*.safetensors")):
        pytest.skip("deploy/lab/k2-tiny has no weights yet")
    with running_engine(TRAINED, folder=tmp_path_factory.mktemp("trained-engine")) as engine:
        yield engine
