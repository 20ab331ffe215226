"""`moegate compare run` and `moegate compare report`: read their options and say how it ended; ask and judge nothing themselves."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec
import typer

from gateway import CommandContext
from gateway.errors import ClientError, ConfigError, GatewayError

if TYPE_CHECKING:
    from plugins.experiments.compare.data import CallSource
    from plugins.experiments.compare.record import Plan, RunRecord
    from plugins.experiments.compare.running import Run

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
LOCAL = "http://127.0.0.1:8080"

commands = typer.Typer(
    name="compare", help="Ask two backends the same calls, and report what differs.", no_args_is_help=True
)


@commands.command()
def run(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    context: typer.Context,
    a: Annotated[str, typer.Option("--a", help="The arm to compare with: backend=NAME or replica=NAME.")],
    b: Annotated[str, typer.Option("--b", help="The arm to compare: backend=NAME or replica=NAME.")],
    data: Annotated[str, typer.Option(help="A file of calls (JSON lines), or `k2-tiny` for the built-in ones.")],
    out: Annotated[Path, typer.Option(help="The folder to write to; a run that is there already is gone on with.")],
    key: Annotated[
        str, typer.Option(envvar="MOEGATE_KEY", help="A key with the scopes inference and pin; admin:read tells more.")
    ],
    url: Annotated[str, typer.Option(envvar="MOEGATE_URL", help="The gateway.")] = LOCAL,
    model: Annotated[str | None, typer.Option(help="The model to ask; may be left out if there is one.")] = None,
    null: Annotated[
        bool, typer.Option("--null", help="Ask each arm twice, to learn how much an engine differs from itself.")
    ] = False,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="How often to ask each call.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="Calls under way at once.")] = 8,
    rate: Annotated[float, typer.Option(min=0, help="Calls to begin a second at most; 0 is no bound.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Of the order; drawn where it is not given, and kept.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="In place of what the calls say.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="In place of what the calls say.")] = None,
    logprobs: Annotated[bool, typer.Option("--logprobs", help="Ask for log-probabilities, and compare them.")] = False,
    timeout: Annotated[float, typer.Option(min=1, max=3600, help="Seconds that a whole answer may take.")] = 600,
) -> None:
    """Ask every call of both arms through the gateway, in an order drawn by chance, and write each answer down.

    Exit status: 0 all is answered, 1 it had to stop, 2 an option or the data are wrong, 130 it was interrupted. The same
    command goes on where it stopped.
    """
    from plugins.experiments.compare.arms import parse_arm  # noqa: PLC0415 - a gateway that serves needs none of it
    from plugins.experiments.compare.data import open_calls  # noqa: PLC0415
    from plugins.experiments.compare.record import Plan, read_record  # noqa: PLC0415

    opener: CommandContext = context.obj
    arms = parse_arm("--a", a), parse_arm("--b", b)
    source = open_calls(data)
    before = read_record(out)
    if seed is None:
        seed = before.plan.seed if before else random.SystemRandom().randrange(2**32)
    plan = Plan(
        url=url.rstrip("/"),
        model=model or (before.plan.model if before else _only_model(opener, url, key)),
        a=arms[0],
        b=arms[1],
        data=source.name,
        digest=source.digest,
        calls=len(source),
        repeats=repeat,
        copies=2 if null else 1,
        seed=seed,
        concurrency=concurrency,
        rate=rate,
        timeout_seconds=timeout,
        changes=_changes(temperature, max_tokens, logprobs=logprobs),
    )
    record = _record(opener, plan, before, key, out)
    _ask_all(record.plan, source, out, key, plan)


@commands.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The folder of a run.")],
    require: Annotated[
        list[str] | None,
        typer.Option(help="What must hold, e.g. equivalent:schema_accuracy@0.01; may be given more than once."),
    ] = None,
) -> None:
    """Judge a run: writes `report.html` and `summary.json` beside it, and one line of JSON to standard output.

    Exit status: 0 all that is required holds, 1 some does not, 2 a requirement or the folder is wrong.
    """
    from plugins.experiments.compare.page import write_report  # noqa: PLC0415 - a gateway that serves needs none of it
    from plugins.experiments.compare.requirements import parse_requirement  # noqa: PLC0415
    from plugins.experiments.compare.summary import summarise, write_summary  # noqa: PLC0415

    requirements = [parse_requirement(each) for each in require or ()]
    summary, observed = summarise(folder, requirements)
    write_summary(folder, summary)
    write_report(folder, summary, observed)
    told = {
        "met": all(each.met for each in summary.requirements),
        "requirements": {each.requirement: each.met for each in summary.requirements},
        "verdicts": {each.endpoint: each.says for each in summary.verdicts},
        "failed_checks": {each.endpoint: each.failed for each in summary.conformance if each.verdict == "fail"},
        "warnings": summary.warnings,
    }
    typer.echo(msgspec.json.encode(told).decode())
    for each in summary.requirements:
        typer.echo(f"{'met' if each.met else 'NOT met'}: {each.requirement}: {each.says}", err=True)
    typer.echo(f"{folder / 'report.html'}", err=True)
    if not told["met"]:
        raise typer.Exit(EXIT_FAILED)


def _changes(temperature: float | None, max_tokens: int | None, *, logprobs: bool) -> dict[str, Any]:
    """What is put into every body."""
    changes: dict[str, Any] = {}
    if temperature is not None:
        changes["temperature"] = temperature
    if max_tokens is not None:
        changes["max_tokens"] = max_tokens
    return {**changes, "logprobs": True, "top_logprobs": 1} if logprobs else changes


def _only_model(opener: CommandContext, url: str, key: str) -> str:
    try:
        listed = [each["id"] for each in opener.ask(url, key, "GET", "/v1/models")["data"]]
    except GatewayError as error:
        _fail(error.message)
    if len(listed) != 1:
        raise ConfigError(f"--model: the gateway serves {', '.join(sorted(listed)) or 'none'}; name one")
    return str(listed[0])


def _record(opener: CommandContext, plan: Plan, before: RunRecord | None, key: str, out: Path) -> RunRecord:
    """The record of this run, from before or new."""
    from plugins.experiments.compare.record import check_same, new_record, write_record  # noqa: PLC0415
    from plugins.experiments.compare.results import RESULTS  # noqa: PLC0415

    if before is not None:
        check_same(out, before.plan, plan)
        return before
    if (out / RESULTS).exists():
        raise ConfigError(f"{out}: holds results of a run that nothing tells of; name another folder")
    try:
        replicas = opener.ask(plan.url, key, "GET", "/admin/v1/replicas")["data"]
    except ClientError:
        replicas = None  # a key without admin:read: the report then tells only what answers tell
    except GatewayError as error:
        _fail(error.message)
    record = new_record(plan, replicas)
    for side, found in (record.replicas or {}).items():
        if not found:
            raise ConfigError(f"--{side}: model {plan.model!r} has no {getattr(plan, side).pin}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_record(out, record)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written to: {error.strerror}") from error
    return record


def _ask_all(plan: Plan, source: CallSource, out: Path, key: str, wanted: Plan) -> None:
    """Ask what is left of a plan, at the speed that is wanted now."""
    from plugins.experiments.compare.checks import Checker  # noqa: PLC0415
    from plugins.experiments.compare.results import RESULTS, ResultLog, read_results  # noqa: PLC0415
    from plugins.experiments.compare.running import Run  # noqa: PLC0415

    now = msgspec.structs.replace(plan, url=wanted.url, concurrency=wanted.concurrency, rate=wanted.rate)
    with ResultLog(out) as log:
        answered = {result.ask for _, result in read_results(out)} if (out / RESULTS).exists() else set()
        if answered:
            typer.echo(f"{out}: going on; {len(answered)} calls are answered already", err=True)
        going = Run(now, source, Checker(), log, answered)
        whole, stopped = _go(going, key)
    standing = going.standing
    told = {"out": str(out), "calls": standing.total, "answered": standing.done, "seed": plan.seed}
    typer.echo(msgspec.json.encode(told).decode())
    if whole:
        typer.echo(f"all is answered: moegate compare report {out}", err=True)
        return
    typer.echo(
        f"moegate: {stopped or 'interrupted'}; {standing.done} of {standing.total} calls are answered and kept in {out}; "
        "the same command goes on",
        err=True,
    )
    raise typer.Exit(EXIT_FAILED if stopped else EXIT_INTERRUPTED)


def _go(going: Run, key: str) -> tuple[bool, str]:
    """Whether all was answered, and why it had to stop if it had to."""
    from plugins.experiments.compare import progress  # noqa: PLC0415
    from plugins.experiments.compare.asking import StopRun  # noqa: PLC0415

    try:
        return asyncio.run(going.run(key, progress.tell, progress.every_seconds())), ""
    except StopRun as stop:
        return False, str(stop)
    finally:
        progress.tell(going.standing)
        progress.end_line()


def _fail(message: str) -> NoReturn:
    typer.echo(f"moegate: {message}", err=True)
    raise typer.Exit(EXIT_FAILED)
