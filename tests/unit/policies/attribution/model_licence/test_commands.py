"""The commands as they are typed: what they print, where, and the status that they end with."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from gateway.database import SqlDatabase
from policies.attribution.model_licence.commands import commands
from policies.attribution.model_licence.desk import Desk, build_desk
from policies.attribution.model_licence.lineage import Descent
from policies.attribution.model_licence.product_commands import product_commands
from policies.attribution.model_licence.record_files import load
from policies.attribution.model_licence.tables import schema
from tests.unit.policies.attribution.model_licence.shop import Clock

RECORDS = load()
ATTEST = ("licences", "attest", "shop", "--as-of", "2026-11-01")


class Opened:
    """A configuration with a desk, at a time that does not move."""

    def __init__(self, url: str) -> None:
        self.sql = SqlDatabase(url)

    @property
    def desk(self) -> Desk:
        served = {"kimi": [Descent(RECORDS["kimi-k2"], ("tuned", "moonshotai/Kimi-K2-Instruct"))]}
        desk = build_desk(self.sql.engine, records=RECORDS, served=served)
        desk.directory.clock = Clock()
        return desk

    def service(self, name: str) -> Opened | None:
        return self if name == "model_licence" else None

    async def database(self) -> SqlDatabase:
        return self.sql


class Opener:
    """Stands in for the command line's way to a configuration."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextlib.asynccontextmanager
    async def open(self, config: Path) -> AsyncIterator[Opened]:
        assert config == Path("some.yaml")
        opened = Opened(self._url)
        try:
            yield opened
        finally:
            await opened.sql.aclose()


