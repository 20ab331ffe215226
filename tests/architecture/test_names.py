"""What can be seen from outside carries the product's name; what must not be seen outside of a machine stands in no file."""

from __future__ import annotations

import ast
import re
import tomllib

import pytest

from gateway.hookspecs import PROJECT
from gateway.plugin_manager import ENTRY_POINT_GROUP
from tests.architecture.sources import ROOT, files, package_files, python_files, strings, text, tree

# Names that others have given: we read or write them because the world expects them.
STANDARD_HEADERS = {"x-request-id", "x-api-key", "x-accel-buffering", "x-should-retry", "x-session-id"}
STANDARD_HEADERS |= {
    f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")
}
METRIC_MAKERS = {"counter", "gauge", "histogram", "GaugeMetricFamily", "CounterMetricFamily"}

# In pieces, so that this file is not among those that it finds.
REGISTRY_HOSTS = ["pypi" + ".org", "python" + "hosted.org", "registry.npm" + "js.org", "download.py" + "torch.org"]
INDEX_OPTIONS = ["--index" + "-url", "--extra-index" + "-url", "--find" + "-links http", "index" + "_url"]
HOME_FOLDERS = r"(?<![\w.~$}])/(?:" + "|".join(["ro" + "ot", "ho" + r"me/\w+", "Us" + r"ers/\w+"]) + r")/\w"


def test_headers_of_ours_say_whose_they_are() -> None:
    found = {value for name in package_files() for value in strings(tree(name)) if re.fullmatch(r"x-[a-z0-9-]+", value)}
    assert "x-moegate-call-id" in found
    assert {value for value in found if not value.startswith("x-moegate-")} == STANDARD_HEADERS & found


def environment_names(module: ast.Module) -> set[str]:
    """Names in capitals with an underscore, as environment variables have them."""
    return {value for value in strings(module) if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", value)}


def test_environment_variables_of_ours_say_whose_they_are() -> None:
    # What an engine is started with is in the engine's words.
    ours = [name for name in package_files() if not name.startswith("backends/launchers/")]
    found = {value for name in ours for value in environment_names(tree(name))}
    assert "MOEGATE_ENGINES_DIR" in found
    assert {value for value in found if not value.startswith("MOEGATE_")} == set()


def test_metrics_say_whose_they_are() -> None:
    names: list[str] = []
    for file in package_files():
        for node in ast.walk(tree(file)):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if isinstance(node, ast.Call) and called in METRIC_MAKERS:
                name = node.args[0]
                # A family that shows what was made elsewhere has that one's name.
                if isinstance(name, ast.Constant):
                    names.append(str(name.value))
    assert {"moegate_calls", "moegate_replica_in_flight", "moegate_quota_admitted"} <= set(names)
    assert {name for name in names if not re.fullmatch(r"moegate(_[a-z]+)+", name)} == set()


def test_loggers_say_whose_they_are() -> None:
    for name in package_files():
        for logger in re.findall(r"get_logger\((.*?)\)", text(name)):
            assert re.fullmatch(r'"moegate\.[a-z_]+"', logger), name


def test_hooks_and_entry_points_say_whose_they_are() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    assert PROJECT == ENTRY_POINT_GROUP == project["name"] == "moegate"
    assert list(project["scripts"]) == ["moegate"]
    assert project["scripts"]["moegate"] == "gateway.cli:main"


# What stands in no file


@pytest.mark.parametrize("address", REGISTRY_HOSTS + INDEX_OPTIONS)
def test_no_file_names_a_package_registry(address: str) -> None:
    """Where packages come from is the machine's to say: a mirror, a cache, or nothing at all."""
    assert [name for name in files() if address in text(name)] == []


def test_no_file_holds_a_path_of_this_machine() -> None:
    found = {
        f"{name}: {match[0]}"
        for name in files()
        for match in re.finditer(f"{re.escape(str(ROOT))}|{HOME_FOLDERS}", text(name))
    }
    assert found == set()


def test_constraints_pin_every_dependency_and_name_no_address() -> None:
    pins = [line for line in text("constraints.txt").splitlines() if line.strip() and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.!+]+", line) for line in pins)
    pinned = {re.split("==", line)[0].lower().replace("_", "-") for line in pins}
    pyproject = tomllib.loads(text("pyproject.toml"))
    groups = pyproject["dependency-groups"]
    wanted = [*pyproject["project"]["dependencies"], *groups["test"], *groups["lint"]]
    assert {re.split(r"[>=<\[]", each)[0].lower() for each in wanted} - pinned == set()


def test_every_lint_exception_has_a_reason() -> None:
    """`# noqa` and `# type: ignore` in the product name a rule; a `noqa` says why as well."""
    for name in package_files():
        for line in text(name).splitlines():
            assert not re.search(r"#\s*noqa(?!: )", line), f"{name}: {line.strip()}"
            assert not re.search(r"#\s*type:\s*ignore(?!\[)", line), f"{name}: {line.strip()}"


def test_no_file_is_left_over() -> None:
    leftover = re.compile(r"(\.(orig|rej|bak|swp|pyc|log|db)|~|\.DS_Store)$")
    assert [name for name in files() if leftover.search(name)] == []
    assert python_files("gateway")
