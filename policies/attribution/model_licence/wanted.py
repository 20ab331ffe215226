"""What people may want done to products, as the admin API takes it and commands make it; bounded, and no SQL."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from policies.attribution.model_licence.products import (
    Amount,
    Audience,
    CurrencyCode,
    EvidenceKind,
    Name,
    Product,
    Seconds,
)

Person = Annotated[str, Meta(min_length=1, max_length=200)]
Address = Annotated[str, Meta(pattern=r"^https?://[^\s/]", max_length=2_000)]
LicenceId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
Word = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Exemptions = Annotated[tuple[Word, ...], Meta(max_length=16)]
Agreements = Annotated[dict[LicenceId, Annotated[str, Meta(min_length=1, max_length=200)]], Meta(max_length=32)]
KeyId = Annotated[str, Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$", description="The public half of a key.")]
TenantName = Annotated[str, Meta(pattern=r"^[^/\s\x00-\x1f]{1,128}$")]
TeamName = Annotated[str, Meta(pattern=r"^[^\x00-\x1f]{1,128}$")]


class ProductTerms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said of a product; see products.Product."""

    owner: Person
    audience: Audience = Audience.USER_FACING
    commercial: bool = True
    url: Address | None = None
    exemptions: Exemptions = ()
    agreements: Agreements = {}

    def product(self, name: str, added_at: Seconds) -> Product:
        """The product of these."""
        return Product(
            name=name,
            owner=self.owner,
            audience=self.audience,
            commercial=self.commercial,
            url=self.url,
            exemptions=self.exemptions,
            agreements=self.agreements,
            added_at=added_at,
        )


class NewProduct(ProductTerms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A product to add."""

    name: Name


class ProductPatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What changes of a product; what is not sent stays."""

    owner: Person | UnsetType = UNSET
    audience: Audience | UnsetType = UNSET
    commercial: bool | UnsetType = UNSET
    url: Address | UnsetType | None = UNSET
    exemptions: Exemptions | UnsetType = UNSET
    agreements: Agreements | UnsetType = UNSET


class NewMember(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key by its public id, or a tenant, or a team of a tenant."""

    key: KeyId | None = None
    tenant: TenantName | None = None
    team: TeamName | None = None


class Assignment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who belongs to a product from now on, or no more.

    Attributes:
        move: take those who belong to another product from there; otherwise they are refused.
        remove: they no longer belong to it.
    """

    members: Annotated[tuple[NewMember, ...], Meta(min_length=1, max_length=100)]
    move: bool = False
    remove: bool = False


class NewAttestation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a product's owner says of its size; see products.Attestation.

    Attributes:
        attested_by: whoever asks, if nobody is named.
        valid_until: the last day on which it counts, UTC, or seconds since 1970; so many days after `as_of` if nothing is
            said.
    """

    licence: LicenceId | None = None
    monthly_active_users: Amount | None = None
    monthly_revenue: Amount | None = None
    aggregate_revenue: Amount | None = None
    currency: CurrencyCode = "USD"
    rate: Decimal | None = None
    rate_currency: CurrencyCode | None = None
    as_of: dt.date
    attested_by: Person | None = None
    valid_until: dt.date | Annotated[int, Meta(ge=0, le=253_402_300_799)] | None = None


class NewEvidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """That a product shows a licence's string, or no more; see products.Evidence."""

    licence: LicenceId
    kind: EvidenceKind
    value: Annotated[str, Meta(min_length=1, max_length=2_000)]
    displayed: bool = True
    string: Annotated[str, Meta(max_length=200)] = ""
    digest: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?$")] = ""
