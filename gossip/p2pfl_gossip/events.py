"""What a peer reports: the events that people want to see, in logs, metrics and traces."""

from msgspec import field

from p2pfl_gossip.actions import Event, Vector
from p2pfl_gossip.own_state import NOTHING, Arrays


class OpeningWaits(Event, frozen=True):
    """The network cannot open yet; told again whenever the members waited for are others.

    Attributes:
        count: how many members this peer waits for.
        members: the first of them by roster, at most WAITS_NAMED_MAX of opening.py.
    """

    count: int
    members: tuple[str, ...]


class MemberDiffers(Event, frozen=True):
    """A member would average something else than this peer, so that it counts as away.

    Attributes:
        member: which.
        what: ``"layout"`` of the model, ``"start"``, ``"frozen"`` tensors or ``"code"``;
            ``"unsaid"``: it says that it differs, and not in what.
        name: the first tensor or file that differs; empty where there is none to name.
        theirs: what it is there, for people; empty where there is nothing to say.
        ours: what it is here.
    """

    member: str
    what: str
    name: str
    theirs: str
    ours: str


class MemberAgrees(Event, frozen=True):
    """A member that differed has been started again, and has the same as this peer now."""

    member: str


class Opened(Event, frozen=True):
    """All members were there, and the peer begins; once in its life, not after each restart."""


class RoundStarted(Event, frozen=True):
    """The peer trains for `round`."""

    round: int


class AveragingStarted(Event, frozen=True):
    """The peer has trained, at this mean loss, and exchanges what came of it.

    The loss is None where it is not worked out: of a private lot nothing but its sum is.
    """

    round: int
    loss: float | None


class RoundEnded(Event, frozen=True):
    """The peer has a new model.

    Attributes:
        round: the round that ended.
        vector: the model it ended with; for measuring only, never logged.
        expected: peers that were to contribute, itself included.
        contributors: peers whose models are in the result, as a rule itself included; not where
            its training failed, nor where it took the certified mean of a sum that it lost.
        complete: every part of the model was averaged over at least one other peer's, or
            nobody else was expected. A round that is not complete counts as lost in part.
        without_update: partners that said that their training of the round gave nothing.
        own_state: what the peer keeps of its own beside `vector`; for measuring only, never logged.
    """

    round: int
    vector: Vector
    expected: int
    contributors: int
    complete: bool
    without_update: tuple[str, ...] = ()
    own_state: Arrays = NOTHING


class RoundLost(Event, frozen=True):
    """The peer gives its round up; `reason`: ``"behind"``, ``"aborted"`` or ``"left"``."""

    round: int
    reason: str


class CaughtUp(Event, frozen=True):
    """The peer took round and model from a neighbour: it was at `behind`, and is at `round`."""

    behind: int
    round: int


class TrainingFailed(Event, frozen=True):
    """Training gave no usable model: this peer puts nothing into the round, and all are told."""

    round: int
    reason: str


class EvaluationFailed(Event, frozen=True):
    """A model could not be evaluated."""

    round: int
    reason: str


class PeerEvaluated(Event, frozen=True):
    """Figures of the peer's model at the end of `round`, as `Evaluated` has them."""

    round: int
    metrics: dict[str, float]
    own: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)


class Finished(Event, frozen=True):
    """The peer has done its last round, and evaluated it."""

    round: int


class Left(Event, frozen=True):
    """The peer has left at its operator's word."""

    round: int


class UpdateShrunk(Event, frozen=True):
    """Our own update was longer than the group's clip, and counts as one of that length.

    Attributes:
        round: the height that it is for.
        norm: its L2 norm; for its own operator only.
        clip: the largest norm.
        vector: the update as it was shrunk, so that the driver can name the tensor that most of it
            is in; for measuring only, never logged.
    """

    round: int
    norm: float
    clip: float
    vector: Vector | None = None


class SitsOut(Event, frozen=True):
    """Others hold more of what we said than our journal does: we say nothing new for a while.

    `round`: until an entry above it is certified.
    """

    round: int


class UpdatesSpent(Event, frozen=True):
    """We gave as many updates from one model as we may, and rest.

    Attributes:
        round: models so far.
        idle: of them, the last that are the one before: their sums were out of range.
    """

    round: int
    idle: int


class EpochBegun(Event, frozen=True):
    """A charter is in force: number `epoch`, of these members' peers, by rank.

    `is_anew` if it starts from a state of its own: then heights begin again.
    """

    epoch: int
    members: tuple[str, ...]
    is_anew: bool = False


class CharterProposed(Event, frozen=True):
    """A charter that is to follow has come, or more was said of it.

    Attributes:
        charter: its digest.
        kind: ``"running"`` or ``"founding"``.
        approved: members whose word counts.
        missing: what is still wanted, counted in lines; 0 if it is enough.
    """

    charter: bytes
    kind: str
    approved: int
    missing: int


class MemberDeparted(Event, frozen=True):
    """A member's own governance keys say that it leaves, or that its peer's key is revoked.

    Attributes:
        member: its peer; it may be ours.
        is_revoked: whether only the peer's key is: the member may come back with another.
        withdraws: whether it asks that later models are not built on rounds with its rows.
    """

    member: str
    is_revoked: bool
    withdraws: bool = False


class OtherHistory(Event, frozen=True):
    """The history that we were shown is another than the one that we were invited to join."""


class MaskedSumEnded(Event, frozen=True):
    """A session of a masked sum has ended for this peer.

    Attributes:
        round: its round.
        session: its name, which all its members know it by.
        result: ``"summed"``, or ``"aborted: "`` and the reason.
        members: members of the cohort as drawn.
        contributors: members whose models are in the mean; 0 without one.
        kept: chunks that keep our own values.
        clipped: entries of our model beyond the clip; 0 if it was not masked.
        is_weight_capped: whether our model's weight was above the largest, and counted as that.
        vector: our model as it was before, where entries of it were clipped, so that the driver
            can name their tensors; for measuring only, never logged.
    """

    round: int
    session: bytes
    result: str
    members: int
    contributors: int
    kept: int
    clipped: int
    is_weight_capped: bool
    vector: Vector | None = None


class MemberBlamed(Event, frozen=True):
    """A member broke the protocol of a masked sum; `fault` is a short word."""

    round: int
    session: bytes
    member: str
    fault: str


class Paused(Event, frozen=True):
    """The peer does nothing before `round`, at its operator's word."""

    round: int
