"""What READMEs show of targets and mirrors can be served as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.composition.runtime import build_runtime
from gateway.config_file import parse
from gateway.registry import Registry
from gateway.shared import SharedObjects

ROOT = Path(__file__).parents[4]
READMES = ("gateway/fleet", "plugins/discovery_dns", "plugins/discovery_kubernetes")


def examples(folder: str) -> list[str]:
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / folder / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if block.startswith("server:")]


@pytest.mark.parametrize("folder", READMES)
async def test_examples_are_good(folder: str) -> None:
    found = examples(folder)
    assert found
    for text in found:
        runtime = await build_runtime(parse(text, {}), Registry.from_plugins(), SharedObjects())
        await runtime.stop()
