"""Where a peer is, where it may go from there, and what it goes by."""

from enum import StrEnum

from p2pfl_gossip.records import Record


class State(StrEnum):
    """Where a peer is in its round."""

    NEW = "new"
    CATCHING_UP = "catching up"
    TRAINING = "training"
    AVERAGING = "averaging"
    PAUSED = "paused"
    FINISHED = "finished"
    LEFT = "left"


NEXT_STATES = {
    State.NEW: {State.CATCHING_UP, State.TRAINING, State.FINISHED},
    State.CATCHING_UP: {State.TRAINING, State.PAUSED, State.FINISHED, State.LEFT},
    State.TRAINING: {State.AVERAGING, State.CATCHING_UP, State.LEFT},
    State.AVERAGING: {State.TRAINING, State.CATCHING_UP, State.PAUSED, State.FINISHED, State.LEFT},
    State.PAUSED: {State.CATCHING_UP, State.TRAINING, State.LEFT},
    State.FINISHED: {State.LEFT},
    State.LEFT: set(),
}


class PeerSettings(Record, frozen=True):
    """What all peers of a group agree on, and this peer's own habits.

    Attributes:
        rounds: how many to do.
        deadline_s: how long an answer of another peer may take.
        weigh_by_samples: models count by the rows they were trained on, instead of alike.
        checkpoint_every: rounds between persisted models; 0 persists none.
        evaluate_every: rounds between evaluations; 0 evaluates never.
    """

    rounds: int
    deadline_s: float
    weigh_by_samples: bool = False
    checkpoint_every: int = 1
    evaluate_every: int = 1
