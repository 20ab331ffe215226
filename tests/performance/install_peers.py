"""Installs the peers of the bench, each into its own folder; it starts none of them and touches no other one."""

import argparse
import fcntl
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.performance.peer_catalogue import PEERS, Peer, system_command


def say(text: str) -> None:
    """Print at once, also into a pipe: an install takes minutes and silence looks like a hang."""
    sys.stdout.write(f"[bench-peers] {text}\n")
    sys.stdout.flush()


@contextmanager
def only_installer(peer: Peer) -> Iterator[None]:
    """Let one process at a time install this peer; a second one waits and then finds the work done."""
    peer.folder.parent.mkdir(parents=True, exist_ok=True)
    with peer.folder.with_name(peer.folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def commands(peer: Peer) -> list[list[str]]:
    """What to run in the peer's folder, in order, until its command is there."""
    if peer.way == "pip":
        # A wheel where there is one: a peer that would have to be compiled here is reported, not built for half an hour.
        pip = ["bin/python", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--prefer-binary"]
        return [[sys.executable, "-m", "venv", "."], [*pip, peer.requirement]]
    if peer.way == "npm":
        # Scripts of packages stay off: none of what is measured needs one, and they run as whoever installs.
        quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--omit=dev", "--ignore-scripts"]
        wanted, *held = peer.requirement.split()
        # What follows the first is held at that version wherever it is needed, also below the package that was asked for.
        holds = [["npm", "pkg", "set", "overrides." + "=".join(each.rsplit("@", 1))] for each in held]
        return [["npm", "init", "--yes"], *holds, ["npm", "install", "--prefix", ".", *quiet, wanted]]
    if peer.way == "deb":
        unpack = 'for each in *.deb; do dpkg-deb -x "$each" . || exit 1; done'
        return [["apt-get", "download", *peer.requirement.split()], ["sh", "-c", unpack]]
    return []


def missing_tool(peer: Peer) -> str | None:
    """Name the package manager that this machine lacks."""
    tool = {"npm": "npm", "deb": "apt-get"}.get(peer.way)
    return tool if tool is not None and system_command(tool) is None else None


def run(peer: Peer) -> str | None:
    """Run the commands; why it did not work, or nothing."""
    for command in commands(peer):
        say(f"{peer.name}: {' '.join(Path(word).name if word == sys.executable else word for word in command)}")
        if subprocess.run(command, cwd=peer.folder, check=False).returncode != 0:
            hint = " (apt-get update first?)" if peer.way == "deb" else ""
            return f"{command[0]} failed{hint}"
    return None if peer.executable.exists() else f"the package brought no {peer.command!r}"


def install(peer: Peer) -> bool:
    """Install one peer unless it is there; True when it is usable afterwards, or never can be."""
    if peer.absent:
        say(f"{peer.name}: not installed, {peer.absent}")
        return True
    with only_installer(peer):
        if peer.installed:
            say(f"{peer.name} {peer.version}: already installed, {peer.executable}")
            return True
        lacking = missing_tool(peer)
        if lacking is not None:
            say(f"{peer.name}: FAILED, {lacking} is not on this machine; the bench will skip it and say so")
            return False
        if peer.folder.exists():
            say(f"{peer.name}: an unfinished install is removed first")
            shutil.rmtree(peer.folder)
        peer.folder.mkdir()
        started = time.monotonic()
        reason = run(peer)
        if reason is not None:
            say(f"{peer.name}: FAILED, {reason}; the bench will skip it and say so")
            return False
        peer.ready_file.write_text(peer.requirement + "\n")
        say(f"{peer.name} {peer.version}: ready after {time.monotonic() - started:.0f} s")
        return True


def main() -> int:
    """Install the peers that were asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[peer.name for peer in PEERS], action="append")
    wanted = parser.parse_args().only
    results = [install(peer) for peer in PEERS if wanted is None or peer.name in wanted]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
