"""Scripts of engines in good order that say something wrong: what models and parsers do, in every operation's shape."""

import json
from dataclasses import replace

from tests.support.scripted_engine.faults import FaultCall, fault
from tests.support.scripted_engine.turns import ToolCall, Turn

SECTION_BEGIN, SECTION_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
CALL_BEGIN, ARGUMENTS, CALL_END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
PARIS = '{"city":"Paris"}'
PIECE = 7  # so that no marker comes in one piece


def markup(call: FaultCall, arguments: str = PARIS) -> str:
    """One call of the declared tool as the model writes it."""
    return f"{CALL_BEGIN}functions.{_tool(call)}:{call.reply.asked.past_calls}{ARGUMENTS}{arguments}"


def _tool(call: FaultCall) -> str:
    return call.reply.asked.tools[0] if call.reply.asked.tools else "get_weather"


async def _say_text(call: FaultCall, text: str, finish: str = "stop") -> None:
    pieces = tuple(text[at : at + PIECE] for at in range(0, len(text), PIECE))
    await call.say(replace(call.turn, content=pieces, calls=(), finish=finish))


async def _say_calls(call: FaultCall, *calls: ToolCall) -> None:
    await call.say(replace(call.turn, content=(), calls=calls, finish="tool_calls"))


@fault
async def marker_leak(call: FaultCall) -> None:
    """A whole tool call left in the content as its markup, finish "stop"."""
    await _say_text(call, f"{SECTION_BEGIN}{markup(call)}{CALL_END}{SECTION_END}")


@fault
async def marker_leak_after_text(call: FaultCall) -> None:
    """The same after a sentence of text."""
    await _say_text(call, f"Let me look. {SECTION_BEGIN}{markup(call)}{CALL_END}{SECTION_END}")


@fault
async def call_without_section_end(call: FaultCall) -> None:
    """A whole tool call left in the content, whose section was never ended."""
    await _say_text(call, f"{SECTION_BEGIN}{markup(call)}{CALL_END}")


@fault
async def call_cut_short(call: FaultCall) -> None:
    """The markup of a call that the limit cut in its arguments."""
    await _say_text(call, f"{SECTION_BEGIN}{markup(call, PARIS[:6])}", "length")


@fault
async def undeclared_tool(call: FaultCall) -> None:
    """A call of a tool that the request did not declare."""
    await _say_calls(
        call, ToolCall("delete_everything", "{}", f"functions.delete_everything:{call.reply.asked.past_calls}")
    )


@fault
async def invalid_arguments(call: FaultCall) -> None:
    """A call whose arguments are no JSON."""
    await _say_calls(
        call, ToolCall(_tool(call), '{"city": Paris', f"functions.{_tool(call)}:{call.reply.asked.past_calls}")
    )


@fault
async def duplicate_index(call: FaultCall) -> None:
    """Two calls of a stream with one index."""
    name, past = _tool(call), call.reply.asked.past_calls
    second = ToolCall(name, json.dumps({"city": "Oslo"}, separators=(",", ":")), f"functions.{name}:{past + 1}")
    await _say_calls(call, ToolCall(name, PARIS, f"functions.{name}:{past}"), second)


@fault
async def null_content(call: FaultCall) -> None:
    """Content null and a list of calls that is empty."""
    await call.say(replace(call.turn, content=(), calls=(), null_content=True))


@fault
async def reasoning_only(call: FaultCall) -> None:
    """Reasoning until the limit, and not a word of an answer."""
    thought = tuple(f" thought{number}" for number in range(8))
    await call.say(Turn(reasoning=thought, finish="length", prompt_tokens=call.turn.prompt_tokens))


@fault
async def wrong_prompt_tokens(call: FaultCall) -> None:
    """A prompt of 7 tokens, as if another template had been used."""
    await call.say(replace(call.turn, prompt_tokens=7))


@fault
async def no_finish(call: FaultCall) -> None:
    """An answer in good order that never says why it ends."""
    turn = replace(call.turn, finish=None)
    if not call.stream:
        await call.say(turn)
        return
    call.open()
    begun = await call.begin()
    await call.send(*call.events(turn)[begun:])
    call.close_body()
