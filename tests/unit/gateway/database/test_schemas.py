"""Every schema that is registered, and one of the tests' own, on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import Schema
from gateway.registry import Registry
from tests.support import schemas as kit
from tests.support.depot import depot, first_only


def registered() -> tuple[Schema, ...]:
    """What plugins give."""
    return Registry.from_plugins().schemas


def depots() -> tuple[Schema, ...]:
    """The tests' own."""
    return (depot,)


each_schema = pytest.mark.parametrize("schema", [*depots(), *registered()], ids=lambda schema: schema.name)


@each_schema
async def test_the_revisions_make_what_the_metadata_says(schema: Schema, database_url: str) -> None:
    await kit.check_upgrade(schema, database_url)


@each_schema
async def test_a_second_upgrade_changes_nothing(schema: Schema, database_url: str) -> None:
    await kit.check_idempotence(schema, database_url)


@pytest.mark.parametrize("attribute", ["depots", "registered"])
def test_processes_that_start_together_upgrade_once(attribute: str, database_url: str) -> None:
    kit.check_concurrency(database_url, __name__, attribute)


async def test_upgrades_of_one_process_wait_for_each_other(database_url: str) -> None:
    await kit.check_concurrency_in_one_process([*depots(), *registered()], database_url)


async def test_the_kit_finds_a_revision_that_is_missing(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="depot_shelf"):
        await kit.check_upgrade(first_only(tmp_path / "old"), database_url)


def test_no_two_schemas_share_a_table() -> None:
    names = [name for schema in (*depots(), *registered()) for name in schema.metadata.tables]
    assert len(names) == len(set(names))
