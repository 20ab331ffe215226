"""What the admin routes and the commands work with: the records, the products and the pages of one configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import Metric
from gateway.contracts.metrics import gauge
from gateway.errors import InvalidRequest
from policies.attribution.model_licence.directory import Directory
from policies.attribution.model_licence.evidence import PageChecker, PageChecks
from policies.attribution.model_licence.lineage import Descent
from policies.attribution.model_licence.products import Evidence, EvidenceKind
from policies.attribution.model_licence.records import LicenceRecord
from policies.attribution.model_licence.refreshing import Known, Refreshing
from policies.attribution.model_licence.standing import Standing
from policies.attribution.model_licence.states import DEFAULT_READING, Reading
from policies.attribution.model_licence.wanted import NewEvidence


class Desk(Struct, frozen=True, kw_only=True, eq=False):
    """All of it.

    Attributes:
        records: by id.
        served: the names of models, with what the weights of their replicas are under.
        reading: how we read what licences leave open.
        refreshing: keeps what is known fresh; `refreshing.run(poll_seconds)` is the service's work.
    """

    records: Mapping[str, LicenceRecord]
    served: Mapping[str, Sequence[Descent]]
    reading: Reading
    directory: Directory
    refreshing: Refreshing
    checker: PageChecker

    async def check_page(self, actor: str, product: str, licence: str, url: str | None) -> Evidence:
        """Look at a page, the product's own if none is named, and write down what was seen.

        Raises:
            NotFound: there is no such product or licence.
            InvalidRequest: there is no page, nothing to look for, or the configuration does not allow the look.
            PageCheckFailed: the page could not be had; nothing was written down.
        """
        kept = await self.directory.product(product)
        string = self.directory.string_of(licence)
        page = url or kept.url
        if page is None:
            raise InvalidRequest(f"The product {product!r} has no address; name the page to look at.", param="url")
        look = await self.checker.look(page, string)
        wanted = NewEvidence(
            licence=licence,
            kind=EvidenceKind.MACHINE_CHECK,
            value=page,
            displayed=look.displayed,
            string=string,
            digest=look.digest,
        )
        return await self.directory.show(actor, product, wanted)

    def metrics(self) -> list[Metric]:
        """What is known, and whether it has been tampered with."""
        known = self.refreshing.known
        intact = "1 as long as every row of the history that this node has read follows on the one before it."
        return [
            gauge("moegate_model_licence_revision", "The last row of the history that this node knows.", known.told.head.sequence),
            gauge("moegate_model_licence_history_intact", intact, int(known.broken is None)),
        ]  # fmt: skip


class HasDesk(Protocol):
    """Whoever knows a desk; None where no `model_licence` policy is configured."""

    @property
    def desk(self) -> Desk | None:
        """It."""


def build_desk(  # noqa: PLR0913 - what it is made of, by name
    engine: AsyncEngine,
    *,
    records: Mapping[str, LicenceRecord],
    served: Mapping[str, Sequence[Descent]] | None = None,
    reading: Reading = DEFAULT_READING,
    pages: PageChecks | None = None,
    known: Known | None = None,
    standing: Standing | None = None,
) -> Desk:
    """Put it together.

    `known` is what outlives a reload, shared by the database's URL. `standing` is told of each new snapshot; a command has
    neither.
    """
    refreshing = Refreshing(engine, known if known is not None else Known(), standing)
    strings = {name: "" if record.display is None else record.display.string for name, record in records.items()}
    return Desk(
        records=records,
        served=served if served is not None else {},
        reading=reading,
        directory=Directory(engine, refreshing, strings),
        refreshing=refreshing,
        checker=PageChecker(pages if pages is not None else PageChecks()),
    )
