"""Puts an answer together from the events of a chat stream, or from the one body of a plain answer; knows no clock and no HTTP."""

from __future__ import annotations

from typing import Any

import msgspec

from plugins.experiments.compare.results import Answer, ToolCall

Json = dict[str, Any]


class Parts:
    """What has come so far.

    Attributes:
        answer: its figures; text and tool calls stand in it once it is `whole`.
        done: the stream's own end has come, or the whole body.
    """

    def __init__(self) -> None:
        self.answer = Answer()
        self.done = False
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, list[str]] = {}

    def event(self, payload: bytes) -> bool:
        """Take one event's data; whether it says something that a reader sees."""
        if payload == b"[DONE]":
            self.done = True
            return False
        event = self._object(payload, "event")
        if event is None:
            return False
        choices = event.get("choices")
        try:
            return self._choice(choices[0], "delta") if choices else False
        except (AttributeError, KeyError, TypeError) as error:
            self.fail("bad_event", f"an event of another shape: {type(error).__name__}")
            return False

    def body(self, content: bytes) -> None:
        """Take a plain answer."""
        found = self._object(content, "body")
        if found is None:
            return
        self.done = True
        try:
            choice = found["choices"][0]
            for at, call in enumerate((choice.get("message") or {}).get("tool_calls") or ()):
                call.setdefault("index", at)
            self._choice(choice, "message")
        except (AttributeError, KeyError, TypeError, IndexError) as error:
            self.fail("bad_body", f"a body of another shape: {type(error).__name__}")

    def _object(self, payload: bytes, what: str) -> Json | None:
        try:
            found = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = None
        if not isinstance(found, dict):
            self.fail(f"bad_{what}", f"{'an event' if what == 'event' else 'a body'} that is no JSON object")
            return None
        if found.get("error"):
            self.fail("error_event", error_text(payload))
            return None
        if isinstance(usage := found.get("usage"), dict):
            self._usage(usage)
        return found

    def _usage(self, usage: Json) -> None:
        self.answer.prompt_tokens = usage.get("prompt_tokens")
        self.answer.completion_tokens = usage.get("completion_tokens")
        details = usage.get("prompt_tokens_details")
        self.answer.cached_tokens = details.get("cached_tokens") if isinstance(details, dict) else None

    def _choice(self, choice: Json, key: str) -> bool:
        said = choice.get(key) or {}
        text = said.get("content") or ""
        # Engines name it one way or the other, and some both ways.
        thought = said.get("reasoning_content") or said.get("reasoning") or ""
        calls = said.get("tool_calls") or ()
        if text:
            self._texts.append(text)
        if thought:
            self._reasoning.append(thought)
        for call in calls:
            function = call.get("function") or {}
            parts = self._calls.setdefault(call.get("index") or 0, ["", "", ""])
            parts[0] = parts[0] or call.get("id") or ""
            parts[1] = parts[1] or function.get("name") or ""
            parts[2] += function.get("arguments") or ""
        self._tokens(choice.get("logprobs"))
        self.answer.finish_reason = choice.get("finish_reason") or self.answer.finish_reason
        return bool(text or thought or calls)

    def _tokens(self, logprobs: Any) -> None:
        for each in (logprobs or {}).get("content") or ():
            top = each.get("top_logprobs") or ()
            best = max(top, key=lambda one: one["logprob"])["token"] if top else each["token"]
            self.answer.tokens.append((each["token"], each["logprob"], best))

    def fail(self, error: str, detail: str) -> None:
        """What went wrong; the first that did stays."""
        if not self.answer.error:
            self.answer.error, self.answer.detail = error, detail[:500]

    def whole(self) -> Answer:
        """The answer; one without its end, or without a reason for it, is a failed one."""
        answer = self.answer
        if not self.done:
            self.fail("cut_short", "the stream ended without its end")
        elif answer.finish_reason is None:
            self.fail("no_finish_reason", "the answer never said why it ended")
        answer.text, answer.reasoning = "".join(self._texts), "".join(self._reasoning)
        answer.tool_calls = [
            ToolCall(name, arguments, id_) for _, (id_, name, arguments) in sorted(self._calls.items())
        ]
        return answer


def error_text(content: bytes) -> str:
    """The message of an error in OpenAI's shape; the beginning of what came where there is none."""
    try:
        return str(msgspec.json.decode(content)["error"]["message"])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, IndexError):
        return content[:300].decode(errors="replace")
