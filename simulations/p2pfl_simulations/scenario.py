"""Scenarios: what a run simulates, as TOML checked by pydantic.

Every key has a default or is required; a key that is not known is refused, with the nearest one
named. Durations are virtual seconds, sizes bytes, probabilities shares of one.
"""

import difflib
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from p2pfl.learner.settings import LearningSettings
from p2pfl_gossip.masked_sum.cohort import COHORT_SIZE_MIN as MASKED_COHORT_MIN

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PEERS_MAX = 100_000  # A peer takes about 100 KB beside its model: 10 GB.


class ScenarioError(Exception):
    """A scenario that cannot be run; the message is for people, one line a fault."""


class Settings(BaseModel):
    """A table of a scenario: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Distribution(Settings):
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
        needed = {
            "constant": {"mean_s"},
            "exponential": {"mean_s"},
            "uniform": {"low_s", "high_s"},
            "lognormal": {"median_s", "sigma"},
        }[self.kind]
        given = self.model_fields_set - {"kind"}
        if needed != given:
            raise ValueError(f"kind = {self.kind!r} takes {' and '.join(sorted(needed))}")
        if self.low_s is not None and self.high_s is not None and self.low_s > self.high_s:
            raise ValueError("low_s is above high_s")
        return self


def constant(mean_s: float) -> Distribution:
    """Return the distribution that is always `mean_s`."""
    return Distribution(mean_s=mean_s)


class TopologySettings(Settings):
    """Who is whose neighbour; `degree` for regular, `probability` for erdos-renyi, `k` for base."""

    kind: str = "ring"
    """As `p2pfl topologies` lists them."""
    degree: Annotated[int, Field(ge=1)] | None = None
    """Neighbours of each peer."""
    probability: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of each edge."""
    k: Annotated[int, Field(ge=1)] | None = None
    """Most neighbours that a peer has in a round."""


class _Averaging(Settings):
    deadline_s: PositiveSeconds = 10.0
    """How long a peer that has trained waits for the others, in each step of an exchange."""
    weights: Literal["equal", "samples"] = "equal"
    """Whether each model counts alike, or by the rows it was trained on."""


class CohortSettings(_Averaging):
    """Disjoint random cohorts, or a grid of them; every member averages one chunk."""

    algorithm: Literal["cohorts"] = "cohorts"
    cohort_size: Annotated[int, Field(ge=2)] = 8
    """Peers of one cohort; a larger one mixes faster, and loses more to one silent member."""
    grid: bool = False
    """Whether peers stand in a grid and average along one axis after another, round by round."""
    masking: Literal["none", "real"] = "none"
    """Whether cohorts average by masked sums, so that nobody sees a single model."""
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 8.0
    """Of masked sums: a parameter beyond it counts as that, whatever its sign."""
    weight_max: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1000.0
    """Of masked sums with weights = "samples": a peer with more rows counts as this many."""

    @model_validator(mode="after")
    def _hides_what_it_must(self) -> "CohortSettings":
        if self.masking != "none" and self.cohort_size < MASKED_COHORT_MIN:
            raise ValueError(
                f"masking hides nothing in a cohort of {self.cohort_size}: set cohort_size to at"
                f" least {MASKED_COHORT_MIN}, or masking to 'none'"
            )
        if self.masking != "none" and self.grid:
            raise ValueError("masked sums of a grid's lines are not supported; set grid to false")
        return self


class DsgdSettings(_Averaging):
    """Decentralised SGD: neighbours of a topology mix by its weights."""

    algorithm: Literal["dsgd"]
    topology: TopologySettings = TopologySettings()
    """Who mixes with whom; `p2pfl topologies` lists the kinds."""


class EpidemicSettings(_Averaging):
    """Epidemic Learning (EL-Local): each peer sends to `fanout` random peers."""

    algorithm: Literal["epidemic"]
    fanout: Annotated[int, Field(ge=1)] = 7
    """Peers that each peer sends its model to, drawn afresh in each round."""


class PushSumSettings(_Averaging):
    """Push-sum with running sums, which survives the loss of messages."""

    algorithm: Literal["push-sum"]
    topology: TopologySettings = TopologySettings()
    """Who pushes to whom; `p2pfl topologies` lists the kinds."""


