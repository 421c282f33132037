"""Which tests pytest finds, by name, marked as long or not."""

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COLLECTED = pytest.StashKey[tuple[str, ...]]()
"""What this run has collected, of which it may leave tests out."""


def collected(config: pytest.Config, files: Collection[str]) -> frozenset[str]:
    """Return the names of all tests in some files, with each of their cases.

    What this run has collected in whole is known; another process reads the other files.

    Raises:
        AssertionError: pytest cannot read them; with what it says.
    """
    known = config.stash[COLLECTED]
    is_whole = not any("::" in argument for argument in config.args)
    here = frozenset(name.partition("::")[0] for name in known) if is_whole else frozenset()
    others = sorted(frozenset(files) - here)
    found = [name for name in known if name.partition("::")[0] in here]
    if others:
        options = ["--collect-only", "-q", "--long", "-n", "0", "-p", "no:cacheprovider"]
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *others],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not ended.returncode, ended.stdout[-2000:] + ended.stderr[-500:]
        found += [line for line in ended.stdout.splitlines() if "::" in line]
    return frozenset(found)
