"""What was emitted with one answer, as the one line that the ledger keeps of it; the report reads it again."""

from __future__ import annotations

import re

from msgspec import Struct

from policies.attribution.model_licence.states import State

POLICY = "model_licence"
NO_PRODUCT = "-"
DIGEST_LENGTH = 16

_TEXT = re.compile(
    rf"{POLICY} product=(?P<product>\S+) licence=(?P<licence>\S+) record=(?P<digest>\S+) "
    rf"state=(?P<state>{'|'.join(State)}) mode=(?P<mode>\S+)(?: refused=(?P<refused>\S+))? shown=(?P<shown>[^;]*)"
)


class Emitted(Struct, frozen=True, kw_only=True):
    """One decision.

    Attributes:
        product: None for a caller who belongs to none.
        digest: the beginning of the record's digest; empty where there is no record.
        mode: what was done; `warn` also while the grace of a stricter one lasts.
        refused: the code of the error with which the call was refused; empty if it was served.
        shown: the string that the product was told to show; empty where there is none.
    """

    product: str | None
    licence: str
    digest: str
    state: State
    mode: str
    refused: str = ""
    shown: str

    def text(self) -> str:
        """One line, without a semicolon: the ledger puts those between policies."""
        refused = f" refused={self.refused}" if self.refused else ""
        return (
            f"{POLICY} product={self.product or NO_PRODUCT} licence={self.licence} record={self.digest or '-'} "
            f"state={self.state.value} mode={self.mode}{refused} shown={self.shown}"
        )


def parse(attribution: str) -> Emitted | None:
    """What this policy wrote into a ledger row's attribution, which may hold other policies' words; None if nothing."""
    match = _TEXT.search(attribution)
    if match is None:
        return None
    return Emitted(
        product=None if match["product"] == NO_PRODUCT else match["product"],
        licence=match["licence"],
        digest="" if match["digest"] == "-" else match["digest"],
        state=State(match["state"]),
        mode=match["mode"],
        refused=match["refused"] or "",
        shown=match["shown"],
    )