class AgeGossipSettings(_Averaging):
    """Asynchronous gossip learning: models merge by their age; nobody waits."""

    algorithm: Literal["age-gossip"]
    fanout: Annotated[int, Field(ge=1)] = 1
    """Peers that each peer sends its model to, drawn afresh in each round."""


class FedAvgSettings(_Averaging):
    """Federated averaging with a server (peer 0): a yardstick only."""

    algorithm: Literal["fedavg"]


class NoAveragingSettings(_Averaging):
    """Every peer alone."""

    algorithm: Literal["none"]


AveragingSettings = Annotated[
    CohortSettings
    | DsgdSettings
    | EpidemicSettings
    | PushSumSettings
    | AgeGossipSettings
    | FedAvgSettings
    | NoAveragingSettings,
    Field(discriminator="algorithm"),
]


class NetworkSettings(Settings):
    """Links between peers."""

    latency: Distribution = Distribution(kind="lognormal", median_s=0.02, sigma=0.4)
    """One way, drawn for each message; so messages overtake each other."""
    bandwidth_bytes_per_s: Annotated[float, Field(gt=0)] = 12_500_000.0
    """Of each peer's uplink and downlink, shared by the transfers under way."""
    loss: Share = 0.0
    """Probability that a message or bulk body is lost on its way, unseen by its sender."""


class ComputeSettings(Settings):
    """How long work takes in virtual time."""

    step_s: Seconds = 0.01
    """Of one training step on a peer of speed 1."""
    speed_spread: Annotated[float, Field(ge=1)] = 1.0
    """Ratio of the fastest to the slowest peer; speeds are log-uniform between."""


class Churn(Settings):
    """Peers that leave between sessions, and come back with what they persisted."""

    session_s: Distribution
    """How long a peer stays."""
    offline_s: Distribution
    """How long it is away."""
    share: Share = 1.0
    """Share of the peers that churn."""


class Dropout(Settings):
    """Peers that lose their network within a round, at a random moment of it."""

    probability: Share
    """For each peer and round."""
    offline_s: Distribution
    """How long the network is gone."""
    silent: bool = False
    """Whether links go silent (frozen machine, cut cable) instead of breaking at once."""


class Crash(Settings):
    """Peers whose process dies within a round; they restart with what they persisted."""

    probability: Share
    """For each peer and round."""
    restart_s: Distribution = constant(5.0)
    """How long the process is down."""


class Stragglers(Settings):
    """Peers that are slower than the others."""

    share: Share
    """Share of the peers that are."""
    factor: Annotated[float, Field(ge=1)]
    """How many times slower."""


class Partition(Settings):
    """A time in which the network falls into parts that cannot reach each other, then heals."""

    start_s: Seconds
    """When it begins, in virtual time."""
    duration_s: PositiveSeconds
    """How long it lasts."""
    shares: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=2)] = (0.5, 0.5)
    """Relative sizes of the parts; who is in which is drawn by the seed."""


class FaultSettings(Settings):
    """What goes wrong."""

    churn: Churn | None = None
    dropout: Dropout | None = None
    crash: Crash | None = None
    stragglers: Stragglers | None = None
    partitions: tuple[Partition, ...] = ()


class EvaluationSettings(Settings):
    """What is measured, and how often; figures cost time, never the result."""

    every: Annotated[int, Field(ge=1)] = 1
    """Evaluate after each that many rounds, and after the last."""
    peers: Annotated[int, Field(ge=1)] | None = None
    """How many peers, drawn by the seed; all if not given."""
    baselines: tuple[Literal["local", "pooled"], ...] = ("local", "pooled")
    """What to hold the run against: each peer alone, and all data in one place."""


