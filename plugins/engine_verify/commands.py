"""`moegate engines verify`: reads its options, opens the configuration, prints the report; asks and compares nothing itself."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import httpx
import msgspec
import typer
from msgspec import Struct

from gateway import CommandContext, OpenConfiguration, ReplicaAccess
from gateway.errors import ConfigError
from plugins.engine_verify.asking import introspection_of
from plugins.engine_verify.judging import Check
from plugins.engine_verify.prompts import FIXED_SET, read_prompts
from plugins.engine_verify.report import ModelReport, exit_status, lines
from plugins.engine_verify.settings import EngineVerifySettings, Precision
from plugins.engine_verify.verifying import Task, verify_model

SERVICE = "engine_verify"

# Other plugins add to this group: the command line joins groups of one name.
commands = typer.Typer(name="engines", help="Look at the engines behind the models.", no_args_is_help=True)


@commands.callback()
def _group() -> None:
    """Keep `verify` a sub-command also where it is the only one."""


class Verification:
    """Holds what the configuration says of verifying. As a service it has nothing to do: a command asks for it."""

    def __init__(self, settings: EngineVerifySettings) -> None:
        self.settings = settings

    async def run(self) -> None:
        """Nothing, and at once."""


class Selection(Struct, frozen=True):
    """What of a configuration to verify: names, where some were given."""

    model: str | None = None
    replicas: tuple[str, ...] = ()
    reference: str | None = None


@commands.command()
def verify(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    context: typer.Context,
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration file (YAML).")] = Path(
        "moegate.yaml"
    ),
    model: Annotated[str | None, typer.Option(help="Only this model; all of them by default.")] = None,
    replica: Annotated[
        list[str] | None, typer.Option(help="Only these replicas, beside the reference; all by default.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="The replica to compare with; the reference engine by default, else the model's first."),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Ask these instead of the fixed set: JSON lines of name and text or messages.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, max=512, help="How many tokens to continue each prompt by.")] = 32,
    precision: Annotated[
        Precision | None, typer.Option(help="Judge by this tolerance; by what the engines tell by default.")
    ] = None,
    accept: Annotated[
        list[Check] | None, typer.Option(help="Report what differs in this check, but do not count it: it is known.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, with every figure.")] = False,
) -> None:
    """Ask each replica directly and compare: name, tokenizer, chat template, tools, greedy answers, log-probabilities.

    Exit status: 0 all the same as far as can be told, 1 something differs, 2 the configuration is wrong or a replica
    cannot be asked.
    """
    selection = Selection(model, tuple(replica or ()), reference)
    asked = FIXED_SET if prompts is None else read_prompts(prompts)
    opener: CommandContext = context.obj

    async def run() -> list[ModelReport]:
        async with opener.open(config) as configuration:
            task = Task(asked, tokens, _settings(configuration), precision)
            return await _verify(choose(configuration.access(), selection), task)

    reports = asyncio.run(run())
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(reports)).decode())
    else:
        typer.echo("\n\n".join("\n".join(lines(report)) for report in reports))
    raise typer.Exit(exit_status(reports, accept or ()))


def _settings(configuration: OpenConfiguration) -> EngineVerifySettings:
    held = configuration.service(SERVICE)
    return held.settings if isinstance(held, Verification) else EngineVerifySettings()


class Chosen(Struct, frozen=True):
    """A model to verify: what to compare with, and what to compare with it."""

    model: str
    reference: ReplicaAccess
    others: tuple[ReplicaAccess, ...]


async def _verify(chosen: Sequence[Chosen], task: Task) -> list[ModelReport]:
    # trust_env off: a proxy from the environment must not come between us and our engines.
    async with httpx.AsyncClient(trust_env=False) as client:
        return [await verify_model(each.model, each.reference, each.others, task, client) for each in chosen]


def choose(every: Sequence[ReplicaAccess], selection: Selection) -> list[Chosen]:
    """Per model to verify, its reference and what to compare with it, in the order of the configuration.

    Raises:
        ConfigError: a name that was given is not there; the message lists near ones.
    """
    by_name = {access.replica.name: access for access in every}
    models = list(dict.fromkeys(access.model.name for access in every))
    if selection.model is not None:
        _check("model", selection.model, models)
    for name in (*selection.replicas, *([selection.reference] if selection.reference is not None else [])):
        _check("replica", name, by_name)
    chosen = []
    for model in [selection.model] if selection.model is not None else models:
        members = [access for access in every if access.model.name == model]
        wanted = [each for each in members if not selection.replicas or each.replica.name in selection.replicas]
        if not wanted:
            continue
        reference = (
            by_name[selection.reference]
            if selection.reference is not None
            else next((each for each in members if introspection_of(each).is_reference), members[0])
        )
        chosen.append(Chosen(model, reference, tuple(each for each in wanted if each is not reference)))
    if not chosen:
        raise ConfigError(f"model {selection.model!r} has none of the replicas {', '.join(selection.replicas)}")
    return chosen


def _check(kind: str, name: str, known: Iterable[str]) -> None:
    names = sorted(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3) or names
        raise ConfigError(f"no {kind} is named {name!r}; there is {', '.join(near) or 'none'}")
