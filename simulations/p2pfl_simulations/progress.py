"""How far a run is, as its watchers are told."""

from collections.abc import Callable
from dataclasses import dataclass

from p2pfl.learner.metrics import PrimaryMetric
from p2pfl_simulations.results.run import RoundRow
from p2pfl_simulations.scenario import Scenario


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is.

    `stage` is ``"gossip"``, ``"local only"``, ``"pooled"``, ``"without noise"`` or ``"without
    privacy"``. `mean` and `worst` are of the primary metric, each peer on its own test rows; on the
    common ones where peers have none. They are of the `measured` peers that were measured by then.
    """

    stage: str
    round: int
    rounds: int
    online: int
    peers: int
    primary: PrimaryMetric
    mean: float | None
    worst: float | None
    bytes_sent: int
    virtual_s: float
    measured: int = 0


OnProgress = Callable[[RunProgress], None]


def gossip_progress(
    scenario: Scenario, primary: PrimaryMetric, row: RoundRow, online: int, measured: int
) -> RunProgress:
    """Tell how far peers are that have come to the end of a round; so many were measured."""
    return RunProgress(
        stage="gossip",
        round=row.round + 1,
        rounds=scenario.rounds,
        online=online,
        peers=scenario.peers,
        primary=primary,
        mean=row.common_mean if row.own_mean is None else row.own_mean,
        worst=row.common_worst if row.own_mean is None else row.own_worst,
        bytes_sent=row.bytes_sent,
        virtual_s=row.virtual_s,
        measured=measured,
    )


def teller(
    scenario: Scenario, primary: PrimaryMetric, tell: OnProgress
) -> Callable[[str, int], None]:
    """Return what tells of a baseline that it has come to a round, by its name."""

    def tell_stage(stage: str, round_: int) -> None:
        peers = scenario.peers
        done = round_ + 1, scenario.rounds, peers, peers
        tell(RunProgress(stage, *done, primary, None, None, 0, 0))

    return tell_stage
