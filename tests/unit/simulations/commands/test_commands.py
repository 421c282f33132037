"""Commands end to end: real runs of the smallest scenario."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from calling import P2pfl
from example_runs import RunMaker

from p2pfl_simulations.commands.replaying import MEASURED, different_figures
from p2pfl_simulations.results.folder import read_run
from p2pfl_simulations.results.summary import Summary
from p2pfl_simulations.scenario import load_scenario

COMMAND = [sys.executable, "-m", "p2pfl.cli.main"]
WITHOUT_TORCH = ("--set", "learning={task='integers'}")  # Importing it takes seconds.


def test_simulate_writes_a_run_and_shows_what_it_brought(p2pfl: P2pfl) -> None:
    ended = p2pfl("simulate", "quick")
    assert ended.code == 0
    for shown in (
        "Of 8 peers",
        "plain cohorts of 4",
        "the models of their partners, in the clear",
        "averaged model",
        "local only",
        "pooled",
        "consensus distance",
        "sent per peer",
        "rounds lost",
        "virtual time",
        "wall time",
        "runs/quick-1/report.html",
    ):
        assert shown in ended.out
    assert "gossip: round 6 of 6" in ended.err
    assert "pooled: round 6 of 6" in ended.err
    run = read_run("runs/quick-1")
    assert run.scenario == load_scenario("quick")
    assert len(run.rounds) == 6
    assert not run.interrupted
    report = Path("runs/quick-1/report.html").read_text()
    assert report.startswith("<!doctype html>")
    assert "Of 8 peers" in report


def test_json_is_for_programs_and_quiet_is_quiet(p2pfl: P2pfl) -> None:
    ended = p2pfl("simulate", "quick", "--rounds", "2", "--json", "--quiet", "--out", "here")
    assert (ended.code, ended.err) == (0, "")
    result = json.loads(ended.out)
    assert result["folder"] == "here"
    assert result["rounds"] == 2
    assert result["digest"] == read_run("here").digest


def test_options_and_settings_reach_the_scenario(p2pfl: P2pfl) -> None:
    settings = (
        "--set", "learning.partition.kind=iid",
        "--set", "learning.partition={kind = 'quantity', alpha = 2}",
        "--set", "averaging.deadline_s=.5",
        "--set", "description=two words",
    )  # fmt: skip
    ended = p2pfl(
        "simulate", "quick", "--peers", "9", "--rounds", "1", "--seed", "5", "-q", *settings
    )
    assert ended.code == 0, ended.err
    scenario = read_run("runs/quick-5").scenario
    assert (scenario.peers, scenario.rounds, scenario.seed) == (9, 1, 5)
    assert scenario.learning.partition.model_dump() == {
        "kind": "quantity",
        "alpha": 2.0,
        "minimum_rows": 1,
    }
    assert scenario.averaging.deadline_s == 0.5
    assert scenario.description == "two words"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("simulate", "quik"), "there is no file or scenario 'quik'; did you mean 'quick'?"),
        (("simulate", "quick", "--set", "peers"), "--set peers: write it as KEY=VALUE"),
        (("simulate", "quick", "--set", "a..b=1"), "--set a..b=1: write it as KEY=VALUE"),
        (("simulate", "quick", "--set", "name='x"), "--set name: the value is not TOML"),
        (("simulate", "quick", "--set", "seed=1\nname='x'"), "that is more than one value"),
        (
            ("simulate", "quick", "--set", "seed.x=1"),
            "quick: seed: Input should be a",
        ),
        (("simulate", "quick", "--set", "sed=1"), "sed is not a known key; did you mean 'seed'?"),
        (("simulate", "quick", "--set", "name.x=1"), "name is a value, not a table"),
        (("simulate", "quick", "--peers", "many"), "'--peers'"),
        (("simulate", "quick", "--peers", "3"), "there are only 3 peers"),
        (("simulate", "quick", "--set", "learning.task=digit"), "did you mean 'digits'?"),
        (("simulate", "quick", "--set", "learning.task=nope:Nope"), "cannot be imported"),
        (
            (
                "simulate",
                "quick",
                "--set",
                "learning.task=fashion-mnist",
                "--set",
                "learning.data_dir=no",
            ),
            "fashion-mnist",
        ),
        (
            ("simulate", "quick", "--set", "learning.partition={kind='iid', rows_per_peer=100}"),
            "rows",
        ),
        (("simulate", "quick", "--out", "."), "exists and is not empty"),
        (("simulate",), "missing argument 'SCENARIO'"),
        (("simulate", "quick", "--fast"), "no such option: --fast"),
        (("dance",), "no such command 'dance'"),
        (("replay", "nowhere"), "there is no folder nowhere"),
        (("replay", "."), "is no run folder"),
        (("report", "."), "is no run folder"),
        (("report", ".", "runs/.."), "twice"),
        (("report",), "missing argument 'RUN_DIR...'"),
    ],
)
def test_wrong_input_is_one_clear_line(
    p2pfl: P2pfl, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    ended = p2pfl(*arguments, *(("--quiet",) if arguments[:2] == ("simulate", "quick") else ()))
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert ended.err.startswith("p2pfl: ")
    assert ended.err.count("\n") == 1
    # What was claimed for a run that never began is given back.
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left <= {"mine.txt", "runs"}


def test_replay_confirms_the_digest(p2pfl: P2pfl) -> None:
    assert p2pfl("simulate", "quick", "-q", "--rounds", "2", "--out", "run").code == 0
    digest = read_run("run").digest
    ended = p2pfl("replay", "run", "--quiet")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"The digests are the same: {digest}\n"


def test_replay_names_what_differs(p2pfl: P2pfl) -> None:
    assert p2pfl("simulate", "quick", "-q", "--rounds", "1", "--out", "run").code == 0
    summary = Path("run/summary.json")
    document = json.loads(summary.read_text())
    digest = document["digest"]
    document["digest"] = "0" * len(digest)
    document["environment"]["torch"] = "1.0"
    summary.write_text(json.dumps(document))
    ended = p2pfl("replay", "run", "--quiet")
    assert ended.code == 1
    assert "The digests differ." in ended.out
    assert f"now     {digest}" in ended.out
    assert "torch: 1.0 before, " in ended.out


def test_report_rewrites_one_and_compares_several(p2pfl: P2pfl) -> None:
    for seed in ("1", "2"):
        assert p2pfl("simulate", "quick", "-q", "--rounds", "3", "--seed", seed).code == 0
    page = Path("runs/quick-1/report.html")
    before = page.read_text()
    page.unlink()
    ended = p2pfl("report", "runs/quick-1")
    assert ended.code == 0
    assert page.read_text() == before
    ended = p2pfl("report", "runs/quick-1", "runs/quick-2")
    assert ended.code == 0
    assert "quick-1" in ended.out
    assert "quick-2" in ended.out
    assert "comparison.html" in ended.out
    assert "quick-2" in Path("comparison.html").read_text()
    listed = json.loads(p2pfl("report", "runs/quick-1", "runs/quick-2", "--json").out)
    assert [entry["seed"] for entry in listed] == [1, 2]
    assert p2pfl("report", "runs/quick-1", "--charts", "charts").code == 0
    assert p2pfl("report", "runs/quick-1", "runs/quick-2", "--charts", "charts").code == 0
    names = {path.name for path in Path("charts").iterdir()}
    for chart in ("quick-1-own-test-rows-over-rounds", "comparison-mean-over-rounds"):
        assert {f"{chart}.svg", f"{chart}.csv"} <= names
    ended = p2pfl("report", "runs/quick-1", "--charts", "runs/quick-1/report.html")
    assert (ended.code, ended.err) == (
        2,
        "p2pfl: cannot write runs/quick-1/report.html: File exists\n",
    )


def test_lists(p2pfl: P2pfl) -> None:
    names = {entry["scenario"] for entry in json.loads(p2pfl("scenarios", "--json").out)}
    assert names == {
        "churn",
        "consortium",
        "fashion",
        "hospitals",
        "partition",
        "quick",
        "stragglers",
    }
    assert {"digits", "breast-cancer", "fashion-mnist"} <= {
        entry["task"] for entry in json.loads(p2pfl("tasks", "--json").out)
    }
    assert "ring" in {entry["topology"] for entry in json.loads(p2pfl("topologies", "--json").out)}
    assert "hospitals" in p2pfl("scenarios").out
    assert "digits" in p2pfl("tasks").out
    assert "erdos-renyi" in p2pfl("topologies").out


def test_an_own_task_is_imported_from_the_scenarios_folder_and_replayed_by_any_process_anywhere(
    p2pfl: P2pfl, tmp_path: Path
) -> None:
    source = Path(__file__).parents[4] / "simulations/p2pfl_simulations/scenarios/quick.toml"
    study = tmp_path / "study"
    study.mkdir()
    (study / "mine.toml").write_text(
        source.read_text().replace('name = "quick"', "").replace("breast-cancer", "own_task:Own")
    )
    (study / "own_task.py").write_text(
        "from p2pfl.learner.tasks.perceptrons import BreastCancer\n\n\n"
        "class Own(BreastCancer):\n    pass\n"
    )
    assert p2pfl("simulate", "study/mine.toml", "-q", "--rounds", "2").code == 0
    ended = subprocess.run(
        [*COMMAND, "replay", str(tmp_path / "runs/mine-1"), "--quiet", "--json"],
        cwd="/",
        env={"PYTHONHASHSEED": "77", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert json.loads(ended.stdout)["same"] is True


def test_ctrl_c_keeps_and_reports_what_has_run(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "simulate", "quick", "--rounds", "100000", "--out", "run", *WITHOUT_TORCH],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("gossip: round"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "Ended early, after" in out
    run = read_run(tmp_path / "run")
    assert run.interrupted
    assert 1 <= len(run.rounds) < 100_000
    assert "Ended early" in (tmp_path / "run" / "report.html").read_text()


def test_of_a_run_whose_baselines_were_cut_off_the_peers_own_part_is_compared(
    make_run: RunMaker,
) -> None:
    assert {*MEASURED} <= set(Summary.__slots__)
    before, after = make_run(), make_run()
    assert different_figures(before, after) == {}
    before.gains, before.mean_gain, before.pooled_gain = [], None, None
    before.rounds[-1].common_pooled = None
    assert {"mean_gain", "own_local_mean", "common_pooled"} <= different_figures(
        before, after
    ).keys()
    before.unfinished = ("local", "pooled")
    assert different_figures(before, after) == {}
    after.peers[-1].own["accuracy"] += 0.1
    assert {"own_mean", "own_figures"} <= different_figures(before, after).keys()


def test_a_run_whose_baselines_were_cut_off_is_whole(p2pfl: P2pfl, tmp_path: Path) -> None:
    """It says so, and not that it ended early; and it can be replayed."""
    process = subprocess.Popen(
        [*COMMAND, "simulate", "quick", "--out", "run"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("local only: round"):
            break
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode in (130, 143)
    assert "Traceback" not in err
    assert "Ended early" not in out
    sentence = "The peers ran all rounds; what they are held against was cut off ("
    assert sentence in out
    run = read_run(tmp_path / "run")
    assert not run.interrupted
    assert "local" in run.unfinished
    assert "pooled" in run.unfinished
    assert sentence in (tmp_path / "run" / "report.html").read_text()
    assert p2pfl("replay", str(tmp_path / "run")).code == 0


def test_help_reads_nothing_heavy(p2pfl: P2pfl) -> None:
    for command in ((), ("simulate",), ("replay",), ("report",), ("tasks",)):
        assert p2pfl(*command, "--help").code == 0
    assert "p2pfl simulate hospitals --peers 100" in p2pfl("simulate", "--help").out
    program = (
        "import sys\n"
        "sys.argv = ['p2pfl', '--help']\n"
        "from p2pfl.cli.main import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n"
        "    print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    read = set(shown.stdout.splitlines()[-1].split())
    assert "typer" in read
    # All that takes time: the third parties, and what of our own is not the command line.
    assert not read & {"numpy", "torch", "pydantic", "pyarrow", "sklearn", "msgspec", "safetensors"}
    assert not read & {"p2pfl_gossip", "p2pfl_crypto"}


def test_version_and_completion(p2pfl: P2pfl) -> None:
    assert p2pfl("--version").out.startswith("p2pfl 0.")
    offered = subprocess.run(
        COMMAND,
        env={
            "_P2PFL_COMPLETE": "complete_bash",
            "COMP_WORDS": "p2pfl simulate hos",
            "COMP_CWORD": "2",
            "PATH": "/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert offered.stdout.split() == ["hospitals"]
