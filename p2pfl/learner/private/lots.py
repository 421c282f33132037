"""Does the private trainings of peers: draw the noise, draw a lot, sum, write integers, add both.

The noise is drawn before anything of the rows is looked at: how long it takes tells nothing.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from p2pfl.learner.engines.lot import Lot, Sums
from p2pfl.learner.errors import LearningError
from p2pfl.learner.private.units import Units, require_room
from p2pfl_crypto.discrete_gaussian import draw_noise
from p2pfl_crypto.encoding import NotFinite
from p2pfl_crypto.private_encoding import LotEncoding, Quanta, add_noise
from p2pfl_crypto.private_streams import DROPOUT, LOT, NOISE, private_stream
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.learning import LotSummed, Trained, TrainPrivately, WorkFailed

STEP_UNITS = 32
"""Units of a lot that take as long as one step of plain training, in virtual time."""


class LotSummer(Protocol):
    """Sums lots at a model.

    Attributes:
        told: how, one line for people.
    """

    told: str

    def lot_sum(self, vector: Vector, lot: Lot, clip: float, seed: int) -> tuple[Sums, int]:
        """Return float64[d], and how many units counted as zero."""


class PrivateLots:
    """The lots of all peers that a learner knows.

    Args:
        summer: sums them; made at the first, since that may refuse the model.
        units: of a peer.
        is_by_unit: whether the task says whose a row is.
    """

    def __init__(
        self,
        summer: Callable[[], LotSummer],
        units: Callable[[int], Units],
        *,
        is_by_unit: bool,
    ) -> None:
        self._make, self._make_units = summer, units
        self._summer: LotSummer | None = None
        self._units: dict[int, Units] = {}
        self.is_by_unit = is_by_unit

    @property
    def summer(self) -> LotSummer:
        """What sums them.

        Raises:
            LearningError: the task's model cannot be trained in lots.
        """
        if self._summer is None:
            self._summer = self._make()
        return self._summer

    def units(self, peer: int) -> Units:
        """Return a peer's units."""
        if peer not in self._units:
            self._units[peer] = self._make_units(peer)
        return self._units[peer]

    def require(self, peers: int, rate: float) -> None:
        """Refuse what lots cannot be drawn of, before anything runs.

        Raises:
            LearningError: the line names it, and a remedy.
        """
        assert self.summer is not None
        for peer in range(peers):
            require_room(self.units(peer).count, rate)

    def steps(self, peer: int, job: TrainPrivately) -> int:
        """Return how long a job takes, in steps of plain training."""
        expected = self.units(peer).count * job.lot.rate_units / 2**32
        return max(1, round(expected / STEP_UNITS)) * max(1, job.lot.steps)

    def run(self, peer: int, job: TrainPrivately) -> LotSummed | Trained | WorkFailed:
        """Do one training."""
        noises, lots = private_stream(job.entropy, NOISE), private_stream(job.entropy, LOT)
        dropout = private_stream(job.entropy, DROPOUT)
        encoding, dropped = job.lot.encoding, 0
        vector = np.array(job.vector, np.float32)
        words = np.zeros(0, np.uint32)
        for _ in range(max(1, job.lot.steps)):
            noise = draw_noise(noises, encoding.width, encoding.entries)
            lot = self.units(peer).draw(lots, job.lot.rate_units)
            seed = int(dropout.words64(1)[0] >> np.uint64(1))
            quanta, lost = self._quanta(vector, lot, encoding, seed)
            dropped += lost
            words = add_noise(quanta, noise)
            if job.lot.steps:
                moved = words.view(np.int32).astype(np.float64) * job.lot.step_unit
                vector = (vector.astype(np.float64) - moved).astype(np.float32)
        if not job.lot.steps:
            words.flags.writeable = False
            return LotSummed(words, dropped)
        if not np.isfinite(vector).all():
            return WorkFailed("the model is not finite; a lower privacy.learning_rate may help")
        vector.flags.writeable = False
        return Trained(vector, 1, float("nan"))

    def _quanta(
        self, vector: Vector, lot: Lot, encoding: LotEncoding, seed: int
    ) -> tuple[Quanta, int]:
        """Sum a lot as integers; a pass that fails counts as an empty lot."""
        try:
            sums, dropped = self.summer.lot_sum(vector, lot, encoding.row_clip, seed)
            return encoding.encode(sums), dropped
        except (NotFinite, LearningError, ArithmeticError, RuntimeError):
            return np.zeros(encoding.entries, np.int32), len(lot.rows)
