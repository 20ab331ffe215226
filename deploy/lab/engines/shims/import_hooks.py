"""Runs something just before a module is imported for the first time; loads no module itself."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Before(MetaPathFinder):
    """Finds nothing: it is asked first, acts once, and leaves the finding to the finders behind it."""

    def __init__(self, module: str, action: Callable[[], None]) -> None:
        self._module = module
        self._action = action

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Act if this is the module, and say that somebody else has it."""
        if fullname == self._module:
            # Out of the way first: it has acted for good, whatever the action imports.
            sys.meta_path.remove(self)
            self._action()
        return None


def before_import(module: str, action: Callable[[], None]) -> None:
    """Call `action` once, when `module` is about to be imported for the first time."""
    sys.meta_path.insert(0, _Before(module, action))
