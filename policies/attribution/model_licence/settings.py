"""The settings of `model_licence`: what is interpretation is said here, not in the records."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from policies.attribution.model_licence.evidence import PageChecks
from policies.attribution.model_licence.states import Reading, State

MODES_BY_DEFAULT = {
    State.NEAR: "warn",
    State.UNKNOWN: "warn",
    State.EXPIRED: "warn",
    State.ABOVE_NOT_DISPLAYED: "warn",
}


class Mode(StrEnum):
    """What is done for a product in a state; each does what those before it do.

    `warn`: a header that says so, and a count; `require_ack`: calls must say that the string is shown; `block`: none is served.
    """

    ANNOTATE = "annotate"
    WARN = "warn"
    REQUIRE_ACK = "require_ack"
    BLOCK = "block"


class Demand(StrEnum):
    """When a product without the reference of an agreement is refused weights whose licence has a rule for models as a service.

    `needed`: when it is attested to be over the rule's threshold; `always`: whenever it is not exempt.
    """

    NEVER = "never"
    NEEDED = "needed"
    ALWAYS = "always"


Days = Annotated[int, Meta(ge=0, le=3_650)]


class ModelLicenceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How licences are applied.

    Attributes:
        records: a folder with records of your own, beside those that are built in.
        modes: what is done in which state; what is not named here is as by default: warn where something is to be done,
            and annotate otherwise.
        grace_days: by state, for how many days after it began a mode stricter than `warn` is only a warning.
        demand_agreement: when to ask for an agreement's reference.
        in_answers: whether what must be shown also stands in the answers' bodies, as `moegate.attribution`.
        reading: how we read what licences leave open.
        public: `GET /licences` and `GET /v1/attribution` want no key.
        page_checks: which pages of products the gateway may look at itself.
        poll_seconds: how often the database is asked whether something has changed.
    """

    records: Path | None = None
    modes: dict[State, Mode] = {}
    grace_days: dict[State, Days] = {}
    demand_agreement: Demand = Demand.NEVER
    in_answers: Literal["asked", "always", "never"] = "asked"
    reading: Reading = msgspec.field(default_factory=Reading)
    public: bool = False
    page_checks: PageChecks = msgspec.field(default_factory=PageChecks)
    poll_seconds: Annotated[float, Meta(ge=0.05, le=60)] = 0.25

    def mode(self, state: State) -> Mode:
        """What is done in a state, once it has lasted longer than its grace."""
        return self.modes.get(state, Mode(MODES_BY_DEFAULT.get(state, "annotate")))
