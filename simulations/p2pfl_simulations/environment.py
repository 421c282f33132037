"""What a run's digest may depend on beside its scenario: p2pfl's code, libraries, the machine."""

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import p2pfl
import p2pfl_crypto
import p2pfl_gossip
import p2pfl_simulations

LIBRARIES = ("p2pfl-peer", "numpy", "torch", "scikit-learn", "msgspec")
CODE = "p2pfl code"
CODE_CHARACTERS = 16


def environment() -> dict[str, str]:
    """Return versions and the machine's class."""
    return {**versions(), "machine": platform.machine(), "system": platform.system()}


def versions() -> dict[str, str]:
    """Return versions of what computes; the machine's class is left out."""
    found = {"python": platform.python_version(), CODE: our_code()}
    for package in LIBRARIES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


@cache
def our_code() -> str:
    """Return the digest of p2pfl's own modules, as this process found them when it first asked.

    A version's number alone would not tell: a checkout changes, and the number stays.
    """
    digest = hashlib.sha256()
    for package in (p2pfl, p2pfl_crypto, p2pfl_gossip, p2pfl_simulations):
        assert package.__file__ is not None
        folder = Path(package.__file__).parent
        for path in sorted(folder.rglob("*.py")):
            content = path.read_bytes().replace(b"\r\n", b"\n")
            name = f"{folder.name}/{path.relative_to(folder).as_posix()}"
            digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:CODE_CHARACTERS]


def first_difference(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Name what two environments differ in first; empty where they are the same."""
    for name in dict.fromkeys((*there, *here)):
        if there.get(name) != here.get(name):
            return f"{name} is {here.get(name, 'none')}, not {there.get(name, 'none')}"
    return ""
