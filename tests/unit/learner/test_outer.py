"""Outer optimisers, held against torch's on a server, and through whole simulated groups."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from p2pfl.learner.engines.outer import OuterSteps
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.settings import LearningSettings, OuterSettings
from p2pfl_gossip.learning import Train, Trained
from p2pfl_simulations import make_scenario, run

PEERS, ROUNDS, RATE = 3, 5, 0.7
RULES: list[dict[str, Any]] = [
    {"kind": "sgd", "momentum": 0.9, "nesterov": True},
    {"kind": "sgd", "momentum": 0.5},
    {"kind": "adamw", "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-3, "weight_decay": 0},
]


def learner(**training: Any) -> Learner:
    settings = LearningSettings.model_validate(
        {"task": "digits", "training": {"batch_size": 100, "learning_rate": 0.05, **training}}
    )
    return make_learner(settings, peer_count=PEERS, seed=7, folder=None, threads=1)


def trained(made: Learner, vectors: Any, round_: int, own: Any = None) -> list[Trained]:
    jobs = [
        (peer, Train(round_, vectors[peer], f"7/{peer}/1/train/{round_}", own[peer] if own else {}))
        for peer in range(PEERS)
    ]
    results = made.run(jobs)
    assert all(isinstance(result, Trained) for result in results)
    return results  # type: ignore[return-value]


def mean(results: list[Trained]) -> Any:
    return np.mean([it.vector for it in results], axis=0, dtype=np.float64).astype(np.float32)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rounds_begin_where_a_servers_optimiser_would_have_them(rule: dict[str, Any]) -> None:
    made, plain = learner(outer={"learning_rate": RATE, "optimiser": rule}), learner()
    vector: Any = made.initial_vector()
    own: Any = [{}] * PEERS
    server = torch.nn.Parameter(torch.from_numpy(vector.copy()).double())
    theirs: torch.optim.Optimizer
    if rule["kind"] == "sgd":
        nesterov = rule.get("nesterov", False)
        theirs = torch.optim.SGD([server], RATE, momentum=rule["momentum"], nesterov=nesterov)
    else:
        theirs = torch.optim.Adam([server], RATE, (rule["beta1"], rule["beta2"]), rule["epsilon"])
    for round_ in range(ROUNDS):
        results = trained(made, [vector] * PEERS, round_, own)
        vector, own = mean(results), [it.own for it in results]
        begun = {it.own["outer/begun"].tobytes() for it in results}
        assert len(begun) == 1  # All members come to the same bits.
        at = server.detach().numpy()
        assert np.abs(results[0].own["outer/begun"] - at).max() < 2e-4 * max(1, np.abs(at).max())
        average = mean(trained(plain, [at.astype(np.float32)] * PEERS, round_))
        server.grad = torch.from_numpy(at - average)
        theirs.step()


def test_who_missed_a_round_begins_at_the_mean_and_who_tries_again_where_it_began() -> None:
    outer = OuterSteps(OuterSettings())
    means = [np.full(4, value, np.float32) for value in (0.0, 1.0, 3.0, 4.0)]
    begun, own = outer.begin(0, means[0], {})
    assert begun.tolist() == means[0].tolist()
    second, kept = outer.begin(1, means[1], own)
    assert second.tolist() == pytest.approx([1.9] * 4)  # 1 + .9 * (1 - 0)
    again, same = outer.begin(1, means[1], kept)
    assert again.tolist() == second.tolist()
    assert same.keys() == kept.keys()
    missed, anew = outer.begin(3, means[3], kept)
    assert missed.tolist() == means[3].tolist()
    assert "outer/velocity" not in anew
    assert means[1].tolist() == [1.0] * 4


TASK = """
import numpy as np
from p2pfl.learner.tasks.perceptrons import Digits

class Headed(Digits):
    def personal(self, model):
        return ["2.weight", "2.bias"]
"""


@pytest.mark.parametrize(
    ("averaging", "task", "training"),
    [
        ("group", "digits", {"outer": {"learning_rate": 1.0}}),
        ("cohorts", "digits", {"outer": {"learning_rate": 1.0}}),
        ("dsgd", "digits", {"local": {"kind": "scaffold"}}),
        ("group", "own_head:Headed", {"local": {"kind": "ditto", "pull": 0.1}}),
        ("cohorts", "own_head:Headed", {"keep_moments": True, "momentum": 0.5}),
    ],
    ids=str,
)
def test_all_kinds_of_averaging_run_with_state_of_ones_own(
    task: str, training: dict[str, Any], averaging: str, tmp_path: Path
) -> None:
    (tmp_path / "own_head.py").write_text(TASK)
    sys.modules.pop("own_head", None)
    document = {
        "peers": 5,
        "rounds": 3,
        "learning": {"task": task, "training": {"learning_rate": 0.2, "epochs": 3, **training}},
        "averaging": {"algorithm": averaging},
        "evaluation": {"baselines": []},
    }
    result = run(make_scenario(document), folder=tmp_path, is_checked=True)
    assert not [event for event in result.events if event.kind == "training failed"]
    last = result.rounds[-1]
    found: Any = getattr(last, "own_mean", None) or getattr(last, "accuracy_mean", None)
    assert found > 0.6


@pytest.mark.parametrize(
    "averaging",
    [
        {"algorithm": "fedavg"},
        {"algorithm": "push-sum"},
        {"algorithm": "dsgd"},
        {"algorithm": "epidemic", "fanout": 2},
        {"algorithm": "age-gossip"},
    ],
    ids=str,
)
def test_it_moves_models_further_however_they_are_averaged(averaging: dict[str, Any]) -> None:
    """Without it, none of these comes beyond 0.31 in these rounds."""
    document = {
        "peers": 5,
        "rounds": 6,
        "learning": {
            "task": "digits",
            "training": {"learning_rate": 0.05, "outer": {"learning_rate": 1.0}},
        },
        "averaging": averaging,
        "evaluation": {"baselines": []},
    }
    reached = run(make_scenario(document)).rounds[-1].own_mean
    assert reached is not None
    assert reached > 0.38
