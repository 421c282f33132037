"""A private run, from its scenario to its table of claims."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pfl.charter.charter_file import read_file
from p2pfl.daemon.config import PeerFolder, read_config
from p2pfl.daemon.spending import Spending
from p2pfl.group.privacy_settings import privacy_of
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import make_learner
from p2pfl.learner.peer_models import PeerModel
from p2pfl_gossip.learning import Evaluated, Trained, WorkFailed
from p2pfl_gossip.ledger.entries import Entry, EntryStep
from p2pfl_gossip.ledger.privacy import (
    RATE_UNITS,
    Privacy,
    PrivateTrust,
    PrivateUnit,
    read_feature,
)
from p2pfl_gossip.ledger.record import read_record
from p2pfl_gossip.masked_sum.jobs import Granted, Spend
from p2pfl_simulations.launch.budgets import spent_most
from p2pfl_simulations.launch.folders import make_folders
from p2pfl_simulations.noiseless import noiseless, ordinary
from p2pfl_simulations.private_plans import plan_of, row_of
from p2pfl_simulations.report.run_report import render_report
from p2pfl_simulations.results.folder import read_run, write_run
from p2pfl_simulations.results.privacy import NOT_PRIVATE, REAL, SEEDED, YARDSTICKS
from p2pfl_simulations.results.run import RunResult
from p2pfl_simulations.running import run
from p2pfl_simulations.scenario import ScenarioError, make_scenario

PRIVATE: dict[str, Any] = {
    "name": "private",
    "peers": 5,
    "rounds": 3,
    "learning": {"task": "digits", "held_out": 0.5},
    "averaging": {"algorithm": "group", "deadline_s": 2.0},
    "evaluation": {"every": 3, "baselines": ["local"]},
    "privacy": {"epsilon": 4.0, "rate": 1, "momentum": 0.5},
}


def scenario_of(**privacy: Any) -> dict[str, Any]:
    document = copy.deepcopy(PRIVATE)
    document["privacy"] |= privacy
    return document


def figures_for(trust: str) -> Privacy:
    """What a charter says of 720 rows, half of them in each round's lots."""
    is_shared = trust == "coalition"
    return Privacy(
        unit=PrivateUnit.RECORD,
        trust=PrivateTrust.COALITION if is_shared else PrivateTrust.NOBODY,
        rate_units=RATE_UNITS // 2,
        noise_units=2**20,
        clip=1.0,
        spends=4,
        colluding=1,
        least=5,
        rows=720,
        steps=1 if is_shared else 2,
        delta=1e-5,
        rate_first=2.0,
        rate_last=0.5,
        momentum=0.5 if is_shared else 0.0,
        table=bytes(32),
    )


@pytest.fixture(scope="module")
def private() -> RunResult:
    """One run, which all tests and checkers look at: its plan alone takes some seconds."""
    return run(make_scenario(PRIVATE), is_checked=True)


def test_a_private_run_promises_what_its_plan_does(private: RunResult) -> None:
    """One line for each adversary; two accountants agree."""
    row = private.privacy
    assert row is not None
    assert 3.9 < row.epsilon <= 4.0 < row.renyi_epsilon < 4.8
    assert (row.unit, row.delta, row.rounds, row.spent) == ("row", 1e-5, 7, 3)
    assert (row.members, row.least, row.colluding) == (5, 5, 1)
    assert [claim.is_the_claim for claim in row.claims].count(True) == 1
    shares = [claim.shares for claim in row.claims]
    assert shares == sorted(shares, reverse=True)
    assert row.claims[-1].epsilon is None
    assert SEEDED in row.sentences()


def test_its_entries_say_by_which_noise(private: RunResult) -> None:
    """So epsilon can be worked out from the record, and need not be believed."""
    assert private.ledger is not None
    history = read_record(private.ledger)
    found: list[Entry] = []
    step: EntryStep | None = history.head
    while step is not None and step.entry.round:
        found = [step.entry, *found] if step.entry.features else found
        step = history.step(step.entry.base)
    assert [entry.height for entry in found] == [1, 2, 3]
    said = read_feature(found[0].features[0].value)
    assert private.privacy is not None
    assert said.noise_units / 2**20 == private.privacy.noise
    assert said.least == private.privacy.least


def test_it_is_in_summary_page_and_folder(private: RunResult, tmp_path: Path) -> None:
    page = render_report(private)
    write_run(private, tmp_path / "run", page=page, task_folder=None)
    assert private.privacy is not None
    assert read_run(tmp_path / "run").privacy == private.privacy
    for said in ("Differential privacy", "one curious member", "the claim", "no privacy"):
        assert said in page
    assert NOT_PRIVATE not in page
    assert "Group mean" in page
    assert "Gossip" not in page  # A group does not gossip.


def test_the_model_learns_for_all_its_noise(private: RunResult) -> None:
    """Little in three rounds; nothing would be a tenth."""
    figures = [row.common_mean for row in private.rounds if row.common_mean is not None]
    assert figures
    assert figures[-1] > 0.2
    assert private.model is not None
    assert np.isfinite(private.model).all()


