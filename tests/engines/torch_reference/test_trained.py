"""The engine with the trained lab model: a conversation with a tool, as an application would have it."""

import json
from typing import Any

import pytest

from tests.engines.torch_reference.conftest import TRAINED
from tests.engines.torch_reference.engine_process import MODEL_NAME, Engine, run_tool

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get the current weather for a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
QUESTION: dict[str, Any] = {"role": "user", "content": "What is the weather in Oslo?"}


def test_a_tool_call_round_trip(trained_engine: Engine) -> None:
    asked = trained_engine.chat(messages=[QUESTION], tools=TOOLS, max_tokens=100).choices[0]
    assert asked.finish_reason == "tool_calls"
    (call,) = asked.message.tool_calls
    assert call.id == "functions.get_weather:0"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Oslo"}
    turn = {"role": "assistant", "content": asked.message.content, "tool_calls": [call.model_dump()]}
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    told = trained_engine.chat(messages=[QUESTION, turn, result], tools=TOOLS, max_tokens=100).choices[0]
    assert told.finish_reason == "stop"
    assert "sunny" in told.message.content
    assert "<|" not in told.message.content


def test_a_streamed_call_is_the_same_call(trained_engine: Engine) -> None:
    fields: dict[str, Any] = {"messages": [QUESTION], "tools": TOOLS, "max_tokens": 100}
    whole = trained_engine.chat(**fields).choices[0].message.tool_calls[0]
    pieces = [
        piece
        for chunk in trained_engine.chat(stream=True, **fields)
        for piece in chunk.choices[0].delta.tool_calls or []
    ]
    assert (pieces[0].id, pieces[0].function.name) == (whole.id, whole.function.name)
    assert "".join(piece.function.arguments for piece in pieces) == whole.function.arguments


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_forced_call_has_arguments_from_the_question(trained_engine: Engine, choice: Any) -> None:
    answer = trained_engine.chat(messages=[QUESTION], tools=TOOLS, tool_choice=choice, max_tokens=100).choices[0]
    (call,) = answer.message.tool_calls
    assert call.id == "functions.get_weather:0"
    assert json.loads(call.function.arguments) == {"city": "Oslo"}


def test_it_answers_and_stops_by_itself(trained_engine: Engine) -> None:
    answer = trained_engine.chat("Hello!", max_tokens=200).choices[0]
    assert answer.finish_reason == "stop"
    assert answer.message.content
    assert "<|" not in answer.message.content


def test_prompts_and_greedy_text_are_those_of_transformers(trained_engine: Engine) -> None:
    called = {
        "id": "functions.get_weather:0",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
    }
    conversations: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": "Hello!"}]},
        {"messages": [QUESTION], "tools": TOOLS},
        {
            "messages": [
                QUESTION,
                {"role": "assistant", "content": "", "tool_calls": [called]},
                {"role": "tool", "tool_call_id": called["id"], "content": "sunny"},
            ],
            "tools": TOOLS,
        },
    ]
    prompts = [
        trained_engine.http.post("/tokenize", json={"model": MODEL_NAME, **conversation}).json()["tokens"]
        for conversation in conversations
    ]
    job = {"prompts": prompts, "new_tokens": 24, "conversations": conversations}
    expected = json.loads(run_tool("reference_run.py", str(TRAINED), text=json.dumps(job)))
    assert prompts == expected["rendered"]
    for prompt, result in zip(prompts, expected["results"], strict=True):
        extra = {"ignore_eos": True, "return_token_ids": True}
        answer = trained_engine.complete(prompt, max_tokens=24, logprobs=0, echo=True, extra_body=extra).choices[0]
        assert answer.token_ids == result["generated"]
        assert answer.logprobs.token_logprobs[1:] == pytest.approx(result["logprobs"], abs=1e-4)
