"""The jobs of learning: what a peer asks of its learner, and what comes back.

A job is pure: its result depends on the job and the peer's own data alone. So a simulator may do
it late, in a batch with others', and a restarted peer does not repeat it with other randomness.
"""

from msgspec import field

from p2pfl_crypto.masks import Masked
from p2pfl_crypto.private_encoding import LotEncoding
from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.own_state import NOTHING, Arrays
from p2pfl_gossip.records import Record


class LearningJob(Job, frozen=True):
    """A job that a learner does."""


class Train(LearningJob, frozen=True):
    """Train a model on the peer's own data.

    Attributes:
        round: the round it is for; learning-rate schedules go by it.
        vector: float32[d], the model to start from; not changed.
        stream: name of the random stream that draws rows, ``"{seed}/{peer}/{incarnation}/train/
            {round}"``: the same name gives the same draws, on any machine.
        own: what the peer's last training left for this one, by name; not changed.
    """

    round: int
    vector: Vector
    stream: str
    own: Arrays = NOTHING


class Trained(Record, frozen=True):
    """The end of a `Train` job.

    Attributes:
        vector: float32[d], the trained model, all finite; read-only.
        sample_count: rows of the peer's own data, at least 1: its weight in weighted averages.
        loss: mean training loss over the steps of this job.
        own: what the peer keeps for its next training, and sends to nobody: float32, by name.
    """

    vector: Vector
    sample_count: int
    loss: float
    own: Arrays = NOTHING


class PrivateLot(Record, frozen=True):
    """How a member draws units and hides what they say.

    Attributes:
        rate_units: each unit's chance of being drawn, as a multiple of 2^-32.
        encoding: of the sum of clipped gradients, and of its noise.
        steps: local ones, each with a lot and noise of its own; 0 where the sum is to be given.
        step_unit: what one unit of a local sum moves the model by; 0 where there are none.
    """

    rate_units: int
    encoding: LotEncoding
    steps: int = 0
    step_unit: float = 0.0


class TrainPrivately(LearningJob, frozen=True):
    """Draw lots of one's own units, sum their clipped gradients, add noise.

    Attributes:
        round: as of `Train`.
        vector: float32[d], the model; not changed.
        lot: how.
        entropy: 32 bytes of which all draws follow; for this job only, and never shown.
    """

    round: int
    vector: Vector
    lot: PrivateLot
    entropy: bytes

    def __repr__(self) -> str:
        return f"TrainPrivately(round={self.round})"


class LotSummed(Record, frozen=True):
    """The end of a `TrainPrivately` whose sum is given; one with local steps ends as a `Train`.

    Attributes:
        words: uint32[d], the sum as integers with the noise, modulo 2^32; read-only.
        dropped: units whose gradients were not finite and counted as zero; nobody else is told.
    """

    words: Masked
    dropped: int


class WorkFailed(Record, frozen=True):
    """The end of a job that gave nothing of use, for instance a loss that became NaN.

    `reason` is one line for people; the driver tells it by `on_work_failed`.
    """

    reason: str


class Evaluate(LearningJob, frozen=True):
    """Measure a model on held-out data.

    Attributes:
        round: the round that gave the model.
        vector: float32[d], the model.
        own: what the peer keeps of its own, which may be a part of the model that it uses.
    """

    round: int
    vector: Vector
    own: Arrays = NOTHING


class Evaluated(Record, frozen=True):
    """The end of an `Evaluate` job: figures by name, for instance ``{"accuracy": .93}``.

    Attributes:
        metrics: on the common test rows, the same for all peers; empty where there are none.
        own: on the peer's own test rows; empty where it has none.
        validation: on the peer's rows to choose a model by; empty where it has none.
    """

    metrics: dict[str, float]
    own: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)