class Scenario(Settings):
    """One simulated run, in full: with the seed it determines every byte of the result."""

    name: Annotated[str, Field(min_length=1, max_length=80)] = "scenario"
    """Names the run's folder; the file's name if not given."""
    description: str = ""
    """Shown in the report and in `p2pfl scenarios`."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """Decides all that is drawn: data, batches, cohorts, latencies, faults."""
    peers: Annotated[int, Field(ge=1, le=PEERS_MAX)] = 32
    """How many peers there are."""
    rounds: Annotated[int, Field(ge=1)] = 30
    """Rounds of training and averaging that each peer does."""
    checkpoint_every: Annotated[int, Field(ge=0)] = 1
    """Rounds between the models that a peer persists; 0 persists none."""
    time_limit_s: PositiveSeconds = 1e7
    """Virtual time after which the run ends, whatever the peers do."""
    learning: LearningSettings
    averaging: AveragingSettings = CohortSettings()
    network: NetworkSettings = NetworkSettings()
    compute: ComputeSettings = ComputeSettings()
    faults: FaultSettings = FaultSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _fits_its_peers(self) -> "Scenario":
        if isinstance(self.averaging, CohortSettings) and self.averaging.cohort_size > self.peers:
            raise ValueError(
                f"averaging.cohort_size is {self.averaging.cohort_size} but there are only"
                f" {self.peers} peers; set one of the two"
            )
        if isinstance(self.averaging, EpidemicSettings) and self.averaging.fanout >= self.peers:
            raise ValueError(
                f"averaging.fanout is {self.averaging.fanout} but each of the {self.peers} peers"
                f" has only {self.peers - 1} others; lower it"
            )
        return self


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
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"cannot read {path}: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path} is not TOML: {error}") from None
    document.setdefault("name", path.stem)
    for key, value in (overrides or {}).items():
        _override(document, key, value)
    return make_scenario(document, source=name_or_path)


def make_scenario(document: Mapping[str, Any], *, source: str = "scenario") -> Scenario:
    """Check a scenario that is given as nested dictionaries.

    Raises:
        ScenarioError: a key or value is wrong; each is named.
    """
    try:
        return Scenario.model_validate(document)
    except ValidationError as error:
        faults = "\n".join(f"{source}: {_explain(fault, document)}" for fault in error.errors())
        raise ScenarioError(faults) from None


def _override(document: dict[str, Any], dotted: str, value: Any) -> None:
    *tables, key = dotted.split(".")
    for table in tables:
        document = document.setdefault(table, {})
        if not isinstance(document, dict):
            raise ScenarioError(f"{dotted}: {table} is a value, not a table")
    document[key] = value


def _explain(fault: Any, document: Mapping[str, Any]) -> str:
    """Turn one of pydantic's errors into one line: where, what, and the nearest known key."""
    keys, tags = _place(fault["loc"], document)
    where = ".".join(keys)
    kind, message = fault["type"], str(fault["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        known = _known_keys()
        if keys[-1] in known and tags:
            return f"{where} is not a key of {tags[-1]!r}"
        return f"{where} is not a known key{_hint(keys[-1], known)}"
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        key = f"{where}.{fault['ctx']['discriminator'].strip(chr(39))}"
        if kind == "union_tag_not_found":
            return f"{key} is missing"
        known = {tag.strip("'") for tag in fault["ctx"]["expected_tags"].split(", ")}
        hint = _hint(fault["ctx"]["tag"], known) or f"; there are {', '.join(sorted(known))}"
        return f"{key}: there is no {fault['ctx']['tag']!r}{hint}"
    if kind == "missing":
        return f"{where} is missing"
    if kind == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where}: {message}, not {fault['input']!r}"


def _place(location: tuple[int | str, ...], document: Any) -> tuple[list[str], list[str]]:
    """Part a fault's location into the keys of the document and the tags of unions on the way."""
    keys, tags = [], []
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if isinstance(document, Mapping) and part in document:
            document = document[str(part)]
        elif isinstance(document, (list, tuple)) and isinstance(part, int):
            document = document[part]
        elif not last:
            tags.append(str(part))
            continue
        keys.append(str(part))
    return keys, tags


def _hint(word: str, known: set[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _known_keys() -> set[str]:
    """Collect every key of every table below `Scenario`."""
    keys: set[str] = set()
    tables = [Scenario.model_json_schema()]
    while tables:
        for name, part in tables.pop().items():
            if name in {"properties", "$defs"}:
                keys.update(part if name == "properties" else ())
                tables.extend(entry for entry in part.values() if isinstance(entry, dict))
    return keys
