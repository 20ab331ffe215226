"""Shadow mode on two real engines: the reference serves, vLLM answers the same calls for the comparison alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.engines.compare.asking import CITIES, TOOLS, body
from tests.engines.experiments.test_live import KEY, settings
from tests.resilience.real_engine import SERVED, RealEngine
from tests.support.gateway_process import gateway_process, poll

pytestmark = [pytest.mark.engine("vllm"), pytest.mark.timeout(900)]

EACH = 12


def calls() -> list[dict[str, Any]]:
    """Tool calls and sums, streamed or not."""
    asked = [body(f"What is the weather in {city}?", tools=TOOLS) for city in CITIES[:EACH]]
    asked += [body(f"What is {number % 10} + {number % 7}?", logprobs=True) for number in range(EACH)]
    return [{**each, "model": SERVED, "stream": number % 2 == 0} for number, each in enumerate(asked)]


def test_the_same_calls_are_answered_alike_and_the_client_hears_of_one(tmp_path: Path) -> None:
    first, second = RealEngine("a", "torch_reference", tmp_path), RealEngine("b", "vllm", tmp_path)
    config = settings(first, second, tmp_path, weight=0, shadow={"share": 1})
    try:
        first.start()
        second.start()
        with (
            gateway_process(config, tmp_path) as gateway,
            httpx.Client(base_url=gateway.url, headers={"x-api-key": KEY}, trust_env=False, timeout=120) as http,
        ):
            gateway.wait_at_rest()
            poll(lambda: http.get("/readyz").is_success, "the experiment is known")

            def shadow() -> dict[str, Any]:
                found: dict[str, Any] = http.get("/admin/v1/experiments/trial").json()["shadow"]
                return found

            for number, call in enumerate(calls(), 1):
                answer = http.post("/v1/chat/completions", json=call)
                assert (answer.status_code, answer.headers["x-moegate-arm"]) == (200, "trial=old")
                poll(lambda count=number: shadow()["calls"] == count, "its copies are compared", 120)  # type: ignore[misc]
            found = shadow()
    finally:
        first.stop()
        second.stop()
    assert {arm["name"]: arm["copies"] for arm in found["arms"]} == {
        "old": {"served": 2 * EACH},
        "new": {"served": 2 * EACH},
    }
    (pairs,) = found["comparisons"]
    verdicts = {each["endpoint"]: each for each in pairs["verdicts"]}
    assert pairs["pairs"] == found["null"]["pairs"] == 2 * EACH
    assert pairs["prompts_differ"] == 0 < pairs["prompts"], "one template"
    assert found["null"]["greedy"]["alike"] == 2 * EACH, "the reference says the same twice"
    assert pairs["greedy"]["alike"] >= 2 * EACH - 2
    chances = pairs["greedy"]["log_probabilities"]
    assert chances["tokens"] > EACH
    assert chances["mean_difference"] < 0.01
    assert verdicts["schema_accuracy"]["calls"] >= EACH - 2
    assert verdicts["success_rate"]["effect"] == 0
