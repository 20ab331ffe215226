"""What has to be changed in answers of chat and completions before the client sees them; reads no stream and no socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Raw

from backends.answers.chat_tools import ChatTools
from backends.answers.completion_logprobs import LOGPROBS_FORM, CompletionLogprobs
from backends.answers.drafts import Draft, is_null
from backends.answers.names import with_name
from backends.answers.reasoning import reasoning_fields
from backends.answers.tools import FINISH_REASON, AskedTools
from backends.answers.usage import in_openai_places, is_said
from backends.answers.wire import Answer, AnswerWithTools, finish_word, read_answer, read_answer_with_tools
from backends.sent import Sent
from gateway import Call, Operation

REASONING_FIELDS: Final = "reasoning_fields"
USAGE_PLACE: Final = "usage_place"


class ChatEdits:
    """The edits of one answer.

    Args:
        call: the call that is answered.
        sent: what was sent to the engine, if it is known.
        reasoning_key: what the engine calls what a model thought; None if it may be any known name.
        note: takes the name of a transform.

    Attributes:
        copies: what the model thought is given to the client more than once.
        hides_usage: the client did not ask for usage in its stream.
        read: decodes an answer, or an event of one, as deep as the edits need.
        tools: edits of tool calls; None where there are none, which then costs nothing.
    """

    __slots__ = ("_logprobs", "_marks", "_note", "_reasoning", "copies", "hides_usage", "read", "tools")

    def __init__(self, call: Call, sent: Sent | None, reasoning_key: str | None, note: Callable[[str], None]) -> None:
        is_chat = call.operation is Operation.CHAT
        self._note = note
        self._reasoning = reasoning_fields(reasoning_key, call.model.reasoning_fields) if is_chat else None
        self._marks = self._reasoning.marks if self._reasoning is not None else ()
        wants_logprobs = call.operation is Operation.COMPLETIONS and not is_null(call.fields.get("logprobs"))
        self._logprobs = CompletionLogprobs() if wants_logprobs else None
        if self._logprobs is not None:
            self._marks = (CompletionLogprobs.mark,)
        self.copies = len(call.model.reasoning_fields) > 1
        self.tools = ChatTools(AskedTools(call), sent, note) if is_chat and call.has_tools else None
        self.read: Callable[[bytes], Answer] = read_answer if self.tools is None else read_answer_with_tools
        self.hides_usage = call.stream and not call.wants_usage

    def concern(self, event: bytes) -> bool:
        """Whether a tightly written event, with no usage and no end in it, may need an edit."""
        for mark in self._marks:
            if mark in event:
                return True
        return self.tools is not None and self.tools.concern(event)

    def matter(self, event: bytes, found: Answer) -> bool:
        """Whether an event that was decoded may need an edit."""
        for choice in found.choices or ():
            if is_said(choice.usage) or isinstance(choice.finish_reason, dict):
                return True
        return (
            (self._reasoning is not None and self._reasoning.concern(event))
            or (self._logprobs is not None and b'"logprobs"' in event)
            or (is_said(found.usage) and (self.hides_usage or in_openai_places(found.usage) is not None))
            or (self.tools is not None and isinstance(found, AnswerWithTools) and self.tools.matter(found))
        )

    def edit_chunk(self, draft: Draft, found: Answer) -> tuple[list[bytes], bool]:
        """Edit one chunk; return the chunks that go before it, and whether it is to be sent itself."""
        self._edit(draft, found)
        if self.tools is not None and isinstance(found, AnswerWithTools):
            return self.tools.edit_chunk(draft, found)
        return [], True

    def edit_answer(self, body: bytes, found: Answer, served: str) -> bytes:
        """Edit a whole answer; the same object where nothing changes."""
        renamed = isinstance(found.model, str) and found.model != served
        if not self.matter(body, found):
            return with_name(body, served) if renamed else body
        draft = Draft(body)
        self._edit(draft, found)
        if self.tools is not None and isinstance(found, AnswerWithTools):
            self.tools.edit_answer(draft, found)
        if renamed:
            draft.fields["model"] = served
            draft.changed = True
        return draft.encode() if draft.changed else body

    def usage_chunk(self, draft: Draft) -> bytes:
        """The chunk that OpenAI ends a stream with, for an engine that put usage into another; from that one."""
        self._note(USAGE_PLACE)
        usage = next(
            place["usage"] for place in (draft.fields, *draft.choices) if is_said(place.get("usage", Raw(b"null")))
        )
        return draft.beside(usage=in_openai_places(usage) or usage)

    def _edit(self, draft: Draft, found: Answer) -> None:
        if is_said(found.usage):
            if self.hides_usage:
                del draft.fields["usage"]
                draft.changed = True
            elif (better := in_openai_places(found.usage)) is not None:
                draft.fields["usage"] = better
                draft.changed = True
                self._note(USAGE_PLACE)
        for choice in draft.choices:
            if self.hides_usage and not is_null(choice.get("usage")):
                del choice["usage"]
                draft.changed = True
            message = Draft.message(choice)
            if self._reasoning is not None and message is not None and self._reasoning.edit(message):
                draft.changed = True
                self._note(REASONING_FIELDS)
        for choice, read in zip(draft.choices, found.choices or (), strict=True):
            if isinstance(read.finish_reason, dict):
                choice["finish_reason"] = finish_word(read.finish_reason)
                draft.changed = True
                self._note(FINISH_REASON)
            if self._logprobs is not None and self._logprobs.edit(choice, read.index):
                draft.changed = True
                self._note(LOGPROBS_FORM)
