"""Each engine of the lab with the lab's weights, compared with the reference: what is the same, and each difference explained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.engines.conformance.live_engines import installed, live_engines
from tests.engines.verify.conftest import Json, Verified, run_verify

REFERENCE = "torch_reference"
SAME = dict.fromkeys(("model", "tokenizer", "template", "tools", "greedy", "logprobs"), "same")

# What differs, and why: all of it is known, and none of it is the weights.
EXPECTED: Mapping[str, Json] = {
    # Writes `"description": null` into declarations that have none.
    "vllm": {**SAME, "tools": "differs"},
    # Adds `"defer_loading": null` to each declaration, and `"description": null` where there is none.
    "sglang": {**SAME, "tools": "differs"},
    # Adds `"strict"` to each declaration.
    "ktransformers": {**SAME, "tools": "differs"},
    # None of its rules for cutting text is k2-tiny's, so that a blank and a mark after it may be one token.
    "llama_cpp": {**SAME, "tokenizer": "differs", "tools": "cannot tell"},
}


def verified(engine: str, folder: Path) -> Verified:
    """One engine beside the reference, both as the lab starts them."""
    installed(engine)
    installed(REFERENCE)
    with live_engines(folder, engine, REFERENCE) as engines:
        replicas = [
            {"name": name, "backend": name, "url": engines.url(name), "served_model": f"on-{name}"}
            for name in (REFERENCE, engine)
        ]
        return run_verify(folder, "engines.yaml", replicas)


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("engine", EXPECTED)
def test_what_an_engine_has_in_common_with_the_reference(engine: str, tmp_path: Path) -> None:
    found = verified(engine, tmp_path)
    print(json.dumps(found.replica(engine), indent=1))  # noqa: T201 - the figures are what this test is for
    assert found.verdicts(engine) == EXPECTED[engine]
