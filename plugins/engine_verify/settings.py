"""How far log-probabilities may be apart and still come from the same weights; the configuration may say otherwise."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

Nats = Annotated[float, Meta(ge=0)]


class Precision(StrEnum):
    """What two replicas compute in: both in float32, or at least one in less."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Tolerance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far log-probabilities may be apart, in nats.

    Attributes:
        mean_nats: mean of |Δ| over the reference's own tokens.
        largest_nats: largest |Δ| of them.
        others_mean_nats: mean of |Δ| over the other likely tokens, where rounding and quantisation show first.
    """

    mean_nats: Nats
    largest_nats: Nats
    others_mean_nats: Nats


class EngineVerifySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tolerance per precision. The reasons and the measurements behind the numbers are in this folder's README.

    Attributes:
        float32: where both replicas say that they compute in it: sums in another order, and nothing else.
        bfloat16: all others: eight bits of mantissa in every product.
    """

    float32: Tolerance = Tolerance(mean_nats=1e-4, largest_nats=1e-3, others_mean_nats=1e-3)
    bfloat16: Tolerance = Tolerance(mean_nats=0.003, largest_nats=0.25, others_mean_nats=0.05)

    def tolerance(self, precision: Precision) -> Tolerance:
        """The tolerance for a precision."""
        return self.float32 if precision is Precision.FLOAT32 else self.bfloat16
