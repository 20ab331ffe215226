"""Keeps slices in step while the gateway runs, and shows callers their own limits at `GET /v1/quota`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, Response, get
from litestar.params import Parameter

from gateway import Model
from policies.admission.quotas.exchanger import SERVICE_SECONDS
from policies.admission.quotas.overview import overview
from policies.admission.quotas.policy import Quotas

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler

SERVICE = "quotas"

_LONGEST_USER = 256


class QuotaService:
    """Belongs to one runtime. It has nothing to do where no `quotas` policy is configured.

    Attributes:
        models: the served ones.
        policy: the runtime's policy, which is built after this.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self.policy: Quotas | None = None
        self.models = tuple(models)

    async def run(self) -> None:
        """Tell, renew and give back until cancelled; then give everything back."""
        if self.policy is None:
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.policy.exchanger.serve())
            tasks.create_task(self._forget(self.policy))

    async def _forget(self, policy: Quotas) -> None:
        while True:
            await asyncio.sleep(SERVICE_SECONDS)
            policy.plans.accounts.review()

    @property
    def handlers(self) -> Sequence[ControllerRouterHandler]:
        """`GET /v1/quota`."""

        @get("/v1/quota", name="show_quota")
        async def show_quota(
            request: Request[Any, Any, Any],
            user: str | None = Parameter(default=None, max_length=_LONGEST_USER),
        ) -> Response[bytes]:
            """Show the caller its own limits and what is left of them; with `user`, those of one of its users."""
            principal = request.scope["state"]["principal"]
            shown = await overview(self.policy, principal, self.models, user) if self.policy is not None else []
            return Response(msgspec.json.encode({"object": "quota", "limits": shown}), media_type="application/json")

        return [show_quota]
