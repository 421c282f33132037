"""Whom a run serves: each peer's gain by joining, on test rows of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from p2pfl.learner.gains import Mean, mean_gain, mean_pooled_gain, measure_gains
from p2pfl.learner.learner import Learner
from p2pfl.learner.peer_models import PeerModel
from p2pfl_simulations.results.run import GainRow, MeanGain
from p2pfl_simulations.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Gains:
    """What came of it, over all evaluated peers.

    Attributes:
        rows: the table.
        mean: of joint over local; None where no gain is known.
        pooled: of pooled over joint; None where that is not known.
        confusion: of the joint models on all own test rows, [class][guess], or None.
    """

    rows: list[GainRow]
    mean: MeanGain | None
    pooled: MeanGain | None
    confusion: list[list[int]] | None


def take_gains(
    scenario: Scenario,
    learner: Learner,
    *,
    joint: Mapping[int, PeerModel],
    local: Mapping[int, PeerModel],
    pooled: tuple[Learner, PeerModel] | None,
) -> Gains:
    """Measure each peer's models on its own test rows.

    Args:
        scenario: what was run.
        learner: knows the rows.
        joint: the model that counts of each evaluated peer that has one.
        local: as `joint`, trained alone.
        pooled: the learner of all rows and its model; None where there is none.
    """
    peers = sorted(joint)
    found = measure_gains(
        learner,
        peers,
        scenario.rounds - 1,
        seed=scenario.seed,
        joint=[joint[peer] for peer in peers],
        local=[local.get(peer) for peer in peers],
        pooled=pooled,
    )
    rows = [
        GainRow(
            peer=peer,
            name=name_of(learner, peer),
            train_rows=learner.sample_count(peer),
            test_rows=learner.test_count(peer),
            joint=gain.joint,
            local=gain.local,
            pooled=gain.pooled,
            gain=gain.gain,
            gain_low=gain.low,
            gain_high=gain.high,
        )
        for peer, gain in zip(peers, found, strict=True)
    ]
    counted = [gain.confusion for gain in found if gain.confusion is not None]
    return Gains(
        rows,
        _row(mean_gain(found)),
        _row(mean_pooled_gain(learner.primary, found)),
        np.sum(counted, axis=0).tolist() if counted else None,
    )


def _row(mean: Mean | None) -> MeanGain | None:
    return None if mean is None else MeanGain(*mean)


def name_of(learner: Learner, peer: int) -> str:
    """Name a peer for people, with the natural group that it holds."""
    group = f" ({learner.names[peer]})" if learner.names else ""
    return f"peer-{peer}{group}"
