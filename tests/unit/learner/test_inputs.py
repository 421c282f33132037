"""What a learner learns from, by digest: equal where it is the same, and only there."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pfl.learner.holding_out import HeldOut
from p2pfl.learner.inputs import Inputs, inputs_of
from p2pfl.learner.learner import make_learner
from p2pfl.learner.partitions import Partition
from p2pfl.learner.settings import LearningSettings
from p2pfl.learner.tasks import Data, Rows
from p2pfl_gossip.description import describe_source
from p2pfl_simulations import load_scenario, read_run, run
from p2pfl_simulations.results.folder import write_run


def inputs(seed: int = 1, peers: int = 4, **settings: Any) -> dict[str, str]:
    chosen = LearningSettings.model_validate({"task": "breast-cancer", **settings})
    learner = make_learner(chosen, peer_count=peers, seed=seed, folder=None)
    return asdict(learner.inputs())


def test_each_digest_is_of_its_own_part() -> None:
    def differing(**changed: Any) -> set[str]:
        other = inputs(**changed)
        return {name for name, digest in inputs().items() if other[name] != digest}

    assert differing() == set()
    assert differing(training={"learning_rate": 0.5}) == set()
    assert differing(seed=2) == {"split"}
    assert differing(peers=5) == {"split"}
    assert differing(held_out=0.4) == {"split"}
    assert differing(evaluation_rows=20) == {"test"}
    assert differing(task="digits") == {"train", "test", "split"}


def test_a_row_a_type_or_an_owner_that_changes_is_seen() -> None:
    rows = Rows(np.arange(12, dtype=np.float32).reshape(6, 2), np.arange(6))
    split = HeldOut(
        Partition(np.arange(4), np.array([0, 2, 4]), ""),
        (np.array([4]), np.array([5])),
        (np.array([], np.int64),) * 2,
    )
    sources = (describe_source("my_task.py", "0123"),)

    def made(rows: Rows = rows, held_out: HeldOut = split, test: Rows | None = rows) -> Inputs:
        return inputs_of(Data(rows, rows), test, held_out, sources)

    first = made()
    assert first.code == "my_task.py 0123"
    assert made(test=None).test == ""
    assert made(Rows(rows.inputs + 1e-6, rows.targets)).train != first.train
    assert made(Rows(rows.inputs.astype(np.float64), rows.targets)).train != first.train
    assert made(Rows(rows.inputs.reshape(6, 1, 2), rows.targets)).train != first.train
    assert made(Rows(rows.inputs, rows.targets[::-1])).train != first.train
    # The same rows are held back, by the other peer.
    swapped = replace(split, test=(np.array([4, 5]), np.array([], np.int64)))
    assert made(held_out=swapped).split != first.split
    assert made(held_out=replace(split, test=split.validation, validation=split.test)) != first


def test_a_runs_folder_keeps_them(tmp_path: Path) -> None:
    result = run(load_scenario("quick", {"rounds": 1, "evaluation.baselines": []}))
    assert result.inputs is not None
    assert read_run(write_run(result, tmp_path / "run")).inputs == result.inputs
    result.inputs = None
    assert read_run(write_run(result, tmp_path / "older")).inputs is None


@pytest.mark.parametrize("task", ["digits", "integers"])
def test_any_task_has_them(task: str) -> None:
    assert all(inputs(task=task).values())
