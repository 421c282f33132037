"""An earlier commit of ours, which takes turns with the code as it is; libraries are today's."""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from measuring import ROOT, Failed, Figures, table

PACKAGES = {
    "p2pfl": "",
    "p2pfl_crypto": "crypto",
    "p2pfl_gossip": "gossip",
    "p2pfl_simulations": "simulations",
}
"""Ours, and the folder that each is imported from."""

COMPILED = ("p2pfl", "crypto", "gossip", "simulations", "benchmarks")

WHERE = "import importlib; print(*(importlib.import_module(it).__file__ for it in {}), sep='\\n')"
"""Prints whence packages are imported."""


@dataclass(frozen=True)
class Earlier:
    """A commit with its own benches, unpacked.

    Attributes:
        commit: as it was asked for.
        folder: where it lies.
    """

    commit: str
    folder: Path

    def label(self, name: str) -> str:
        """Return what a contestant is called that does the same with the earlier code."""
        return f"{name}, at {self.commit}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which a process imports the earlier packages."""
        paths = (str(self.folder / place) for place in PACKAGES.values())
        return {"PYTHONPATH": os.pathsep.join(paths)}

    def script(self, *names: str) -> Path:
        """Return the first of some scripts that the commit's benches have.

        Raises:
            Failed: it has none.
        """
        for name in names:
            if (self.folder / "benchmarks" / name).is_file():
                return self.folder / "benchmarks" / name
        raise Failed(f"{self.commit} has no benchmarks/{names[0]}")


def add_before(parser: argparse.ArgumentParser) -> None:
    """Let a bench take `--before`; `earlier_code` takes what comes of it."""
    parser.add_argument(
        "--before", type=_commit, metavar="COMMIT", help="have this commit of ours take turns"
    )


def _commit(text: str) -> str:
    known = subprocess.run(
        ["git", "rev-parse", "--quiet", "--verify", f"{text}^{{commit}}"],
        cwd=ROOT,
        check=False,
        capture_output=True,
    )
    if known.returncode:
        raise argparse.ArgumentTypeError(f"there is no commit {text!r}")
    return text


@contextmanager
def earlier_code(commit: str | None) -> Iterator[Earlier | None]:
    """Unpack a commit for a while; None if none is asked for."""
    if commit is None:
        yield None
        return
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True)
    with tempfile.TemporaryDirectory(prefix="p2pfl-earlier-") as folder:
        earlier = Earlier(commit, Path(folder))
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(folder, filter="data")
        _prepare(earlier)
        yield earlier


def _prepare(earlier: Earlier) -> None:
    """Compile it, so that no run pays for that; see that it is what a process imports."""
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", *COMPILED],
        cwd=earlier.folder,
        check=False,
    )
    told = subprocess.run(
        [sys.executable, "-c", WHERE.format(tuple(PACKAGES))],
        cwd=earlier.folder / "benchmarks",
        env={**os.environ, **earlier.environment},
        check=True,
        capture_output=True,
        text=True,
    )
    for line in told.stdout.splitlines():
        if not Path(line).is_relative_to(earlier.folder):
            raise Failed(f"{line} is imported in place of that of {earlier.commit}")


def ratios(
    taken: Mapping[str, Sequence[Figures]], earlier: Earlier, keys: Mapping[str, str]
) -> str:
    """Return a table of today's figures over the earlier ones, of runs that followed each other.

    Args:
        taken: runs by contestant, those of the earlier code by their labels.
        earlier: which code.
        keys: the figures that are compared, and what they are called.
    """
    rows = []
    for name, runs in taken.items():
        pairs = list(zip(runs, taken.get(earlier.label(name), ()), strict=False))
        if not pairs:
            continue
        cells = []
        for key in keys:
            found = [now[key] / before[key] for now, before in pairs]
            cells.append(f"{statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f})")
        rows.append((name, str(len(pairs)), *cells))
    return table((f"times {earlier.commit}", "pairs", *keys.values()), rows)
