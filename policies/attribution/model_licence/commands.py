"""`moegate licences`: records, what products attest and show, the history's proof, and the monthly report."""

from __future__ import annotations

from typing import Annotated

import typer

from policies.attribution.model_licence.desk import Desk
from policies.attribution.model_licence.history import Head, parse_head
from policies.attribution.model_licence.opening import (
    DEFAULT_CONFIG,
    EXIT_FAILED,
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
from policies.attribution.model_licence.products import Attestation, Evidence, EvidenceKind
from policies.attribution.model_licence.report import report
from policies.attribution.model_licence.report_formats import Format, write
from policies.attribution.model_licence.reviewing import Review, review
from policies.attribution.model_licence.verifying import Verdict, verify
from policies.attribution.model_licence.views import LicenceView, ProductDetails, licence_views, product_details
from policies.attribution.model_licence.wanted import NewAttestation, NewEvidence

commands = typer.Typer(name="licences", help="Licences of models, and who meets them.", no_args_is_help=True)
audit = typer.Typer(name="audit", help="Prove the history of what was said of products.", no_args_is_help=True)
commands.add_typer(audit)


@commands.command("list")
def list_(context: typer.Context, as_json_: JsonOption = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """List the licence records, and what is served under each."""
    found = run(context, config, _licences)
    if as_json_:
        typer.echo(as_json(found))
        return
    rows = [
        (
            view.record.id,
            view.record.display.string if view.record.display else "",
            "yes" if view.record.verified else "no",
            ", ".join(view.served),
            view.record.title,
        )
        for view in found
    ]
    typer.echo(table(("LICENCE", "MUST SHOW", "VERIFIED", "SERVED", "TITLE"), rows))


@commands.command()
def show(
    context: typer.Context,
    licence: Annotated[str, typer.Argument(help="A licence record's id.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Show a licence record whole, as JSON."""

    async def work(desk: Desk) -> LicenceView:
        desk.directory.string_of(licence)
        return next(view for view in licence_views(desk) if view.record.id == licence)

    typer.echo(as_json(run(context, config, work)))


@commands.command()
def check(context: typer.Context, as_json_: JsonOption = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Say which licence each model is under, what is in doubt, and which products do not meet theirs; status 1 for those."""
    found = run(context, config, review)
    typer.echo(as_json(found) if as_json_ else _reviewed(found))
    if found.breaches:
        raise typer.Exit(EXIT_FAILED)


def _reviewed(found: Review) -> str:
    lines = [table(("MODEL", "CHECKPOINT", "LICENCE", "MUST SHOW"), found.models)]
    lines += [f"warning: {text}" for text in found.warnings]
    lines += [f"not met: {text}" for text in found.breaches]
    return "\n".join([*lines, *([] if found.warnings or found.breaches else ["Nothing is in doubt."])])


@commands.command()
def attest(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    context: typer.Context,
    product: ProductArgument,
    as_of: Annotated[str, typer.Option("--as-of", help="The day that the numbers are of, such as 2026-11-01.")],
    users: Annotated[int | None, typer.Option("--users", help="Monthly active users.")] = None,
    revenue: Annotated[
        int | None, typer.Option("--revenue", help="Monthly revenue, whole units of --currency.")
    ] = None,
    aggregate: Annotated[
        int | None, typer.Option("--aggregate-revenue", help="Of 12 months, affiliates included.")
    ] = None,
    currency: Annotated[str, typer.Option(help="Of the revenue.")] = "USD",
    rate: Annotated[str | None, typer.Option(help="How much of --rate-currency one unit of --currency is.")] = None,
    rate_currency: Annotated[str | None, typer.Option(help="Such as USD.")] = None,
    licence: Annotated[str | None, typer.Option(help="The one that it is about; all, if none is named.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who says so; whoever runs this, if nobody is named.")] = None,
    valid_until: Annotated[
        str | None, typer.Option(help="The last day on which it counts; 92 days after --as-of.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write down what a product's owner says of its size; the same again changes nothing."""
    said = {
        "licence": licence,
        "monthly_active_users": users,
        "monthly_revenue": revenue,
        "aggregate_revenue": aggregate,
        "currency": currency,
        "rate": rate,
        "rate_currency": rate_currency,
        "as_of": as_of,
        "attested_by": by,
        "valid_until": valid_until,
    }
    wanted = read(NewAttestation, said)

    async def work(desk: Desk) -> tuple[Attestation, ProductDetails]:
        return await desk.directory.attest(actor(), product, wanted), await product_details(desk, product)

    done, found = run(context, config, work)
    typer.echo(f"{product}: attested by {done.attested_by} as of {done.as_of}, counts until {when(done.valid_until)}")
    typer.echo(f"\n{standing_table(found.standing)}")


@commands.command()
def evidence(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    context: typer.Context,
    product: ProductArgument,
    licence: Annotated[str, typer.Option(help="Whose string is shown.")],
    url: Annotated[str | None, typer.Option(help="A page that shows it.")] = None,
    note: Annotated[str | None, typer.Option(help="Where it is shown, in words.")] = None,
    screenshot: Annotated[str | None, typer.Option(help="The SHA-256 of a picture, in hex.")] = None,
    look: Annotated[
        bool, typer.Option("--check", help="Look at --url, or the product's own page, for the string.")
    ] = False,
    not_displayed: Annotated[bool, typer.Option("--not-displayed", help="It is not shown, or no more.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write down that a product shows a licence's string; with --check, what the gateway sees itself."""
    given = {EvidenceKind.URL: None if look else url, EvidenceKind.NOTE: note, EvidenceKind.SCREENSHOT: screenshot}
    said = [(kind, value) for kind, value in given.items() if value is not None]
    if len(said) + look != 1 or (look and not_displayed):
        fail("say one of --url, --note, --screenshot and --check", EXIT_WRONG)

    async def work(desk: Desk) -> Evidence:
        if look:
            return await desk.check_page(actor(), product, licence, url)
        kind, value = said[0]
        fields = {"licence": licence, "kind": kind, "value": value, "displayed": not not_displayed}
        return await desk.directory.show(actor(), product, read(NewEvidence, fields))

    done = run(context, config, work)
    shown = "shows" if done.displayed else "does not show"
    typer.echo(f"{product} {shown} {done.string!r} ({done.kind.value})")
    if look and not done.displayed:
        raise typer.Exit(EXIT_FAILED)


@commands.command("report")
def show_report(
    context: typer.Context,
    month: Annotated[str, typer.Option(help="Such as 2026-11, UTC.")],
    form: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.MD,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Tell of a month which product used which weights under which licence, what was emitted, attested, and over."""
    typer.echo(write(run(context, config, lambda desk: report(desk, month)), form), nl=False)


@audit.command("head")
def show_head(context: typer.Context, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Show where the history ends; keep it elsewhere, and `verify --head` shows later that nothing before was changed."""

    async def work(desk: Desk) -> Head:
        return await desk.directory.head()

    typer.echo(str(run(context, config, work)))


@audit.command("verify")
def verify_history(
    context: typer.Context,
    head: Annotated[list[str] | None, typer.Option(help="One that was kept elsewhere; may be repeated.")] = None,
    as_json_: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Find rows of the history that were edited, are missing, or were put in by somebody else; status 1 for any."""
    try:
        kept = [parse_head(each) for each in head or ()]
    except ValueError as error:
        fail(str(error), EXIT_WRONG)

    async def work(desk: Desk) -> Verdict:
        return await verify(desk.directory.engine, kept)

    found = run(context, config, work)
    typer.echo(as_json(found) if as_json_ else _verdict(found))
    if not found.intact:
        raise typer.Exit(EXIT_FAILED)


def _verdict(found: Verdict) -> str:
    if not found.intact:
        return "\n".join([*(f"{fault.kind}: {fault.text}" for fault in found.faults), "The history was tampered with."])
    kept = f", {len(found.kept)} kept heads in it" if found.kept else ""
    return f"{found.rows} rows, each as it was written{kept}. Head: {found.head}\n{found.not_known}"


async def _licences(desk: Desk) -> list[LicenceView]:
    return licence_views(desk)
