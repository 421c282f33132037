"""The jobs of learning: what a peer asks of its learner, and what comes back.

A job is pure: its result depends on the job and the peer's own data alone. So a simulator may do
it late, in a batch with others', and a restarted peer does not repeat it with other randomness.
"""

from msgspec import field

from p2pfl_gossip.actions import Job, Vector
from p2pfl_gossip.own_state import NOTHING, Arrays
from p2pfl_gossip.records import Record


class Train(Job, frozen=True):
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


class WorkFailed(Record, frozen=True):
    """The end of a job that gave nothing of use, for instance a loss that became NaN.

    `reason` is one line for people; the driver tells it by `on_work_failed`.
    """

    reason: str


class Evaluate(Job, frozen=True):
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
