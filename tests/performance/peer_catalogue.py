"""Names the measured peers with their pinned versions and folders; it installs and starts nothing."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

# Where system services live, which is not on every user's path.
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/usr/local/bin", "/usr/bin")


@dataclass(frozen=True)
class Peer:
    """One gateway of somebody else, installed into a folder of its own.

    Attributes:
        requirement: what its package manager is asked for, the peer first, then by spaces what else (npm: what is held back).
        command: the command to run, relative to where that package manager puts commands.
        way: `pip`, `npm`, `deb` (downloaded and unpacked, nothing of the system is touched) or `none`.
        absent: why it cannot be measured, where the way is `none`.
    """

    name: str
    version: str
    requirement: str
    command: str
    way: str = "pip"
    absent: str = ""

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
        """The command inside the folder; of a Debian package the system's own, if it was installed there instead."""
        commands = {"pip": "bin", "npm": "node_modules", "deb": "usr/sbin"}
        own = self.folder / commands.get(self.way, "") / self.command
        found = None if self.way != "deb" or own.exists() else system_command(self.command)
        return Path(found) if found else own

    @property
    def installed(self) -> bool:
        """True only for a finished install of exactly this requirement, or what the system has of a Debian package."""
        if self.ready_file.is_file() and self.ready_file.read_text().strip() == self.requirement:
            return True
        return self.way == "deb" and system_command(self.command) is not None

    @property
    def libraries(self) -> str:
        """Where the shared libraries of unpacked Debian packages are, as the dynamic linker wants to be told."""
        return ":".join(str(each) for each in sorted((self.folder / "usr" / "lib").glob("*-linux-gnu*")))


def system_command(name: str) -> str | None:
    """Find a command that the system brought."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_FOLDERS)))


def engines_folder() -> Path:
    """The folder of big installs: `MOEGATE_ENGINES_DIR`, else one under the user's cache."""
    chosen = os.environ.get("MOEGATE_ENGINES_DIR")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "moegate" / "engines"


PEERS = (
    # Debian keeps one version a release; which one it was is asked of the command and stands on the page.
    Peer("nginx", "debian", "nginx", "nginx", "deb"),
    Peer("haproxy", "debian", "haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1", "haproxy", "deb"),
    Peer("vllm-router", "0.1.17", "vllm-router==0.1.17", "vllm-router"),
    Peer("sglang-router", "0.3.2", "sglang-router==0.3.2", "sglang-router"),
    Peer("smg", "1.13.0", "smg==1.13.0", "smg"),
    Peer("litellm", "1.104.0", "litellm[proxy]==1.104.0", "litellm"),
    # With a newer server below it than this one, all its streams fail (its issue 1389).
    Peer(
        "portkey",
        "1.15.2",
        "@portkey-ai/gateway@1.15.2 @hono/node-server@1.13.8",
        "@portkey-ai/gateway/build/start-server.js",
        "npm",
    ),
    Peer("tensorzero", "2026.6.0", "tensorzero==2026.6.0", "python"),
    Peer(
        "bifrost",
        "1.6.3",
        "@maximhq/bifrost@1.6.3",
        "",
        "none",
        "its npm package holds a script that downloads the gateway from the vendor's site when it is first run, and no gateway; "
        "a binary from nowhere but there is not run here",
    ),
)


def peer(name: str) -> Peer:
    """Look a peer up by its name."""
    return next(entry for entry in PEERS if entry.name == name)
