"""Makes a virtual environment that has moegate from a built wheel, as a user's has, without asking any network for anything."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 110


def build_wheel(project: Path, into: Path) -> Path:
    """Build a project's wheel with the build backend of this environment."""
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(into), cwd=project)
    (wheel,) = into.glob("*.whl")
    return wheel


class FreshEnvironment:
    """A new environment. It sees what this one has installed, except moegate itself, which comes as a wheel."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv" / "bin"
        run(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"), cwd=folder)
        site_packages = Path(self.python("import sysconfig; print(sysconfig.get_path('purelib'))"))
        dependencies = folder / "dependencies"
        dependencies.mkdir()
        for kind in ("purelib", "platlib"):
            for found in Path(sysconfig.get_path(kind)).iterdir():
                link = dependencies / found.name
                if "moegate" not in found.name.lower() and found.suffix != ".pth" and not link.exists():
                    link.symlink_to(found)
        (site_packages / "dependencies.pth").write_text(f"{dependencies}\n")

    def install(self, *wheels: Path) -> None:
        """Install wheels, with this environment's pip; their dependencies are there already."""
        pip = (sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "--disable-pip-version-check")
        run(*pip, "install", "--quiet", "--no-index", "--no-deps", "--no-compile", *map(str, wheels), cwd=self.folder)

    def python(self, code: str) -> str:
        """Run a line of Python there; what it printed."""
        return run(str(self.bin / "python"), "-c", code, cwd=self.folder).strip()

    def moegate(self, *arguments: str) -> str:
        """Run the command there; what it printed."""
        return run(str(self.bin / "moegate"), *arguments, cwd=self.folder)


def environment_variables() -> dict[str, str]:
    """No more than a program needs: nothing that would lead it back to the repository."""
    return {"PATH": "/usr/bin:/bin", "HOME": "/", "LANG": "C.UTF-8", "NO_COLOR": "1"}


def run(*argv: str, cwd: Path) -> str:
    """Run a program to its end; an assertion with all that it said if it fails."""
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=environment_variables(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(argv)} -> {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
