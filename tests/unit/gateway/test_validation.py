from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from gateway import Secret, config_file
from gateway.validation import INVALID, Validator, readable


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Item(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`size` has a bound that only `__post_init__` knows."""

    name: str
    size: int = 1

    def __post_init__(self) -> None:
        if self.size == 13:
            raise ValueError("size must not be 13")


class Example(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One field of every kind that settings use."""

    port: Annotated[int, Meta(ge=1, le=65_535)] = 8080
    on: bool = False
    ratio: Annotated[float, Meta(gt=0)] = 1.0
    name: Annotated[str, Meta(pattern="^[a-z]+$")] = "x"
    perhaps: int | None = None
    either: int | str = 1
    mode: Literal["fast", "slow"] = "fast"
    colour: Colour = Colour.RED
    secret: Secret | None = None
    folder: Path = msgspec.field(default_factory=Path)
    item: Item | None = None
    items: list[Item] = []
    some: Annotated[list[Item], Meta(min_length=1)] | None = None
    numbers: tuple[int, ...] = ()
    names: frozenset[str] = frozenset()
    matrix: list[list[int]] = []
    by_name: dict[str, Item] = {}
    anything: dict[str, Any] = {}


def build(text: str, wanted: type[Struct] = Example, **environment: str) -> tuple[Any, list[str]]:
    document = config_file.parse(text, environment)
    validator = Validator(document)
    return validator.struct(document.content, wanted, ()), validator.problems


def value_of(text: str, **environment: str) -> Any:
    built, problems = build(text, **environment)
    assert problems == []
    return getattr(built, text.partition(":")[0])


def problem_of(text: str, **environment: str) -> str:
    _, problems = build(text, **environment)
    assert len(problems) == 1, problems
    return problems[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("port: 1", 1),
        ("on: yes", True),
        ("ratio: 2", 2.0),
        ("perhaps: null", None),
        ("perhaps: 3", 3),
        ("either: 1", 1),
        ("either: one", "one"),
        ("mode: slow", "slow"),
        ("colour: blue", Colour.BLUE),
        ("folder: a/b", Path("a/b")),
        ("item: {name: a}", Item(name="a")),
        ("items: [{name: a}, {name: b, size: 2}]", [Item(name="a"), Item(name="b", size=2)]),
        ("some: [{name: a}]", [Item(name="a")]),
        ("numbers: [1, 2]", (1, 2)),
        ("names: [a, b, a]", frozenset({"a", "b"})),
        ("matrix: [[1], [], [2, 3]]", [[1], [], [2, 3]]),
        ("by_name: {x: {name: a}}", {"x": Item(name="a")}),
        ("anything: {a: [1, {b: c}]}", {"a": [1, {"b": "c"}]}),
    ],
)
def test_a_good_value_is_converted(text: str, value: object) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("port: x", "port: expected a whole number, got text (line 1)"),
        ("port: '8080'", "port: expected a whole number, got text (line 1)"),
        ("port: 1.5", "port: expected a whole number, got a number (line 1)"),
        ("port: true", "port: expected a whole number, got true or false (line 1)"),
        ("port: null", "port: expected a whole number, got nothing (line 1)"),
        ("port: 0", "port: expected a whole number >= 1 (line 1)"),
        ("port: 65536", "port: expected a whole number <= 65535 (line 1)"),
        ("on: 1", "on: expected true or false, got a whole number (line 1)"),
        ("ratio: fast", "ratio: expected a number, got text (line 1)"),
        ("ratio: 0", "ratio: expected a number > 0.0 (line 1)"),
        ("ratio: .nan", "ratio: expected a number > 0.0 (line 1)"),
        ("name: ABC", "name: expected text matching regex '^[a-z]+$' (line 1)"),
        ("perhaps: x", "perhaps: expected a whole number, got text (line 1)"),
        ("either: 1.5", "either: expected a whole number or text, got a number (line 1)"),
        ("mode: medium", "mode: expected 'fast' or 'slow' (line 1)"),
        ("mode: 1", "mode: expected 'fast' or 'slow', got a whole number (line 1)"),
        ("colour: green", "colour: expected 'red' or 'blue' (line 1)"),
        ("folder: 7", "folder: expected a path, got a whole number (line 1)"),
        ("item: a", "item: expected a mapping, got text (line 1)"),
        ("items: {name: a}", "items: expected a list, got a mapping (line 1)"),
        ("some: []", "some: expected a list of length >= 1 (line 1)"),
        ("some: [{name: 1}]", "some[0].name: expected text, got a whole number (line 1)"),
        ("matrix: [[1], [1, x]]", "matrix[1][1]: expected a whole number, got text (line 1)"),
        ("by_name: {x: {name: 1}}", "by_name.x.name: expected text, got a whole number (line 1)"),
        ("item: {}", "item.name: missing; it must be text (line 1)"),
        ("item: {name: a, size: 13}", "item: size must not be 13 (line 1)"),
        ("prot: 1", "prot: unknown setting; did you mean 'port'? (line 1)"),
        ("item: {name: a, szie: 1}", "item.szie: unknown setting; did you mean 'size'? (line 1)"),
        ("item: {name: a, zzz: 1}", "item.zzz: unknown setting; known: name, size (line 1)"),
        ("[1]", "the file: expected a mapping, got a list (line 1)"),
        ("text", "the file: expected a mapping, got text (line 1)"),
    ],
)
def test_a_bad_value_is_named_with_its_path_its_kind_and_its_line(text: str, problem: str) -> None:
    assert problem_of(text) == problem


