"""A live experiment on two real engines: 2,000 calls under load, one arm's engine killed in the middle; clients see no failure."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.contracts.keys import generate_key
from tests.resilience.real_engine import CONTEXT_LENGTH, SERVED, SLOTS, RealEngine
from tests.support.gateway_process import FORGETFUL, Json, gateway_process, poll

pytestmark = [pytest.mark.engine("vllm"), pytest.mark.timeout(900)]

KEY = generate_key()
CALLS, AT_ONCE, KILLED_AFTER = 2_000, 8, 700
GUARDRAILS = [{"watch": "error_ratio", "bound": 0.05}]
QUESTIONS = ("Hello!", "Who are you?", "What is 3 + 4?", "Thank you!", "What is 2 + 2?")


def settings(first: RealEngine, second: RealEngine, folder: Path, weight: float = 1, **more: Any) -> Json:
    """A model on both, and an experiment on it; the second has that weight."""
    replicas = [
        {"name": each.name, "backend": each.kind, "url": each.url, "served_model": SERVED, "max_concurrent": SLOTS}
        for each in (first, second)
    ]
    checkpoint = {"id": "moegate/k2-tiny", "licence": "mit", "context_length": CONTEXT_LENGTH}
    trial = {
        "name": "trial",
        "model": SERVED,
        "unit": "call",
        "arms": [
            {"name": "old", "backends": [first.kind]},
            {"name": "new", "backends": [second.kind], "weight": weight},
        ],
        **more,
    }
    key = {"name": "x", "tenant": "x", "secret": KEY, "scopes": ["inference", "admin:read"]}
    return {
        "database": f"sqlite:///{folder / 'moegate.db'}",
        "models": [{"name": SERVED, "checkpoint": checkpoint, "replicas": replicas, **FORGETFUL}],
        "plugins": [
            {"use": "api_keys", "keys": [key]},
            {"use": "prometheus"},
            {"use": "experiments", "experiments": [trial]},
        ],
    }


async def ask_all(url: str, victim: RealEngine) -> list[httpx.Response]:
    """All calls, so many at once."""
    answers: list[httpx.Response] = []
    left = iter(range(CALLS))
    async with httpx.AsyncClient(base_url=url, headers={"x-api-key": KEY}, trust_env=False, timeout=120) as client:

        async def one_after_the_other() -> None:
            for number in left:
                message = {"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}
                body = {"model": SERVED, "messages": [message], "max_tokens": 4, "temperature": 0}
                answers.append(await client.post("/v1/chat/completions", json=body))
                if len(answers) == KILLED_AFTER:
                    await asyncio.to_thread(victim.kill)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(one_after_the_other())
    return answers


def test_an_arm_whose_engine_dies_is_rolled_back_and_no_client_sees_it(tmp_path: Path) -> None:
    first, second = RealEngine("a", "torch_reference", tmp_path), RealEngine("b", "vllm", tmp_path)
    try:
        first.start()
        second.start()
        with gateway_process(settings(first, second, tmp_path, guardrails=GUARDRAILS), tmp_path) as gateway:
            gateway.wait_at_rest()
            answers = asyncio.run(ask_all(gateway.url, second))
            rolled_back = lambda: gateway.metric("moegate_experiment_rolled_back", arm="new")  # noqa: E731 - one look
            poll(lambda: rolled_back() == 1, "the guardrail acts")
            found = httpx.get(
                f"{gateway.url}/admin/v1/experiments/trial", headers={"x-api-key": KEY}, trust_env=False
            ).json()
    finally:
        first.stop()
        second.stop()
    assert [answer.status_code for answer in answers] == [200] * CALLS
    assert all(answer.json()["choices"][0]["message"]["content"] for answer in answers)
    arms = {answer.headers["x-moegate-arm"] for answer in answers}
    assert arms == {"trial=old", "trial=new"}
    assert "error ratio" in found["rolled_back"]["new"]
    old, new = found["arms"]
    assert new["fell_back"] == sum(new["errors"].values()) > 0
    assert old["fell_back"] == 0
    verdict = next(each for each in found["comparisons"][0]["verdicts"] if each["endpoint"] == "success_rate")
    assert verdict["effect"] < 0
