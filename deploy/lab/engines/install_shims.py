"""A recipe's step: copies `shims/` into the environment that runs it, and arms one engine's at every start of Python there."""

import shutil
import sys
import sysconfig
from pathlib import Path

PACKAGE = "moegate_engine_shims"
SOURCE = Path(__file__).resolve().parent / "shims"


def main(engine: str) -> None:
    """Copy the modules and write the line that Python reads when it starts."""
    packages = Path(sysconfig.get_paths()["purelib"])
    target = packages / PACKAGE
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for module in sorted(SOURCE.glob("*.py")):
        shutil.copyfile(module, target / module.name)
    # A .pth and not sitecustomize.py: some systems bring one of their own, and only the first one counts.
    (packages / f"{PACKAGE}.pth").write_text(f"import {PACKAGE}; {PACKAGE}.activate({engine!r})\n")
    print(f"shims for {engine} in {target}")


if __name__ == "__main__":
    main(sys.argv[1])
