"""Where a peer is, where it may go from there, and what it goes by."""

from dataclasses import dataclass
from enum import StrEnum

from p2pfl_gossip.actions import LocalProtocolError, Vector
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


@dataclass
class Position:
    """Where a peer is. `Rounds` moves it; the other parts of the peer read it.

    Attributes:
        vector: float32[d], read-only: the model that the round began with; from the end of training
            on, the one just trained.
        state: where it is in its round.
        round: from 0; the number of rounds once it has finished.
        is_trained: whether `vector` was trained here and not averaged since, so that nobody may
            have it.
        round_began_s: when its training began.
        exchange_began_s: when its exchange began.
    """

    vector: Vector
    state: State = State.NEW
    round: int = 0
    is_trained: bool = False
    round_began_s: float = 0.0
    exchange_began_s: float = 0.0

    def enter(self, state: State) -> None:
        """Go on to a state, or raise LocalProtocolError where there is no way to it."""
        if state not in NEXT_STATES[self.state]:
            raise LocalProtocolError(f"from {self.state} to {state}")
        self.state = state
