"""`moegate bench`: reads its options, says how it ended; measures nothing itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway import CommandContext
    from plugins.bench.plan import Plan
    from plugins.bench.prompts import Prompts
    from plugins.bench.running import Results, Stage
    from plugins.bench.samples import Window

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

commands = typer.Typer(
    name="bench", help="Measure an endpoint of OpenAI's shape, or which of two is faster.", invoke_without_command=True
)


@commands.callback()
def bench(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    context: typer.Context,
    url: Annotated[list[str], typer.Option(help="An engine or a gateway; a second one to compare the two.")],
    model: Annotated[str, typer.Option(help="The name that it serves.")],
    concurrency: Annotated[str, typer.Option(help="Calls under way at once; several levels with commas.")] = "1,4,16",
    duration: Annotated[float, typer.Option(min=0.1, max=86_400, help="Seconds of each window.")] = 20,
    warm_up: Annotated[float, typer.Option(min=0, max=3600, help="Seconds before each window.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="How often; two endpoints take turns.")] = 1,
    prompt_tokens: Annotated[int, typer.Option(min=1, max=1_000_000, help="Of made-up prompts, about.")] = 256,
    max_tokens: Annotated[int, typer.Option(min=1, max=1_000_000, help="Of an answer.")] = 128,
    prompts: Annotated[
        Path | None, typer.Option(help="Calls to ask instead: JSON lines, each a chat's body, in a circle.")
    ] = None,
    shared_prefix: Annotated[
        bool, typer.Option("--shared-prefix", help="Made-up prompts begin alike, so that prefix caches hit.")
    ] = False,
    stream: Annotated[bool, typer.Option("--stream/--no-stream", help="Ask for streams.")] = True,
    key: Annotated[str, typer.Option(envvar="MOEGATE_KEY", help="An API key; better in the environment.")] = "",
    timeout: Annotated[float, typer.Option(min=0.1, max=86_400, help="Seconds for a whole answer.")] = 600,
    seed: Annotated[int, typer.Option(help="Of the prompts.")] = 0,
    out: Annotated[Path | None, typer.Option("--json", help="A file for all figures, as JSON.")] = None,
) -> None:
    """Keep so many calls under way, and tell TTFT, ITL, throughput and errors, level by level.

    Exit status: 0 something was answered, 1 nothing was, 2 an option is wrong, 130 it was interrupted (and what was
    measured until then is told).
    """
    from plugins.bench.plan import Plan, endpoints_of, levels_of  # noqa: PLC0415 - a gateway that serves needs none of it
    from plugins.bench.prompts import Prompts  # noqa: PLC0415

    plan = Plan(
        endpoints=endpoints_of(url),
        model=model,
        levels=levels_of(concurrency),
        seconds=duration,
        warm_up_seconds=warm_up,
        rounds=rounds,
        stream=stream,
        max_tokens=max_tokens,
        prompt_tokens=prompt_tokens,
        shared_prefix=shared_prefix,
        timeout_seconds=timeout,
        seed=seed,
    )
    results, whole = _measured(context.obj, plan, Prompts(plan, prompts), key)
    _tell(results, out)
    if not whole:
        raise typer.Exit(EXIT_INTERRUPTED)
    if not results.answered:
        typer.echo("moegate: nothing was answered", err=True)
        raise typer.Exit(EXIT_FAILED)


def _measured(opener: CommandContext, plan: Plan, prompts: Prompts, key: str) -> tuple[Results, bool]:
    """What was measured, and whether it is all."""
    from plugins.bench.printing import progress_line  # noqa: PLC0415
    from plugins.bench.running import Results, measure  # noqa: PLC0415

    results = Results(plan)

    def progress(stage: Stage, window: Window | None) -> None:
        typer.echo(f"[bench] {progress_line(stage, window, plan)}", err=True)

    try:
        opener.run(measure(opener, key, prompts, results, progress))
    except KeyboardInterrupt:
        typer.echo("moegate: interrupted; this was measured until then", err=True)
        return results, False
    return results, True


def _tell(results: Results, out: Path | None) -> None:
    from plugins.bench.figures import as_json  # noqa: PLC0415
    from plugins.bench.printing import page  # noqa: PLC0415

    typer.echo(page(results), nl=False)
    if out is None:
        return
    try:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(as_json(results)), indent=1) + b"\n")
    except OSError as error:
        raise ConfigError(f"--json: {out} cannot be written: {error.strerror}") from error
