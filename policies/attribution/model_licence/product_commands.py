"""`moegate products`: who uses models, and who answers for it."""

from __future__ import annotations

from typing import Annotated

import typer

from policies.attribution.model_licence.desk import Desk
from policies.attribution.model_licence.opening import (
    DEFAULT_CONFIG,
    EXIT_WRONG,
    ConfigOption,
    JsonOption,
    ProductArgument,
    actor,
    as_json,
    fail,
    read,
    run,
    standing_table,
    table,
    when,
)
from policies.attribution.model_licence.products import Audience, Product, Snapshot
from policies.attribution.model_licence.telling import Member
from policies.attribution.model_licence.views import ProductDetails, members_of, product_details
from policies.attribution.model_licence.wanted import Assignment, NewProduct, ProductPatch

product_commands = typer.Typer(name="products", help="Keep products and who belongs to them.", no_args_is_help=True)

Kind = Annotated[Audience | None, typer.Option(help="Who uses it.")]
Url = Annotated[str | None, typer.Option(help="Where it is.")]
Commercial = Annotated[bool | None, typer.Option("--commercial/--not-commercial", help="Whether it is commercial.")]
Exemptions = Annotated[
    list[str] | None, typer.Option("--exemption", help="One that its owner claims; may be repeated.")
]
Agreements = Annotated[
    list[str] | None, typer.Option("--agreement", help="LICENCE=REFERENCE of a separate agreement; may be repeated.")
]


