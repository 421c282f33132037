"""Modules of the user, imported by name from a folder before the usual places."""

import importlib
import sys
from pathlib import Path
from types import ModuleType


def import_own(module_name: str, folder: Path | None) -> ModuleType:
    """Import a module of the user, from a folder before the usual places."""
    if folder is not None:
        # For the whole process: the module may import its neighbours later on.
        first = str(folder.resolve())
        sys.path[:] = [first, *(entry for entry in sys.path if entry != first)]
        importlib.invalidate_caches()
        _forget_namesake(module_name.partition(".")[0], folder.resolve())
    return importlib.import_module(module_name)


def _forget_namesake(module_name: str, folder: Path) -> None:
    """Forget a module from elsewhere whose name a module of this folder has."""
    loaded = sys.modules.get(module_name)
    file = getattr(loaded, "__file__", None)
    is_here = (folder / f"{module_name}.py").is_file() or (folder / module_name).is_dir()
    if file is not None and is_here and not Path(file).resolve().is_relative_to(folder):
        for name in [name for name in sys.modules if name.partition(".")[0] == module_name]:
            del sys.modules[name]
