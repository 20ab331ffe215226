"""The command's options, what it prints, how it ends; and what it chooses to compare."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner, Result

from gateway import CommandContext, Introspection, ReplicaAccess
from gateway.cli import build_cli
from gateway.errors import ConfigError
from plugins.engine_verify.commands import Chosen, Selection, Verification, choose, commands
from plugins.engine_verify.report import EXIT_DIFFERS, ModelReport, ReplicaReport, exit_status, lines, printable
from plugins.engine_verify.settings import EngineVerifySettings, Tolerance
from tests.unit.plugins.engine_verify.small_engine import SmallBackend, SmallEngine, access


class ReferenceBackend(SmallBackend):
    introspection = Introspection(models_path="/models", answer_fields={"return_token_ids": True}, is_reference=True)


class Configuration:
    """An open configuration of two small engines."""

    def __init__(self, settings: EngineVerifySettings | None) -> None:
        self.held = Verification(settings) if settings is not None else None

    def access(self) -> list[ReplicaAccess]:
        return [access("candidate"), access("reference", ReferenceBackend())]

    def service(self, name: str) -> Verification | None:
        assert name == "engine_verify"
        return self.held


class Opener:
    def __init__(self, settings: EngineVerifySettings | None = None) -> None:
        self.settings = settings
        self.opened: list[Path] = []

    @contextlib.asynccontextmanager
    async def open(self, config: Path) -> AsyncIterator[Configuration]:
        self.opened.append(config)
        yield Configuration(self.settings)


class Command:
    """Runs the command on small engines."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engines = {"candidate": SmallEngine(), "reference": SmallEngine()}
        self.opener = Opener()
        real = httpx.AsyncClient

        def handle(request: httpx.Request) -> httpx.Response:
            return self.engines[request.url.host].handle(request)

        def build(*, trust_env: bool) -> httpx.AsyncClient:
            assert not trust_env  # a proxy of the environment has no business here
            return real(transport=httpx.MockTransport(handle))

        monkeypatch.setattr(httpx, "AsyncClient", build)

    def __call__(self, *arguments: str) -> Result:
        cli = typer.Typer()
        cli.add_typer(commands)
        context: CommandContext = self.opener  # type: ignore[assignment] # it opens what this command asks for
        return CliRunner().invoke(cli, ["engines", "verify", *arguments], obj=context)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(monkeypatch)


def test_it_is_a_command_of_moegate() -> None:
    said = CliRunner().invoke(build_cli(), ["engines", "verify", "--help"])
    assert said.exit_code == 0
    assert "Exit status" in said.output


def test_engines_that_are_the_same(command: Command) -> None:
    said = command("-c", "some.yaml")
    assert said.exit_code == 0, said.output
    assert command.opener.opened == [Path("some.yaml")]
    header, titles, reference, candidate, remark = said.output.splitlines()
    assert header == "kimi-k2, compared with reference"
    assert titles.split()[:4] == ["REPLICA", "ENGINE", "MODEL", "TOKENIZER"]
    assert reference.split()[:4] == ["reference", "fake", "same", "(reference)"]
    assert candidate.split()[:8] == ["candidate", "fake", *["same"] * 6]
    assert remark.startswith("candidate: logprobs: same: |Δ| over ")


def test_without_a_reference_engine_the_first_replica_is_one(command: Command) -> None:
    said = command("--reference", "candidate")
    assert said.exit_code == 0
    assert "candidate is no reference engine but a replica like the others" in said.output


def test_engines_that_differ(command: Command) -> None:
    command.engines["candidate"] = SmallEngine(template="~{}>", turn=30)
    said = command("--tokens", "6")
    assert said.exit_code == 1
    assert "candidate: template: differs: 5 of 5 prompts; first 'hello', token 0: " in said.output
    assert "candidate: greedy: differs: " in said.output


def test_a_known_difference_may_be_accepted(command: Command) -> None:
    command.engines["candidate"] = SmallEngine(template="~{}>")
    assert command("--accept", "greedy").exit_code == 1
    said = command("--accept", "template", "--accept", "greedy")
    assert said.exit_code == 0
    assert "template: differs" in said.output


