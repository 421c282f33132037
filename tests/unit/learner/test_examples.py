"""The examples of own tasks, run as they are shipped."""

import sys
from pathlib import Path

import pytest

from p2pfl.learner.learner import make_learner
from p2pfl_simulations import load_scenario, run

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize(
    ("name", "length", "rounds", "accuracy"),
    [("own_task", 402, 4, 0.75), ("adapter", 3466, 6, 0.6), ("tables", 210, 3, 0.7)],
)
def test_an_example_runs_and_learns(
    name: str, length: int, rounds: int, accuracy: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = EXAMPLES / name
    scenario = load_scenario(
        str(folder / "scenario.toml"),
        {"rounds": rounds, "evaluation.every": 100, "evaluation.baselines": []},
    )
    made = make_learner(scenario.learning, peer_count=scenario.peers, seed=1, folder=folder)
    assert made.vector_length == length
    last = run(scenario, folder=folder).rounds[-1]
    assert last.round == scenario.rounds - 1
    # Tables hold each member's own test rows, and no common ones.
    reached = last.own_mean if name == "tables" else last.common_averaged
    assert reached is not None
    assert reached > accuracy


def test_the_documentation_names_what_a_task_may_define() -> None:
    text = (EXAMPLES.parent / "docs" / "tasks.md").read_text(encoding="utf-8")
    for word in ("data", "model", "loss", "metrics", "travelling", "initial_vector", "evaluate"):
        assert f"`{word}" in text
    for name in ("own_task", "adapter", "tables"):
        assert f"examples/{name}" in text
