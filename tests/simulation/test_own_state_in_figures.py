"""What a run finds of peers whose models have parts of their own: with those parts, all of them."""

from pathlib import Path

import pytest

from p2pfl_simulations.running import run
from p2pfl_simulations.scenario import make_scenario

TASK = """
import numpy as np
from torch import nn
from p2pfl.learner.tasks import Data, Rows, Task

class Opposed(Task):
    # Peers' rows are alike, and what one calls a thing the next calls the other way round: only
    # heads of their own can tell.
    def data(self, data_dir):
        x = np.random.default_rng(0).normal(size=(600, 4)).astype("float32")
        site = np.arange(600) // 100
        y = ((x[:, 0] > 0) ^ (site % 2 == 1)).astype("int64")
        return Data(Rows(x, y), columns={"site": site})
    def model(self):
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))

class WithHeads(Opposed):
    def personal(self, model):
        return ["2.weight", "2.bias"]
"""


@pytest.mark.parametrize(
    ("averaging", "task", "local"),
    [
        ("cohorts", "WithHeads", {"kind": "plain"}),
        pytest.param("cohorts", "Opposed", {"kind": "ditto", "pull": 0.1}, marks=pytest.mark.long),
        ("group", "WithHeads", {"kind": "ditto", "pull": 0.1}),
    ],
)
def test_gains_and_baselines_are_of_models_with_their_own_parts(
    averaging: str, task: str, local: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "opposed_sites.py").write_text(TASK)
    masking = {"masking": "none"} if averaging == "cohorts" else {}
    training = {"learning_rate": 0.5, "batch_size": 10, "epochs": 2, "local": local}
    scenario = make_scenario(
        {
            "peers": 6,
            "rounds": 6,
            "learning": {
                "task": f"opposed_sites:{task}",
                "partition": {"kind": "groups", "column": "site"},
                "training": training,
            },
            "averaging": {"algorithm": averaging, **masking},
            "evaluation": {"baselines": ["local", "pooled"]},
        }
    )
    found = run(scenario, folder=tmp_path, threads=1)
    last = found.rounds[-1]
    # Each peer's model is right on its own rows, joint or alone; one for all of them cannot be.
    assert last.own_mean is not None
    assert last.own_mean > 0.85
    assert last.own_local_mean is not None
    assert last.own_local_mean > 0.85
    assert last.own_pooled_mean is not None
    assert last.own_pooled_mean < 0.75
    joint = {row.peer: row.own["accuracy"] for row in found.peers if row.round == last.round}
    for row in found.gains:
        assert row.joint == joint[row.peer]
        assert row.local is not None
        assert row.local > 0.8
