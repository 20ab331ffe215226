"""What this machine has for the lab's engines: their environments, their weights, and memory; it starts none of them."""

import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from backends.environments import MARKER, engine_python
from gateway.errors import ConfigError

HERE = Path(__file__).resolve().parent
INSTALLER = HERE / "engines" / "install.py"
PREPARER = HERE / "prepare_weights.py"
NOT_FOR_THIS_CPU = 3

GIB = 1 << 30
# Resident when k2-tiny is loaded, and a little for the first calls.
NEED_GIB = {"vllm": 3.0, "sglang": 3.0, "ktransformers": 3.0, "llama_cpp": 0.5, "torch_reference": 1.0}
OTHERS_NEED_GIB = 3.0
# The gateway, and whoever asks it.
RESERVE_GIB = 0.5

# Which forms of the weights an engine serves that the model folder does not have; without the first it cannot serve at all.
WEIGHTS = {
    "llama_cpp": ("gguf",),
    "ktransformers": ("ktransformers-fp8", "ktransformers-rawint4", "ktransformers-amxint8"),
}
NEEDED_WEIGHTS = {"gguf": "llama_cpp"}


def recipe_of(backend: str) -> str:
    """An engine's name in the installer."""
    return backend.replace("_", "-")


def install(backend: str, python: str) -> str | None:
    """Install an engine unless it is there, with its progress on our output; why it is missing, if it is."""
    code = subprocess.call([python, str(INSTALLER), recipe_of(backend)])  # noqa: S603 - our own installer
    return None if code == 0 else f"could not be installed (status {code}); `make engine-{recipe_of(backend)}` says why"


def prepare(backend: str, python: str) -> str | None:
    """Make an engine's weights unless they are there; why it cannot serve without them, if so."""
    for target in WEIGHTS.get(backend, ()):
        code = subprocess.call([python, str(PREPARER), target])  # noqa: S603 - our own script
        if code and NEEDED_WEIGHTS.get(target) == backend:
            return f"its weights could not be made (status {code})"
        if code not in (0, NOT_FOR_THIS_CPU):
            print(f"  {target}: not made (status {code}); {backend} serves without", flush=True)
    return None


def version_of(backend: str) -> str:
    """The version of the environment that would be used; `-` if there is none."""
    try:
        marker = engine_python(recipe_of(backend)).parents[1] / MARKER
        return str(json.loads(marker.read_text()).get("version", "-"))
    except (ConfigError, OSError, ValueError):
        return "-"


def choose(replicas: Mapping[str, str], running: Iterable[str], free_bytes: int) -> dict[str, str]:
    """Which replicas there is no memory for, and why; those that run have theirs already. First come, first served.

    `replicas` says each one's backend.
    """
    left = free_bytes / GIB - RESERVE_GIB
    without: dict[str, str] = {}
    running = set(running)
    for name, backend in replicas.items():
        if name in running:
            continue
        need = NEED_GIB.get(backend, OTHERS_NEED_GIB)
        if need > left:
            without[name] = f"needs about {need:g} GiB of memory, and {max(left, 0.0):.1f} are left"
        else:
            left -= need
    return without


def free_memory_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """What could be used without swapping, or up to the limit of our control group where that is nearer."""
    fields = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) * 1024
    try:
        limit = (cgroups / "memory.max").read_text().strip()
        used = int((cgroups / "memory.current").read_text())
        stat = dict(line.split() for line in (cgroups / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return free
    # Files that were read count as used there, and go when the memory is wanted.
    return free if limit == "max" else min(free, int(limit) - used + int(stat.get("inactive_file", "0")))
