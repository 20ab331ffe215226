"""How late a call's first event may come: the setting `slo` of policies that predict it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway import BuildContext, Call, Operation
from gateway.errors import ConfigError

Milliseconds = Annotated[float, Meta(gt=0, le=86_400_000)]


class Slo(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many milliseconds a call may wait for its first event; a model's own figure counts before an operation's.

    Attributes:
        ttft_ms: for every call of which nothing else is said.
        models: by the model's name.
        operations: by the operation, such as `chat`.
    """

    ttft_ms: Milliseconds | None = None
    models: dict[str, Milliseconds] = {}
    operations: dict[Operation, Milliseconds] = {}

    def seconds(self, call: Call) -> float | None:
        """What holds for a call; None if nothing does."""
        wanted = self.models.get(call.model.name)
        if wanted is None:
            wanted = self.operations.get(call.operation, self.ttft_ms)
        return None if wanted is None else wanted / 1_000

    def check(self, context: BuildContext) -> None:
        """Refuse models that are not served.

        Raises:
            ConfigError: with one problem for each.
        """
        served = {model.name for model in context.models}
        unknown = [name for name in self.models if name not in served]
        if unknown:
            raise ConfigError(*(f"slo.models: no model is named {name!r}" for name in unknown))
