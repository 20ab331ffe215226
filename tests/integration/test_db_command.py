"""`moegate db` from outside, on both databases: what it says, what it exits with, and what it keeps to itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.registry import Registry
from tests.support.gateway_process import moegate, write_config
from tests.support.postgres import PASSWORD, PostgresDatabase

BEHIND = 3
WRONG = 2

CHECKPOINT = {"id": "moonshotai/Kimi-K2-Instruct", "context_length": 131_072}


@pytest.fixture
def config(database_url: str, tmp_path: Path) -> Path:
    """A configuration with that database; its engine cannot be reached, which is no affair of the tables."""
    return written(tmp_path, database_url)


def written(folder: Path, url: str) -> Path:
    """A configuration file."""
    replica = {"name": "gone", "backend": "vllm", "url": "http://127.0.0.1:9"}
    model = {"name": "kimi-k2", "checkpoint": CHECKPOINT, "replicas": [replica]}
    file = folder / "moegate.yaml"
    write_config(file, {"models": [model], "database": url}, 8080)
    return file


def db(command: str, config: Path) -> tuple[int, str, str]:
    """Run `moegate db`; exit status, output, errors."""
    ended = moegate("db", command, "--config", str(config), folder=config.parent)
    return ended.returncode, ended.stdout, ended.stderr


def test_upgrade_and_status(config: Path) -> None:
    names = {schema.name for schema in Registry.from_plugins().schemas}
    status, out, err = db("status", config)
    rows = [line.split(maxsplit=3) for line in out.splitlines()]
    assert (status, err) == (BEHIND, "")
    assert rows[0] == ["SCHEMA", "AT", "HEAD"]
    assert {row[0] for row in rows[1:]} == names
    assert all((row[1], row[3]) == ("-", "behind") for row in rows[1:])

    status, out, err = db("upgrade", config)
    assert (status, err) == (0, "")
    assert all("nothing -> " in line for line in out.splitlines())

    status, out, _ = db("status", config)
    rows = [line.split(maxsplit=3) for line in out.splitlines()][1:]
    assert status == 0
    assert {row[0] for row in rows} == names
    assert all(row[1] == row[2] and row[3] == "up to date" for row in rows)

    status, out, _ = db("upgrade", config)
    assert status == 0
    assert all(line.endswith(", up to date") for line in out.splitlines())


def test_tables_of_a_newer_version(postgres_database: PostgresDatabase, tmp_path: Path) -> None:
    config = written(tmp_path, postgres_database.url)
    assert db("upgrade", config)[0] == 0
    name = Registry.from_plugins().schemas[0].name
    postgres_database.sql(f"UPDATE moegate_schema_{name} SET version_num = 'of-tomorrow'")
    status, out, _ = db("status", config)
    assert status == BEHIND
    assert "of a newer version" in out
    status, _, err = db("upgrade", config)
    assert status == WRONG
    assert f"the tables of '{name}' are at revision of-tomorrow, which this version of moegate does not know" in err


def test_a_gateway_whose_tables_are_behind_does_not_start(postgres_database: PostgresDatabase, tmp_path: Path) -> None:
    config = written(tmp_path, postgres_database.url)
    settings = json.loads(config.read_text())
    write_config(config, {**settings, "plugins": [{"use": "tenants"}]}, 8080)
    ended = moegate("check", "--config", str(config), folder=tmp_path)
    assert ended.returncode == WRONG
    assert "the tables of 'tenants' are not there yet" in ended.stderr
    assert "run moegate db upgrade --config FILE" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert db("upgrade", config)[0] == 0
    ended = moegate("check", "--config", str(config), folder=tmp_path)
    assert ended.returncode == 0, ended.stderr


def test_a_wrong_password_is_not_shown(postgres_database: PostgresDatabase, tmp_path: Path) -> None:
    config = written(tmp_path, postgres_database.url.replace(PASSWORD, "s3cret-and-wrong"))
    for command in ("status", "upgrade"):
        status, out, err = db(command, config)
        assert status == WRONG
        assert "password authentication failed" in err
        assert "s3cret-and-wrong" not in out + err
        assert "Traceback" not in err


def test_a_configuration_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "moegate.yaml"
    file.write_text("databse: sqlite:///moegate.db\n")
    status, _, err = db("status", file)
    assert status == WRONG
    assert "databse" in err
