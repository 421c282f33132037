"""`p2pfl report` of several runs says who leads, and what keeps them from being compared."""

import json
from pathlib import Path

import pytest
from example_runs import RunMaker

from p2pfl_simulations.commands.reporting import report_runs
from p2pfl_simulations.results.folder import write_run


@pytest.mark.parametrize("as_json", [False, True])
def test_a_comparison_warns_on_the_screen(
    make_run: RunMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    folders = [
        write_run(make_run(rounds=rounds, cohort_size=size), tmp_path / f"run-{rounds}")
        for rounds, size in ((2, 4), (3, 8))
    ]
    report_runs(folders, out=tmp_path / "page.html", charts=None, as_json=as_json)
    told, errors = capsys.readouterr()
    warning = "Different rounds: more rounds may reach more"
    if as_json:
        assert [entry["rounds"] for entry in json.loads(told)] == [2, 3]
        assert f"warning: {warning}" in errors
    else:
        assert warning in " ".join(told.split())
        assert "is clearly ahead" in told or "does best" in told
        assert errors == ""
    assert warning in (tmp_path / "page.html").read_text(encoding="utf-8")
