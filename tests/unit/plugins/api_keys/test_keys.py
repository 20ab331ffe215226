from __future__ import annotations

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.contracts.keys import KeyParts, generate_key, parse_key
from plugins.api_keys.commands import commands, key_in


def test_a_new_key_is_of_our_form_with_256_random_bits() -> None:
    key = generate_key()
    parts = parse_key(key)
    assert parts is not None
    assert key == f"mg-{parts.public_id}-{parts.secret}"
    assert len(parts.public_id) == 12
    assert len(parts.secret) == 43  # 256 bits in base64


def test_no_two_keys_are_alike() -> None:
    made = [parse_key(generate_key()) for _ in range(50)]
    assert len({parts.public_id for parts in made if parts}) == len({parts.secret for parts in made if parts}) == 50


@pytest.mark.parametrize("secret", ["-" * 32, "_" * 128, "aB3-_" * 8, "-" + "a" * 40 + "-"])
def test_a_secret_may_hold_hyphens(secret: str) -> None:
    assert parse_key(f"mg-abcd-{secret}") == KeyParts("abcd", secret)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mg-",
        "mg-abcd",
        "mg-abcd-",
        "mg-abcd-" + "x" * 31,
        "mg-abcd-" + "x" * 129,
        "mg-abc-" + "x" * 40,
        "mg-" + "a" * 33 + "-" + "x" * 40,
        "mg-ABCD-" + "x" * 40,
        "MG-abcd-" + "x" * 40,
        "sk-abcd-" + "x" * 40,
        " mg-abcd-" + "x" * 40,
        "mg-abcd-" + "x" * 40 + "\n",
        "mg-abcd-" + "x" * 40 + "é",
        "mg-abcd-" + "x" * 20 + " " + "x" * 20,
    ],
)
def test_everything_else_is_no_key(text: str) -> None:
    assert parse_key(text) is None


def test_parts_do_not_show_their_secret() -> None:
    parts = KeyParts("abcd", "hidden")
    assert repr(parts) == str(parts) == "KeyParts('abcd', ***)"


# Files


def test_a_key_is_made_once_and_kept_where_only_its_owner_can_read(tmp_path: Path) -> None:
    file = tmp_path / "new" / "demo.key"
    key = key_in(file)
    assert parse_key(key)
    assert file.read_text() == f"{key}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key_in(file) == key


def test_a_file_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("something else")
    with pytest.raises(ValueError, match="does not hold a key"):
        key_in(file)
    assert file.read_text() == "something else"


# The command


def test_the_command_shows_a_new_key_each_time() -> None:
    runner = CliRunner()
    first, second = (runner.invoke(commands, ["generate"]).output.strip() for _ in range(2))
    assert parse_key(first)
    assert parse_key(second)
    assert first != second


def test_with_a_file_it_shows_the_key_in_it(tmp_path: Path) -> None:
    runner, file = CliRunner(), tmp_path / "demo.key"
    first, second = (runner.invoke(commands, ["generate", "--file", str(file)]).output for _ in range(2))
    assert first == second == file.read_text()


def test_with_a_file_of_somebody_else_s_it_fails_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("something else")
    result = CliRunner().invoke(commands, ["generate", "--file", str(file)])
    assert result.exit_code == 1
    assert "does not hold a key" in result.output
    assert "something else" not in result.output
    assert not isinstance(result.exception, ValueError)
