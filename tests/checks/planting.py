"""Plants a fault in a copy of one package, and runs the test that must fail by it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {"crypto": "crypto", "gossip": "gossip", "simulations": "simulations", "p2pfl": "."}
"""By a file's first folder: what goes on the path of whoever imports the package."""

TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Fault:
    """A check that is taken out.

    Attributes:
        name: what is gone, in a few words.
        file: where, from the project's root.
        old: the text, found there once.
        new: what stands there in its place.
        test: pytest's name of a test that fails without it.
    """

    name: str
    file: str
    old: str
    new: str
    test: str

    def is_at_home(self) -> bool:
        """Whether the text is found, once."""
        return (ROOT / self.file).read_text().count(self.old) == 1


def is_noticed(fault: Fault, folder: Path) -> tuple[bool, str]:
    """Plant a fault in a copy of its package; tell whether its test fails, and what pytest said.

    Raises:
        ValueError: the text is not there.
    """
    if not fault.is_at_home():
        raise ValueError(f"{fault.file} does not hold once: {fault.old}")
    package = Path(fault.file).parts[0]
    source = ROOT / PACKAGES[package]
    inside = Path(fault.file).relative_to(PACKAGES[package]).parts[0]
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source / inside, folder / inside, ignore=ignored)
    planted = folder / Path(fault.file).relative_to(PACKAGES[package])
    planted.write_text(planted.read_text().replace(fault.old, fault.new))
    # -P: the folder of the project, where `p2pfl` lies, is not looked in first.
    options = ["-P", "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", "--long"]
    ended = subprocess.run(
        [sys.executable, *options, fault.test],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    # 1: tests ran and failed. Any other code is no answer: nothing was found, or could not be read.
    return ended.returncode == 1, ended.stdout[-2000:] + ended.stderr[-500:]