class Shell:
    def __init__(self, url: str) -> None:
        self._app = typer.Typer(context_settings={"obj": Opener(url)})
        self._app.add_typer(commands)
        self._app.add_typer(product_commands)

    def run(self, *words: str, status: int = 0) -> Result:
        result = CliRunner().invoke(self._app, [*words, "--config", "some.yaml"], catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result

    def json(self, *words: str, status: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", status=status).stdout)


@pytest.fixture
async def shell(sqlite_url: str) -> Shell:
    database = SqlDatabase(sqlite_url)
    await database.prepare([schema], upgrade=True)
    await database.aclose()
    return Shell(sqlite_url)


@pytest.fixture
def shop(shell: Shell) -> Shell:
    shell.run("products", "add", "shop", "--owner", "Shop team")
    return shell


def test_products_are_added_changed_assigned_and_listed(shell: Shell) -> None:
    add = ("products", "add", "shop", "--owner", "Shop team", "--url", "https://shop.example", "--not-commercial")
    extra = ("--exemption", "internal_use", "--agreement", "kimi-k3=A=17", "--audience", "internal")
    assert shell.run(*add, *extra).stdout == "shop is a product\n"
    shell.run(*add, *extra)
    shell.run("products", "change", "shop", "--owner", "Others", "--commercial")
    [product] = shell.json("products", "list")
    assert (product["owner"], product["commercial"], product["agreements"]) == ("Others", True, {"kimi-k3": "A=17"})
    assign = ("products", "assign", "shop", "--key", "1a2b", "--team", "acme/web/x", "--tenant", "other")
    assert shell.run(*assign).stdout.splitlines() == [
        "key 1a2b is of shop", "team acme/web/x is of shop", "tenant other is of shop",
    ]  # fmt: skip
    assert shell.run(*assign).stdout == "Nothing to change.\n"
    assert (
        shell.run("products", "assign", "shop", "--key", "1a2b", "--remove").stdout == "key 1a2b is no more of shop\n"
    )
    line = shell.run("products", "list").stdout.splitlines()[1]
    assert line.split(maxsplit=4) == [
        "shop", "Others", "internal", "yes", "team acme/web/x, tenant other  https://shop.example",
    ]  # fmt: skip


def test_what_a_product_attests_and_shows_is_shown(shop: Shell) -> None:
    said = shop.run(*ATTEST, "--users", "100000001", "--revenue", "5", "--currency", "EUR", "--by", "The owner")
    first, *standing = said.stdout.splitlines()
    assert first == "shop: attested by The owner as of 2026-11-01, counts until 2027-02-02 00:00:00Z"
    assert "above_not_displayed" in standing[-1]
    found = shop.json("products", "show", "shop")
    assert [(each["licence"], each["state"]) for each in found["standing"]] == [("kimi-k2", "above_not_displayed")]
    digest = "a" * 64
    shop.run("licences", "evidence", "shop", "--licence", "kimi-k2", "--screenshot", digest)
    shown = shop.run("products", "show", "shop").stdout
    assert "above_displayed" in shown
    assert "100,000,001" in shown
    assert "5 EUR" in shown
    taken_back = shop.run("licences", "evidence", "shop", "--licence", "kimi-k2", "--note", "gone", "--not-displayed")
    assert taken_back.stdout == "shop does not show 'Kimi K2' (note)\n"


def test_the_check_tells_what_is_under_what_and_who_does_not_meet_it(shop: Shell) -> None:
    found = shop.json("licences", "check")
    assert found["models"] == [["kimi", "tuned from moonshotai/Kimi-K2-Instruct", "kimi-k2", "Kimi K2"]]
    assert (found["warnings"], found["breaches"]) == (
        ["product shop, licence kimi-k2: unknown (nothing is attested)"],
        [],
    )
    shop.run(*ATTEST, "--users", "100000001")
    assert "not met: product shop, licence kimi-k2: over a threshold" in shop.run("licences", "check", status=1).stdout
    shop.run(*ATTEST, "--users", "1", "--revenue", "1")
    assert "Nothing is in doubt." in shop.run("licences", "check").stdout
    shop.run(*ATTEST, "--users", "1", "--revenue", "2", "--valid-until", "2026-11-20")
    assert "ends in less than 14 days" in shop.run("licences", "check").stdout


def test_licences_are_listed_and_shown(shell: Shell) -> None:
    lines = shell.run("licences", "list").stdout.splitlines()
    [kimi] = [line for line in lines if line.startswith("kimi-k2 ")]
    assert kimi.split()[1:5] == ["Kimi", "K2", "yes", "kimi"]
    shown = json.loads(shell.run("licences", "show", "kimi-k2").stdout)
    assert (shown["digest"], shown["served"]) == (RECORDS["kimi-k2"].digest, ["kimi"])


def test_a_head_that_was_kept_is_checked(shop: Shell) -> None:
    head = shop.run("licences", "audit", "head").stdout.strip()
    assert (
        "1 rows, each as it was written, 1 kept heads" in shop.run("licences", "audit", "verify", "--head", head).stdout
    )
    other = f"1:{'0' * 64}"
    assert "kept head: row 1" in shop.run("licences", "audit", "verify", "--head", other, status=1).stdout


def test_a_month_is_reported(shop: Shell) -> None:
    assert shop.run("licences", "report", "--month", "2026-11").stdout.startswith(
        "# Licences of the models used in 2026-11"
    )
    assert shop.run("licences", "report", "--month", "2026-11", "--format", "csv").stdout.startswith("month,product")


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (("products", "show", "shpo"), 1, "Did you mean 'shop'"),
        (("products", "add", "shop", "--owner", "Another"), 1, "already, and it is another"),
        (("products", "add", "a b", "--owner", "x"), 2, "name"),
        (("products", "add", "x", "--owner", "x", "--agreement", "kimi-k3"), 2, "LICENCE=REFERENCE"),
        (("products", "add", "x", "--owner", "x", "--url", "shop.example"), 2, "url"),
        (("products", "assign", "shop"), 2, "say who"),
        (("products", "assign", "shop", "--team", "web"), 2, "TENANT/TEAM"),
        (("licences", "show", "kimi-k22"), 1, "Did you mean 'kimi-k2'"),
        (ATTEST, 2, "neither users nor revenue"),
        ((*ATTEST, "--users", "-1"), 2, "monthly_active_users"),
        ((*ATTEST, "--revenue", "1", "--rate", "x", "--rate-currency", "USD"), 2, "rate"),
        ((*ATTEST, "--users", "1", "--valid-until", "soon"), 2, "valid_until"),
        (("licences", "attest", "shop", "--as-of", "November", "--users", "1"), 2, "as_of: write a day such as"),
        ((*ATTEST, "--revenue", "1", "--currency", "XXX"), 2, "currency: 'XXX' is no currency"),
        (("licences", "attest", "none", "--as-of", "2026-11-01", "--users", "1"), 1, "no product 'none'"),
        (("licences", "evidence", "shop", "--licence", "kimi-k2"), 2, "say one of"),
        (("licences", "evidence", "shop", "--licence", "kimi-k2", "--url", "https://x", "--note", "y"), 2, "say one of"),
        (("licences", "evidence", "shop", "--licence", "kimi-k2", "--check", "--not-displayed"), 2, "say one of"),
        (("licences", "evidence", "shop", "--licence", "kimi-k2", "--check"), 2, "no address"),
        (("licences", "evidence", "shop", "--licence", "kimi-k2", "--check", "--url", "http://x.example"), 2, "allows no look"),
        (("licences", "evidence", "shop", "--licence", "gpl", "--note", "y"), 1, "no licence record"),
        (("licences", "audit", "verify", "--head", "x"), 2, "no head of a history"),
        (("licences", "report", "--month", "2026-13"), 2, "no month"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_and_changes_nothing(
    shop: Shell, words: tuple[str, ...], status: int, reason: str
) -> None:
    head = shop.run("licences", "audit", "head").stdout
    result = shop.run(*words, status=status)
    assert reason in result.stderr
    assert "Traceback" not in result.output
    assert shop.run("licences", "audit", "head").stdout == head
