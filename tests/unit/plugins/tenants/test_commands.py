"""The commands as they are typed: what they print, where, and the status that they end with."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from gateway.contracts.keys import generate_key, parse_key
from gateway.database import SqlDatabase
from plugins.tenants.commands import commands
from plugins.tenants.key_commands import key_commands
from plugins.tenants.tables import schema

FILE = """\
tenants:
  - name: acme
    share: 2
    limits: [{name: day, dimension: cost, amount: 10, every: day, window: calendar, time_zone: Europe/Berlin}]
    keys: [{name: ops, scopes: ["admin:write"]}]
    teams: [{name: search, expires_at: 2099-01-31}]
"""


class OneDatabase:
    """Stands in for the command line's way to a configuration."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextlib.asynccontextmanager
    async def open(self, config: Path) -> AsyncIterator[Opened]:
        assert config == Path("some.yaml")
        opened = Opened(SqlDatabase(self._url))
        try:
            yield opened
        finally:
            await opened.sql.aclose()


class Opened:
    def __init__(self, sql: SqlDatabase) -> None:
        self.sql = sql

    async def database(self) -> SqlDatabase:
        return self.sql


class Shell:
    def __init__(self, url: str) -> None:
        self._app = typer.Typer(context_settings={"obj": OneDatabase(url)})
        self._app.add_typer(commands)
        self._app.add_typer(key_commands)

    def run(self, *words: str, status: int = 0, environment: dict[str, str] | None = None) -> Result:
        typed = [*words, "--config", "some.yaml"]
        result = CliRunner().invoke(self._app, typed, env=environment, catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)


@pytest.fixture
async def shell(sqlite_url: str) -> Shell:
    database = SqlDatabase(sqlite_url)
    await database.prepare([schema], upgrade=True)
    await database.aclose()
    return Shell(sqlite_url)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tenants.yaml"
    path.write_text(FILE)
    return path


def id_of(key: str) -> str:
    parts = parse_key(key.strip())
    assert parts is not None
    return parts.public_id


def test_apply_shows_what_it_does_and_a_new_key_once(shell: Shell, file: Path) -> None:
    dry = shell.run("tenants", "apply", "-f", str(file), "--dry-run", status=1).stdout
    assert "+ tenant acme" in dry
    assert "+ key acme/ops (new)" in dry
    assert dry.endswith("3 changes, not made.\n")
    done = shell.run("tenants", "apply", "-f", str(file)).stdout
    assert "3 changes." in done
    last = done.splitlines()[-1]
    assert last.startswith("acme/ops: mg-")
    assert shell.run("tenants", "apply", "-f", str(file)).stdout == "Nothing to change.\n"
    assert shell.run("tenants", "apply", "-f", str(file), "--dry-run").stdout == "Nothing to change.\n"
    secret = last.rpartition(" ")[2]
    everything = shell.run("tenants", "show", "acme").stdout + shell.run("tenants", "audit").stdout
    assert id_of(secret) in everything
    assert secret.split("-", 2)[2] not in everything


def test_apply_says_in_json_what_it_does(shell: Shell, file: Path) -> None:
    done = shell.json("tenants", "apply", "-f", str(file))
    assert [change["action"] for change in done["changes"]] == ["tenant.create", "team.create", "key.create"]
    assert [parse_key(key["key"]) is not None for key in done["keys"]] == [True]


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        ("tenants: [{name: acme, share: much}]", 2, "moegate: tenants[0].share: Expected `float`, got `str` (line 1)\n"),
        ("tenants: [{name: a, keys: [{name: k, id: taken, sha256: '" + "0" * 64 + "'}]}]", 1, "tenants[0].keys[0].id: taken is"),
    ],
)  # fmt: skip
def test_apply_names_what_is_wrong(shell: Shell, file: Path, text: str, status: int, says: str) -> None:
    file.write_text("tenants: [{name: b, keys: [{name: k, secret_env: TAKEN}]}]")
    shell.run("tenants", "apply", "-f", str(file), environment={"TAKEN": generate_key("taken")})
    file.write_text(text)
    assert says in shell.run("tenants", "apply", "-f", str(file), status=status).stderr
    assert [tenant["name"] for tenant in shell.json("tenants", "list")] == ["b"]


def test_pruning_disables_the_rest(shell: Shell, file: Path) -> None:
    shell.run("tenants", "create", "old")
    shell.run("tenants", "apply", "-f", str(file), "--prune")
    assert {each["name"]: each["state"] for each in shell.json("tenants", "list")} == {
        "acme": "active",
        "old": "disabled",
    }


def test_tenants_are_listed_and_shown_for_people(shell: Shell, file: Path) -> None:
    shell.run("tenants", "apply", "-f", str(file))
    heads, acme = shell.run("tenants", "list").stdout.splitlines()
    assert heads.split() == ["TENANT", "STATE", "SHARE", "PRIORITY", "LIMITS", "MODELS", "CREATED", "EXPIRES"]
    assert acme.split()[:6] == ["acme", "active", "2", "0", "day", "all"]
    shown = shell.run("tenants", "show", "acme").stdout
    assert "  limit day: 10 cost per day (calendar, Europe/Berlin)" in shown
    assert "team acme/search: active" in shown
    assert "  expires: 2099-01-31 00:00:00Z" in shown


