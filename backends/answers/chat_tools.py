"""Tool calls in answers of chat: their ids and places, and those that an engine left in its text; edits nothing else."""

from __future__ import annotations

from collections.abc import Callable

from backends.answers.choice_calls import ChoiceCalls
from backends.answers.drafts import Cut, Draft, cut_list, is_null
from backends.answers.tool_leaks import STEM, LeakedCall, LeakScanner, Piece, may_leak
from backends.answers.tools import FINISH_REASON, TOOL_LEAK, AskedTools, CallIds, openai_id
from backends.answers.wire import AnswerWithTools, ChoiceWithTools, Message, finish_word
from backends.sent import Sent

_STOP = "stop"
_TOOL_CALLS = "tool_calls"


class _Choice:
    """One choice of an answer: what of its text is held back, and which calls it has made."""

    __slots__ = ("calls", "scanner")

    def __init__(self, scanner: LeakScanner, calls: ChoiceCalls) -> None:
        self.scanner = scanner
        self.calls = calls


class ChatTools:
    """Edits one answer to a call that has tools.

    Args:
        asked: what the request says of tools.
        sent: what was sent to the engine, if it is known.
        note: takes the name of a transform.

    Attributes:
        busy: the next events concern us, whatever they hold: text is held back, or calls have changed places.
    """

    __slots__ = ("_asked", "_choices", "_last", "_note", "_sent", "busy")

    def __init__(self, asked: AskedTools, sent: Sent | None, note: Callable[[str], None]) -> None:
        self._asked, self._sent, self._note = asked, sent, note
        self._choices: dict[int, _Choice] = {}
        self._last: Draft | None = None
        self.busy = False

    def concern(self, event: bytes) -> bool:
        """Whether a tightly written event may hold the beginning of a call or of a marker."""
        return self.busy or b'"tool_calls":[' in event or b"<|" in event or b'<"' in event

    def concern_text(self, event: bytes, start: int, end: int) -> bool:
        """The same of an event that is known to hold nothing new but the text between these ends."""
        return self.busy or event.find(b"<|", start, end) >= 0 or event.endswith(b"<", start, end)

    def matter(self, found: AnswerWithTools) -> bool:
        """Whether a chunk has to be edited, or begins what later ones are edited for."""
        if self.busy:
            return True
        for choice in found.choices or ():
            said = choice.delta or choice.message
            if choice.finish_reason is not None and choice.index in self._choices:
                return True
            if said is not None and (said.tool_calls or (isinstance(said.content, str) and may_leak(said.content))):
                return True
        return False

    def edit_chunk(self, draft: Draft, found: AnswerWithTools) -> tuple[list[bytes], bool]:
        """Edit one chunk; return the chunks that go before it, and whether it is to be sent itself."""
        before: list[bytes] = []
        keep = True
        for choice, read in zip(draft.choices, found.choices or (), strict=True):
            more, keeps = self._edit_piece(draft, choice, read)
            before += more
            keep = keep and keeps
        self._last = draft
        self.busy = any(choice.scanner.busy or choice.calls.moved for choice in self._choices.values())
        return before, keep

    def edit_answer(self, draft: Draft, found: AnswerWithTools) -> None:
        """Edit a whole answer."""
        for choice, read in zip(draft.choices, found.choices or (), strict=True):
            message, said = Draft.message(choice), read.message
            if message is None or said is None:
                continue
            state = self._state(read.index)
            calls = self._native_calls(state, message, said, draft)
            content = said.content
            if isinstance(content, str) and STEM in content:
                whole = finish_word(read.finish_reason) == _STOP
                pieces = state.scanner.feed(content) + state.scanner.end(whole=whole)
                self._note_leak(state)
                mended = [state.calls.add(piece) for piece in pieces if isinstance(piece, LeakedCall)]
                if mended:
                    text = "".join(piece for piece in pieces if isinstance(piece, str))
                    message["content"] = text if text.strip() else None
                    without_place = [
                        {name: value for name, value in call.items() if name != "index"} for call in mended
                    ]
                    message["tool_calls"] = calls + without_place
                    draft.changed = True
            self._end(state, choice, read, draft)

    def release(self) -> list[bytes]:
        """The text that is held back, as chunks: the answer ends without having finished."""
        if self._last is None:
            return []
        pieces = ((index, text) for index, state in self._choices.items() for text in state.scanner.end(whole=False))
        return [
            self._last.beside({"index": index, "delta": {"content": text}, "finish_reason": None})
            for index, text in pieces
        ]

    def _state(self, index: int) -> _Choice:
        if index not in self._choices:
            calls = ChoiceCalls(self._asked, CallIds(self._sent, openai_id), self._note)
            self._choices[index] = _Choice(LeakScanner(self._asked.accepts), calls)
        return self._choices[index]

    def _edit_piece(self, draft: Draft, choice: Cut, read: ChoiceWithTools) -> tuple[list[bytes], bool]:
        """Edit one choice of a chunk; return the chunks that go before it, and whether it still says anything."""
        state, said = self._state(read.index), read.delta or Message()
        delta = Draft.message(choice)
        if delta is None:
            delta = choice["delta"] = {}
        finish = finish_word(read.finish_reason)
        content = said.content if isinstance(said.content, str) else ""
        pieces = self._pieces(state, content, ends=finish is not None or bool(said.tool_calls), whole=finish == _STOP)
        before: list[bytes] = []
        keep = True
        if any(isinstance(piece, LeakedCall) for piece in pieces):
            before = self._apart(draft, state, read.index, delta, pieces)
            delta.pop("content", None)
            draft.changed = True
            keep = _says_anything(draft, choice, delta)
        elif (text := "".join(map(str, pieces))) != content:
            delta["content"] = text
            draft.changed = True
            keep = bool(text) or _says_anything(draft, choice, delta)
        self._native_calls(state, delta, said, draft)
        self._end(state, choice, read, draft)
        return before, keep

    def _pieces(self, state: _Choice, content: str, *, ends: bool, whole: bool) -> list[Piece]:
        pieces = state.scanner.feed(content) if content else []
        if ends:
            pieces += state.scanner.end(whole=whole)
        self._note_leak(state)
        return pieces

    @staticmethod
    def _apart(draft: Draft, state: _Choice, index: int, delta: Cut, pieces: list[Piece]) -> list[bytes]:
        """Chunks of their own for text and calls that came in one."""
        chunks = []
        for piece in pieces:
            own: Cut = {"role": delta.pop("role")} if "role" in delta else {}
            own |= {"tool_calls": [state.calls.add(piece)]} if isinstance(piece, LeakedCall) else {"content": piece}
            chunks.append(draft.beside({"index": index, "delta": own, "finish_reason": None}))
        return chunks

    @staticmethod
    def _native_calls(state: _Choice, message: Cut, said: Message, draft: Draft) -> list[Cut]:
        """The calls that the engine itself made, each under its right id and place."""
        if not said.tool_calls:
            return []
        calls = cut_list(message["tool_calls"])
        changed = [
            state.calls.edit(call, read, position)
            for position, (call, read) in enumerate(zip(calls, said.tool_calls, strict=True))
        ]
        if any(changed):
            message["tool_calls"] = calls
            draft.changed = True
        return calls

    def _note_leak(self, state: _Choice) -> None:
        if state.scanner.seen:
            self._note(TOOL_LEAK)

    def _end(self, state: _Choice, choice: Cut, read: ChoiceWithTools, draft: Draft) -> None:
        """A choice that called tools ends with "tool_calls", but where the client named the function."""
        calls = state.calls
        if calls.made and finish_word(read.finish_reason) == _STOP and not self._asked.choice_is_named:
            choice["finish_reason"] = _TOOL_CALLS
            draft.changed = True
            if not calls.found:
                self._note(FINISH_REASON)


def _says_anything(draft: Draft, choice: Cut, delta: Cut) -> bool:
    """Whether a chunk whose text is taken out still tells the client something."""
    return (
        len(draft.choices) > 1
        or not is_null(draft.fields.get("usage"))
        or not is_null(choice.get("finish_reason"))
        or not is_null(choice.get("logprobs"))
        or any(not is_null(value) for name, value in delta.items() if name != "content")
    )
