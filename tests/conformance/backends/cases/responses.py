"""OpenAI's Responses API with the official SDK: text, streams, tools, and errors."""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.backends.asking import PARIS, RESPONSES, RESPONSES_TOOLS, SUM, Json, faulty, names
from tests.conformance.backends.case import Feature, Need, case, refusal
from tests.conformance.backends.cases.refusals import check_error
from tests.conformance.backends.target import Target

QUESTION = SUM[0]["content"]


def body(target: Target, asked: Any = QUESTION, **fields: Any) -> Json:
    """A request."""
    return {"model": target.model, "input": asked, "max_output_tokens": 96, "temperature": 0, "store": False, **fields}


def ask(target: Target, asked: Any = QUESTION, **fields: Any) -> Any:
    """Ask by the SDK."""
    return target.openai.responses.create(**body(target, asked, **fields))


def calls(response: Any) -> list[Any]:
    """The function calls of a response."""
    return [item for item in response.output if item.type == "function_call"]


@case("responses", Feature.RESPONSES)
def a_plain_response_is_whole(target: Target) -> None:
    response = ask(target)
    assert "7" in response.output_text
    assert (response.object, response.status, response.model) == ("response", "completed", target.model)
    assert response.usage.input_tokens > 0
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


@case("responses", Feature.RESPONSES)
def a_stream_says_the_same(target: Target) -> None:
    events = list(ask(target, stream=True))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == ask(target).output_text
    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == text
    assert {event.response.model for event in events if hasattr(event, "response")} == {target.model}


@case("responses", Feature.RESPONSES)
def events_are_numbered_on(target: Target) -> None:
    numbers = [event.sequence_number for event in ask(target, stream=True)]
    assert numbers == sorted(set(numbers))


@case("responses", Feature.RESPONSES)
def the_sdks_own_reader_of_streams_follows(target: Target) -> None:
    """It puts the response together from the events' places."""
    with target.openai.responses.stream(**body(target)) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text


@case("responses", Feature.RESPONSES)
def instructions_and_messages_are_taken(target: Target) -> None:
    assert "7" in ask(target, SUM, instructions="You are Kimi.").output_text


@case("responses", Feature.RESPONSES)
def the_limit_ends_the_response(target: Target) -> None:
    response = ask(target, max_output_tokens=2)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"


@case("responses", Feature.RESPONSES, Feature.TOOLS)
def a_needed_function_is_called(target: Target) -> None:
    (call,) = calls(ask(target, [PARIS], tools=RESPONSES_TOOLS))
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
    assert call.call_id


@case("responses", Feature.RESPONSES, Feature.TOOLS)
def a_streamed_call_is_the_same_call(target: Target) -> None:
    events = list(ask(target, [PARIS], tools=RESPONSES_TOOLS, stream=True))
    (call,) = calls(events[-1].response)
    assert json.loads(call.arguments) == {"city": "Paris"}
    pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert json.loads("".join(pieces)) == {"city": "Paris"}


@case("responses", Feature.RESPONSES, Feature.TOOLS)
def the_result_of_a_function_is_used(target: Target) -> None:
    (call,) = calls(ask(target, [PARIS], tools=RESPONSES_TOOLS))
    turn = {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "rainy"}
    assert "rainy" in ask(target, [PARIS, turn, result], tools=RESPONSES_TOOLS).output_text


@case("responses", Feature.RESPONSES, Feature.TOOLS, Need.DOOR)
def a_clients_ids_are_renumbered_for_the_engine(target: Target) -> None:
    turn = {"type": "function_call", "call_id": "call_abc", "name": "get_weather", "arguments": '{"city":"Paris"}'}
    result = {"type": "function_call_output", "call_id": "call_abc", "output": "rainy"}
    ask(target, [PARIS, turn, result], tools=RESPONSES_TOOLS)
    sent = target.sent()["input"]
    assert sent[1]["call_id"] == sent[2]["call_id"] == "functions.get_weather:0"


@case("responses", Feature.RESPONSES)
def errors_have_openais_shape(target: Target) -> None:
    check_error(target.post(RESPONSES, b"{"), 400, "invalid_request")
    check_error(target.post(RESPONSES, body(target, model="no-such-model")), 404, "model_not_found")
    check_error(target.post(RESPONSES, {"model": target.model}), 400)


@case("responses", Feature.RESPONSES, Need.DOOR)
def an_overload_is_told_and_when_to_come_again(target: Target) -> None:
    answer = target.post(RESPONSES, body(target, faulty("queue_full")))
    check_error(answer, 503, "upstream_overloaded")
    assert answer.headers["retry-after"]


@case("responses", Feature.RESPONSES, Need.DOOR)
def an_overload_in_a_stream_is_no_answer(target: Target) -> None:
    """Some engines promise an answer before they say so, and one says nothing but that the answer is complete."""
    answer = target.post(RESPONSES, body(target, faulty("queue_full"), stream=True))
    if answer.status_code != 200:
        check_error(answer, answer.status_code)
        assert answer.status_code in (502, 503)
        return
    assert names(answer.content)[-1] == "error"
    assert "response.completed" not in names(answer.content)


@case("responses", Feature.RESPONSES, Need.DOOR)
def a_failure_in_the_middle_is_an_error_event(target: Target) -> None:
    for fault in ("midstream_error_event", "midstream_cut", "no_done"):
        asked = faulty(f"{fault},gate=g")
        content = target.broken_off(RESPONSES, body(target, asked, stream=True))
        assert names(content)[-1] == "error", fault
        assert "response.completed" not in names(content)
        events = ask(target, asked, stream=True)
        next(events)
        target.release()
        assert list(events)[-1].type == "error"


@refusal(Feature.RESPONSES)
def responses_are_refused(target: Target) -> None:
    error = check_error(target.post(RESPONSES, body(target)), 400, "invalid_request")
    assert "chat" in error["message"], "the error names the operations that there are"
