"""What an experiment is declared as, in the configuration or by the admin API; data and what can be said of it alone."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from gateway import CopyLimits, Operation, Secret
from gateway.errors import ConfigError

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
MOST_EXPERIMENTS = 100


class Unit(StrEnum):
    """What gets one arm and keeps it."""

    TENANT = "tenant"
    KEY = "key"
    END_USER = "end_user"
    SESSION = "session"
    CONVERSATION = "conversation"
    CALL = "call"


class Action(StrEnum):
    """What a guardrail does: calls leave the experiment, or they leave the arm for the others."""

    STOP = "stop"
    ROLL_BACK = "roll_back"


class GuardrailKind(StrEnum):
    """What a guardrail looks at."""

    ERROR_RATIO = "error_ratio"
    TTFT = "ttft"
    SCHEMA_VALIDITY = "schema_validity"


class ArmSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One arm: the model's replicas for which everything holds that is said here.

    Attributes:
        weight: its part of the units; 0 keeps it out.
        backends: kinds of engine.
        replicas: names; `*` stands for any part of one.
        revisions: of the checkpoint, or ids of checkpoints.
    """

    name: Name
    weight: Annotated[float, Meta(ge=0, le=1_000_000)] = 1.0
    backends: list[str] = []
    replicas: list[str] = []
    revisions: list[str] = []


class Eligible(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which calls may join; what is not said does not matter.

    Attributes:
        least_prompt_tokens, most_prompt_tokens: by the gateway's estimate.
        tools: calls that declare tools, or those that do not.
    """

    tenants: list[str] | None = None
    operations: list[Operation] | None = None
    least_prompt_tokens: Annotated[int, Meta(ge=0)] = 0
    most_prompt_tokens: Annotated[int, Meta(ge=1)] | None = None
    tools: bool | None = None


class Guardrail(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bound that every arm but the first must keep. It acts when an interval that may be watched lies wholly beyond.

    Attributes:
        bound: the largest `error_ratio`, the most seconds of `ttft`, the smallest `schema_validity`.
        quantile: of `ttft`.
        minimum_calls: of the arm, before anything is done.
    """

    watch: GuardrailKind
    bound: Annotated[float, Meta(gt=0)]
    quantile: Annotated[float, Meta(gt=0, lt=1)] = 0.95
    minimum_calls: Annotated[int, Meta(ge=1)] = 20
    action: Action = Action.ROLL_BACK


class ShadowSettings(CopyLimits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Chats that are also sent to the other arms; nobody gets those answers, they are compared with the client's.

    Attributes:
        share: of the calls that join.
        null: one copy more goes to the first arm, so that it is known how much that differs from itself.
    """

    share: Annotated[float, Meta(gt=0, le=1)]
    null: bool = True


class ExperimentSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One experiment.

    Attributes:
        arms: two or more that share no replica; the others are compared with the first.
        session_header: names the session, for `unit: session`.
        start, end: outside of them no call joins; with a time zone.
        margins: by endpoint, the largest effect that does not matter; what is not said is the endpoint's usual one.
        fall_back: a call whose arm fails before its answer begins is served by the model's other replicas; it counts as a
            failure of its arm.
        shadow: copies beside the split. With it one arm may have all the weight: the others get copies and no calls.
    """

    name: Name
    model: str
    arms: Annotated[list[ArmSettings], Meta(min_length=2, max_length=16)]
    unit: Unit = Unit.CONVERSATION
    session_header: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,64}$")] = "x-session-id"
    eligible: Eligible = Eligible()
    start: datetime | None = None
    end: datetime | None = None
    margins: dict[str, Annotated[float, Meta(gt=0)]] = {}
    guardrails: list[Guardrail] = []
    fall_back: bool = True
    shadow: ShadowSettings | None = None

    def check(self) -> None:
        """Refuse what can be seen to be wrong without a fleet.

        Raises:
            ConfigError: with every problem.
        """
        problems = []
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            problems.append("arms: two have one name")
        weighted = sum(arm.weight > 0 for arm in self.arms)
        if weighted < (1 if self.shadow is not None else 2):
            least = "one" if self.shadow is not None else "two"
            problems.append(f"arms: at least {least} must have a weight above 0")
        problems += [
            f"arms: {arm.name} says nothing of its replicas; give backends, replicas or revisions"
            for arm in self.arms
            if not (arm.backends or arm.replicas or arm.revisions)
        ]
        for name, moment in (("start", self.start), ("end", self.end)):
            if moment is not None and moment.tzinfo is None:
                problems.append(f"{name}: has no time zone; add Z for UTC")
        if not problems and self.start is not None and self.end is not None and self.end <= self.start:
            problems.append("end: is not after start")
        if problems:
            raise ConfigError(*(f"experiment {self.name}: {problem}" for problem in problems))


def solo(settings: ExperimentSettings) -> bool:
    """Whether one arm serves all calls, so that chance deals nothing out."""
    return sum(arm.weight > 0 for arm in settings.arms) == 1


class ExperimentsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of them.

    Attributes:
        secret: mixed into the hash that assigns, so that nobody can choose an arm; the same on all nodes. Without one, whoever
            knows the names of experiment, arms and units can tell who gets which.
        node: this gateway's name, where several share a database: each keeps what it has seen under its own.
        experiments: a call is in the first of its model that it may join.
    """

    secret: Secret | None = None
    node: Name = "one"
    experiments: Annotated[list[ExperimentSettings], Meta(max_length=MOST_EXPERIMENTS)] = []
