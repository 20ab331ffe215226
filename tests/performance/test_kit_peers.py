"""Checks how peers are named, installed and reported; it installs none and starts none but what is here."""

import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from tests.performance.install_peers import commands, install
from tests.performance.measure import QUICK, Figures
from tests.performance.peer_catalogue import PEERS, Peer, peer
from tests.performance.peers_gateways import bifrost, portkey
from tests.performance.peers_proxies import nginx
from tests.performance.report import Results, markdown
from tests.performance.starters import STARTERS, USUAL
from tests.performance.targets import Place, UnavailableError, installed, launch
from tests.support.scripted_engine.process import ScriptedEngine, scripted_engine

WAYS = {"pip", "npm", "deb", "none"}
MACHINE = {"cpu": "a CPU", "cores": 2, "kernel": "6", "python": "3", "moegate_commit": "c", "load_average_before": 0}


def test_every_peer_can_be_started_and_says_how_it_is_installed() -> None:
    """A peer is a line in the catalogue and a starter, and only one that cannot be had gives a reason."""
    assert {entry.name for entry in PEERS} <= set(STARTERS)
    assert {entry.way for entry in PEERS} <= WAYS
    assert all(bool(entry.absent) == (entry.way == "none") for entry in PEERS)
    assert all(entry.version in entry.requirement for entry in PEERS if entry.way in {"pip", "npm"})
    assert "moegate" in USUAL
    assert "moegate-bare" not in USUAL


def test_pip_goes_into_an_environment_of_its_own() -> None:
    """First the environment, then the pinned requirement, wheels where there are any."""
    environment, pip = commands(peer("smg"))
    assert environment == [sys.executable, "-m", "venv", "."]
    assert pip[0] == "bin/python"
    assert pip[-2:] == ["--prefer-binary", "smg==1.13.0"]


def test_npm_installs_here_runs_no_scripts_and_holds_back_what_was_said() -> None:
    """What follows the first requirement is an override, because it is wanted below the package too."""
    each = commands(Peer("p", "1.2.3", "@some/gateway@1.2.3 @other/server@4.5.6", "gateway", "npm"))
    assert each[0] == ["npm", "init", "--yes"]
    assert each[1] == ["npm", "pkg", "set", "overrides.@other/server=4.5.6"]
    assert each[2][:4] == ["npm", "install", "--prefix", "."]
    assert "--ignore-scripts" in each[2]
    assert each[2][-1] == "@some/gateway@1.2.3"


def test_debian_packages_are_downloaded_and_unpacked_not_installed() -> None:
    """Nothing of the system is touched, so no root is needed."""
    download, unpack = commands(peer("haproxy"))
    assert download[:3] == ["apt-get", "download", "haproxy"]
    assert "dpkg-deb -x" in unpack[-1]


def test_a_peer_that_cannot_be_had_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """The installer says why, and goes on."""
    assert install(peer("bifrost"))
    assert "downloads the gateway" in capsys.readouterr().out


def test_where_commands_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each package manager puts them elsewhere, and an install that was cut short counts as none."""
    monkeypatch.setenv("MOEGATE_ENGINES_DIR", str(tmp_path))
    assert peer("smg").executable == tmp_path / "peers/smg-1.13.0/bin/smg"
    assert peer("portkey").executable.is_relative_to(tmp_path / "peers/portkey-1.15.2/node_modules")
    unpacked = tmp_path / "peers/nginx-debian/usr/sbin/nginx"
    unpacked.parent.mkdir(parents=True)
    unpacked.touch()
    assert peer("nginx").executable == unpacked
    with pytest.raises(UnavailableError, match="make bench-peers"):
        installed("smg")
    smg = peer("smg")
    smg.folder.mkdir(parents=True)
    smg.ready_file.write_text("smg==0.0.1\n")
    assert not smg.installed
    smg.ready_file.write_text(smg.requirement + "\n")
    assert smg.installed


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    """An engine with a second address."""
    with scripted_engine("--more-ports", "1") as running:
        yield running


def test_more_ports_are_the_same_engine(engine: ScriptedEngine, tmp_path: Path) -> None:
    """A target sees two replicas, and the engine counts the calls of both."""
    place = Place(engine, tmp_path, others=engine.more_urls)
    assert len(set(place.addresses)) == 2


def test_a_server_that_does_not_start_shows_its_last_words(engine: ScriptedEngine, tmp_path: Path) -> None:
    """The reason of a skip is what the process said."""
    words = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with pytest.raises(UnavailableError, match="it ended: no such model"):
        launch(Place(engine, tmp_path), words, 1, "/health")


def test_why_a_target_is_skipped_stands_on_the_page(engine: ScriptedEngine, tmp_path: Path) -> None:
    """Those that cannot be had, and those that cannot do what is asked."""
    results = Results("a date", QUICK, MACHINE, pinned=False)
    results.rounds["direct"] = [Figures(**dict.fromkeys((each.name for each in fields(Figures)), 1))]
    for name, starter in {"bifrost": bifrost, "portkey": portkey}.items():
        with pytest.raises(UnavailableError) as reason:
            starter(Place(engine, tmp_path, others=engine.more_urls))
        results.skipped[name] = str(reason.value)
    page = markdown(results)
    assert "- bifrost: SKIPPED, its npm package holds a script that downloads" in page
    assert "- portkey: SKIPPED" in page


def test_careful_targets_keep_their_care(
    engine: ScriptedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is asked what happens when an engine hangs, nobody's health checks are off."""
    said: list[str] = []

    def no_launch(_place: Place, command: list[str], *_rest: object) -> None:
        said.append(" ".join(command))
        raise UnavailableError("not now")

    monkeypatch.setenv("MOEGATE_ENGINES_DIR", str(tmp_path))
    for name in ("vllm-router", "sglang-router", "smg"):
        peer(name).folder.mkdir(parents=True)
        peer(name).ready_file.write_text(peer(name).requirement + "\n")
    monkeypatch.setattr("tests.performance.peers_routers.launch", no_launch)
    place = Place(engine, tmp_path, others=engine.more_urls)
    for name in ("vllm-router", "sglang-router", "smg"):
        for each in (place, replace(place, careful=True)):
            with pytest.raises(UnavailableError):
                STARTERS[name](each)
    cheap, careful = said[::2], said[1::2]
    assert all("--disable-retries" in each and "round_robin" in each for each in cheap)
    assert not any("--disable-retries" in each or "--disable-health-check" in each for each in careful)
    assert all(all(url in each for url in place.urls) for each in said)


def test_the_floor_writes_nothing_outside_its_folder(
    engine: ScriptedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its configuration names every engine, and no path but its own."""
    monkeypatch.setenv("MOEGATE_ENGINES_DIR", str(tmp_path / "engines"))
    binary = peer("nginx").executable
    monkeypatch.setattr("tests.performance.peers_proxies.installed", lambda _: peer("nginx"))

    def no_launch(*_: object) -> None:
        raise UnavailableError("not now")

    monkeypatch.setattr("tests.performance.peers_proxies.launch", no_launch)
    with pytest.raises(UnavailableError):
        nginx(Place(engine, tmp_path, others=engine.more_urls))
    config = (tmp_path / "nginx.conf").read_text()
    assert str(binary) not in config
    assert "/var" not in config
    assert all(address in config for address in Place(engine, tmp_path, others=engine.more_urls).addresses)
