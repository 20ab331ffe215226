"""The proof of `moegate compare` in small: the reference beside vLLM, vLLM beside itself, and one arm with one thing wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines.compare.proofs import Sizes, Stage, alike, itself, sabotages
from tests.engines.verify.variants import K2_TINY
from tests.engines.vllm_process import vllm_server

pytestmark = pytest.mark.timeout(1800)
SMALL = Sizes(alike=32, itself=12, runs=1, sabotage=40)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("compare")
    with vllm_server(K2_TINY, folder) as vllm:
        yield Stage(vllm.url, folder, SMALL, print)


def test_an_engine_is_like_the_reference(stage: Stage) -> None:
    assert not alike(stage, ("torch_reference",)).problems


def test_an_engine_is_like_itself(stage: Stage) -> None:
    assert not itself(stage).problems


def test_an_engine_that_takes_no_notice_of_the_temperature_is_named(stage: Stage) -> None:
    assert not sabotages(stage, ("temperature",)).problems
