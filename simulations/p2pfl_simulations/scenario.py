"""Scenarios: what a run simulates, as TOML checked by pydantic.

Every key has a default or is required; a key that is not known is refused, with the nearest one
named. Durations are virtual seconds, sizes bytes, probabilities shares of one.
"""

import difflib
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from p2pfl.group.documents import check_document, put_value, read_toml
from p2pfl.group.privacy_settings import PrivacySettings
from p2pfl.group.settings import (
    AveragingSettings,
    CohortSettings,
    GroupSettings,
    PositiveSeconds,
    chosen_algorithm,
    require_fit,
)
from p2pfl.learner.settings import LearningSettings, SettingsTable
from p2pfl.plugins import AVERAGING, put_own

Share = Annotated[float, Field(ge=0, le=1)]
Indices = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PEERS_MAX = 100_000  # A peer takes about 100 KB beside its model: 10 GB.


Table = TypeVar("Table", bound=SettingsTable)


def _require_one_of(table: Table, share: float | None, peers: tuple[int, ...] | None) -> Table:
    """Check that a table says by share or by index who is meant."""
    if (share is None) == (peers is None):
        raise ValueError("give either share or peers")
    if peers is not None and len(set(peers)) != len(peers):
        raise ValueError("a peer comes twice in peers")
    return table


class ScenarioError(Exception):
    """A scenario that cannot be run; the message is for people, one line a fault."""


DISTRIBUTIONS = {
    "constant": ("mean_s",),
    "uniform": ("low_s", "high_s"),
    "exponential": ("mean_s",),
    "lognormal": ("median_s", "sigma"),
}
"""The kinds of distributions, and what each takes."""


class Distribution(SettingsTable):
    """A distribution of durations: constant, uniform, exponential or lognormal.

    `mean_s` is the mean of a constant or an exponential one; `low_s` and `high_s` bound a uniform
    one; `median_s` and `sigma` shape a lognormal one.
    """

    kind: Literal["constant", "uniform", "exponential", "lognormal"] = "constant"
    """Which of them."""
    mean_s: Seconds | None = None
    """Of a constant or an exponential one."""
    low_s: Seconds | None = None
    """The least of a uniform one."""
    high_s: Seconds | None = None
    """The most of a uniform one."""
    median_s: PositiveSeconds | None = None
    """Of a lognormal one."""
    sigma: Annotated[float, Field(ge=0, le=5)] | None = None
    """Of a lognormal one: the standard deviation of the logarithm."""

    @model_validator(mode="after")
    def _has_its_parameters(self) -> "Distribution":
        needed = set(DISTRIBUTIONS[self.kind])
        given = self.model_fields_set - {"kind"}
        if needed != given:
            raise ValueError(f"kind = {self.kind!r} takes {' and '.join(sorted(needed))}")
        if self.low_s is not None and self.high_s is not None and self.low_s > self.high_s:
            raise ValueError("low_s is above high_s")
        return self


def constant(mean_s: float) -> Distribution:
    """Return the distribution that is always `mean_s`."""
    return Distribution(mean_s=mean_s)


class PluginTable(SettingsTable):
    """An own part; ``"my_module:MyThing"`` alone is short for it."""

    plugin: Annotated[str, Field(min_length=1)]
    """``"my_module:MyThing"``, imported from the folder of this file, or an installed one."""
    options: Mapping[str, Any] = {}
    """Its settings, which it checks."""

    @model_validator(mode="before")
    @classmethod
    def _takes_a_name(cls, value: Any) -> Any:
        return {"plugin": value} if isinstance(value, str) else value


class NetworkSettings(SettingsTable):
    """Links between peers."""

    latency: Distribution = Distribution(kind="lognormal", median_s=0.02, sigma=0.4)
    """One way, drawn for each message; so messages overtake each other."""
    latency_model: PluginTable | None = None
    """An own model of latencies, by sender and receiver, in place of `latency`."""
    bandwidth_bytes_per_s: Annotated[float, Field(gt=0)] = 12_500_000.0
    """Of each peer's uplink and downlink, shared by the transfers under way."""
    loss: Share = 0.0
    """Probability that a message or bulk body is lost on its way, unseen by its sender."""


class MaskingCosts(SettingsTable):
    """How long the jobs of masked sums take, whether real or modelled, on a peer of speed 1.

    The defaults were measured on one core of a server of 2.5 GHz.
    """

    entry_s: Seconds = 1.3e-9
    """Of one mask on one entry of a model; encoding an entry takes five and a half of these."""
    agreement_s: Seconds = 5e-5
    """Of one X25519 key agreement; a member makes two with each other member."""
    share_s: Seconds = 5e-6
    """Of one term of a secret share; a member deals 2 n shares of t terms."""
    signature_s: Seconds = 8e-5
    """Of checking one signature; a member checks about eight of each other member."""


