"""Finds the named limits of the product, and which tests name them."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "p2pfl_crypto": ROOT / "crypto/p2pfl_crypto",
    "p2pfl_gossip": ROOT / "gossip/p2pfl_gossip",
    "p2pfl": ROOT / "p2pfl",
    "p2pfl_simulations": ROOT / "simulations/p2pfl_simulations",
}

Limit = tuple[str, str]
"""Module, name."""


@cache
def all_limits() -> list[Limit]:
    """Every constant of a module that is called ..._MAX or ..._MIN."""
    found = []
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            module = ".".join((package, *(part for part in parts if part != "__init__")))
            for node in _parsed(path).body:
                targets = node.targets if isinstance(node, ast.Assign) else []
                if isinstance(node, ast.AnnAssign):
                    targets = [node.target]
                found += [
                    (module, target.id)
                    for target in targets
                    if isinstance(target, ast.Name) and target.id.endswith(("_MAX", "_MIN"))
                ]
    return found


@cache
def named_in_tests() -> frozenset[Limit]:
    """Every limit that a test names, by the module that it has it from."""
    found: dict[Limit, None] = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path.name.startswith(("test_", "sweep")):
            found |= dict.fromkeys(_named_in(_parsed(path)))
    return frozenset(found)


def _parsed(path: Path) -> ast.Module:
    """Return a module's tree, or an empty one where it has no limit."""
    text = path.read_text()
    return ast.parse(text if "_MAX" in text or "_MIN" in text else "")


def _named_in(tree: ast.Module) -> Iterator[Limit]:
    modules: dict[str, str] = {}  # What stands for a module here.
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield node.module, alias.name
        elif isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: alias.name for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield modules.get(node.value.id, ""), node.attr
        elif isinstance(node, ast.Call) and len(node.args) == 3:  # monkeypatch.setattr
            module, name = node.args[0], node.args[1]
            if isinstance(module, ast.Name) and isinstance(name, ast.Constant):
                yield modules.get(module.id, ""), str(name.value)
