"""What is known of the products that use models: plain data, as it was attested; decides nothing and reads no clock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Amount = Annotated[int, Meta(ge=0, le=10**15)]
"""People, or whole units of a currency; a 64-bit column holds it."""
CurrencyCode = Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
Seconds = int
"""Since 1970, UTC."""


class Audience(StrEnum):
    """Who uses a product: people or programs outside of the organisation, or only those within it."""

    USER_FACING = "user_facing"
    INTERNAL = "internal"


class Product(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that is built on models, and that has an owner who answers for it.

    Attributes:
        commercial: whether it is a commercial product or service.
        exemptions: names of exemptions that records have and that its owner claims, such as `certified_partner`.
        agreements: by licence id, the reference of an agreement with the licensor that is separate from the licence.
        added_at: from when on somebody could have attested for it.
    """

    name: Name
    owner: str
    audience: Audience = Audience.USER_FACING
    commercial: bool = True
    url: str | None = None
    exemptions: tuple[str, ...] = ()
    agreements: Mapping[str, str] = {}
    added_at: Seconds = 0


class Attestation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a product's owner says of its size. None is not said, which is not zero.

    Attributes:
        licence: the one it is about; None for all.
        monthly_active_users: of the product.
        monthly_revenue: of the product, whole units of `currency`.
        aggregate_revenue: of whoever serves the model, affiliates included, over the 12 months that were the highest;
            whole units of `currency`; for records with a rule for models as a service.
        rate, rate_currency: how much of `rate_currency` one unit of `currency` is, where a record counts in that one.
        as_of: the day that the numbers are of.
        attested_by: who says so.
        attested_at: when it was written down; from then on it counts.
        valid_until: from then on it says nothing any more.
    """

    product: Name
    licence: str | None = None
    monthly_active_users: Amount | None = None
    monthly_revenue: Amount | None = None
    aggregate_revenue: Amount | None = None
    currency: CurrencyCode = "USD"
    rate: Decimal | None = None
    rate_currency: CurrencyCode | None = None
    as_of: dt.date
    attested_by: str
    attested_at: Seconds
    valid_until: Seconds

    def __post_init__(self) -> None:
        """Check what belongs together.

        Raises:
            ValueError: a rate without its currency or the other way round, or one that is not above zero.
        """
        if (self.rate is None) != (self.rate_currency is None):
            raise ValueError("a rate needs the currency that it leads to, and that currency a rate")
        if self.rate is not None and not (self.rate.is_finite() and 0 < self.rate <= 10**9):
            raise ValueError("a rate must be above zero")


class EvidenceKind(StrEnum):
    """How it is known that a product shows what it must."""

    URL = "url"
    NOTE = "note"
    SCREENSHOT = "screenshot"
    MACHINE_CHECK = "machine_check"


class Evidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """That a product shows a licence's string, or that it does not: the latest counts.

    Attributes:
        value: the address, the note, the screenshot's SHA-256 in hex, or the address of the page that was looked at.
        displayed: whether it is shown; false for a page that did not hold the string, and for one that takes it back.
        string: what was looked for, or what is said to be shown.
        digest: SHA-256 in hex of the page as it was looked at; empty for what no machine has looked at.
        given_at: from then on it counts.
    """

    product: Name
    licence: str
    kind: EvidenceKind
    value: str
    displayed: bool = True
    string: str = ""
    digest: str = ""
    given_by: str
    given_at: Seconds


class Snapshot(Struct, frozen=True, kw_only=True):
    """All of it at one revision; nothing in it is ever changed.

    Attributes:
        products: by name.
        of_keys: a key's public id -> its product.
        of_teams: (tenant, team) -> its product; team None for all of a tenant.
        attestations: by product, for whatever licence, the oldest first. The earlier ones tell since when something is so.
        evidence: by product, for whatever licence, the oldest first.
    """

    products: Mapping[str, Product] = {}
    of_keys: Mapping[str, str] = {}
    of_teams: Mapping[tuple[str, str | None], str] = {}
    attestations: Mapping[str, tuple[Attestation, ...]] = {}
    evidence: Mapping[str, tuple[Evidence, ...]] = {}
    revision: int = 0

    def product_of(self, key_id: str, tenant: str, team: str | None) -> str | None:
        """The name of the product that a caller belongs to: its key's, else its team's, else its tenant's; None for none."""
        found = self.of_keys.get(key_id) or self.of_teams.get((tenant, team))
        return found if found is not None or team is None else self.of_teams.get((tenant, None))

    def attested(self, product: str, licence: str) -> tuple[Attestation, ...]:
        """What was attested of a product for this licence or for all, the oldest first."""
        return tuple(each for each in self.attestations.get(product, ()) if each.licence in (None, licence))

    def shown(self, product: str, licence: str) -> tuple[Evidence, ...]:
        """What evidence there is of a product showing this licence's string, the oldest first."""
        return tuple(each for each in self.evidence.get(product, ()) if each.licence == licence)
