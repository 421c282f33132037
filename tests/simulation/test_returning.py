"""A peer that comes back in the middle of a long training is in the next sum but one."""

import pytest

from p2pfl.learner.learner import make_learner
from p2pfl_simulations import make_scenario
from p2pfl_simulations.running import Simulation

ROUNDS, TRAINING_S, DEADLINE_S = 8, 20.0, 2.0


@pytest.mark.parametrize("masking", ["real", "none"])
@pytest.mark.parametrize("back_s", [45.0, 50.0, 58.0, 61.0])
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
