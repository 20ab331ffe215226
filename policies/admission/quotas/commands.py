"""`moegate quota`: reads its options, opens the configuration, prints what a simulation found; counts nothing itself."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from gateway import CommandContext
from gateway.errors import ConfigError
from policies.admission.quotas.past_calls import past_calls
from policies.admission.quotas.service import SERVICE, QuotaService
from policies.admission.quotas.simulation import Finding, Result, Simulation

commands = typer.Typer(name="quota", help="Look at limits.", no_args_is_help=True)

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
_HEADER = ("limit", "mode", "tenant", "team", "key", "user", "model", "refused", "first", "last", "most in an hour")


@commands.callback()
def _group() -> None:
    """Keep `simulate` a sub-command although it is the only one."""


@commands.command()
def simulate(
    context: typer.Context,
    since: Annotated[dt.datetime, typer.Option("--from", formats=_FORMATS, help="First day or moment, UTC.")],
    until: Annotated[dt.datetime, typer.Option("--to", formats=_FORMATS, help="The end, itself not included, UTC.")],
    config: Annotated[
        Path, typer.Option("--config", "-c", help="A configuration file (YAML) with the limits to try.")
    ] = Path("moegate.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, with refusals by hour.")] = False,
) -> None:
    """Replay the ledger against limits: who would have been refused, when, and how often.

    The limits are those of the configuration; what was refused before it reached an engine is left out. Each
    call reserves the `max_tokens` that it asked for, else what its key's answers typically had; of calls that asked for
    several answers the ledger does not know how many, so they reserve one.
    """
    opener: CommandContext = context.obj
    result = asyncio.run(_simulate(opener, config, _utc(since), _utc(until)))
    typer.echo(_json(result) if as_json else "\n".join(_lines(result)))


async def _simulate(opener: CommandContext, config: Path, since: float, until: float) -> Result:
    async with opener.open(config) as configuration:
        service = configuration.service(SERVICE)
        if not isinstance(service, QuotaService) or service.policy is None:
            raise ConfigError("policies.admission names no quotas, so there are no limits to try")
        database = await configuration.database()
        models = {model.name: model for model in service.models}
        simulation = Simulation(service.policy.plans.rules, models)
        return await simulation.run(past_calls(database.engine, since, until))


def _utc(moment: dt.datetime) -> float:
    return moment.replace(tzinfo=dt.UTC).timestamp()


def _sorted(result: Result) -> list[Finding]:
    return sorted(result.findings.values(), key=lambda found: (-found.refused, found.limit, found.tenant, found.key_id))


def _lines(result: Result) -> Iterator[str]:
    share = f" ({100 * result.refused / result.calls:.2f} %)" if result.calls else ""
    yield f"{result.calls:,} calls; {result.refused:,}{share} would have been refused."
    if not result.findings:
        return
    table = [_HEADER, *(_cells(found) for found in _sorted(result))]
    widths = [max(len(row[place]) for row in table) for place in range(len(_HEADER))]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cells(found: Finding) -> tuple[str, ...]:
    hour, most = found.by_hour.most_common(1)[0]
    return (
        found.limit,
        found.mode,
        found.tenant,
        found.team or "-",
        found.key_id,
        "-" if found.user is None else found.user or "(none)",
        found.model,
        f"{found.refused:,}",
        _written(found.first_at),
        _written(found.last_at),
        f"{most:,} from {_written(hour * 3_600)}",
    )


def _written(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(result: Result) -> str:
    shown = {"calls": result.calls, "refused": result.refused, "findings": _sorted(result)}
    return msgspec.json.format(msgspec.json.encode(shown)).decode()