def test_a_tenant_and_a_team_are_disabled_and_enabled(shell: Shell, file: Path) -> None:
    shell.run("tenants", "apply", "-f", str(file))
    assert shell.run("tenants", "disable", "acme/search").stdout == "acme/search disabled\n"
    assert shell.run("tenants", "disable", "acme").stdout == "acme disabled\n"
    shown = shell.json("tenants", "show", "acme")
    assert (shown["tenant"]["state"], shown["teams"][0]["state"]) == ("disabled", "disabled")
    shell.run("tenants", "enable", "acme")
    assert shell.json("tenants", "show", "acme")["tenant"]["state"] == "active"
    actions = [entry["action"] for entry in shell.json("tenants", "audit", "--tenant", "acme", "--limit", "3")]
    assert actions == ["tenant.enable", "tenant.disable", "team.disable"]
    assert shell.json("tenants", "audit", "--limit", "1")[0]["actor"].startswith("command line (")


def test_the_first_admin_key_of_a_new_installation(shell: Shell) -> None:
    shell.run("tenants", "create", "ops")
    made = shell.run("keys", "create", "admin", "--tenant", "ops", "--scope", "admin:read", "--scope", "admin:write")
    assert parse_key(made.stdout.strip()) is not None
    assert made.stderr.startswith(f"Key {id_of(made.stdout)} (admin). It is shown this once.")
    [listed] = shell.json("keys", "list")
    assert (listed["id"], listed["scopes"]) == (id_of(made.stdout), ["admin:read", "admin:write"])
    assert "key" not in listed


def test_a_key_is_rotated_and_revoked_by_its_id_or_whole(shell: Shell) -> None:
    shell.run("tenants", "create", "acme")
    first = shell.run("keys", "create", "ci", "--tenant", "acme", "--expires", "90d", "--model", "k2").stdout
    rotated = shell.run("keys", "rotate", id_of(first), "--grace", "15m")
    assert id_of(rotated.stdout) == id_of(first)
    assert rotated.stdout != first
    assert "The old secret holds until" in rotated.stderr
    [listed] = shell.json("keys", "list", "--tenant", "acme")
    assert (len(listed["retiring_at"]), listed["models"]) == (1, ["k2"])
    assert listed["expires_at"] - listed["created_at"] in range(90 * 86_400 - 5, 90 * 86_400 + 6)
    revoked = shell.run("keys", "revoke", first.strip())
    assert revoked.stdout == f"{id_of(first)} revoked\n"
    assert shell.json("keys", "list") == []
    assert [key["state"] for key in shell.json("keys", "list", "--all")] == ["revoked"]
    assert "revoked" in shell.run("keys", "list", "--all").stdout


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["tenants", "show", "nobody"], 1, "moegate: There is no tenant 'nobody'.\n"),
        (["tenants", "create", "a b"], 2, "cannot be a name"),
        (["tenants", "apply", "-f", "nowhere.yaml"], 2, "nowhere.yaml: cannot be read"),
        (["keys", "create", "k", "--tenant", "nobody"], 1, "There is no tenant 'nobody'."),
        (["keys", "create", "k", "--tenant", "acme", "--expires", "soon"], 2, "expected a date"),
        (["keys", "create", "k", "--tenant", "acme", "--scope", "root"], 2, "root"),
        (["keys", "create", "k k", "--tenant", "acme"], 2, "'k k' cannot be a name"),
        (["keys", "create", "k", "--tenant", "acme", "--model", "m" * 129], 2, "length <= 128 - at `$.models[0]`"),
        (["keys", "rotate", "nobody"], 1, "There is no key 'nobody'."),
        (["keys", "rotate", "nobody", "--grace", "long"], 2, "is no length of time"),
        (["keys", "revoke", "mg-short-secretpart"], 1, "There is no key 'short'."),
    ],
)
def test_what_goes_wrong_is_said_with_a_status(shell: Shell, words: list[str], status: int, says: str) -> None:
    shell.run("tenants", "create", "acme")
    result = shell.run(*words, status=status)
    assert says in result.stderr.replace("│", "").replace("\n ", " ") or says in result.stderr
    assert "secretpart" not in result.output


def test_a_database_that_fails_is_said(shell: Shell, tmp_path: Path) -> None:
    shell.run("tenants", "create", "acme")
    with contextlib.closing(sqlite3.connect(tmp_path / "moegate.db")) as connection:
        connection.execute("ALTER TABLE tenants_tenant RENAME TO elsewhere")
    says = shell.run("tenants", "list", status=1).stderr
    assert says.startswith(
        "moegate: The database cannot be reached now; nothing was changed. (OperationalError: no such table"
    )
