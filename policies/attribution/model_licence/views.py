"""What the admin API and `--json` show: records, products with all that is known of them, and how they stand."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from policies.attribution.model_licence.desk import Desk
from policies.attribution.model_licence.products import Attestation, Evidence, Product, Snapshot
from policies.attribution.model_licence.records import LicenceRecord
from policies.attribution.model_licence.states import Agreement, State, judge
from policies.attribution.model_licence.telling import Member
from policies.attribution.model_licence.wanted import Address, LicenceId


class LicenceView(Struct, frozen=True, kw_only=True):
    """A record.

    Attributes:
        digest: of the record; what stands in the ledger with each call.
        served: the models that have weights under it.
    """

    record: LicenceRecord
    digest: str
    served: tuple[str, ...]


class LicencePage(Struct, frozen=True):
    """Records."""

    data: Sequence[LicenceView]


class HeadView(Struct, frozen=True):
    """Where the history ends; `head` is what to keep."""

    head: str
    sequence: int
    digest: str


class ProductPage(Struct, frozen=True):
    """Products."""

    data: Sequence[Product]
    has_more: bool


class AssignedView(Struct, frozen=True):
    """Who belongs elsewhere than before."""

    changed: tuple[Member, ...]


class CheckRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page to look at; the product's own if none is named."""

    licence: LicenceId
    url: Address | None = None


class StandingView(Struct, frozen=True, kw_only=True):
    """How a product stands to a licence. `since` in seconds since 1970, null where that cannot be told.

    `lacking` is what would have to be attested for a state that is not `unknown`.
    """

    licence: str
    state: State
    since: int | None
    agreement: Agreement
    lacking: str


class ProductDetails(Struct, frozen=True, kw_only=True):
    """A product with all that is known of it; the latest of what was said come last."""

    product: Product
    members: Sequence[Member]
    attestations: Sequence[Attestation]
    evidence: Sequence[Evidence]
    standing: Sequence[StandingView]


def licence_views(desk: Desk) -> list[LicenceView]:
    """The records in the order of their ids."""
    served = served_under(desk)
    return [
        LicenceView(record=record, digest=record.digest, served=tuple(served.get(name, ())))
        for name, record in sorted(desk.records.items())
    ]


def served_under(desk: Desk) -> dict[str, list[str]]:
    """Names of models by licence; a model whose replicas have weights under several licences stands under each."""
    found: dict[str, list[str]] = {}
    for model, descents in desk.served.items():
        for licence in sorted({descent.licence for descent in descents}):
            found.setdefault(licence, []).append(model)
    return found


async def product_details(desk: Desk, name: str) -> ProductDetails:
    """One product.

    Raises:
        NotFound: there is none of that name.
    """
    product = await desk.directory.product(name)
    snapshot = await desk.directory.snapshot()
    now = desk.directory.clock()
    return ProductDetails(
        product=product,
        members=members_of(snapshot, name),
        attestations=snapshot.attestations.get(name, ()),
        evidence=snapshot.evidence.get(name, ()),
        standing=[standing_of(desk, product, snapshot, record, now) for record in _in_question(desk, snapshot, name)],
    )


def standing_of(desk: Desk, product: Product, snapshot: Snapshot, record: LicenceRecord, now: float) -> StandingView:
    """How a product stands to a record at a time."""
    found = judge(record, product, snapshot, now, desk.reading)
    return StandingView(
        licence=record.id, state=found.state, since=found.since, agreement=found.agreement, lacking=found.lacking
    )


def _in_question(desk: Desk, snapshot: Snapshot, product: str) -> list[LicenceRecord]:
    """The records of models that are served, and those of which something was said."""
    wanted = {name for name, models in served_under(desk).items() if models}
    wanted |= {each.licence for each in snapshot.attestations.get(product, ()) if each.licence is not None}
    wanted |= {each.licence for each in snapshot.evidence.get(product, ())}
    return [record for name, record in sorted(desk.records.items()) if name in wanted]


def members_of(snapshot: Snapshot, product: str) -> list[Member]:
    """Who belongs to a product: keys, then teams and tenants."""
    keys = [Member(key=key) for key, name in sorted(snapshot.of_keys.items()) if name == product]
    groups = sorted((tenant, team or "") for (tenant, team), name in snapshot.of_teams.items() if name == product)
    return [*keys, *(Member(tenant=tenant, team=team or None) for tenant, team in groups)]
