"""The tables of a run."""

import numpy as np
from scripted import Stage

from p2pfl_gossip.events import RoundEnded
from p2pfl_simulations.results.recorder import Recorder
from p2pfl_simulations.scenario import make_scenario


def test_a_peer_that_ends_a_round_again_after_a_restart_is_counted_once() -> None:
    # It restarts from an older checkpoint, or from none, and does its rounds again.
    scenario = make_scenario(
        {
            "peers": 3,
            "rounds": 2,
            "learning": {"task": "integers"},
            "averaging": {"algorithm": "cohorts", "cohort_size": 3, "masking": "none"},
        }
    )
    recorder = Recorder(scenario, lambda _round, _vector: 0.0, lambda _row: None)
    world = Stage(hosts=3).world
    recorder.start(world)
    model = np.zeros(2, np.float32)
    for at_s, index, round_ in ((1.0, 0, 0), (2.0, 1, 0), (3.0, 0, 1), (5.0, 0, 0), (6.0, 0, 1)):
        ended = RoundEnded(round_, model, 3, 2, index == 1)
        recorder.on_report(at_s, world.hosts[index], ended)
    rows = recorder.rows()
    assert [(row.ended, row.lost, row.incomplete) for row in rows] == [(2, 1, 1), (1, 2, 1)]
    assert [row.virtual_s for row in rows] == [2.0, 3.0]
