"""Installs the peers of the bench, each into its own environment; it starts none of them and touches no other one."""

import argparse
import fcntl
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager

from tests.performance.peer_catalogue import PEERS, Peer


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


def install(peer: Peer) -> bool:
    """Install one peer unless it is there; True when it is usable afterwards."""
    with only_installer(peer):
        if peer.installed:
            say(f"{peer.name} {peer.version}: already installed in {peer.folder}")
            return True
        if peer.folder.exists():
            say(f"{peer.name}: an unfinished install is removed first")
            shutil.rmtree(peer.folder)
        started = time.monotonic()
        say(f"{peer.name} {peer.version}: creating {peer.folder}")
        venv.create(peer.folder, with_pip=True)
        python = peer.folder / "bin" / "python"
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        say(f"{peer.name}: installing {peer.requirement} (a wheel with its dependencies)")
        # Only wheels: a peer that would have to be compiled here is reported, not built for half an hour.
        done = subprocess.run([*pip, "--prefer-binary", peer.requirement], check=False)
        if done.returncode != 0:
            say(f"{peer.name}: FAILED, pip ended with {done.returncode}; the bench will skip it and say so")
            return False
        if not peer.executable.is_file():
            say(f"{peer.name}: FAILED, the package brought no command {peer.command!r}")
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
