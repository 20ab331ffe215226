from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from gateway import Extension, Secret, config_file
from gateway.errors import ConfigError
from gateway.registry import Registry
from gateway.settings import Settings
from gateway.validation import INVALID, Validator, json_schema

VALUE = "mg-public-hunter2hunter2"


class Keeper(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    secret: Secret
    more: list[Secret] = []
    by_name: dict[str, Secret] = {}
    number: int = 1
    choice: bool = True


def build(text: str) -> tuple[Any, list[str]]:
    document = config_file.parse(text, {"KEY": VALUE})
    validator = Validator(document)
    return validator.struct(document.content, Keeper, ()), validator.problems


def test_a_secret_is_read_and_never_shown() -> None:
    built, problems = build("secret: ${KEY}\nmore: [a, '${KEY}']\nby_name: {x: '${KEY}'}")
    assert problems == []
    assert built.secret.reveal() == built.more[1].reveal() == built.by_name["x"].reveal() == VALUE
    assert VALUE not in f"{built!r} {built.secret} {built.secret!r} {built.more} {built.secret!s:>3}"


@pytest.mark.parametrize(
    "text",
    [
        "secret: [${KEY}]".replace("${KEY}", VALUE),
        f"secret: {{{VALUE}: 1}}",
        "secret: x\nnumber: ${KEY}",
        f"secret: x\nnumber: {VALUE}",
        "secret: x\nchoice: ${KEY}",
        "secret: x\nmore: ${KEY}",
        f"secret: x\nmore: [[{VALUE}]]",
        f"secret: x\nby_name: {{a: [{VALUE}]}}",
        f"secret: x\nby_name: [{VALUE}]",
    ],
)
def test_no_problem_repeats_a_value(text: str) -> None:
    _, problems = build(text)
    assert problems
    assert VALUE not in "\n".join(problems)


@pytest.mark.parametrize("text", ["secret: 12345", "secret: true", "secret: null", "secret: 2026-01-01"])
def test_a_secret_is_text(text: str) -> None:
    built, problems = build(text)
    assert built is INVALID
    assert problems[0].startswith("secret: expected text, got ")
    assert "12345" not in problems[0]


def test_a_missing_secret_is_said_to_be_text() -> None:
    assert build("{}")[1] == ["secret: missing; it must be text (line 1)"]


# Schema


def schema_of(wanted: type[Struct]) -> dict[str, Any]:
    schema = json_schema(wanted)
    found: dict[str, Any] = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    return found


def test_a_secret_is_text_that_an_editor_does_not_show() -> None:
    assert schema_of(Keeper)["properties"]["secret"] == {"type": "string", "writeOnly": True}
    assert schema_of(Keeper)["additionalProperties"] is False
    assert schema_of(Keeper)["required"] == ["secret"]


def test_the_whole_file_has_a_schema() -> None:
    properties = schema_of(Settings)["properties"]
    assert set(properties) == {"server", "database", "state", "models", "policies", "plugins"}


@pytest.mark.parametrize("entry", list(Registry.from_plugins()), ids=lambda entry: entry.extension.name)
def test_every_built_in_extension_has_a_schema(entry: Any) -> None:
    extension: Extension[Any] = entry.extension
    assert set(schema_of(extension.settings)["properties"]) == set(extension.settings.__struct_fields__)


def test_a_default_that_json_cannot_hold_is_named() -> None:
    class Stranger(Struct):
        folder: Path = Path("here")

    with pytest.raises(ConfigError, match="Stranger has no JSON Schema"):
        json_schema(Stranger)
