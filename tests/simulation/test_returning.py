"""Peers that come back: in the middle of a long training, or where nothing was certified."""

import pytest
from sampled import sampled

from p2pfl.learner.learner import make_learner
from p2pfl_simulations import make_scenario
from p2pfl_simulations.checkers import all_checkers
from p2pfl_simulations.checkers.progress import AllFinish
from p2pfl_simulations.simulation import Simulation

ROUNDS, TRAINING_S, DEADLINE_S = 8, 20.0, 2.0


@pytest.mark.parametrize("masking", ["real", "none"])
@pytest.mark.parametrize("back_s", sampled([45.0, 50.0, 58.0, 61.0], every=2))
def test_a_peer_that_returns_within_a_training_is_soon_in_step(masking: str, back_s: float) -> None:
    """Training takes ten deadlines: who began a round in its middle would stay late for many."""
    scenario = make_scenario(
        {
            "peers": 8,
            "rounds": ROUNDS,
            "learning": {"task": "integers", "training": {"steps": 4}},
            "averaging": {
                "algorithm": "cohorts",
                "cohort_size": 8,
                "masking": masking,
                "clip": 65536.0,
                "deadline_s": DEADLINE_S,
            },
            "compute": {"step_s": TRAINING_S / 4},
            "evaluation": {"every": 1, "baselines": []},
        }
    )
    learner = make_learner(scenario.learning, peer_count=8, seed=1, folder=None)
    simulation = Simulation(scenario, learner, lambda _: None)
    world = simulation.world
    victim = world.hosts[3]
    world.queue.call_at(30.0, lambda: world.take_offline(victim, "crash", kills=True))
    world.queue.call_at(back_s, lambda: world.bring_online(victim, "crash"))
    simulation.run()
    rows = simulation.result().peers
    contributors = [row.contributors for row in rows if row.peer == 0]
    # It misses the rounds 1 and 2; where it came back late in 2, it may miss 3.
    assert contributors[:3] == [8, 7, 7]
    assert contributors[4:] == [8] * (ROUNDS - 4)


@pytest.mark.parametrize("back_s", [6.0, 11.0, 16.0])
def test_a_peer_that_returns_to_means_that_nobody_certified_comes_to_its_end(back_s: float) -> None:
    """Four of five sum, and one of them signs another mean: t = 4 signatures never come."""
    scenario = make_scenario(
        {
            "peers": 5,
            "rounds": 3,
            "time_limit_s": 100.0,
            "learning": {"task": "integers", "training": {"steps": 1}},
            "averaging": {
                "algorithm": "cohorts",
                "cohort_size": 5,
                "clip": 65536.0,
                "deadline_s": 2.0,
            },
            "compute": {"step_s": 5.0},
            "evaluation": {"every": 1, "baselines": []},
            "faults": {"liars": {"strategy": "false-sum", "peers": [2]}},
        }
    )
    learner = make_learner(scenario.learning, peer_count=5, seed=1, folder=None)
    checkers = (*all_checkers(), AllFinish())
    simulation = Simulation(scenario, learner, lambda _: None, checkers=checkers)
    world = simulation.world
    victim = world.hosts[1]
    world.queue.call_at(0.1, lambda: world.take_offline(victim, "crash", kills=True))
    world.queue.call_at(back_s, lambda: world.bring_online(victim, "crash"))
    simulation.run()
    rows = simulation.result().peers
    assert {row.contributors for row in rows if row.peer == 0} == {4}
