"""What an engine says, piece by piece, before a dialect writes it down; knows no JSON and no HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

PROMPT_TOKENS = 118
SENTENCE = (
    "A mixture-of-experts model has a gate that sends each token to the expert that should serve it; "
    "this answer is always the same, so that a reader can compare it byte by byte."
)
WORDS = tuple(f" {word}" for word in SENTENCE.split())


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool. `index` is where clients put it; two calls with one index are a fault."""

    name: str
    arguments: str
    id: str
    index: int = 0

    def pieces(self) -> tuple[str, str]:
        """The arguments in two pieces, as streams carry them."""
        half = len(self.arguments) // 2
        return self.arguments[:half], self.arguments[half:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One answer. Every piece of text stands for one token.

    Attributes:
        finish: OpenAI's word for why it ends; None is an answer that never says.
        stopped_by: the client's stop string that ended it.
        prompt_tokens: what the engine claims to have read.
        null_content: content is null although there is no call, and the list of calls is there and empty.
    """

    content: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    finish: str | None = "stop"
    stopped_by: str | None = None
    prompt_tokens: int = PROMPT_TOKENS
    null_content: bool = False

    @property
    def text(self) -> str:
        """The content in one piece."""
        return "".join(self.content)

    @property
    def thought(self) -> str:
        """The reasoning in one piece."""
        return "".join(self.reasoning)

    @property
    def completion_tokens(self) -> int:
        """All pieces; a call counts as five, which is less than engines need for one."""
        return len(self.content) + len(self.reasoning) + 5 * len(self.calls)

    def cut(self, limit: int) -> "Turn":
        """The answer as a limit of tokens leaves it: reasoning first, then content; a call that does not fit is lost."""
        if self.completion_tokens <= limit:
            return self
        reasoning = self.reasoning[:limit]
        content = self.content[: max(0, limit - len(reasoning))]
        return replace(self, reasoning=reasoning, content=content, calls=(), finish="length")

    def stopped(self, stops: Sequence[str]) -> "Turn":
        """The answer up to the first of the stop strings, which itself is left out."""
        found = [(self.text.find(stop), stop) for stop in stops if stop in self.text]
        if not found:
            return self
        at, stop = min(found)
        return replace(self, content=pieces(self.text[:at]), calls=(), finish="stop", stopped_by=stop)


def pieces(text: str) -> tuple[str, ...]:
    """A text cut before each of its spaces, so that joining gives it back."""
    found: list[str] = []
    for part in text.split(" "):
        found.append(f" {part}" if found else part)
    return tuple(piece for piece in found if piece)


def canned(count: int, finish: str) -> Turn:
    """The answer that never changes, in so many pieces; its last piece is always the sentence's last."""
    return Turn(content=tuple(WORDS[index % len(WORDS)] for index in range(count - 1)) + WORDS[-1:], finish=finish)
