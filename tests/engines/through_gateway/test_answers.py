"""The same questions to both engines, through the gateway, with the official SDK."""

from __future__ import annotations

import openai
import pytest

from tests.support.gateway_process import GatewayProcess

HELLO = [{"role": "user", "content": "Hello!"}]
SUM = [{"role": "user", "content": "What is 3 + 4?"}]


def ask(client: openai.OpenAI, model: str, messages: list[dict[str, str]] = HELLO, **more: object):  # noqa: ANN201
    return client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=64, **more)


def test_a_chat_is_answered_and_counted(client: openai.OpenAI, model: str) -> None:
    answer = ask(client, model, SUM)
    assert "7" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_the_same_as_a_plain_answer(client: openai.OpenAI, model: str) -> None:
    plain = ask(client, model).choices[0].message.content
    chunks = list(ask(client, model, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == plain
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks), "usage was not asked for"


def test_usage_comes_with_a_stream_when_asked_for(client: openai.OpenAI, model: str) -> None:
    chunks = list(ask(client, model, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0


def test_usage_is_counted_also_when_the_client_did_not_ask(
    client: openai.OpenAI, gateway: GatewayProcess, model: str
) -> None:
    replica = model.removeprefix("on-")
    gateway.wait_at_rest()
    before = gateway.metric("moegate_tokens_total", replica=replica, **{"class": "completion"})
    told = ask(client, model).usage.completion_tokens
    list(ask(client, model, stream=True))
    gateway.wait_metric("moegate_tokens_total", before + 2 * told, replica=replica, **{"class": "completion"})


def test_headers_say_who_answered(client: openai.OpenAI, model: str) -> None:
    headers = client.chat.completions.with_raw_response.create(
        model=model, messages=HELLO, max_tokens=4, temperature=0
    ).headers
    assert headers["x-moegate-replica"] == model.removeprefix("on-")
    assert headers["x-moegate-backend"] == {"on-vllm": "vllm", "on-reference": "torch_reference"}[model]
    assert headers["x-moegate-attempts"] == "1"
    assert headers["x-moegate-call-id"]


def test_log_probabilities_are_passed_on(client: openai.OpenAI, model: str) -> None:
    content = ask(client, model, SUM, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert all(token.logprob <= 0 for token in content)
    assert all(len(token.top_logprobs) >= 3 for token in content)
    assert all(token.logprob == pytest.approx(token.top_logprobs[0].logprob, abs=1e-4) for token in content), "greedy"


def test_completions_are_served_too(client: openai.OpenAI, model: str) -> None:
    answer = client.completions.create(model=model, prompt="one two three", max_tokens=5, temperature=0)
    assert answer.choices[0].text
    assert answer.usage.completion_tokens <= 5
    parts = client.completions.create(model=model, prompt="one two three", max_tokens=5, temperature=0, stream=True)
    assert "".join(part.choices[0].text for part in parts) == answer.choices[0].text


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    assert {found.id for found in client.models.list()} == {"on-vllm", "on-reference", "kimi-k2"}


def test_both_engines_share_the_work_behind_one_name(client: openai.OpenAI) -> None:
    create = client.chat.completions.with_raw_response.create
    seen = {
        create(model="kimi-k2", messages=HELLO, max_tokens=2, temperature=0).headers["x-moegate-backend"]
        for _ in range(4)
    }
    assert seen == {"vllm", "torch_reference"}