class DiskSettings(SettingsTable):
    """How long a peer's records take to be durable; what follows them waits, what comes does not.

    `"ssd"` takes about a millisecond for a record, and 400 MB/s; `"slow"`, a disk that is worn out
    or shared, 0.2 to 1.5 seconds, and 20 MB/s.
    """

    kind: Literal["none", "ssd", "slow", "drawn"] = "none"
    """`"none"`: no time. `"drawn"`: as `persist_s` says."""
    persist_s: Distribution | None = None
    """Of each record or group of records, before its bytes; with kind = "drawn"."""
    bytes_per_s: Annotated[float, Field(gt=0)] | None = None
    """How fast records are written, models above all; if not given, as `kind` says."""

    @model_validator(mode="after")
    def _has_its_parameters(self) -> "DiskSettings":
        if (self.kind == "drawn") != (self.persist_s is not None):
            raise ValueError('kind = "drawn" takes persist_s, and no other kind does')
        if self.kind == "none" and self.bytes_per_s is not None:
            raise ValueError('kind = "none" takes no bytes_per_s: give another kind')
        return self

    def model(self) -> tuple[Distribution | None, float]:
        """Return the time of a record, None for no time, and the bytes per second."""
        persist_s, bytes_per_s = {
            "none": (None, math.inf),
            "ssd": (Distribution(kind="lognormal", median_s=0.001, sigma=0.5), 4e8),
            "slow": (Distribution(kind="uniform", low_s=0.2, high_s=1.5), 2e7),
            "drawn": (self.persist_s, math.inf),
        }[self.kind]
        return persist_s, self.bytes_per_s or bytes_per_s


class ComputeSettings(SettingsTable):
    """How long work takes in virtual time."""

    step_s: Seconds = 0.01
    """Of one training step on a peer of speed 1."""
    speed_spread: Annotated[float, Field(ge=1)] = 1.0
    """Ratio of the fastest to the slowest peer; speeds are log-uniform between."""
    jitter: Annotated[float, Field(ge=0, le=100)] = 0.0
    """A job takes up to this share longer, drawn for each: so jobs end in any order."""
    masking: MaskingCosts = MaskingCosts()


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


