"""Reads CPU time and memory of a whole process tree from the kernel; it starts, ends and signals nothing."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
KIB = 1024


def parents() -> dict[int, int]:
    """Map every process to its parent."""
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                # The command in brackets may hold spaces and brackets; what follows the last one is regular.
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue  # it ended while we looked
    return found


def process_tree(root: int) -> list[int]:
    """List the process and all its descendants."""
    parent_of = parents()
    tree = [root]
    for pid in tree:  # grows while it is walked
        tree.extend(child for child, parent in parent_of.items() if parent == pid)
    return tree


def process_cpu_ns(pid: int) -> int:
    """Return the CPU time of all threads of one process, ended ones included, in ns.

    The kernel's process clock: /proc/<pid>/stat holds the same sum rounded to ticks of 10 ms, which is as long as the
    CPU time of a hundred calls, and the schedstat of the threads loses those that ended.
    """
    return time.clock_gettime_ns(~pid << 3 | 2)


def machine_cpu_ns() -> int:
    """Return the CPU time that everything on this machine used so far, idle and waiting left out."""
    fields = [int(field) for field in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) * (10**9 // os.sysconf("SC_CLK_TCK"))


@dataclass(frozen=True)
class Watch:
    """The processes of one participant, found once, so that a sample costs microseconds."""

    name: str
    pids: tuple[int, ...]

    @classmethod
    def tree(cls, name: str, root: int) -> "Watch":
        """Watch a process with its descendants as they are now."""
        return cls(name, tuple(process_tree(root)))

    def cpu_ns(self) -> int:
        """Return the CPU time used so far."""
        total = 0
        for pid in self.pids:
            try:
                total += process_cpu_ns(pid)
            except OSError:
                continue  # it ended, which must not end the measurement
        return total

    def complete(self) -> bool:
        """Tell whether the tree is still the one we watch; if not, the CPU figure misses something."""
        return set(process_tree(self.pids[0])) == set(self.pids)


def field_kib(path: Path, field: str) -> int:
    """Return one `Field:   123 kB` of a file under /proc, 0 when the process is gone."""
    try:
        for line in path.read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
    except OSError:
        return 0
    return 0


def memory_bytes(pids: Iterable[int]) -> dict[str, int]:
    """Sum what the processes hold now (PSS counts shared pages once) and the highest each one ever held (VmHWM)."""
    pss = peak = rss = 0
    for pid in pids:
        pss += field_kib(PROC / str(pid) / "smaps_rollup", "Pss")
        peak += field_kib(PROC / str(pid) / "status", "VmHWM")
        rss += field_kib(PROC / str(pid) / "status", "VmRSS")
    return {"pss_bytes": pss * KIB, "rss_bytes": rss * KIB, "peak_rss_bytes": peak * KIB}
