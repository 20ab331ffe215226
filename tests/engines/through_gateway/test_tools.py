"""Tool calls through the gateway: the model calls, the client answers, the model uses the answer; on both engines."""

from __future__ import annotations

import json

import openai

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
QUESTION = {"role": "user", "content": "What is the weather in Paris?"}


def ask(client: openai.OpenAI, model: str, messages: list[object], **more: object):  # noqa: ANN201
    return client.chat.completions.create(
        model=model, messages=messages, tools=[WEATHER], temperature=0, max_tokens=96, **more
    )


def test_a_needed_tool_is_called_with_the_argument_of_the_question(client: openai.OpenAI, model: str) -> None:
    choice = ask(client, model, [QUESTION]).choices[0]
    assert choice.finish_reason == "tool_calls"
    call = choice.message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_a_streamed_call_is_the_same_call(client: openai.OpenAI, model: str) -> None:
    name, arguments, finish = "", "", None
    for chunk in ask(client, model, [QUESTION], stream=True):
        finish = chunk.choices[0].finish_reason or finish
        for call in chunk.choices[0].delta.tool_calls or []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert (name, json.loads(arguments), finish) == ("get_weather", {"city": "Paris"}, "tool_calls")


def test_a_tool_that_is_not_needed_is_not_called(client: openai.OpenAI, model: str) -> None:
    choice = ask(client, model, [{"role": "user", "content": "What is 3 + 4?"}]).choices[0]
    assert not choice.message.tool_calls
    assert choice.finish_reason == "stop"
    assert "7" in choice.message.content


def test_the_result_of_a_tool_is_used(client: openai.OpenAI, model: str) -> None:
    message = ask(client, model, [QUESTION]).choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rainy"}
    answer = ask(client, model, [QUESTION, message.model_dump(exclude_none=True), result]).choices[0]
    assert answer.finish_reason == "stop"
    assert "rainy" in answer.message.content