def test_it_is_held_against_what_noise_and_privacy_cost_and_against_members_alone(
    private: RunResult,
) -> None:
    """After the last round, in one line: it is what privacy costs."""
    assert private.privacy is not None
    found = private.privacy.compared
    assert found is not None
    last = private.rounds[-1]
    assert (found.with_noise, found.alone) == (last.own_mean, last.own_local_mean)
    assert found.without_noise is not None
    assert 0.2 < found.without_noise < 0.6
    assert found.without_noise != found.with_noise
    assert found.not_private is not None
    assert 0.2 < found.not_private < 0.6  # In three rounds; of trainings, not of lots.
    assert found.not_private not in (found.with_noise, found.without_noise, found.alone)
    assert found.told() in private.privacy.sentences()
    assert YARDSTICKS not in private.privacy.sentences()


def test_without_privacy_it_is_the_mean_of_what_the_members_train() -> None:
    """One that fails to train is left out, and the rest average as if it were not there."""
    learner = make_learner(
        make_scenario(PRIVATE).learning, peer_count=5, seed=1, folder=None, threads=1
    )
    run, start = learner.run, learner.initial_vector()
    jobs = [(peer, PeerModel(start).train(0, f"1/{peer}/1/train/0")) for peer in range(4)]
    trained = [it.vector for it in run(jobs) if isinstance(it, Trained)]
    assert len(trained) == 4

    def fail_last(asked: Any) -> Any:
        return [
            WorkFailed("nothing") if peer == 4 else one
            for (peer, _), one in zip(asked, run(asked), strict=True)
        ]

    learner.run = fail_last  # type: ignore[method-assign, assignment]
    first, second = ordinary(learner, peers=5, rounds=2, seed=1)
    assert np.allclose(first, np.mean(trained, axis=0), atol=1e-6)
    assert not np.allclose(first, second)


@pytest.mark.parametrize("trust", ["coalition", "nobody"])
def test_the_group_without_noise_learns(trust: str) -> None:
    """By the same lots and steps, whoever is trusted; with noise of nothing it is the same."""
    learner = make_learner(
        make_scenario(PRIVATE).learning, peer_count=5, seed=1, folder=None, threads=1
    )
    noise = partial(np.zeros, learner.vector_length)
    privacy = figures_for(trust)
    made = [
        list(noiseless(learner, privacy, peers=5, rounds=4, seed=1, noise=it))
        for it in (None, noise)
    ]
    assert all((one == other).all() for one, other in zip(*made, strict=True))
    found = learner.evaluate([(0, PeerModel(made[0][-1]).evaluate(0))])[0]
    assert isinstance(found, Evaluated)
    assert found.metrics["accuracy"] > 0.3


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (scenario_of(rate="1/0"), "rate is a number or a fraction"),
        (scenario_of(rate="2"), "rate is above 0 and at most 1"),
        (scenario_of(learning_rate_last=3.0), "learning_rate_last is above learning_rate"),
        (scenario_of(epsilon=30), "less than or equal to 20"),
        (scenario_of() | {"averaging": {"algorithm": "fedavg"}}, "only a group certifies"),
        (
            scenario_of() | {"averaging": {"algorithm": "group", "weights": "samples"}},
            "weights count alike",
        ),
    ],
)
def test_what_cannot_be_is_refused(document: dict[str, Any], why: str) -> None:
    with pytest.raises(ScenarioError, match=why):
        make_scenario(document)


@pytest.mark.parametrize(
    ("privacy", "why"),
    [
        ({"least": 3, "momentum": 0.0}, "members in a sum: 4 to 5 of 5, not 3"),
        ({"colluders": 2}, "members that collude"),
        ({"steps": 2}, "shared noise allows one step only"),
        ({"unit": "member"}, "momentum is of sums of gradients"),
        ({"delta": 0.1}, "is too large for 720 rows"),
    ],
)
def test_plans_that_cannot_be_are_refused(privacy: dict[str, Any], why: str) -> None:
    with pytest.raises(ScenarioError, match=why):
        run(make_scenario(scenario_of(**privacy)))


def test_tasks_without_gradients_of_rows_are_refused() -> None:
    """By the name of what is missing, before anything runs."""
    document = scenario_of() | {"learning": {"task": "integers"}}
    with pytest.raises(LearningError, match="is in NumPy, which gives no gradient of a row"):
        run(make_scenario(document))


def test_processes_have_a_charter_of_the_plan_and_budgets_that_pay_for_it(tmp_path: Path) -> None:
    """All that a launch makes before it starts them; then what each gave is read in its budget."""
    scenario = make_scenario(PRIVATE)
    learner = make_learner(scenario.learning, peer_count=5, seed=1, folder=None, threads=1)
    plan = plan_of(scenario, learner)
    assert plan is not None
    assert scenario.privacy is not None
    folders = [PeerFolder(it) for it in make_folders(scenario, tmp_path, None, learner, plan=plan)]
    file = read_file(folders[3].charters / "group.charter")
    assert file.charter.privacy == privacy_of(scenario.privacy, plan)
    spending = Spending(folders[3], read_config(folders[3].path))
    assert spending.fault(file) == ""
    assert spent_most(it.path for it in folders) == 0
    for round_ in range(2):
        assert (
            spending.spend(Spend(epoch=0, round=round_, charter=file.digest, is_private=True))
            == Granted()
        )
    assert spent_most(it.path for it in folders) == 2
    row = row_of(plan, learner, 2, is_seeded=False)
    assert REAL in row.sentences()
    assert SEEDED not in row.sentences()
