"""Virtual environments of what we measure against: one each, under .venvs/, made when needed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

REQUIREMENTS = {
    "pfl": ("pfl[pytorch]==0.6.0",),
    "flower": ("flwr[simulation]>=1.40,<1.43",),
    "gossipy": ("gossipy-dfl==0.0.1", "torchvision"),
}
"""Name -> what it needs beside torch at our pinned version, so that all compute with the same."""


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
    wanted = "\n".join([*pinned, *REQUIREMENTS[name]])
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"making .venvs/{name} ...", file=sys.stderr)
    _do([sys.executable, "-m", "venv", "--clear", str(venv)])
    # torch first, as in scripts/setup: what depends on a range of it then takes this one.
    torch = next(line for line in pinned if line.startswith("torch=="))
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    install = [str(python), "-m", "pip", "install", "--quiet", *constraints]
    _do([*install, torch])
    _do([*install, torch, *REQUIREMENTS[name]])
    stamp.write_text(wanted)
    return python


def _do(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise NotInstallable(lines[-1] if lines else f"exit code {done.returncode}")


if __name__ == "__main__":
    for environment in sys.argv[1:] or REQUIREMENTS:
        print(python_of(environment))
