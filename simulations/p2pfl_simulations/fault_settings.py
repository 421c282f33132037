"""Settings of what goes wrong with peers, and of what their operators do in the middle of a run.

Durations are virtual seconds, probabilities shares of one.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from p2pfl.group.settings import PositiveSeconds
from p2pfl.learner.settings import SettingsTable
from p2pfl_simulations.world_settings import Distribution, PluginTable, Seconds, Share, constant

Indices = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
Table = TypeVar("Table", bound=SettingsTable)


def _require_one_of(table: Table, share: float | None, peers: tuple[int, ...] | None) -> Table:
    """Check that a table says by share or by index who is meant."""
    if (share is None) == (peers is None):
        raise ValueError("give either share or peers")
    if peers is not None and len(set(peers)) != len(peers):
        raise ValueError("a peer comes twice in peers")
    return table


class Churn(SettingsTable):
    """Peers that leave between sessions, and come back with what they persisted."""

    session_s: Distribution
    """How long a peer stays."""
    offline_s: Distribution
    """How long it is away."""
    share: Share = 1.0
    """Share of the peers that churn."""


class Dropout(SettingsTable):
    """Peers that lose their network within a round, at a random moment of it."""

    probability: Share
    """For each peer and round."""
    offline_s: Distribution
    """How long the network is gone."""
    silent: bool = False
    """Whether links go silent (frozen machine, cut cable) instead of breaking at once."""


class Crash(SettingsTable):
    """Peers whose process dies within a round; they restart with what they persisted."""

    probability: Share
    """For each peer and round."""
    restart_s: Distribution = constant(5.0)
    """How long the process is down."""


class CrashAtAction(SettingsTable):
    """Peers whose process dies between two of its actions, from its start on; it restarts.

    In the middle of a `Persist`, too: its records are then kept, all, or lost, as the seed draws.
    """

    probability: Share
    """For each process, also of those that restart so, that it dies in this way."""
    actions: Annotated[int, Field(ge=1)] = 300
    """It dies after one of its first so many actions: each message, timer, job, record counts."""
    restart_s: Distribution = constant(5.0)
    """How long the process is down."""


class Backups(SettingsTable):
    """Peers that are started again from an older copy of their records: a restored backup."""

    every_s: PositiveSeconds
    """How often each peer's records are copied."""
    probability: Share
    """For each process that is started again, that it begins with the last copy."""


class Stragglers(SettingsTable):
    """Peers that are slower than the others."""

    share: Share | None = None
    """Share of the peers that are, drawn by the seed; or"""
    peers: Indices | None = None
    """their indices."""
    factor: Annotated[float, Field(ge=1)]
    """How many times slower."""

    @model_validator(mode="after")
    def _says_who(self) -> "Stragglers":
        return _require_one_of(self, self.share, self.peers)


class PlannedFault(SettingsTable):
    """What goes wrong with peers that are named, at a time that is given.

    `"absent"`: the peers' networks are gone. `"crash"`: their processes die, and are started again
    at the end. `"link"`: two peers cannot reach each other, and everybody else can reach both.
    """

    kind: Literal["absent", "crash", "link"]
    """Which of them."""
    peers: Indices
    """Indices of the peers; of a link, two."""
    start_s: Seconds
    """When it begins, in virtual time; a crash at 0 is a peer that is set up late."""
    duration_s: PositiveSeconds
    """How long it lasts."""
    every_s: PositiveSeconds | None = None
    """It comes again, so long after each beginning; once if not given."""

    @model_validator(mode="after")
    def _is_possible(self) -> "PlannedFault":
        if self.kind == "link" and len(self.peers) != 2:
            raise ValueError("a link is one of two peers")
        if self.every_s is not None and self.every_s <= self.duration_s:
            raise ValueError("every_s must be more than duration_s")
        return self


