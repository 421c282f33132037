"""The jobs of learning: what a peer asks of its learner, and what comes back.

A job is pure: its result depends on the job and the peer's own data alone. So a simulator may do
it late, in a batch with others', and a restarted peer does not repeat it with other randomness.
"""

from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.records import Record


class Train(Job, frozen=True):
    """Train a model on the peer's own data.

    Attributes:
        round: the round it is for; learning-rate schedules go by it.
        vector: float32[d], the model to start from; not changed.
        stream: name of the random stream that draws rows, ``"{seed}/{peer}/{incarnation}/train/
            {round}"``: the same name gives the same draws, on any machine.
    """

    round: int
    vector: Vector
    stream: str


class Trained(Record, frozen=True):
    """The end of a `Train` job.

    Attributes:
        vector: float32[d], the trained model, all finite; read-only.
        sample_count: rows of the peer's own data, at least 1: its weight in weighted averages.
        loss: mean training loss over the steps of this job.
    """

    vector: Vector
    sample_count: int
    loss: float


class WorkFailed(Record, frozen=True):
    """The end of a job that gave nothing of use, for instance a loss that became NaN.

    `reason` is one line for people; the driver tells it by `on_work_failed`.
    """

    reason: str


class Evaluate(Job, frozen=True):
    """Measure a model on held-out data: `vector` float32[d], of the end of `round`."""

    round: int
    vector: Vector


class Evaluated(Record, frozen=True):
    """The end of an `Evaluate` job: figures by name, for instance ``{"accuracy": .93}``."""

    metrics: dict[str, float]
