"""The official SDK works through the gateway: answers, streams, tools, logprobs, models, and an exception class per failure."""

from __future__ import annotations

import asyncio

import httpx
import openai
import pytest

from tests.integration.asking import PROMPT, chat, completion
from tests.integration.conftest import World
from tests.support.gateway_process import GatewayProcess
from tests.support.scripted_engine.answers import SENTENCE, WORDS
from tests.support.scripted_engine.process import ScriptedEngine

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
TOOL_HISTORY = [
    {"role": "user", "content": PROMPT},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "functions.get_weather:0",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city": "北京"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "functions.get_weather:0", "content": "22 °C"},
]


def streamed(count: int) -> str:
    """What the engine says in so many chunks."""
    return "".join([*(WORDS[index % len(WORDS)] for index in range(count - 1)), WORDS[-1]])


def test_chat(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(**chat())
    assert answer.choices[0].message.content == SENTENCE
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 118


def test_chat_stream(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.create(**chat(max_tokens=5, stream=True)) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == streamed(5)
    assert chunks[-1].choices[0].finish_reason == "length"


def test_chat_stream_with_the_usage_that_was_asked_for(sdk: openai.OpenAI) -> None:
    options = {"include_usage": True}
    with sdk.chat.completions.create(**chat(max_tokens=5, stream=True, stream_options=options)) as stream:
        chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 5


def test_completions(sdk: openai.OpenAI) -> None:
    answer = sdk.completions.create(**completion())
    assert answer.choices[0].text == SENTENCE


def test_completions_stream(sdk: openai.OpenAI) -> None:
    with sdk.completions.create(**completion(max_tokens=4, stream=True)) as stream:
        assert "".join(chunk.choices[0].text for chunk in stream) == streamed(4)


def test_tools_reach_the_engine_as_they_are(sdk: openai.OpenAI, a: ScriptedEngine) -> None:
    asked = {"messages": TOOL_HISTORY, "tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": False}
    sdk.chat.completions.create(model="kimi-k2", **asked)
    question, calls, result = TOOL_HISTORY
    # But for the content of a turn that only calls: the models' templates know an empty text, and not all know null.
    assert a.last_json() == {"model": "kimi-k2", **asked, "messages": [question, {**calls, "content": ""}, result]}


def test_logprobs_reach_the_engine_as_they_are(sdk: openai.OpenAI, a: ScriptedEngine) -> None:
    answer = sdk.chat.completions.create(**chat(logprobs=True, top_logprobs=3, seed=7, logit_bias={"12": -100}))
    sent = a.last_json()
    assert (sent["logprobs"], sent["top_logprobs"], sent["seed"], sent["logit_bias"]) == (True, 3, 7, {"12": -100})
    assert answer.choices[0].logprobs is None


def test_extra_body_reaches_the_engine(sdk: openai.OpenAI, a: ScriptedEngine) -> None:
    sdk.chat.completions.create(**chat(), extra_body={"top_k": 40, "chat_template_kwargs": {"thinking": False}})
    assert a.last_json()["top_k"] == 40
    assert a.last_json()["chat_template_kwargs"] == {"thinking": False}


def test_models_are_listed_with_their_aliases(sdk: openai.OpenAI) -> None:
    names = [model.id for model in sdk.models.list()]
    assert names[:3] == ["kimi-k2", "kimi-latest", "moonshotai/Kimi-K2-Instruct"]
    assert {"solo", "hasty", "small"} <= set(names)


@pytest.mark.parametrize("name", ["kimi-k2", "kimi-latest", "moonshotai/Kimi-K2-Instruct"])
def test_one_model_by_any_of_its_names(sdk: openai.OpenAI, name: str) -> None:
    model = sdk.models.retrieve(name)
    assert model.id == name
    assert model.object == "model"
    assert model.max_model_len == 131_072


@pytest.mark.parametrize("name", ["kimi-latest", "moonshotai/Kimi-K2-Instruct"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_alias_is_served_under_the_engines_name(
    sdk: openai.OpenAI, a: ScriptedEngine, name: str, *, stream: bool
) -> None:
    answer = sdk.chat.completions.create(**chat(model=name, stream=stream))
    if stream:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    assert a.last_json()["model"] == "kimi-k2"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("body", "raised"),
    [
        (chat(temperature=9), openai.BadRequestError),
        (chat(fault="error_400"), openai.BadRequestError),
        (chat(model="kimi-k3"), openai.NotFoundError),
        (chat(fault="error_500"), openai.InternalServerError),
        (chat(fault="queue_full_503"), openai.InternalServerError),
        (chat(fault="queue_full_in_200"), openai.InternalServerError),
        (chat(model="hasty", fault="first_byte_stall"), openai.InternalServerError),
    ],
)
def test_each_failure_is_the_sdks_own_exception(
    sdk: openai.OpenAI, body: dict[str, object], raised: type[openai.APIStatusError], *, stream: bool
) -> None:
    with pytest.raises(raised) as caught:
        sdk.chat.completions.create(**body, stream=stream)
    assert caught.value.code == caught.value.response.headers["x-moegate-error"]


def test_an_unknown_model_is_not_found(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="did you mean 'kimi-k2'"):
        sdk.models.retrieve("kimi-k3")


def test_a_wrong_key_is_an_authentication_error(gateway: GatewayProcess) -> None:
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="sk-wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


async def test_many_calls_at_once(gateway: GatewayProcess, world: World, a: ScriptedEngine) -> None:
    async def ask(client: openai.AsyncOpenAI, length: int) -> str:
        stream = await client.chat.completions.create(**chat(max_tokens=length, stream=True))
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1",
        api_key=world.key,
        max_retries=0,
        http_client=openai.DefaultAsyncHttpxClient(verify=False, trust_env=False),
    ) as client:
        answers = await asyncio.gather(*(ask(client, length) for length in range(1, 33)))
    assert answers == [streamed(length) for length in range(1, 33)]
    assert a.state()["seen"] == 32


def test_raw_response_gives_the_gateways_headers(sdk: openai.OpenAI) -> None:
    raw = sdk.chat.completions.with_raw_response.create(**chat())
    assert raw.headers["x-moegate-replica"] == "a"
    assert raw.parse().choices[0].message.content == SENTENCE


def test_a_plain_client_needs_no_sdk(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", json=chat())
    assert answer.json()["choices"][0]["message"]["content"] == SENTENCE