def test_as_json(command: Command) -> None:
    command.engines["candidate"] = SmallEngine(drift=lambda number: 0.01 * (number % 3))
    said = command("--json", "--precision", "float32", "--model", "kimi-k2")
    assert said.exit_code == 1
    (model,) = json.loads(said.output)
    assert (model["model"], model["reference"]) == ("kimi-k2", "reference")
    found = next(each for each in model["replicas"] if each["replica"] == "candidate")
    assert found["figures"]["max_difference"] == pytest.approx(0.02)
    assert {each["check"]: each["verdict"] for each in found["findings"]}["logprobs"] == "differs"


def test_the_configuration_may_set_the_tolerance(command: Command) -> None:
    command.engines["candidate"] = SmallEngine(drift=lambda number: 0.001 * (number % 3))
    wide = Tolerance(mean_nats=1, largest_nats=1, others_mean_nats=1)
    command.opener = Opener(EngineVerifySettings(float32=wide))
    assert command("--precision", "float32").exit_code == 0
    assert command("--precision", "bfloat16").exit_code == 0
    narrow = Tolerance(mean_nats=0, largest_nats=0, others_mean_nats=0)
    command.opener = Opener(EngineVerifySettings(bfloat16=narrow))
    assert command("--precision", "bfloat16").exit_code == 1


def test_other_prompts(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"name": "mine", "text": "abc"}\n')
    said = command("--prompts", str(file), "--json")
    asked = {json.dumps(body.get("prompt")) for path, body in command.engines["candidate"].asked if body}
    assert '"abc"' in asked
    assert said.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--model", "kimi"], "no model is named 'kimi'; there is kimi-k2"),
        (["--replica", "candidat"], "no replica is named 'candidat'; there is candidate"),
        (["--reference", "x"], "no replica is named 'x'; there is candidate, reference"),
    ],
)
def test_a_name_that_is_not_there(command: Command, arguments: list[str], problem: str) -> None:
    said = command(*arguments)
    assert isinstance(said.exception, ConfigError)
    assert said.exception.message == problem


def names(chosen: list[Chosen]) -> list[tuple[str, str, list[str]]]:
    return [(each.model, each.reference.replica.name, [other.replica.name for other in each.others]) for each in chosen]


def test_what_is_chosen() -> None:
    plain, second, engine = access("a"), access("b"), access("r", ReferenceBackend())
    assert names(choose([plain, second], Selection())) == [("kimi-k2", "a", ["b"])]
    assert names(choose([plain, second, engine], Selection())) == [("kimi-k2", "r", ["a", "b"])]
    assert names(choose([plain, second, engine], Selection(replicas=("b",)))) == [("kimi-k2", "r", ["b"])]
    assert names(choose([plain, second, engine], Selection(reference="b"))) == [("kimi-k2", "b", ["a", "r"])]
    assert names(choose([engine], Selection())) == [("kimi-k2", "r", [])]


def test_a_lone_replica_has_nothing_to_be_compared_with() -> None:
    alone = ModelReport("m", "r", (ReplicaReport(replica="r", backend="fake", is_reference=True),))
    assert lines(alone)[-1] == "r is the only replica that was asked: there is nothing to compare it with"
    assert exit_status([alone]) == 0


def test_a_reference_that_is_none_is_said() -> None:
    compared = tuple(ReplicaReport(replica=name, backend="fake", is_reference=name == "a") for name in "ab")
    assert lines(ModelReport("m", "a", compared, by_reference_engine=False))[-1].startswith("a is no reference engine ")
    assert not any("no reference engine" in line for line in lines(ModelReport("m", "a", compared)))


def test_what_engines_say_cannot_write_to_the_terminal() -> None:
    assert printable("a\x1b[31mb\nc") == "a?[31mb?c"
    rude = ReplicaReport(replica="r", backend="fake", told={"version": "\x1b[2J1"}, unreachable="\x07x")
    assert all(line.isprintable() for line in lines(ModelReport("m", "r", (rude,))))


def test_a_difference_outweighs_a_replica_that_is_down(command: Command) -> None:
    command.engines["candidate"] = SmallEngine(turn=1)
    assert command("--precision", "float32").exit_code == EXIT_DIFFERS


async def test_as_a_service_it_does_nothing() -> None:
    await Verification(EngineVerifySettings()).run()
