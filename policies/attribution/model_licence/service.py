"""What belongs to the policy beside it: the service that keeps products fresh, and the routes; one for each runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway import Metric, Model
from policies.attribution.model_licence.admin_routes import admin_handlers
from policies.attribution.model_licence.desk import Desk
from policies.attribution.model_licence.page import Listed
from policies.attribution.model_licence.policy import ModelLicence
from policies.attribution.model_licence.routes import handlers
from policies.attribution.model_licence.settings import ModelLicenceSettings

if TYPE_CHECKING:
    from litestar.types import ControllerRouterHandler


class Built:
    """What the policy of a configuration comes with."""

    def __init__(
        self, settings: ModelLicenceSettings, policy: ModelLicence, desk: Desk, listed: Sequence[Listed]
    ) -> None:
        self.settings = settings
        self.policy = policy
        self.desk = desk
        self.listed = listed


class LicenceService:
    """Has nothing to do, and nothing to show, where no `model_licence` policy is configured.

    Attributes:
        models: those that are served.
        built: set by the policy, which is built after this.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = models
        self.built: Built | None = None

    @property
    def desk(self) -> Desk | None:
        """What commands and admin routes work with."""
        return self.built.desk if self.built is not None else None

    @property
    def listed(self) -> Sequence[Listed]:
        """The models with their licences."""
        return self.built.listed if self.built is not None else ()

    @property
    def not_ready(self) -> str | None:
        """Why products cannot be told what to show yet; None if they can."""
        if self.built is None or self.built.desk.refreshing.known.head is not None:
            return None
        return "The products have not been read from the database yet."

    async def run(self) -> None:
        """Keep what is known of products fresh."""
        if self.built is not None:
            await self.built.desk.refreshing.run(self.built.settings.poll_seconds)

    def metrics(self) -> list[Metric]:
        """What is known of products."""
        return self.built.desk.metrics() if self.built is not None else []

    @property
    def handlers(self) -> Sequence[ControllerRouterHandler]:
        """The routes; they are asked for when all is built."""
        if self.built is None:
            return []
        return [*handlers(self, public=self.built.settings.public), *admin_handlers(lambda: self.desk)]
