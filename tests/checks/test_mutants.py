"""A few mutants of a small module, drawn by a seed; `./scripts/bench mutants` takes all of them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAMPLE = ("crypto", "--only", "sealing*", "--sample", "12", "--seed", "1")


def test_a_test_fails_for_each_of_some_mutants() -> None:
    ended = subprocess.run(
        [sys.executable, "benchmarks/mutants.py", *SAMPLE, "--children", "2"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith("crypto: 12 mutants: 12 killed"), ended.stdout
