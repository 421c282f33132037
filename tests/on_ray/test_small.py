"""A study on Ray, by the command: what comes back is what this machine's cores make of it."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from p2pfl_simulations.studies.gathered import read_results, write_table
from p2pfl_simulations.studies.local import run_locally
from p2pfl_simulations.studies.plan import plan
from p2pfl_simulations.studies.running import run_cells
from p2pfl_simulations.studies.settings import load_study

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venvs" / "ray" / "bin" / "python"
START_S = 300
"""For Ray's processes to start: 5 seconds of processor time, on a machine that may be busy."""

BASE = """
peers = 4
rounds = 2
learning.task = "integers"
averaging.algorithm = "dsgd"
evaluation.baselines = []
"""


def test_a_study_on_ray_has_the_table_that_it_has_here(tmp_path: Path) -> None:
    if not PYTHON.exists():
        reason = "there is no .venvs/ray: ./scripts/setup-ray makes it"
        assert "CI" not in os.environ, reason
        pytest.skip(reason)
    (tmp_path / "base.toml").write_text(BASE)
    (tmp_path / "study.toml").write_text('scenario = "base.toml"\nseeds = 2\n')
    command = ["-m", "p2pfl.cli.main", "sweep", "study.toml", "-q", "--out", "there"]
    # One worker takes both cells, and Ray starts no other before it is asked for one.
    own = {"RAY_enable_worker_prestart": "0"}
    ended = subprocess.run(
        [PYTHON, *command, "--ray", "local", "--jobs", "1"],
        cwd=tmp_path,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=START_S + 200,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    study, base, folder = load_study(tmp_path / "study.toml")
    planned = plan(study, base, folder)

    def in_process(jobs: Any, cells: Path, *, on_end: Any) -> None:
        run_locally(jobs, cells, processes=1, on_end=on_end)

    run_cells(study, planned, tmp_path / "here", task_folder=folder, runner=in_process)
    write_table(read_results(study, planned, tmp_path / "here", {}), tmp_path / "here")
    there, here = (tmp_path / it / "table.parquet" for it in ("there", "here"))
    assert there.read_bytes() == here.read_bytes()
