"""What a case is and where all of them are kept; holds none itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conformance.backends.target import Target

Check = Callable[["Target"], None]


class Feature(StrEnum):
    """What an engine may lack. A call that needs what is lacking must be refused with 400, which is checked as well."""

    COMPLETIONS = "completions"
    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"
    RESPONSES = "responses"
    TOKENIZE = "tokenize"
    TOKENIZE_CHAT = "tokenize of a conversation"
    TOOLS = "tools"
    NAMED_TOOL = "tool_choice with a tool's name"
    JSON_SCHEMA = "response_format json_schema"
    LOGPROBS = "logprobs"
    COMPLETION_LOGPROBS = "logprobs of completions"
    CHOICES = "more than one choice"


class Need(StrEnum):
    """What a case needs of whoever runs it, beside a gateway and a key. Where it is missing, the case is not run."""

    DOOR = "the scripted engine's door, to see what the engine was sent and to have it fail"
    RUNNING = "a way to ask the engine how many requests it runs"
    THINKING = "a model that thinks when asked to"
    SEED = "an engine whose seeds repeat"


class NotShown(Exception):
    """The case could not show what it is about, because of what the model said; neither pass nor fail."""


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        name: unique; `group.what_it_shows`.
        features: what an engine must not lack for it.
        needs: what whoever runs it must give.
    """

    name: str
    check: Check
    features: frozenset[Feature]
    needs: frozenset[Need]

    @property
    def group(self) -> str:
        """The first half of its name."""
        return self.name.partition(".")[0]

    @property
    def title(self) -> str:
        """The second half, in words."""
        return self.name.partition(".")[2].replace("_", " ")


CASES: dict[str, Case] = {}
REFUSALS: dict[Feature, Check] = {}


def add(name: str, check: Check, *wants: Feature | Need) -> None:
    """Keep a case."""
    assert name not in CASES, f"two cases are named {name}"
    features = frozenset(want for want in wants if isinstance(want, Feature))
    CASES[name] = Case(name, check, features, frozenset(want for want in wants if isinstance(want, Need)))


def case(group: str, *wants: Feature | Need) -> Callable[[Check], Check]:
    """Keep a function as a case under the group and its own name."""

    def keep(check: Check) -> Check:
        add(f"{group}.{getattr(check, '__name__', '')}", check, *wants)
        return check

    return keep


def refusal(*features: Feature) -> Callable[[Check], Check]:
    """Keep a function as the check of what happens to calls that need what an engine lacks."""

    def keep(check: Check) -> Check:
        for feature in features:
            assert feature not in REFUSALS, f"two refusals of {feature}"
            REFUSALS[feature] = check
        return check

    return keep


@dataclass(frozen=True)
class Declaration:
    """What an engine says of itself.

    Attributes:
        lacks: what it cannot do, each with the reason.
        known: cases that fail, each with the reason: they stay failures, and the table says why.
        vague: operations whose overload it tells in words that could mean any failure.
        refuses: fields of a chat request that the engine itself refuses, and not the gateway.
    """

    lacks: Mapping[Feature, str] = field(default_factory=dict)
    known: Mapping[str, str] = field(default_factory=dict)
    vague: frozenset[str] = frozenset()
    refuses: Mapping[str, object] = field(default_factory=lambda: {"logprobs": True, "top_logprobs": 10_000})


class Status(StrEnum):
    """How a case ended. Only the first is a pass."""

    PASS = "pass"
    FAIL = "fail"
    UNSUPPORTED = "unsupported"
    NOT_SHOWN = "not shown"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Result:
    """How one case ended on one engine, and why if it did not pass; `error` is what a failed one raised."""

    engine: str
    case: str
    status: Status
    reason: str = ""
    error: BaseException | None = None


def run(case_: Case, target: Target) -> Result:
    """Run one case; where the engine lacks what it needs, check instead that such calls are refused."""
    result = Result(target.engine, case_.name, Status.PASS)
    missing = sorted(need for need in case_.needs if need not in target.gives)
    lacking = sorted(feature for feature in case_.features if feature in target.declaration.lacks)
    if lacking:
        reason = target.declaration.lacks[lacking[0]]
        try:
            REFUSALS[lacking[0]](target)
        except Exception as error:  # noqa: BLE001 - whatever a check raises is its finding
            return Result(
                target.engine, case_.name, Status.FAIL, f"{reason}, but that is not told: {told(error)}", error
            )
        return Result(target.engine, case_.name, Status.UNSUPPORTED, reason)
    if missing:
        return Result(target.engine, case_.name, Status.NOT_RUN, f"needs {missing[0]}")
    try:
        target.begin(case_)
        case_.check(target)
    except NotShown as reason:
        return Result(target.engine, case_.name, Status.NOT_SHOWN, str(reason))
    except Exception as error:  # noqa: BLE001 - as above
        known = target.declaration.known.get(case_.name)
        return Result(target.engine, case_.name, Status.FAIL, known or told(error), error)
    return result


def told(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
