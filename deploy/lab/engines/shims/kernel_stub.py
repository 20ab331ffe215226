"""An `sgl_kernel` whose every name can be imported and none called; so each layer takes its fallback in plain PyTorch."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

PACKAGE = "sgl_kernel"
# What is imported without asking. Of what else the package has, the engine asks first and has a fallback for its absence.
SUBMODULES = frozenset({"flash_attn", "kvcacheio", "mamba", "quantization", "speculative"})
VERSION = "0.0.0+absent"


class _AbsentKernels(ModuleType):
    """A module that has every public name, each of which fails when it is called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        where = f"{self.__name__}.{name}"

        def absent(*_: object, **__: object) -> NoReturn:
            raise NotImplementedError(f"{where}: SGLang's kernels are not built for a CPU without AMX")

        absent.__name__ = name
        return absent


class _Finder(MetaPathFinder, Loader):
    """Makes `sgl_kernel` and those submodules out of nothing, and comes before a copy on disk that is built for CUDA."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Claim the package and its submodules; the rest is not found, because the package has no folder."""
        package, _, submodule = fullname.partition(".")
        if package != PACKAGE or (submodule and submodule not in SUBMODULES):
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module that has every name."""
        return _AbsentKernels(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Give it the version that SGLang prints."""
        module.__version__ = VERSION


def install() -> None:
    """Put the stub before everything else that could answer to the name."""
    sys.meta_path.insert(0, _Finder())
