"""Training that is fitted to a time: as many steps as fit, at least one."""

import pytest
from pydantic import ValidationError

from p2pfl.daemon.building import make_work
from p2pfl.learner.learner import make_learner
from p2pfl.learner.settings import LearningSettings, TrainingSettings
from p2pfl_gossip.learning import Train, Trained
from p2pfl_simulations import make_scenario, run

SECONDS = TrainingSettings(seconds=1.0, batch_size=4, learning_rate=0.1)


def test_a_peer_does_as_many_steps_as_fit_and_at_least_one() -> None:
    learner = make_learner(
        LearningSettings(training=SECONDS), peer_count=3, seed=1, folder=None, threads=1
    )
    job = Train(0, learner.initial_vector(), "stream")
    assert learner.steps(0, job) == 1  # Nobody has said how long one takes.
    learner.fit(0, 0.1)
    learner.fit(1, 0.3)
    learner.fit(2, 7.0)
    assert [learner.steps(peer, job) for peer in range(3)] == [10, 3, 1]
    assert learner.pooled().steps(0, job) == 14
    few, many = (learner.run([(peer, job)])[0] for peer in (2, 0))
    assert isinstance(few, Trained)
    assert isinstance(many, Trained)
    moved = [abs(trained.vector - job.vector).max() for trained in (few, many)]
    assert moved[0] < moved[1]


def test_of_seconds_steps_and_epochs_one_is_given() -> None:
    with pytest.raises(ValidationError, match="steps and seconds exclude each other"):
        TrainingSettings(steps=3, seconds=1.0)


def test_a_daemon_finds_out_how_many_fit() -> None:
    training = TrainingSettings(seconds=0.05, batch_size=4)
    learner = make_learner(
        LearningSettings(training=training), peer_count=1, seed=1, folder=None, threads=1
    )
    job = Train(0, learner.initial_vector(), "stream")
    assert isinstance(make_work(learner, 0)(job), Trained)
    # However slow the machine is, it has found a number, and its first training is no single step
    # where more fit.
    assert learner.steps(0, job) >= 1
    assert learner.fits_to_seconds


def test_a_slow_peer_trains_no_longer_than_the_others() -> None:
    scenario = {
        "peers": 5,
        "rounds": 2,
        "learning": {"task": "digits", "training": {"seconds": 2.0}},
        "averaging": {"deadline_s": 1.0, "masking": "modelled"},
        "compute": {"step_s": 0.1},
        "faults": {"stragglers": {"peers": [3], "factor": 20.0}},
        "evaluation": {"peers": 1, "baselines": ["pooled"]},
    }
    result = run(make_scenario(scenario), is_checked=True)
    assert result.participation is not None
    assert [row.share for row in result.participation] == [1.0] * 5
    assert result.virtual_s < 10
