"""`POST /tokenize`: the tokens of a text, and of a conversation as the engine's template writes it."""

from __future__ import annotations

from tests.conformance.backends.asking import SUM, TOKENIZE, TOOLS
from tests.conformance.backends.case import Feature, case, refusal
from tests.conformance.backends.cases.refusals import check_error
from tests.conformance.backends.target import Target


@case("tokenize", Feature.TOKENIZE)
def a_text_is_cut_into_tokens(target: Target) -> None:
    answer = target.post(TOKENIZE, {"model": target.model, "prompt": "one two three"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["tokens"]
    assert all(isinstance(token, int) for token in found["tokens"])
    assert found.get("count", len(found["tokens"])) == len(found["tokens"])


@case("tokenize", Feature.TOKENIZE, Feature.TOKENIZE_CHAT)
def a_conversation_is_as_long_as_its_chat_says(target: Target) -> None:
    for tools in ({}, {"tools": TOOLS}):
        answer = target.post(TOKENIZE, {"model": target.model, "messages": SUM, **tools})
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["tokens"]) == target.chat(**tools).usage.prompt_tokens


@case("tokenize", Feature.TOKENIZE)
def errors_have_openais_shape(target: Target) -> None:
    check_error(target.post(TOKENIZE, {"model": target.model}), 400, "invalid_request")
    check_error(target.post(TOKENIZE, {"model": "no-such-model", "prompt": "x"}), 404, "model_not_found")


@refusal(Feature.TOKENIZE)
def tokenize_is_refused(target: Target) -> None:
    error = check_error(target.post(TOKENIZE, {"model": target.model, "prompt": "x"}), 400, "invalid_request")
    assert "chat" in error["message"], "the error names the operations that there are"


@refusal(Feature.TOKENIZE_CHAT)
def a_conversation_is_refused(target: Target) -> None:
    error = check_error(target.post(TOKENIZE, {"model": target.model, "messages": SUM}), 400)
    assert "messages" in error["message"]


@refusal(Feature.COMPLETIONS)
def completions_are_refused(target: Target) -> None:
    answer = target.post("/v1/completions", {"model": target.model, "prompt": "x", "max_tokens": 2})
    error = check_error(answer, 400, "invalid_request")
    assert "chat" in error["message"], "the error names the operations that there are"
