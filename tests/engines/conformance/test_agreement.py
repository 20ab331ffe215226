"""Every real engine answers held-out prompts as the reference engine does, greedily; the table says how nearly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.agreement import HEADER, ask, compare, read_prompts, row
from tests.conformance.table import markdown
from tests.engines.conformance.live_engines import LIVE, installed, live_engines

REFERENCE = "torch_reference"
PROMPTS = 12
# Most of them: where two tokens are nearly as likely, other arithmetic may choose the other.
LEAST_SHARE = 0.75


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("engine", [name for name in LIVE if name != REFERENCE])
def test_it_says_what_the_reference_says(engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    installed(engine)
    installed(REFERENCE)
    prompts = [prompt for prompt in read_prompts() if not prompt.get("tools")][:PROMPTS]
    with live_engines(tmp_path, engine, REFERENCE) as engines:
        client = engines.clients.openai
        pairs = [(ask(client, f"on-{engine}", each), ask(client, f"on-{REFERENCE}", each)) for each in prompts]
    found = [compare(said, wanted) for said, wanted in pairs]
    with capsys.disabled():
        print("\n" + markdown(HEADER, [row(engine, found)]))  # noqa: T201 - what the run is for
    assert sum(each.same_text for each in found) >= LEAST_SHARE * len(found)
