"""Request parameters: each has its effect, or the call is refused; none is passed over in silence if it would change the answer."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.conformance.backends.asking import CHAT, FORMAT, HELLO, SCHEMA, SUM, listed
from tests.conformance.backends.case import Feature, Need, NotShown, case, refusal
from tests.conformance.backends.cases.answers import complete, text
from tests.conformance.backends.target import Target


@case("parameters")
def max_tokens_ends_the_answer(target: Target) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        body = {key: value for key, value in target.body().items() if key != "max_tokens"}
        answer = target.openai.chat.completions.create(**body, **{name: 2})
        assert answer.choices[0].finish_reason == "length", name
        assert answer.usage.completion_tokens == 2, name


@case("parameters")
def max_tokens_ends_a_stream(target: Target) -> None:
    chunks = list(target.chat(stream=True, max_tokens=2))
    assert chunks[-1].choices[0].finish_reason == "length"


@case("parameters")
def a_stop_string_ends_the_answer_and_is_not_in_it(target: Target) -> None:
    whole = target.chat().choices[0].message.content
    mark = "=" if "=" in whole else whole.strip()[-1]
    for stop in (mark, [mark, "never said"]):
        choice = target.chat(stop=stop).choices[0]
        assert (choice.finish_reason, choice.message.content) == ("stop", whole[: whole.index(mark)])
    assert text(list(target.chat(stop=mark, stream=True))) == whole[: whole.index(mark)]


@case("parameters", Feature.CHOICES)
def n_gives_that_many_choices(target: Target) -> None:
    answer = target.chat(HELLO, n=2, temperature=1, max_tokens=8)
    assert sorted(choice.index for choice in answer.choices) == [0, 1]
    assert all(choice.message.content is not None for choice in answer.choices)
    chunks = list(target.chat(HELLO, n=2, temperature=1, max_tokens=8, stream=True))
    for index in (0, 1):
        ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert len([end for end in ends if end]) == 1


@case("parameters", Need.SEED)
def a_seed_repeats(target: Target) -> None:
    asked = {"temperature": 1, "seed": 7, "max_tokens": 24}
    first = target.chat(HELLO, **asked).choices[0].message.content
    assert target.chat(HELLO, **asked).choices[0].message.content == first


@case("parameters")
def a_greedy_answer_repeats(target: Target) -> None:
    assert target.chat().choices[0].message.content == target.chat(seed=3).choices[0].message.content


@case("parameters")
def null_is_as_good_as_absent(target: Target) -> None:
    nothing = dict.fromkeys(
        ("top_p", "stop", "seed", "tools", "user", "frequency_penalty", "presence_penalty", "logprobs", "n", "stream")
    )
    answer = target.post(CHAT, {**target.body(), **nothing})
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == target.chat().choices[0].message.content


# -- log-probabilities ------------------------------------------------------------------------------------------------


def check_logprobs(content: Any, top: int) -> None:
    """Greedy: what was chosen is the likeliest."""
    assert content
    for token in content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) >= top
        assert abs(token.logprob - max(each.logprob for each in token.top_logprobs)) < 1e-3


@case("logprobs", Feature.LOGPROBS)
def a_plain_answer_has_them(target: Target) -> None:
    check_logprobs(target.chat(logprobs=True, top_logprobs=2).choices[0].logprobs.content, 2)


@case("logprobs", Feature.LOGPROBS)
def a_stream_has_them(target: Target) -> None:
    choices = [chunk.choices[0] for chunk in target.chat(logprobs=True, top_logprobs=2, stream=True)]
    check_logprobs([each for choice in choices if choice.logprobs for each in choice.logprobs.content or []], 2)


@case("logprobs", Feature.LOGPROBS)
def nobody_gets_them_unasked(target: Target) -> None:
    assert target.chat().choices[0].logprobs is None


@case("logprobs", Feature.COMPLETIONS, Feature.COMPLETION_LOGPROBS)
def completions_have_them_in_their_own_form(target: Target) -> None:
    found = complete(target, logprobs=1).choices[0].logprobs
    assert len(found.tokens) == len(found.token_logprobs) > 0
    assert all(value is None or value <= 0 for value in found.token_logprobs)


@case("logprobs", Feature.LOGPROBS)
def more_alternatives_than_openai_gives_are_refused(target: Target) -> None:
    """One engine dies of more than it has tokens, and all calls with it."""
    for most in (21, 10_000):
        answer = target.post(CHAT, target.body(HELLO, logprobs=True, top_logprobs=most))
        assert answer.status_code == 400, f"{answer.status_code}: {answer.text[:200]}"
        assert "logprobs" in answer.json()["error"]["message"]
    assert target.chat().choices[0].message.content


@case("logprobs", Feature.COMPLETIONS, Feature.COMPLETION_LOGPROBS)
def more_alternatives_to_a_completion_are_refused_as_well(target: Target) -> None:
    with pytest.raises(openai.BadRequestError, match="logprobs"):
        complete(target, logprobs=10_000)


@refusal(Feature.LOGPROBS)
def logprobs_are_refused(target: Target) -> None:
    refused(target, "logprobs", logprobs=True)


@refusal(Feature.COMPLETION_LOGPROBS)
def completion_logprobs_are_refused(target: Target) -> None:
    with pytest.raises(openai.BadRequestError, match="logprobs"):
        complete(target, logprobs=1)


@refusal(Feature.CHOICES)
def several_choices_are_refused(target: Target) -> None:
    refused(target, "n", n=2)


# -- constraints ------------------------------------------------------------------------------------------------------


def refused(target: Target, param: str, **fields: Any) -> None:
    """Such a call is answered with 400, and the parameter is named."""
    answer = target.post(CHAT, target.body(HELLO, **fields))
    assert answer.status_code == 400, f"{answer.status_code}: {answer.text[:200]}"
    assert param in answer.json()["error"]["message"]


def satisfies(content: str) -> bool:
    """Whether an answer is what the schema demands."""
    try:
        found = json.loads(content)
    except ValueError:
        return False
    return isinstance(found, dict) and set(found) == set(SCHEMA["properties"]) and isinstance(found["ok"], bool)


@case("constraints", Feature.JSON_SCHEMA)
def a_json_schema_is_honoured(target: Target) -> None:
    choice = target.chat(HELLO, response_format=FORMAT).choices[0]
    if choice.finish_reason == "length":
        raise NotShown("the model wrote blanks until the limit, which the schema allows")
    assert satisfies(choice.message.content), choice.message.content


@case("constraints", Feature.JSON_SCHEMA)
def a_json_schema_is_honoured_in_a_stream(target: Target) -> None:
    chunks = list(target.chat(HELLO, response_format=FORMAT, stream=True))
    if chunks[-1].choices[0].finish_reason == "length":
        raise NotShown("the model wrote blanks until the limit, which the schema allows")
    assert satisfies(text(chunks)), text(chunks)


@refusal(Feature.JSON_SCHEMA)
def a_json_schema_is_refused(target: Target) -> None:
    refused(target, "response_format", response_format=FORMAT)


@case("constraints")
def older_constraints_are_honoured_or_refused(target: Target) -> None:
    asked: dict[str, Any] = {"guided_json": SCHEMA, "guided_regex": "[0-9]+", "guided_choice": ["yes", "no"]}
    for name, value in asked.items():
        answer = target.post(CHAT, target.body(HELLO, **{name: value}))
        assert answer.status_code == 400, f"{name} was ignored: {answer.text[:200]}"
        assert name in answer.json()["error"]["message"]
        assert answer.headers["x-moegate-error"]


@case("parameters")
def a_parameter_nobody_knows_does_no_harm(target: Target) -> None:
    answer = target.post(CHAT, {**target.body(SUM), "prompt_cache_key": "k", "x_of_tomorrow": {"a": 1}})
    assert answer.status_code == 200, answer.text
    assert "7" in answer.json()["choices"][0]["message"]["content"]


@case("parameters", Need.DOOR)
def a_parameter_that_the_engine_would_reject_is_left_out_and_named(target: Target) -> None:
    answer = target.post(CHAT, {**target.body(SUM), "prompt_cache_key": "k", "x_of_tomorrow": {"a": 1}})
    kept = {"prompt_cache_key", "x_of_tomorrow"} & set(target.sent())
    dropped = set(listed(answer.headers.get("x-moegate-dropped-params")))
    assert kept | dropped == {"prompt_cache_key", "x_of_tomorrow"}
    assert not kept & dropped
