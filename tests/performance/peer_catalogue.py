"""Names the measured peers with their pinned versions and folders; it installs and starts nothing."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Peer:
    """One gateway of somebody else, installed into an environment of its own."""

    name: str
    version: str
    requirement: str
    command: str

    @property
    def folder(self) -> Path:
        """Shared by every clone on the machine, because a peer is large and never changes at one version."""
        return engines_folder() / "peers" / f"{self.name}-{self.version}"

    @property
    def ready_file(self) -> Path:
        """Written last, so a folder without it is an install that was cut short."""
        return self.folder / ".moegate-ready"

    @property
    def executable(self) -> Path:
        """The command inside the environment."""
        return self.folder / "bin" / self.command

    @property
    def installed(self) -> bool:
        """True only for a finished install of exactly this requirement."""
        return self.ready_file.is_file() and self.ready_file.read_text().strip() == self.requirement


def engines_folder() -> Path:
    """The folder of big installs: `MOEGATE_ENGINES_DIR`, else one under the user's cache."""
    chosen = os.environ.get("MOEGATE_ENGINES_DIR")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "moegate" / "engines"


PEERS = (
    Peer("vllm-router", "0.1.17", "vllm-router==0.1.17", "vllm-router"),
    Peer("litellm", "1.104.0", "litellm[proxy]==1.104.0", "litellm"),
)


def peer(name: str) -> Peer:
    """Look a peer up by its name."""
    return next(entry for entry in PEERS if entry.name == name)
