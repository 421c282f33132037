"""Every bench starts, and refuses in one line what it does not know: they are seldom run."""

import json
import subprocess
import sys
from pathlib import Path

from earlier import Earlier, ratios

FOLDER = Path(__file__).parents[2] / "benchmarks"
BENCHES = sorted(
    file.name for file in FOLDER.glob("*.py") if "\nif __name__" in file.read_text(encoding="utf-8")
)
"""As `./scripts/bench` finds them."""

START_EACH = """
import contextlib, io, json, runpy, sys
told = {}
for name in sys.argv[2:]:
    path = f"{sys.argv[1]}/{name}"
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        arguments, sys.argv = sys.argv, [path, "--unknown"]
        try:
            runpy.run_path(path, run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code
        except Exception as error:
            code = repr(error)
        sys.argv = arguments
    told[name] = code, errors.getvalue()
print(json.dumps(told))
"""
"""All in one process: most of a start is reading torch."""


def test_every_bench_refuses_an_argument_that_it_does_not_have() -> None:
    assert "simulate.py" in BENCHES
    ended = subprocess.run(
        [sys.executable, "-c", START_EACH, str(FOLDER), *BENCHES],
        env={"PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(ended.stdout)
    assert list(told) == BENCHES
    for name, (code, errors) in told.items():
        assert code == 2, (name, code, errors)
        assert errors.endswith("error: unrecognized arguments: --unknown\n"), (name, errors)


def test_ratios_are_of_runs_that_followed_each_other() -> None:
    earlier = Earlier("c0ffee", FOLDER)
    now = [{"cpu_s": 2.0}, {"cpu_s": 9.0}, {"cpu_s": 3.0}]
    before = [{"cpu_s": 1.0}, {"cpu_s": 10.0}, {"cpu_s": 2.0}]
    taken = {"ours": now, earlier.label("ours"): before, "others": now}
    shown = ratios(taken, earlier, {"cpu_s": "CPU seconds"}).splitlines()
    assert shown[2:] == ["| ours | 3 | 1.500 (0.900 to 2.000) |"]
