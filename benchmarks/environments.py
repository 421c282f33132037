"""Virtual environments of what we measure against: one each, under .venvs/, made when needed."""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Environment:
    """What an environment holds.

    Attributes:
        requirements: for pip.
        alone: installed without what they ask for, where that cannot be had or is not needed.
        with_torch: at our pinned version, so that all compute with the same.
    """

    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()
    with_torch: bool = True


ENVIRONMENTS = {
    "pfl": Environment(("pfl[pytorch]==0.6.0",)),
    "flower": Environment(("flwr[simulation]>=1.40,<1.43",)),
    # 1.42.0 asks for a newer certifi than some mirrors have; secure aggregation needs none of it.
    "flower-secagg": Environment(
        (
            "numpy==2.4.6",
            "cryptography==50.0.2",
            "pycryptodome>=3.18,<4",
            "protobuf>=5.28,<7",
            "grpcio>=1.70,<2",
            "grpcio-health-checking>=1.70,<2",
            "iterators==0.0.2",
            "typer>=0.13,<0.21",
            "typing_extensions",
            "rich>=14,<15",
            "click>=8,<9",
            "tomli",
            "tomli-w",
            "pathspec>=1.0.4,<2",
            "pyyaml",
            "requests",
            "httpx",
            "packaging",
            "sqlalchemy[asyncio]>=2.0.45,<3",
            "alembic>=1.18.1,<2",
        ),
        alone=("flwr==1.42.0",),
        with_torch=False,
    ),
    # It asks for opt-einsum and SciPy besides; nothing else of what it asks for is needed.
    "opacus": Environment(("opt-einsum>=3.3", "scipy"), alone=("opacus==1.6.0",)),
    "gossipy": Environment(("gossipy-dfl==0.0.1", "torchvision")),
}


class NotInstallable(Exception):
    """An environment that cannot be made here; the message is the installer's last line."""


def python_of(name: str) -> Path:
    """Return the interpreter of an environment, making it first if it is not there or not current.

    Raises:
        NotInstallable: what it needs cannot be had.
    """
    venv = ROOT / ".venvs" / name
    stamp, python = venv / ".requirements", venv / "bin" / "python"
    pinned = (ROOT / "constraints.txt").read_text().split()
    environment = ENVIRONMENTS[name]
    wanted = "\n".join([*pinned, *environment.requirements, *environment.alone])
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"making .venvs/{name} ...", file=sys.stderr)
    _do([sys.executable, "-m", "venv", "--clear", str(venv)])
    # torch first, as in scripts/setup: what depends on a range of it then takes this one.
    torch = next(line for line in pinned if line.startswith("torch=="))
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    install = [str(python), "-m", "pip", "install", "--quiet", *constraints]
    if environment.with_torch:
        _do([*install, torch])
        _do([*install, torch, *environment.requirements])
    else:
        _do([*install, *environment.requirements])
    for package in environment.alone:
        _do([*install, "--no-deps", package])
    stamp.write_text(wanted)
    return python


def _do(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise NotInstallable(lines[-1] if lines else f"exit code {done.returncode}")


def main() -> None:
    """Make the environments that are asked for; print their interpreters."""
    parser = argparse.ArgumentParser(description=__doc__)
    # Without a default: argparse would look for it among the choices.
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ENVIRONMENTS))
    names = parser.parse_args().names
    for name in names:
        if name not in ENVIRONMENTS:
            parser.error(f"there is no {name!r}; there are {', '.join(ENVIRONMENTS)}")
    for name in names or ENVIRONMENTS:
        try:
            print(python_of(name))
        except NotInstallable as reason:
            sys.exit(f"{name}: {reason}")


if __name__ == "__main__":
    main()
