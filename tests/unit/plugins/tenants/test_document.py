from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from gateway.contracts.keys import generate_key, parse_key
from gateway.errors import InvalidRequest
from plugins.tenants import document

KEY = generate_key("abcd1234")
ENVIRONMENT = {"CI_KEY": KEY, "BAD_KEY": "mg-short-very-private"}


def read(text: str) -> object:
    return document.parse(textwrap.dedent(text), ENVIRONMENT)


def faults(text: str) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        read(text)
    return caught.value.message.splitlines()


def test_a_file_says_what_it_looks_like() -> None:
    found = document.parse(
        textwrap.dedent("""
        tenants:
          - name: acme
            share: 2
            expires_at: 2027-01-31
            metadata: {since: "2024"}
            limits:
              - {name: minute, dimension: requests, amount: 600, every: minute, burst: 1000}
            teams:
              - name: search
                expires_at: 2027-01-31T18:00:00+02:00
                keys: [{name: ci, secret_env: CI_KEY, expires_at: 1800000000}]
        """),
        ENVIRONMENT,
    )
    [acme] = found.tenants
    [search] = acme.teams
    parts = parse_key(KEY)
    assert parts is not None
    assert (acme.share, acme.expires_at, acme.limits[0].burst) == (2.0, 1_801_353_600, 1000)
    assert (search.expires_at, search.keys[0].expires_at) == (1_801_411_200, 1_800_000_000)
    assert (search.keys[0].id, search.keys[0].sha256, search.keys[0].secret_env) == (
        "abcd1234",
        parts.digest.hex(),
        None,
    )
    assert parts.secret not in repr(found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("tenants: [", [r"not valid YAML: "]),
        ("- a", [r"the file: Expected `object`, got `array` (line 1)"]),
        ("", [r"the file: Object missing required field `tenants`"]),
        ("tenant: []", ["the file: Object contains unknown field `tenant` (line 1)"]),
        ("tenants: 5", ["tenants: Expected `array`, got `int` (line 1)"]),
        (
            """\
            tenants:
              - name: acme
                shares: 2
              - name: b c
              - name: fine
                teams:
                  - name: t
                    limits:
                      - {name: x, dimension: requests, amount: -5, every: day}
            """,
            [
                "tenants[0]: Object contains unknown field `shares` (line 2)",
                "tenants[1].name: Expected `str` matching regex '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' (line 4)",
                "tenants[2].teams[0].limits[0].amount: Expected `float` > 0.0 (line 9)",
            ],
        ),
        (
            """\
            tenants:
              - name: a
                limits:
                  - {name: x, dimension: requests, amount: 5}
                  - {name: x, dimension: concurrent_calls, amount: 1.5, every: day, burst: 2}
                  - {name: z, dimension: cost, amount: .inf, every: day}
                  - {name: q, dimension: cost, amount: 1, every: second, window: calendar, burst: 3, time_zone: Mars/One}
              - {name: a}
            """,
            [
                "tenants[1].name: 'a' stands twice (line 8)",
                "tenants[0].limits[1].name: 'x' stands twice (line 5)",
                "tenants[0].limits[0].every: missing; it must be one of second, minute, hour, day, month (line 4)",
                "tenants[0].limits[1].amount: must be a whole number (line 5)",
                "tenants[0].limits[1].every: concurrent_calls are counted while they last; they have no `every` (line 5)",
                "tenants[0].limits[1].burst: concurrent_calls have no `burst` (line 5)",
                "tenants[0].limits[2].amount: must be finite (line 6)",
                "tenants[0].limits[3].burst: a calendar window has no `burst` (line 7)",
                "tenants[0].limits[3].every: a calendar window is an hour, a day or a month (line 7)",
                "tenants[0].limits[3].time_zone: no time zone is called 'Mars/One' (line 7)",
            ],
        ),
        ("tenants: [{name: a, name: b}]", ["tenants[0].name: stands twice (line 1)"]),
        (
            "tenants: [{name: a, expires_at: soon}]",
            ["tenants[0].expires_at: expected a date such as 2027-01-31 or 2027-01-31T18:00:00Z (line 1)"],
        ),
        (
            "tenants: [{name: a, keys: [{name: k, secret_env: NOT_SET}]}]",
            ["tenants[0].keys[0].secret_env: environment variable NOT_SET is not set"],
        ),
        (
            "tenants: [{name: a, keys: [{name: k, secret_env: BAD_KEY}]}]",
            ["tenants[0].keys[0].secret_env: BAD_KEY holds no key of the form mg-<public id>-<secret>"],
        ),
        (
            "tenants: [{name: a, keys: [{name: k, secret_env: CI_KEY}, {name: l, secret_env: CI_KEY}]}]",
            ["tenants[0].keys[1].id: is the id of tenants[0].keys[0] as well"],
        ),
        (
            "tenants: [{name: a, keys: [{name: k, secret_env: CI_KEY, id: abcd}]}]",
            ["tenants[0].keys[0].secret_env: stands beside `id` and `sha256`; one of the two ways will do (line 1)"],
        ),
        (
            "tenants: [{name: a, scopes: [root]}]",
            ["tenants[0].scopes[0]: Invalid enum value 'root' (line 1)"],
        ),
        (
            "tenants: [{name: a, metadata: {k: 5}}]",
            ["tenants[0].metadata.*: Expected `str`, got `int` (line 1)"],
        ),
        (
            "tenants: [{name: !!python/object:os.system x}]",
            ["tenants[0].name: is of a YAML type that is not allowed here (line 1)"],
        ),
    ],
)  # fmt: skip
def test_every_fault_is_named_with_its_path_and_its_line(text: str, found: list[str]) -> None:
    told = faults(text)
    assert len(told) == len(found)
    assert all(line.startswith(expected) for line, expected in zip(told, found, strict=True)), told
    assert "very-private" not in " ".join(told)


def test_aliases_of_aliases_end_early() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert faults("\n".join(levels)) == ["over 1000000 values, or nested deeper than 16 levels"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"nowhere\.yaml: cannot be read"):
        document.read(tmp_path / "nowhere.yaml", ENVIRONMENT)
    (tmp_path / "raw").write_bytes(b"\xff")
    with pytest.raises(InvalidRequest, match=r"raw: not UTF-8 at byte 0"):
        document.read(tmp_path / "raw", ENVIRONMENT)