@product_commands.command()
def add(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    context: typer.Context,
    product: ProductArgument,
    owner: Annotated[str, typer.Option(help="Who answers for it.")],
    audience: Kind = None,
    url: Url = None,
    commercial: Commercial = None,
    exemption: Exemptions = None,
    agreement: Agreements = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Add a product; the same again changes nothing."""
    said = {"name": product, "owner": owner, **_said(audience, url, commercial, exemption, agreement)}
    wanted = read(NewProduct, said)

    async def work(desk: Desk) -> Product:
        return await desk.directory.add(actor(), wanted)

    run(context, config, work)
    typer.echo(f"{product} is a product")


@product_commands.command()
def change(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    context: typer.Context,
    product: ProductArgument,
    owner: Annotated[str | None, typer.Option(help="Who answers for it.")] = None,
    audience: Kind = None,
    url: Url = None,
    commercial: Commercial = None,
    exemption: Exemptions = None,
    agreement: Agreements = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Change what is said of a product; what is not named stays."""
    wanted = read(ProductPatch, {"owner": owner, **_said(audience, url, commercial, exemption, agreement)})

    async def work(desk: Desk) -> Product:
        return await desk.directory.change(actor(), product, wanted)

    run(context, config, work)
    typer.echo(f"{product} changed")


@product_commands.command("list")
def list_(context: typer.Context, as_json_: JsonOption = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """List products."""

    async def work(desk: Desk) -> Snapshot:
        return await desk.directory.snapshot()

    snapshot = run(context, config, work)
    products = [product for _, product in sorted(snapshot.products.items())]
    if as_json_:
        typer.echo(as_json(products))
        return
    rows = [
        (
            each.name,
            each.owner,
            each.audience.value,
            "yes" if each.commercial else "no",
            ", ".join(_name(member) for member in members_of(snapshot, each.name)),
            each.url or "",
        )
        for each in products
    ]
    typer.echo(table(("PRODUCT", "OWNER", "AUDIENCE", "COMMERCIAL", "MEMBERS", "URL"), rows))


@product_commands.command()
def show(
    context: typer.Context,
    product: ProductArgument,
    as_json_: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Show a product with who belongs to it, what was said of it, and how it stands to the licences in use."""

    async def work(desk: Desk) -> ProductDetails:
        return await product_details(desk, product)

    found = run(context, config, work)
    typer.echo(as_json(found) if as_json_ else "\n".join(_details(found)))


@product_commands.command()
def assign(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    context: typer.Context,
    product: ProductArgument,
    key: Annotated[
        list[str] | None, typer.Option(help="A key's public id; may be repeated, as may the others.")
    ] = None,
    team: Annotated[list[str] | None, typer.Option(help="TENANT/TEAM.")] = None,
    tenant: Annotated[list[str] | None, typer.Option(help="A tenant: all who are of no other product.")] = None,
    move: Annotated[bool, typer.Option("--move", help="Take those of another product from there.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="They belong to it no more.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Have keys, teams and tenants belong to a product; a key before its team, a team before its tenant."""
    members: list[dict[str, str]] = [{"key": each} for each in key or ()]
    for each in team or ():
        name, slash, of_it = each.partition("/")
        if not slash:
            fail(f"a team is written TENANT/TEAM, not {each!r}", EXIT_WRONG)
        members.append({"tenant": name, "team": of_it})
    members += [{"tenant": each} for each in tenant or ()]
    if not members:
        fail("say who: --key, --team or --tenant", EXIT_WRONG)
    wanted = read(Assignment, {"members": members, "move": move, "remove": remove})

    async def work(desk: Desk) -> tuple[Member, ...]:
        return await desk.directory.assign(actor(), product, wanted)

    changed = run(context, config, work)
    word = "no more of" if remove else "of"
    for member in changed:
        typer.echo(f"{_name(member)} is {word} {product}")
    if not changed:
        typer.echo("Nothing to change.")


def _said(
    audience: Audience | None,
    url: str | None,
    commercial: bool | None,
    exemptions: list[str] | None,
    agreements: list[str] | None,
) -> dict[str, object]:
    references: dict[str, str] | None = None
    for each in agreements or ():
        licence, is_one, reference = each.partition("=")
        if not is_one:
            fail(f"an agreement is written LICENCE=REFERENCE, not {each!r}", EXIT_WRONG)
        references = {**(references or {}), licence: reference}
    return {
        "audience": audience,
        "url": url,
        "commercial": commercial,
        "exemptions": exemptions or None,
        "agreements": references,
    }


def _name(member: Member) -> str:
    if member.key is not None:
        return f"key {member.key}"
    return f"tenant {member.tenant}" if member.team is None else f"team {member.tenant}/{member.team}"


def _details(found: ProductDetails) -> list[str]:
    product = found.product
    commercial = "commercial" if product.commercial else "not commercial"
    lines = [
        f"product {product.name}: {product.audience.value}, {commercial}, of {product.owner}, {product.url or 'no address'}"
    ]
    lines += [f"  {_name(member)}" for member in found.members] or ["  nobody belongs to it"]
    lines += [f"  claims the exemption {each}" for each in product.exemptions]
    lines += [f"  agreement for {licence}: {reference}" for licence, reference in sorted(product.agreements.items())]
    lines += ["", standing_table(found.standing)]
    attested = [
        (
            when(each.attested_at),
            each.attested_by,
            each.as_of.isoformat(),
            each.licence or "all",
            _number(each.monthly_active_users),
            _number(each.monthly_revenue, each.currency),
            _number(each.aggregate_revenue, each.currency),
            "" if each.rate is None else f"{each.rate} {each.rate_currency}/{each.currency}",
            when(each.valid_until),
        )
        for each in found.attestations
    ]
    if attested:
        heads = ("ATTESTED", "BY", "AS OF", "LICENCE", "USERS", "REVENUE", "12 MONTHS", "RATE", "UNTIL")
        lines += ["", table(heads, attested)]
    shown = [
        (when(each.given_at), each.licence, each.kind.value, "yes" if each.displayed else "no", each.value)
        for each in found.evidence
    ]
    if shown:
        lines += ["", table(("GIVEN", "LICENCE", "KIND", "DISPLAYED", "EVIDENCE"), shown)]
    return lines


def _number(value: int | None, unit: str = "") -> str:
    return "" if value is None else f"{value:,} {unit}".strip()
