"""Who may import whom: the contracts of `.importlinter`, and the places of libraries that only some files should know."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGES, ROOT, imported, package_files, text, tree, users_of


def test_the_import_contracts_hold() -> None:
    program = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_the_contracts_are_about_all_four_packages() -> None:
    parser = configparser.ConfigParser()
    parser.read_string(text(".importlinter"))
    assert sorted(parser["importlinter"]["root_packages"].split()) == sorted(PACKAGES)
    contracts = [
        parser[section]["name"] for section in parser.sections() if section.startswith("importlinter:contract")
    ]
    assert len(contracts) == len(set(contracts)) >= 8


def test_no_contract_has_an_exception() -> None:
    assert "ignore_imports" not in text(".importlinter")


def test_every_part_of_the_core_has_its_layer() -> None:
    """A module that no layer names is bound by none."""
    parser = configparser.ConfigParser()
    parser.read_string(text(".importlinter"))
    layers = parser["importlinter:contract:core-layers"]["layers"].replace(":", " ").split()
    parts = {
        "/".join(name.split("/")[:2]).removesuffix(".py") for name in package_files() if name.startswith("gateway/")
    }
    assert {part.replace("/", ".") for part in parts} - set(layers) == {"gateway.__init__"}


LIBRARIES = {
    "pluggy": {"gateway/hookspecs.py", "gateway/plugin_manager.py"},
    "httptools": {"gateway/upstream/"},
    "yaml": {
        "gateway/config_file.py",
        "plugins/tenants/document.py",
        "policies/attribution/model_licence/record_files.py",
    },
    "uvicorn": {"gateway/app.py", "gateway/http/protocol.py"},
    "uvloop": {"gateway/cli/opening.py", "gateway/cli/serve.py"},
    "prometheus_client": {"plugins/prometheus/__init__.py", "plugins/prometheus/collectors.py"},
    "typer": {"gateway/cli/", "plugins/", "policies/admission/quotas/", "policies/attribution/model_licence/"},
    "httpx": {
        "backends/",
        "gateway/cli/opening.py",
        "gateway/composition/runtime.py",
        "gateway/fleet/health.py",
        "plugins/discovery_kubernetes/api.py",
        "plugins/engine_verify/",
        "plugins/experiments/compare/",
        "plugins/oidc/",
        "policies/attribution/model_licence/evidence.py",
    },
    "dns": {"plugins/discovery_dns/source.py"},
    "litestar": {
        "gateway/composition/runtime.py",
        "gateway/http/",
        "plugins/",
        "policies/admission/quotas/",
        "policies/attribution/model_licence/admin_routes.py",
        "policies/attribution/model_licence/routes.py",
    },
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_known_where_it_belongs_and_nowhere_else(library: str) -> None:
    users = users_of(library, package_files())
    assert users, f"nobody uses {library}"
    assert {name for name in users if not name.startswith(tuple(LIBRARIES[library]))} == set()


def test_a_plugin_that_knows_litestar_gives_routes() -> None:
    plugins = [name for name in package_files() if name.startswith("plugins/")]
    for name in users_of("litestar", plugins):
        folder = "/".join(Path(name).parent.parts[:2])
        siblings = [name] if folder == "plugins" else [each for each in plugins if each.startswith(folder)]
        assert any("def moegate_routes" in text(each) for each in siblings), name


def test_hooks_are_called_at_start_up_and_by_nobody_else() -> None:
    """pluggy is for registering. What calls a hook builds the registry or the command line; neither is on a call's way."""
    callers = {
        name for name in package_files() if {"gateway.registry.call_hook", "gateway.hookspecs"} & imported(tree(name))
    }
    assert callers == {"gateway/cli/__init__.py", "gateway/plugin_manager.py", "gateway/__init__.py"}


def test_importing_the_authoring_surface_starts_no_server() -> None:
    """What a stranger's tests import must be light: no web framework, no server, no configuration file."""
    code = "import sys, gateway; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"litestar", "uvicorn", "uvloop", "yaml", "httptools"} & set(done.stdout.split()) == set()
