"""No noise of a private release may come from a generator that somebody can repeat."""

import ast
from pathlib import Path

import pytest

import p2pfl.privacy
import p2pfl_crypto

PACKAGES = [Path(next(iter(package.__path__))) for package in (p2pfl.privacy, p2pfl_crypto)]
MODULES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))


def generators_in(source: str) -> list[str]:
    """Name what a module takes from generators: `random`, `secrets`, NumPy's or torch's."""
    imported, named = [], []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            named.append(ast.unparse(node))
    refused = ["numpy.random", "np.random", "torch.random", "os.urandom"]
    return [
        name
        for names, roots in ((imported, ["random", "secrets", *refused]), (named, refused))
        for name in names
        if any(name == root or name.startswith(f"{root}.") for root in roots)
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_entropy_is_an_argument(path: Path) -> None:
    assert generators_in(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import random",
        "from numpy.random import default_rng",
        "import numpy as np\nnp.random.default_rng(1)",
        "import os\nos.urandom(4)",
        "from os import urandom",
    ],
)
def test_what_it_would_find(source: str) -> None:
    assert generators_in(source)