def test_every_problem_is_found_at_once_in_the_order_of_the_file() -> None:
    text = """\
    prot: 1
    on: perhaps
    item: {szie: 1}
    items:
      - 1
      - {name: 2, size: x}
      - {name: fine}
    secret: [a]
    """
    _, problems = build(text)
    assert [problem.partition(":")[0] for problem in problems] == [
        "prot",
        "on",
        "secret",
        "item.szie",
        "item.name",
        "items[0]",
        "items[1].name",
        "items[1].size",
    ]
    assert "(line 6)" in problems[-1]


def test_what_is_wrong_with_the_text_itself_is_in_the_list_too() -> None:
    _, problems = build("port: ${UNSET}\nport: 1\nmode: x")
    assert [problem.partition(":")[0] for problem in problems] == ["port", "port", "mode"]


@pytest.mark.parametrize(
    "text",
    ["port: ${UNSET}", "item: {name: '${UNSET}'}", "some: ['${UNSET}']", "anything: {a: '${UNSET}'}", "port: !!int ''"],
)
def test_what_could_not_be_read_is_one_problem_and_not_two(text: str) -> None:
    document = config_file.parse(text, {})
    validator = Validator(document)
    assert validator.extension_settings(document.content, Example, ()) is INVALID
    assert len(validator.problems) == 1


# Salvage: what can be read of a faulty file is read, so that what depends on it can be checked as well


def test_a_faulty_optional_setting_takes_its_default() -> None:
    built, problems = build("port: x\nmode: slow")
    assert (built.port, built.mode) == (8080, "slow")
    assert len(problems) == 1


def test_a_faulty_list_item_keeps_its_place() -> None:
    built, problems = build("items: [{name: a}, 1, {name: b}]")
    assert list(readable(built.items)) == [(0, Item(name="a")), (2, Item(name="b"))]
    assert built.items[1] is INVALID
    assert len(problems) == 1


def test_without_a_required_setting_there_is_nothing() -> None:
    built, _ = build("item: {size: 1}")
    assert built.item is None
    document = config_file.parse("size: 1", {})
    assert Validator(document).struct(document.content, Item, ()) is INVALID


@pytest.mark.parametrize("text", ["name: a\nszie: 1", "name: a\nsize: x", "size: 1"])
def test_an_extension_gets_settings_that_are_wholly_right_or_none(text: str) -> None:
    document = config_file.parse(text, {})
    validator = Validator(document)
    assert validator.extension_settings(document.content, Item, ()) is INVALID
    assert len(validator.problems) == 1


def test_an_earlier_problem_elsewhere_does_not_spoil_good_settings() -> None:
    document = config_file.parse("name: a", {})
    validator = Validator(document)
    validator.problem(("elsewhere",), "is wrong")
    assert validator.extension_settings(document.content, Item, ()) == Item(name="a")


class Checked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Its own check looks into its items, as a stranger's settings may."""

    items: list[Item]

    def __post_init__(self) -> None:
        if any(item.name.startswith("_") for item in self.items):
            raise ValueError("a name starts with _")


def test_a_check_that_stumbles_over_a_faulty_item_adds_nothing() -> None:
    built, problems = build("items: [{name: a}, {name: 1}]", Checked)
    assert built is INVALID
    assert problems == ["items[1].name: expected text, got a whole number (line 1)"]


def test_a_check_that_crashes_by_itself_is_a_problem() -> None:
    class Crashes(Struct):
        def __post_init__(self) -> None:
            raise KeyError("inside")

    assert build("{}", Crashes)[1] == ["the file: cannot be checked: KeyError('inside') (line 1)"]


# The environment


@pytest.mark.parametrize(
    ("text", "given", "value"),
    [
        ("port: ${X}", "443", 443),
        ("ratio: ${X}", "0.5", 0.5),
        ("on: ${X}", "true", True),
        ("on: ${X}", "0", False),
        ("name: ${X}", "abc", "abc"),
        ("perhaps: ${X}", "7", 7),
        ("mode: ${X}", "slow", "slow"),
        ("folder: ${X}", "a/b", Path("a/b")),
        ("numbers: ['${X}', 2]", "1", (1, 2)),
        ("some: [{name: '${X}', size: '${X}'}]", "1", [Item(name="1", size=1)]),
        ("by_name: {x: {name: a, size: '${X}'}}", "4", {"x": Item(name="a", size=4)}),
    ],
)
def test_a_value_from_the_environment_may_stand_for_a_number_or_a_truth(text: str, given: str, value: object) -> None:
    assert value_of(text, X=given) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("port: ${X}", "port: expected a whole number, got text (line 1)"),
        ("on: ${X}", "on: expected true or false, got text (line 1)"),
        ("items: ${X}", "items: expected a list, got text (line 1)"),
        ("item: ${X}", "item: expected a mapping, got text (line 1)"),
        ("mode: ${X}", "mode: expected 'fast' or 'slow' (line 1)"),
    ],
)
def test_a_value_from_the_environment_must_still_fit(text: str, problem: str) -> None:
    assert problem_of(text, X="hunter2") == problem


def test_the_environment_cannot_go_beyond_a_bound() -> None:
    assert problem_of("port: ${X}", X="70000") == "port: expected a whole number <= 65535 (line 1)"
