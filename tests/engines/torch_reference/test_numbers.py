"""The engine's numbers are transformers' own."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.engines.torch_reference.engine_process import MODEL_NAME, Engine, run_tool

NEW_TOKENS = 24
# The last is read in several pieces.
PROMPTS = [[20, 21, 22], list(range(30, 90)), [300, 5, 7, 301, 302, 3, 40], [20 + 7 * n % 380 for n in range(1100)]]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "b": 1, "a": "é"}}}]
CONVERSATIONS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "hi"}]},
    {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "日本"}], "tools": TOOLS},
    {
        "messages": [
            {"role": "user", "content": "the weather"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "functions.get_weather:0",
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "functions.get_weather:0", "content": "sunny"},
        ],
        "tools": TOOLS,
    },
]


@pytest.fixture(scope="module")
def reference(random_checkpoint: Path) -> dict[str, Any]:
    job = {"prompts": PROMPTS, "new_tokens": NEW_TOKENS, "conversations": CONVERSATIONS}
    result: dict[str, Any] = json.loads(run_tool("reference_run.py", str(random_checkpoint), text=json.dumps(job)))
    return result


def complete(engine: Engine, prompt: list[int], **fields: Any) -> Any:
    fields = {"max_tokens": NEW_TOKENS, "extra_body": {"ignore_eos": True, "return_token_ids": True}} | fields
    return engine.complete(prompt, **fields)


@pytest.mark.parametrize("number", range(len(PROMPTS)))
def test_greedy_output_is_that_of_generate(random_engine: Engine, reference: dict[str, Any], number: int) -> None:
    answer = complete(random_engine, PROMPTS[number])
    expected = reference["results"][number]
    assert answer.choices[0].token_ids == expected["generated"]
    # A character that the end cuts in half is dropped here, and marked by transformers.
    assert expected["text"] in {answer.choices[0].text, answer.choices[0].text + "�"}
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.prompt_tokens == len(PROMPTS[number])
    assert answer.usage.completion_tokens == NEW_TOKENS


@pytest.mark.parametrize("number", range(len(PROMPTS)))
def test_logprobs_are_those_of_one_plain_pass(random_engine: Engine, reference: dict[str, Any], number: int) -> None:
    expected = reference["results"][number]
    found = complete(random_engine, PROMPTS[number], logprobs=3, echo=True).choices[0].logprobs
    assert found.token_logprobs[0] is None
    assert found.token_logprobs[1:] == pytest.approx(expected["logprobs"], abs=1e-4)
    for top, (values, _) in zip(found.top_logprobs[1:], expected["top"], strict=True):
        assert sorted(top.values(), reverse=True)[:3] == pytest.approx(values, abs=1e-4)
    assert len(found.tokens) == len(found.text_offset) == len(PROMPTS[number]) + NEW_TOKENS


def test_a_prompt_can_be_scored_without_generating(random_engine: Engine, reference: dict[str, Any]) -> None:
    answer = complete(random_engine, PROMPTS[1], max_tokens=0, logprobs=0, echo=True)
    scores = answer.choices[0].logprobs.token_logprobs
    assert scores[1:] == pytest.approx(reference["results"][1]["logprobs"][: len(PROMPTS[1]) - 1], abs=1e-4)
    assert answer.usage.completion_tokens == 0
    assert answer.choices[0].finish_reason == "length"


def test_chat_and_completions_score_alike(random_engine: Engine) -> None:
    chat = random_engine.chat(
        logprobs=True, top_logprobs=2, max_tokens=8, extra_body={"return_token_ids": True, "ignore_eos": True}
    )
    plain = complete(random_engine, chat.prompt_token_ids, max_tokens=8, logprobs=2)
    assert chat.choices[0].token_ids == plain.choices[0].token_ids
    entries = chat.choices[0].logprobs.content
    assert [entry.logprob for entry in entries] == plain.choices[0].logprobs.token_logprobs
    assert [entry.token for entry in entries] == plain.choices[0].logprobs.tokens
    for entry in entries:
        assert len(entry.top_logprobs) == 2
        # Greedy, so the chosen token is the likeliest.
        assert entry.top_logprobs[0].logprob == entry.logprob
        assert entry.top_logprobs[0].bytes == entry.bytes


@pytest.mark.parametrize("number", range(len(CONVERSATIONS)))
def test_prompts_are_those_of_apply_chat_template(
    random_engine: Engine, reference: dict[str, Any], number: int
) -> None:
    conversation = CONVERSATIONS[number]
    expected = reference["rendered"][number]
    answer = random_engine.chat(max_tokens=1, extra_body={"return_token_ids": True}, **conversation)
    assert answer.prompt_token_ids == expected
    assert answer.usage.prompt_tokens == len(expected)
    told = random_engine.http.post("/tokenize", json={"model": MODEL_NAME, **conversation}).json()
    assert told == {"count": len(expected), "max_model_len": 4096, "tokens": expected}


def test_what_else_runs_changes_nothing(random_engine: Engine) -> None:
    def ask(number: int) -> list[int]:
        answer = complete(random_engine, PROMPTS[number % 3], temperature=1, seed=number, max_tokens=16)
        ids: list[int] = answer.choices[0].token_ids
        return ids

    alone = [ask(number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(8)))
    assert together == alone


def test_seeds_repeat_an_answer_and_others_change_it(random_engine: Engine) -> None:
    def ask(**fields: Any) -> list[list[int]]:
        answer = complete(random_engine, PROMPTS[0], temperature=1.5, **fields)
        return [choice.token_ids for choice in sorted(answer.choices, key=lambda choice: choice.index)]

    assert ask(seed=1) == ask(seed=1)
    assert ask(seed=1) != ask(seed=2)
    assert ask() != ask()
    first, second, third = ask(seed=1, n=3)
    assert [first] == ask(seed=1)
    assert first != second != third
    assert ask(seed=2**70) == ask(seed=2**70)


@pytest.mark.parametrize("narrow", [{"temperature": 0.0}, {"top_p": 1e-6}, {"extra_body": {"top_k": 1}}])
def test_narrow_sampling_is_greedy(random_engine: Engine, reference: dict[str, Any], narrow: dict[str, Any]) -> None:
    body = {"ignore_eos": True, "return_token_ids": True} | narrow.get("extra_body", {})
    answer = complete(random_engine, PROMPTS[0], **({"temperature": 1} | narrow | {"extra_body": body}))
    assert answer.choices[0].token_ids == reference["results"][0]["generated"]


def test_several_prompts_in_one_request(random_engine: Engine, reference: dict[str, Any]) -> None:
    answer = complete(random_engine, PROMPTS, n=2)
    assert [choice.index for choice in answer.choices] == list(range(2 * len(PROMPTS)))
    for choice in answer.choices:
        assert choice.token_ids == reference["results"][choice.index // 2]["generated"]
    assert answer.usage.prompt_tokens == sum(len(prompt) for prompt in PROMPTS)
    assert answer.usage.completion_tokens == 2 * len(PROMPTS) * NEW_TOKENS


@pytest.mark.parametrize("seed", range(4))
def test_a_stream_says_what_a_whole_answer_says(random_engine: Engine, seed: int) -> None:
    fields: dict[str, Any] = {"temperature": 1.2, "seed": seed, "max_tokens": 60, "logprobs": 1}
    whole = random_engine.complete([20, 21, 22], **fields).choices[0]
    pieces = [chunk.choices[0] for chunk in random_engine.complete([20, 21, 22], stream=True, **fields)]
    assert "".join(piece.text for piece in pieces) == whole.text
    assert pieces[-1].finish_reason == whole.finish_reason
    scored = [value for piece in pieces if piece.logprobs for value in piece.logprobs.token_logprobs]
    assert scored == whole.logprobs.token_logprobs
