"""The tables of a run."""

import numpy as np
import pytest
from scripted import Stage

from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_gossip.events import PeerEvaluated, RoundEnded
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
    recorder = Recorder(
        scenario, PrimaryMetric(), lambda _round, _vector: 0.0, lambda _row, _measured: None
    )
    world = Stage(hosts=3).world
    recorder.start(world)
    model = np.zeros(2, np.float32)
    for at_s, index, round_ in ((1.0, 0, 0), (2.0, 1, 0), (3.0, 0, 1), (5.0, 0, 0), (6.0, 0, 1)):
        ended = RoundEnded(round_, model, 3, 2, index == 1)
        recorder.on_report(at_s, world.hosts[index], ended)
    rows = recorder.rows()
    assert [(row.ended, row.lost, row.incomplete) for row in rows] == [(2, 1, 1), (1, 2, 1)]
    assert [row.virtual_s for row in rows] == [2.0, 3.0]


def test_mean_worst_and_distance_are_each_what_they_are_called() -> None:
    """Three models, with figures that no two definitions of a column agree on."""
    for primary, worst in ((PrimaryMetric(), 0.5), (PrimaryMetric("rmse", False), 0.9)):
        scenario = make_scenario(
            {
                "peers": 3,
                "rounds": 1,
                "learning": {"task": "integers"},
                "averaging": {"algorithm": "cohorts", "cohort_size": 3, "masking": "none"},
            }
        )
        taken: list[np.ndarray] = []

        def average(_round: int, vector: np.ndarray, taken: list[np.ndarray] = taken) -> float:
            taken.append(vector)
            return 0.42

        recorder = Recorder(scenario, primary, average, lambda _row, _measured: None)
        world = Stage(hosts=3).world
        recorder.start(world)
        models = [np.array(it, np.float32) for it in ((0, 0), (3, 0), (0, 6))]
        for index, (model, own) in enumerate(zip(models, (0.5, 0.6, 0.9), strict=True)):
            host = world.hosts[index]
            recorder.on_report(1.0, host, RoundEnded(0, model, 3, 3, True))
            common = {primary.name: own - 0.25, "loss": 7.0}
            chosen = {primary.name: 0.1}
            recorder.on_report(1.5, host, PeerEvaluated(0, common, {primary.name: own}, chosen))
        (row,) = recorder.rows()
        assert row.own_mean == pytest.approx(2 / 3)
        assert row.own_worst == worst
        assert row.common_mean == pytest.approx(2 / 3 - 0.25)
        assert row.common_worst == worst - 0.25
        assert row.common_averaged == 0.42
        assert taken[0].tolist() == [1, 2]
        # Squared distances to (1, 2): 5, 8 and 17.
        assert row.consensus_distance == pytest.approx(np.sqrt(10))
        assert [peer.common["loss"] for peer in recorder.peers] == [7.0] * 3
        assert [peer.own[primary.name] for peer in recorder.peers] == [0.5, 0.6, 0.9]
        assert [peer.validation for peer in recorder.peers] == [{primary.name: 0.1}] * 3
        assert {peer: it.vector.tolist() for peer, it in recorder.models().items()} == {
            peer: it.tolist() for peer, it in enumerate(models)
        }
