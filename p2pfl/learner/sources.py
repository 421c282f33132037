"""Whose code a task is: the files that it is made of, by digest; of a package, its version.

A task's files are the module of its class and, from the same folder, whatever that imports, found
by reading the files' import statements. What is imported in other ways is not seen.
"""

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from p2pfl_gossip.description import Source, describe_source

FILES_MAX = 1000
"""Of a task, followed by import statements; more than anybody keeps beside a scenario."""

FILES_PARSED = 64
"""Files whose import statements are kept, by content; a task is of fewer. Learners that are made
one after the other, of one folder, do not parse it again."""

DIGEST_CHARACTERS = 16
OURS = "p2pfl-peer"
OUR_PACKAGES = frozenset({"p2pfl", "p2pfl_gossip", "p2pfl_simulations"})


def sources_of(task: Any, *, folder: Path | None) -> tuple[Source, ...]:
    """Name the code of a task, by name.

    Args:
        task: an instance of its class.
        folder: where own tasks are imported from; a task from elsewhere is of a package.

    Returns:
        each file with 16 digits of its SHA-256, line ends as on Unix; or the package. Files that
        the task says must be agreed on (`agreed_files`), such as a schema, follow.
    """
    agreed = tuple(
        describe_source(it.name, _digest(it)) for it in getattr(task, "agreed_files", ())
    )
    return _code_of(task, folder) + agreed


def _code_of(task: Any, folder: Path | None) -> tuple[Source, ...]:
    if type(task).__module__.partition(".")[0] in OUR_PACKAGES:
        return (describe_source(OURS, version(OURS)),)
    module = sys.modules.get(type(task).__module__)
    file = getattr(module, "__file__", None)
    if file is None or module is None:
        return (describe_source(type(task).__module__, "unknown"),)
    path = Path(file).resolve()
    if folder is None or not path.is_relative_to(folder.resolve()):
        package = _package(module.__name__.partition(".")[0])
        if package is not None:
            return (package,)
    root = path.parents[module.__name__.count(".") + (path.name == "__init__.py")]
    return tuple(
        describe_source(it.relative_to(root).as_posix(), _digest(it)) for it in _files(path, root)
    )


def source_files(task: Any) -> frozenset[Path]:
    """Return the files of a task, to tell its lines from others' in a traceback.

    Of a task of ours that is one: no line of ours is told to users, so the others need no search.
    """
    try:
        path = Path(inspect.getfile(type(task))).resolve()
    except (OSError, TypeError):
        return frozenset()
    if type(task).__module__.startswith("p2pfl."):
        return frozenset({path})
    depth = type(task).__module__.count(".") + (path.name == "__init__.py")
    return frozenset(_files(path, path.parents[depth]))


def _package(name: str) -> Source | None:
    for distribution in packages_distributions().get(name, ()):
        try:
            return describe_source(distribution, version(distribution))
        except PackageNotFoundError:
            continue
    return None


def _digest(path: Path) -> str:
    content = path.read_bytes().replace(b"\r\n", b"\n")
    return hashlib.sha256(content).hexdigest()[:DIGEST_CHARACTERS]


def _files(first: Path, root: Path) -> list[Path]:
    """Follow the imports of a file to others below `root`; return all, in order of their names."""
    above = [it / "__init__.py" for it in first.parents if it.is_relative_to(root) and it != root]
    waiting = [first, *(it for it in above if it.is_file() and it != first)]
    found = set(waiting)
    while waiting and len(found) < FILES_MAX:
        path = waiting.pop()
        for name in _imported_names(path, root):
            for candidate in _candidates(name, root):
                if candidate not in found and candidate.is_file():
                    found.add(candidate)
                    waiting.append(candidate)
    return sorted(found)


def _imported_names(path: Path, root: Path) -> Iterator[tuple[str, ...]]:
    """Yield the modules that a file may import, as parts of their names below `root`."""
    package = path.parent.relative_to(root).parts
    for level, name in _import_statements(path.read_bytes()):
        base = package[: len(package) - level + 1] if level else ()
        yield (*base, *name)


@lru_cache(maxsize=FILES_PARSED)
def _import_statements(content: bytes) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Return what a file imports: the dots before a name, and the parts of the name."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return ()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(0, tuple(alias.name.split("."))) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = tuple(node.module.split(".")) if node.module else ()
            found.append((node.level, base))
            found += [(node.level, (*base, alias.name)) for alias in node.names]
    return tuple(dict.fromkeys(found))


def _candidates(name: tuple[str, ...], root: Path) -> Iterator[Path]:
    """Yield the files that importing a module reads, if they are below `root`."""
    for length in range(1, len(name) + 1):
        path = root.joinpath(*name[:length])
        yield path / "__init__.py"
        if length == len(name):
            yield path.with_name(path.name + ".py")