class PlannedChange(SettingsTable):
    """What operators of a group's members do, at a time that is given.

    `"extend"`: t peers give the group more rounds. `"amend"`: governance keys change the charter,
    and some sign later. `"expel"`: the group goes on without a peer. `"leave"`, `"revoke"`: peers
    go by their own keys. `"lapse"`: peers' calendars say that the charter's time is over, for a
    while. `"rekey"`: peers get other governance keys, by their old ones' word and the new ones'.
    `"admit"`: peers that are not there before join the group. `"replace"`: a member's peer gets
    another key on another computer: that of the second peer, which is not there before. `"back"`:
    the group goes back to the state with which an epoch began. `"renew"`: the charter's time is
    over for all, until another charter that renews it is in force. `"lose"`: computers of peers are
    lost for good, and nothing takes their place.
    """

    kind: Literal[
        "extend",
        "amend",
        "expel",
        "leave",
        "revoke",
        "lapse",
        "rekey",
        "admit",
        "replace",
        "back",
        "renew",
        "lose",
    ]
    """Which of them."""
    at_s: Seconds
    """When, in virtual time."""
    peers: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Who leaves, is expelled, signs later, joins, is lost, or gets other keys; whose peer's key is
    replaced, and by whose; whose charter lapses: all, if none is named."""
    duration_s: Seconds = 0.0
    """How long a charter has lapsed, or until its renewal is proposed, until those that sign later
    do, or until a peer that joined begins."""
    rounds: Annotated[int, Field(ge=0)] = 0
    """How many more."""
    stolen: bool = False
    """Of a key that is replaced: whether it is in other hands, and the old process runs on. Else
    the old computer is lost."""
    epoch: Annotated[int, Field(ge=0)] = 0
    """To whose beginning the group goes back: the last one's that it can, at most."""

    @property
    def coming(self) -> tuple[int, ...]:
        """Who comes by it, and is not there before."""
        return {"admit": self.peers, "replace": self.peers[1:]}.get(self.kind, ())


class NetworkPartition(SettingsTable):
    """A time in which the network falls into parts that cannot reach each other, then heals."""

    start_s: Seconds
    """When it begins, in virtual time."""
    duration_s: PositiveSeconds
    """How long it lasts."""
    shares: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=2)] = (0.5, 0.5)
    """Relative sizes of the parts; who is in which is drawn by the seed."""


class AvailabilitySettings(PluginTable):
    """When each peer is there, by an own model or a trace: `plugin = "trace"` reads a CSV file."""

    kills: bool = True
    """Whether a peer that goes ends its process, and starts it again later from what it persisted;
    if not, only its network is gone."""


class LiarSettings(SettingsTable):
    """Peers that lie: they run the real machine, with a strategy wrapped around it.

    Those of one entry collude. `[faults.liars]` is one entry, `[[faults.liars]]` one of several.
    """

    strategy: Annotated[str, Field(min_length=1)]
    """A strategy that ships, or ``"my_module:MyLiar"``, imported from the folder of this file."""
    share: Share | None = None
    """Share of the peers that lie, drawn by the seed; or"""
    peers: Indices | None = None
    """their indices."""
    arguments: Mapping[str, Any] = {}
    """Arguments of the strategy, which checks them."""
    from_round: Annotated[int, Field(ge=0)] = 0
    """Until a liar comes to this round, it is honest."""
    norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """L2 norm of the updates of a strategy that puts in false ones; as long as the strategy likes,
    if not given: a liar under masks need not keep to the clip."""

    @model_validator(mode="after")
    def _says_who(self) -> "LiarSettings":
        return _require_one_of(self, self.share, self.peers)


class FaultSettings(SettingsTable):
    """What goes wrong."""

    churn: Churn | None = None
    dropout: Dropout | None = None
    crash: Crash | None = None
    crash_at_action: CrashAtAction | None = None
    backups: Backups | None = None
    stragglers: Stragglers | None = None
    partitions: tuple[NetworkPartition, ...] = ()
    planned: tuple[PlannedFault, ...] = ()
    liars: tuple[LiarSettings, ...] = ()
    availability: AvailabilitySettings | None = None
    own: tuple[PluginTable, ...] = ()
    """Own faults, `"my_module:MyFault"`, each with a random stream of its own."""

    @field_validator("liars", "own", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, Mapping | str) else value

    @model_validator(mode="after")
    def _has_one_word_on_who_is_there(self) -> "FaultSettings":
        if self.availability is not None:
            for name in ("churn", "dropout", "crash", "crash_at_action"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"availability says who is there, and so does {name}; remove one of them"
                    )
            if any(fault.kind != "link" for fault in self.planned):
                raise ValueError(
                    "availability says who is there, and so do planned faults; leave kind = 'link'"
                )
        return self
