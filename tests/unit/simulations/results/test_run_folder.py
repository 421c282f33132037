"""Run folders: what is written is read back, and what is no run is refused."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from example_runs import RunMaker
from safetensors.numpy import load_file

from p2pfl.learner.model_files import read_model
from p2pfl_simulations import run as run_scenario
from p2pfl_simulations.results.folder import RunFolderError, claim_folder, read_run, write_run
from p2pfl_simulations.scenario import load_scenario, make_scenario


def test_a_run_survives_the_round_trip(make_run: RunMaker, tmp_path: Path) -> None:
    run = make_run()
    run.rounds[1].own_mean = None
    run.interrupted = True
    read = read_run(write_run(run, tmp_path / "run"))
    assert read.scenario == run.scenario
    assert read.rounds == run.rounds
    assert read.peers == run.peers
    assert read.events == run.events
    assert (read.gains, read.primary, read.confusion) == (run.gains, run.primary, run.confusion)
    assert (read.mean_gain, read.pooled_gain) == (run.mean_gain, run.pooled_gain)
    assert read.sample_counts == run.sample_counts
    assert read.label_counts == run.label_counts
    assert read.neighbours == run.neighbours
    assert read.counters == run.counters
    assert read.environment == run.environment
    assert (read.digest, read.interrupted, read.batching) == (run.digest, True, run.batching)
    assert (read.virtual_s, read.wall_s, read.cpu_s) == (run.virtual_s, run.wall_s, run.cpu_s)
    np.testing.assert_array_equal(read.require_model(), run.require_model())
    assert read.require_model().dtype == np.float32


def test_a_run_without_labels_rounds_or_faults(make_run: RunMaker, tmp_path: Path) -> None:
    run = make_run(faults=False)
    run.label_counts, run.rounds, run.peers, run.neighbours = None, [], [], []
    read = read_run(write_run(run, tmp_path))
    assert (read.label_counts, read.rounds, read.peers, read.events) == (None, [], [], [])
    assert read.neighbours == []


def test_the_resolved_scenario_is_a_scenario_file(make_run: RunMaker, tmp_path: Path) -> None:
    run = make_run(
        description='says "hello"\nand ünïcode',
        network={"loss": 1e-7},
        faults_of_world={
            "partitions": [{"start_s": 5.0, "duration_s": 2.0, "shares": [1, 2, 3]}],
            "churn": {
                "session_s": {"kind": "lognormal", "median_s": 60, "sigma": 1},
                "offline_s": {"mean_s": 3},
            },
        },
    )
    folder = write_run(run, tmp_path)
    assert load_scenario(str(folder / "scenario.toml")) == run.scenario


def test_pandas_and_polars_read_the_tables(make_run: RunMaker, tmp_path: Path) -> None:
    run = make_run(peers=8, rounds=4)
    run.rounds[2].consensus_distance = None
    folder = write_run(run, tmp_path)
    rounds = pd.read_parquet(folder / "rounds.parquet")
    assert list(rounds["round"]) == [0, 1, 2, 3]
    assert math.isnan(rounds["consensus_distance"][2])
    assert rounds["own_mean"][3] == run.rounds[3].own_mean
    peers = pl.read_parquet(folder / "peers.parquet")
    assert peers.filter(pl.col("round") == 3)["own_accuracy"].min() == min(
        row.own["accuracy"] for row in run.peers if row.round == 3
    )
    events = pl.read_parquet(folder / "events.parquet")
    assert events["kind"].to_list() == [event.kind for event in run.events]
    population = pl.read_parquet(folder / "population.parquet")
    assert population["label_counts"].to_list() == run.label_counts


def test_the_summary_is_strict_json_and_the_model_is_safetensors(
    make_run: RunMaker, tmp_path: Path
) -> None:
    run = make_run()
    run.rounds[-1].consensus_distance = math.inf
    run.counters["rate"] = math.nan
    folder = write_run(run, tmp_path)

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    summary = json.loads((folder / "summary.json").read_text(), parse_constant=refuse)
    assert summary["digest"] == run.digest
    assert summary["consensus_distance"] is None
    assert summary["counters"]["rate"] is None
    assert load_file(folder / "model.safetensors")["model"].shape == run.require_model().shape


def test_models_have_the_names_of_their_tensors_and_peers_theirs_on_demand(
    tmp_path: Path,
) -> None:
    document = {
        "peers": 3,
        "rounds": 1,
        "averaging": {"algorithm": "dsgd"},
        "learning": {"task": "digits", "options": {"hidden": [4]}},
        "evaluation": {"baselines": [], "keep_models": True},
    }
    result = run_scenario(make_scenario(document))
    folder = write_run(result, tmp_path / "run")
    written = load_file(folder / "model.safetensors")
    shapes = {"0.weight": (4, 64), "0.bias": (4,), "2.weight": (10, 4), "2.bias": (10,)}
    assert {name: it.shape for name, it in written.items()} == shapes
    assert read_run(folder).require_model().tobytes() == result.require_model().tobytes()
    models = [read_model(folder / "models" / f"peer-{it}.safetensors") for it in range(3)]
    assert [metadata["peer"] for _, metadata in models] == ["0", "1", "2"]
    assert {metadata["run"] for _, metadata in models} == {result.digest}
    mean = np.mean([model.vector() for model, _ in models], axis=0, dtype=np.float64)
    assert np.allclose(mean, result.require_model(), atol=1e-6)


def test_a_folder_that_holds_something_is_refused_and_left_alone(
    make_run: RunMaker, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="exists and is not empty"):
        write_run(make_run(rounds=1), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(RunFolderError, match=r"notes\.txt is a file"):
        write_run(make_run(rounds=1), tmp_path / "notes.txt")
    with pytest.raises(RunFolderError, match="is a file, or lies below one"):
        write_run(make_run(rounds=1), tmp_path / "notes.txt" / "run")


def test_default_folders_are_numbered(
    make_run: RunMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scenario = make_run(rounds=1, name="my run/../x", seed=9).scenario
    made = [claim_folder(None, scenario) for _ in range(3)]
    assert [str(folder) for folder in made] == [
        "runs/my-run-..-x-9",
        "runs/my-run-..-x-9-2",
        "runs/my-run-..-x-9-3",
    ]
    assert all(folder.is_dir() for folder in made)


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="there is no folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(RunFolderError, match=r"is no run folder: it has no summary\.json"):
        read_run(tmp_path)
    (tmp_path / "summary.json").write_text('{"some": "json"}')
    with pytest.raises(RunFolderError, match="of no run folder that this version reads"):
        read_run(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(RunFolderError, match="cannot be read"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "rounds.parquet",
        "peers.parquet",
        "events.parquet",
        "gains.parquet",
        "population.parquet",
        "model.safetensors",
        "scenario.toml",
    ],
)
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_run_folder_is_one_clear_error(
    make_run: RunMaker, tmp_path: Path, name: str, damage: str
) -> None:
    folder = write_run(make_run(rounds=2), tmp_path / "run")
    file = folder / name
    if damage == "missing":
        file.unlink()
    else:
        whole = file.read_bytes()
        # A scenario cut at a line's end may be another scenario.
        end = whole.index(b"=") + 1 if name == "scenario.toml" else len(whole) // 2
        file.write_bytes(whole[:end])
    with pytest.raises(RunFolderError, match=r"broken|cannot be read") as caught:
        read_run(folder)
    assert "\n" not in str(caught.value)


def test_a_writer_that_dies_half_way_leaves_no_run(tmp_path: Path) -> None:
    program = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from example_runs import make_example
from p2pfl_simulations.results import folder as run_folder
run_folder.NamedModel.write = lambda model, path, metadata: os._exit(9)
run_folder.write_run(make_example(rounds=2), {str(tmp_path / "run")!r})
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode == 9
    assert (tmp_path / "run" / "rounds.parquet").exists()
    with pytest.raises(RunFolderError, match="no run folder"):
        read_run(tmp_path / "run")
