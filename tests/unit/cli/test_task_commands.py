"""`p2pfl task ...`: describe, mock and try, as a user calls them."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from calling import P2pfl
from safetensors.numpy import save_file

SCHEMA = """
target = "y"
[columns.a]
type = "number"
range = [0, 10]
[columns.b]
type = "boolean"
[columns.y]
type = "boolean"
"""
TASK = """
import numpy as np, torch
from p2pfl.learner.tasks import Data, Rows, Task

class Mine(Task):
    def __init__(self, width=4):
        self.width = width
    def data(self, data_dir):
        x = np.random.default_rng(0).normal(size=(200, 2)).astype("float32")
        y = (x[:, 0] > 0).astype("int64")
        return Data(train=Rows(x[:150], y[:150]), test=Rows(x[150:], y[150:]))
    def model(self):
        first = torch.nn.Linear(2, self.width).requires_grad_(False)
        return torch.nn.Sequential(first, torch.nn.Tanh(), torch.nn.Linear(self.width, 2))
"""


@pytest.fixture(autouse=True)
def files(p2pfl: P2pfl) -> None:
    del p2pfl  # It has made the folder the present one.
    Path("schema.toml").write_text(SCHEMA)
    Path("mine_to_try.py").write_text(TASK)


def test_made_up_rows_are_described_by_a_schema_like_theirs(p2pfl: P2pfl) -> None:
    made = p2pfl("task", "mock", "schema.toml", "mock.csv", "--rows", "80", "--seed", "3")
    assert made.code == 0, made.err
    assert "80 rows, none of them real" in made.out
    described = p2pfl("task", "describe", "mock.csv", "--target", "y")
    assert described.code == 0, described.err
    Path("again.toml").write_text(described.out)
    assert p2pfl("task", "mock", "again.toml", "more.csv").code == 0
    again = p2pfl("task", "mock", "again.toml", "more.csv")
    assert again.code == 2
    assert again.err == "p2pfl: more.csv is there already; name a new file\n"


def test_a_schema_is_tried_on_made_up_rows_or_on_a_table(p2pfl: P2pfl) -> None:
    tried = p2pfl("task", "try", "schema.toml", "--set", "hidden=[4]", "--json")
    assert tried.code == 0, tried.err
    told = json.loads(tried.out)
    assert told["rows from"] == "500 made-up rows"
    assert [it["shape"] for it in told["travels"]] == [[4, 2], [4], [2, 4], [2]]
    assert told["entries"] == 22
    assert told["bytes of an update"] == 88
    assert told["engine"] == "stacked (bmm by hand)"
    assert told["seconds a step"] > 0
    Path("own.csv").write_text("a,b,y\n" + "1,yes,no\n9,no,yes\n" * 20)
    tried = p2pfl("task", "try", "schema.toml", "--data", "own.csv")
    assert tried.code == 0, tried.err
    assert "rows from" not in tried.out
    Path("own.csv").write_text("a,b,y\n1,maybe,no\n")
    tried = p2pfl("task", "try", "schema.toml", "--data", "own.csv")
    assert tried.code == 2
    assert "line 2, column 'b': 'maybe' is no boolean" in tried.err
    assert len(tried.err.splitlines()) == 1


def test_an_own_task_is_tried_by_its_file_and_class(p2pfl: P2pfl) -> None:
    tried = p2pfl("task", "try", "mine_to_try.py:Mine", "--set", "width=3")
    assert tried.code == 0, tried.err
    assert "2.weight  2 x 3  float32" in tried.out
    assert "0.weight" not in tried.out  # It is frozen.
    assert "8 entries, 32 B" in tried.out
    assert "accuracy" in tried.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.py:Mine"], "there is no file nowhere.py"),
        (["mine_to_try.py:Yours"], "Yours is not there in"),
        (["nowhere.toml"], "cannot read the schema nowhere.toml"),
        (["mine_to_try.py:Mine", "--set", "width=-1"], "mine_to_try:Mine"),
        (["mine_to_try.py:Mine", "--set", "depth=1"], "its options are: width"),
        (["digts"], "did you mean 'digits'"),
    ],
)
def test_what_cannot_be_tried_is_told_in_one_line(
    p2pfl: P2pfl, arguments: list[str], says: str
) -> None:
    tried = p2pfl("task", "try", *arguments)
    assert tried.code == 2
    assert says in tried.err
    assert len(tried.err.splitlines()) == 1, tried.err


def test_constants_are_of_a_run_of_their_own_task_alone(p2pfl: P2pfl) -> None:
    named = p2pfl("task", "constants", "schema.toml", "nowhere.safetensors")
    assert named.code == 2
    assert named.err.startswith("p2pfl: cannot read the model nowhere.safetensors: ")
    save_file({"0.weight": np.zeros(2, np.float32)}, "other.safetensors")
    named = p2pfl("task", "constants", "schema.toml", "other.safetensors")
    assert named.code == 2
    assert named.err == (
        "p2pfl: other.safetensors is the model of another task than tabular-constants\n"
    )
    # a: a quarter of the rows lack it, and the others are 10; b and y are as often yes as no.
    entries = np.array([0.75, 0.75, 0.75, 0.5, 0.5, 0.5, 0.5]) / 7**0.5
    save_file({"model": entries.astype(np.float32)}, "constants.safetensors")
    found = p2pfl("task", "constants", "schema.toml", "constants.safetensors")
    assert found.code == 0, found.err
    assert tomllib.loads(found.out)["columns"]["a"]["mean"] == 10
