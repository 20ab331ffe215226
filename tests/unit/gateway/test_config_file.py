from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway import config_file
from gateway.config_file import FromEnvironment, render
from gateway.errors import ConfigError


def content(text: str, **environment: str) -> Any:
    document = config_file.parse(text, environment)
    assert document.problems == ()
    return document.content


def problems(text: str, **environment: str) -> tuple[str, ...]:
    return config_file.parse(text, environment).problems


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config_file.parse(text, {})
    return caught.value.message


def test_plain_data_keeps_its_types() -> None:
    text = "a: 1\nb: 1.5\nc: yes\nd: null\ne: text\nf: [1, {g: h}]\n'8': 9"
    assert content(text) == {"a": 1, "b": 1.5, "c": True, "d": None, "e": "text", "f": [1, {"g": "h"}], "8": 9}


def test_an_empty_file_is_an_empty_mapping() -> None:
    assert content("") == {}
    assert content("# only a comment\n") == {}


def test_a_quoted_number_is_text() -> None:
    assert content("port: '8080'") == {"port": "8080"}
    assert type(content("port: '8080'")["port"]) is str


# Environment


def test_variables_are_replaced_wherever_they_stand_in_a_value() -> None:
    text = 'a: ${NAME}\nb: "x-${NAME}-y-${OTHER}"\nc: ["${NAME}"]'
    assert content(text, NAME="one", OTHER="two") == {"a": "one", "b": "x-one-y-two", "c": ["one"]}


def test_a_default_stands_in_for_a_variable_that_is_not_set() -> None:
    assert content("a: ${NAME:-8041}\nb: ${NAME:-}\nc: ${SET:-no}", SET="yes") == {"a": "8041", "b": "", "c": "yes"}


def test_an_empty_variable_is_set() -> None:
    assert content("a: x${NAME:-default}", NAME="") == {"a": "x"}


def test_what_the_environment_gave_is_marked() -> None:
    found = content('a: "${NAME}"\nb: "plain"', NAME="1")
    assert isinstance(found["a"], FromEnvironment)
    assert not isinstance(found["b"], FromEnvironment)


def test_a_value_from_the_environment_is_not_read_again() -> None:
    assert content("a: ${NAME}", NAME="${OTHER} [1, 2]", OTHER="no") == {"a": "${OTHER} [1, 2]"}


def test_keys_are_not_replaced() -> None:
    assert content("'${NAME}': 1", NAME="x") == {"${NAME}": 1}


def test_every_missing_variable_is_a_problem_with_its_place() -> None:
    text = "a: ${ONE}\nb:\n  - c: ${TWO} and ${THREE}\n"
    assert problems(text) == (
        "a: environment variable ONE is not set (line 1)",
        "b[0].c: environment variable TWO is not set (line 3)",
        "b[0].c: environment variable THREE is not set (line 3)",
    )


@pytest.mark.parametrize("text", ["a: $NAME", "a: ${}", "a: ${1X}", "a: '${NAME'", "a: '$(NAME)'"])
def test_what_only_looks_like_a_variable_stays(text: str) -> None:
    assert content(text, NAME="no")["a"] == text.removeprefix("a: ").strip("'")


# Lines and places


def test_every_value_has_a_line() -> None:
    document = config_file.parse("a:\n  b: 1\n  c:\n    - 2\n    - d: 3\n", {})
    assert document.lines[("a",)] == 1
    assert document.lines[("a", "b")] == 2
    assert document.lines[("a", "c", 1)] == 5
    assert document.lines[("a", "c", 1, "d")] == 5


def test_a_problem_names_the_line_of_the_nearest_thing_that_stands_in_the_file() -> None:
    document = config_file.parse("a:\n  b: 1\n", {})
    assert document.problem(("a", "b"), "wrong") == "a.b: wrong (line 2)"
    assert document.problem(("a", "absent", 3), "missing") == "a.absent[3]: missing (line 1)"


@pytest.mark.parametrize(
    ("path", "shown"), [((), "the file"), (("a", 0, "b", 1), "a[0].b[1]"), ((0, "a"), "[0].a"), (("a.b",), "a.b")]
)
def test_a_path_is_written_as_people_do(path: tuple[str | int, ...], shown: str) -> None:
    assert render(path) == shown


# Aliases, and what makes them dangerous


def test_an_alias_stands_for_what_it_names() -> None:
    assert content("a: &x {b: 1}\nc: *x") == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize("text", ["a: &x [*x]", "a: &x {b: *x}", "&x [1, [*x, *x]]"])
def test_an_alias_that_holds_itself_is_refused(text: str) -> None:
    assert "nested deeper than 32 levels" in refusal(text)


def test_aliases_of_aliases_cannot_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "over 100000 values" in refusal("\n".join(lines))


@pytest.mark.parametrize("depth", [34, 500])
def test_nesting_without_end_is_refused(depth: int) -> None:
    assert "nested deeper than 32 levels" in refusal("[" * depth + "]" * depth)


def test_reasonable_nesting_is_not() -> None:
    assert content("[" * 30 + "]" * 30)


# What is not YAML, and YAML that is not plain data


def test_a_key_that_stands_twice_is_a_problem_and_not_the_last_one_s_victory() -> None:
    assert problems("a: 1\nb:\n  c: 1\n  c: 2\n") == ("b.c: stands twice (line 4)",)


@pytest.mark.parametrize(
    ("text", "line"), [("a: [1\n", "line 2"), ("a: 1\n b: 2\n", "line 2"), ("a: 'x\n", "line 2"), ("\ta: 1", "line 1")]
)
def test_broken_yaml_is_refused_with_its_line(text: str, line: str) -> None:
    assert refusal(text).startswith("not valid YAML: ")
    assert line in refusal(text)


def test_a_second_document_is_refused() -> None:
    assert "another document" in refusal("a: 1\n---\nb: 2\n")


def test_a_control_character_is_refused() -> None:
    assert refusal("a: \x00").startswith("not valid YAML: ")


@pytest.mark.parametrize(
    "value",
    ["!!python/name:os.system x", "!mine x", "!!bool perhaps", "!!int ''", "!!float x", "!!timestamp x", "2024-99-99"],
)
def test_a_value_of_a_type_that_settings_do_not_know_is_a_problem(value: str) -> None:
    assert problems(f"ok: 1\na: {value}") == ("a: is of a YAML type that is not allowed here (line 2)",)


def test_a_key_that_is_not_text_is_a_problem() -> None:
    assert problems("a:\n  ? [b, c]\n  : 1\n") == ("a: holds a key that is not plain text (line 2)",)


# Files


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "moegate.yaml"
    file.write_text("a: ${NAME}")
    assert config_file.read(file, {"NAME": "ü"}).content == {"a": "ü"}


def test_the_process_s_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "moegate.yaml"
    file.write_text("a: ${MOEGATE_TEST_VALUE}")
    monkeypatch.setenv("MOEGATE_TEST_VALUE", "set later than the import")
    assert config_file.read(file).content == {"a": "set later than the import"}


@pytest.mark.parametrize(
    ("name", "raw", "fault"),
    [
        ("absent.yaml", None, "No such file or directory"),
        ("latin.yaml", b"a: caf\xe9", "not UTF-8 at byte 6"),
        ("long.yaml", b"#" * (config_file.MAX_FILE_BYTES + 1), "longer than"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, raw: bytes | None, fault: str) -> None:
    file = tmp_path / name
    if raw is not None:
        file.write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        config_file.read(file, {})
    assert name in caught.value.message
    assert fault in caught.value.message


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        config_file.read(tmp_path, {})
