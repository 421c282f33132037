"""A task whose code raises, wherever that is: each command ends with one line, and code 2."""

import re
from pathlib import Path

import pytest
from calling import P2pfl

TASK = """
import numpy as np
from torch import nn
from p2pfl.learner.tasks import Data, Rows, Task

WHERE = "{where}"
calls = 0

def fail(where):
    if where == WHERE:
        raise KeyError("odd")

fail("import")

class Odd(Task):
    def __init__(self):
        fail("init")
    def data(self, data_dir):
        fail("data")
        x = np.random.default_rng(0).normal(size=(90, 4)).astype("float32")
        return Data(Rows(x[:60], (x[:60, 0] > 0).astype(int)), Rows(x[60:], (x[60:, 0] > 0) * 1))
    def model(self):
        fail("model")
        return nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.1), nn.Linear(3, 2))
    def travelling(self, model):
        fail("travelling")
        return super().travelling(model)
    def loss(self, outputs, targets):
        global calls
        calls += 1
        fail("loss")
        if calls > 4:  # The trial takes fewer.
            fail("late loss")
        return super().loss(outputs, targets)
    def metrics(self, outputs, targets):
        fail("metrics")
        if calls > 4:
            fail("late metrics")
        return super().metrics(outputs, targets)
"""
SCENARIO = """
peers = 5
rounds = 2
learning.task = "odd_task:Odd"
learning.training.batch_size = 4
averaging.algorithm = "cohorts"
averaging.masking = "none"
averaging.cohort_size = 5
evaluation.baselines = ["local", "pooled"]
"""
WHERE = ["import", "init", "data", "model", "travelling", "loss", "metrics"]
LATE = ["late loss", "late metrics"]
COMMANDS = {
    "simulate": ["simulate", "scenario.toml", "--out", "run"],
    "launch": ["launch", "scenario.toml", "--out", "run"],
    "task try": ["task", "try", "odd_task.py:Odd"],
}


@pytest.mark.parametrize("where", [*WHERE, *LATE])
@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_told_in_one_line(
    p2pfl: P2pfl, command: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if command == "launch" and where in LATE:
        pytest.skip("the peers go on without an update, and say so: see docs/operate.md")
    monkeypatch.delitem(__import__("sys").modules, "odd_task", raising=False)
    Path("odd_task.py").write_text(TASK.replace("{where}", where))
    Path("scenario.toml").write_text(SCENARIO)
    ended = p2pfl(*COMMANDS[command])
    assert ended.code == 2, ended.err
    last = ended.err.strip().splitlines()[-1]
    assert "KeyError: 'odd'" in last
    assert re.search(r"odd_task.py, line \d+\)", last)
    assert "Traceback" not in ended.err
