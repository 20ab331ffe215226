"""Prepares a conversation for the checkpoint's chat template; it must not render by itself or repair what a client sent."""

from typing import Any

import msgspec

from backends.torch_reference.engine.errors import InvalidRequest
from backends.torch_reference.engine.protocol import Message, Tool, ToolCall

# Arguments of the renderer that a client may not reach through chat_template_kwargs.
RESERVED_ARGUMENTS = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "documents",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)


def template_messages(messages: list[Message]) -> list[dict[str, Any]]:
    """Return the messages as the template reads them."""
    if not messages:
        raise InvalidRequest("messages must hold at least one message", param="messages")
    return [_template_message(message, position) for position, message in enumerate(messages)]


def _template_message(message: Message, position: int) -> dict[str, Any]:
    # Kimi knows no developer role; OpenAI defines it as what `system` was.
    result: dict[str, Any] = {"role": "system" if message.role == "developer" else message.role}
    result["content"] = _content_text(message, position)
    if message.name is not None:
        result["name"] = message.name
    reasoning = message.reasoning_content if message.reasoning_content is not None else message.reasoning
    if reasoning is not None:
        result["reasoning_content"] = reasoning
    if message.role == "tool":
        if message.tool_call_id is None:
            raise InvalidRequest(f"messages[{position}]: a tool message needs tool_call_id", param="messages")
        result["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        if message.role != "assistant":
            raise InvalidRequest(f"messages[{position}]: only assistant messages have tool_calls", param="messages")
        result["tool_calls"] = [_template_call(call) for call in message.tool_calls]
    return result


def _content_text(message: Message, position: int) -> str:
    """Return the content as one text; parts are joined without a separator, as Kimi's own template prints them."""
    if message.content is None:
        if message.role == "assistant":
            return ""
        raise InvalidRequest(f"messages[{position}]: content is missing", param="messages")
    if isinstance(message.content, str):
        return message.content
    for part in message.content:
        if part.type != "text" or part.text is None:
            raise InvalidRequest(
                f"messages[{position}]: only text content is supported, not {part.type[:40]!r}", param="messages"
            )
    return "".join([part.text or "" for part in message.content])


def _template_call(call: ToolCall) -> dict[str, Any]:
    arguments = call.function.arguments
    if not isinstance(arguments, str):
        # The spelling of Kimi's own calls: no spaces.
        arguments = msgspec.json.encode(arguments).decode()
    # A text stays as it is: spelling it anew would change the tokens that the model wrote.
    return {"id": call.id, "type": call.type, "function": {"name": call.function.name, "arguments": arguments}}


def count_calls(messages: list[Message]) -> int:
    """Return how many tool calls the conversation holds: Kimi numbers its calls through the whole of it."""
    return sum(len(message.tool_calls or ()) for message in messages)


def check_tools(tools: list[dict[str, Any]]) -> list[str]:
    """Return the names of the declared functions, or refuse the declarations."""
    names = []
    for position, tool in enumerate(tools):
        try:
            names.append(msgspec.convert(tool, Tool).function.name)
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"tools[{position}]: {error}", param="tools") from error
    return names


def check_template_arguments(arguments: dict[str, Any] | None) -> dict[str, Any]:
    """Return the client's extra template variables, or refuse those that are not the template's."""
    for name in arguments or {}:
        if name in RESERVED_ARGUMENTS:
            raise InvalidRequest(f"chat_template_kwargs may not set {name}", param="chat_template_kwargs")
    return arguments or {}