class EvaluationSettings(SettingsTable):
    """What is measured, and how often; figures cost time, never the result."""

    every: Annotated[int, Field(ge=1)] = 1
    """Evaluate after each that many rounds, and after the last."""
    peers: Annotated[int, Field(ge=1)] | None = None
    """How many peers, drawn by the seed; all if not given."""
    baselines: tuple[Literal["local", "pooled"], ...] = ("local", "pooled")
    """What to hold the run against: each peer alone, and all data in one place."""
    keep_models: bool = False
    """Whether the run's folder gets each peer's own model too, in `models/`."""
    selection: Literal["own", "common", "last"] = "own"
    """Which model of a peer counts, where it has rows to choose one by (`learning.validation`): of
    the round that is best on the peer's own, as a real peer chooses for itself; of the round that
    is best in the mean over peers, the same for all; or the last. `model.safetensors` of the run is
    of the round that is best in that mean, or the last."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """End the run once so many rounds gave no better mean figure on rows to choose a model by.
    Each baseline ends by the same rule. All rounds are run if not given."""


class Scenario(SettingsTable):
    """One simulated run, in full: with the seed it determines every byte of the result."""

    name: Annotated[str, Field(min_length=1, max_length=80)] = "scenario"
    """Names the run's folder; the file's name if not given."""
    description: str = ""
    """Shown in the report and in `p2pfl scenarios`."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """Decides all that is drawn: data, batches, cohorts, latencies, faults."""
    peers: Annotated[int, Field(ge=1, le=PEERS_MAX)] = 32
    """How many peers there are, with those that come later."""
    rounds: Annotated[int, Field(ge=1)] = 30
    """Rounds of training and averaging that each peer does."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 1
    """Rounds between the models that a peer persists; 0 persists none."""
    time_limit_s: PositiveSeconds = 1e7
    """Virtual time after which the run ends, whatever the peers do."""
    learning: LearningSettings
    averaging: AveragingSettings = CohortSettings()
    """Where it names no algorithm: a group, if 5 to 128 peers mask what they say; else cohorts."""
    network: NetworkSettings = NetworkSettings()
    compute: ComputeSettings = ComputeSettings()
    disk: DiskSettings = DiskSettings()
    faults: FaultSettings = FaultSettings()
    changes: tuple[PlannedChange, ...] = ()
    """What the operators of a group's members do."""
    evaluation: EvaluationSettings = EvaluationSettings()
    privacy: PrivacySettings | None = None
    """Differential privacy of a group; in a simulation its noise comes from the seed, and hides
    nothing from whoever runs it."""

    @model_validator(mode="before")
    @classmethod
    def _chooses_algorithm(cls, document: Any) -> Any:
        if not isinstance(document, Mapping):
            return document
        table = document.get("averaging", {})
        peers = document.get("peers", cls.model_fields["peers"].default)
        if isinstance(table, Mapping) and "algorithm" in table:
            return {**document, "averaging": put_own(table, "algorithm", AVERAGING)}
        if not isinstance(table, Mapping) or not isinstance(peers, int):
            return document
        chosen = {**table, "algorithm": chosen_algorithm(table, peers)}
        return {**document, "averaging": chosen}

    @model_validator(mode="after")
    def _fits_its_peers(self) -> "Scenario":
        require_fit(self.averaging, self.peers)
        if self.network.latency_model is not None and masking_of(self) == "modelled":
            raise ValueError(
                "network.latency_model: modelled masks draw latencies of many messages at once;"
                " set averaging.masking to 'real' or 'none'"
            )
        faults = self.faults
        named = [index for liars in faults.liars for index in liars.peers or ()]
        slow = faults.stragglers.peers or () if faults.stragglers else ()
        planned = [index for fault in faults.planned for index in fault.peers]
        for where, indices in (("liars", named), ("stragglers", slow), ("planned", planned)):
            for index in indices:
                if index >= self.peers:
                    raise ValueError(f"faults.{where}: there is no peer {index} among {self.peers}")
        for change in self.changes:
            if not isinstance(self.averaging, GroupSettings):
                raise ValueError("changes: only a group has a charter")
            if any(index >= self.peers for index in change.peers):
                raise ValueError(f"changes: there is no such peer among {self.peers}")
            if change.kind == "expel" and len(change.peers) != 1:
                raise ValueError("changes: one peer is expelled at a time")
            if change.kind in ("rekey", "admit", "lose") and not change.peers:
                raise ValueError(f"changes: {change.kind} names the peers that it is for")
            if change.kind == "replace" and len(change.peers) != 2:
                raise ValueError("changes: replace names a peer, and which one takes its place")
        self._require_newcomers(named)
        self._require_private_group()
        if len(set(named)) != len(named):
            raise ValueError("faults.liars: a peer lies by two strategies")
        return self

    @property
    def late(self) -> tuple[int, ...]:
        """Indices of peers that are not there at the start."""
        return tuple(index for change in self.changes for index in change.coming)

    @property
    def founders(self) -> tuple[int, ...]:
        """Indices of peers that are."""
        return tuple(index for index in range(self.peers) if index not in self.late)

    def _require_newcomers(self, liars: list[int]) -> None:
        """Refuse peers that cannot come as they are to."""
        if len(set(self.late)) != len(self.late):
            raise ValueError("changes: a peer comes twice")
        for index in self.late:
            if index in liars:
                raise ValueError(f"changes: peer {index} comes later, and does not lie")
        if isinstance(self.averaging, GroupSettings):
            require_fit(self.averaging, len(self.founders))

    def _require_private_group(self) -> None:
        """Refuse what does not go together with privacy, by name."""
        if self.privacy is None:
            return
        if not isinstance(self.averaging, GroupSettings):
            raise ValueError(
                "privacy: only a group certifies who is in a sum, and so how much noise: set"
                " averaging.algorithm to 'group', for 5 to 128 peers"
            )
        if self.privacy.unit == "record" and self.averaging.weights != "equal":
            raise ValueError(
                "privacy: weights count alike where rows are drawn: who has more rows has more in"
                " each lot already; set averaging.weights to 'equal'"
            )
        if self.evaluation.patience is not None:
            raise ValueError(
                "privacy: when a run ends would tell of rows without noise; leave"
                " evaluation.patience out"
            )
        if self.changes:
            raise ValueError("privacy: changes of a private group's charter are not simulated")


def masking_of(scenario: Scenario) -> Literal["real", "modelled", "none"]:
    """Return how a scenario's averaging is masked: only cohorts and groups are."""
    averaging = scenario.averaging
    return averaging.masking if isinstance(averaging, CohortSettings | GroupSettings) else "none"


def shipped_scenarios() -> dict[str, Path]:
    """Return the scenarios that come with the package: name -> file."""
    folder = Path(str(resources.files("p2pfl_simulations") / "scenarios"))
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def find_scenario(name_or_path: str) -> Path:
    """Find a scenario file by its path, or a shipped one by its name.

    Raises:
        ScenarioError: neither is there; the nearest shipped name is told.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = shipped_scenarios()
    if name_or_path in shipped:
        return shipped[name_or_path]
    near = difflib.get_close_matches(name_or_path, shipped, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"shipped are {', '.join(shipped)}"
    raise ScenarioError(f"there is no file or scenario {name_or_path!r}; {hint}")


def load_scenario(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> Scenario:
    """Read and check a scenario.

    Args:
        name_or_path: a TOML file, or the name of a shipped scenario.
        overrides: values by dotted key, ``{"averaging.cohort_size": 16}``, in place of the file's.

    Raises:
        ScenarioError: no such file, not TOML, or a key or value is wrong; each is named.
    """
    path = find_scenario(name_or_path)
    document = read_toml(path, ScenarioError)
    document.setdefault("name", path.stem)
    for key, value in (overrides or {}).items():
        put_value(document, key, value, ScenarioError)
    return make_scenario(document, source=name_or_path)


def make_scenario(document: Mapping[str, Any], *, source: str = "scenario") -> Scenario:
    """Check a scenario that is given as nested dictionaries.

    Raises:
        ScenarioError: a key or value is wrong; each is named.
    """
    return check_document(document, Scenario, ScenarioError, source=source)
