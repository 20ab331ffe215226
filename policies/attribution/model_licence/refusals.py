"""The errors by which calls are refused for what their product has to show or to have; each says what to do."""

from __future__ import annotations

from msgspec import Struct

from gateway.errors import Rejected


class AckRequired(Rejected):
    """The call must say that the product shows the string."""

    code = "attribution_ack_required"


class AttributionRequired(Rejected):
    """The product must show the string, or say how large it is, before it is served."""

    code = "attribution_required"


class AgreementRequired(Rejected):
    """The product must have an agreement of its own with the licensor before it is served."""

    code = "agreement_required"


class Refusal(Struct, frozen=True):
    """An error that is made anew for each call."""

    error: type[Rejected]
    message: str
    record: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def raised(self) -> Rejected:
        """The error."""
        error = self.error(self.message, headers=self.headers)
        error.record = self.record
        return error
