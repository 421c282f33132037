"""Settings of learning: which task, who holds which rows, how a peer trains.

They are a table of a scenario, or of a daemon's configuration. Unknown keys are refused. Rounds
count from 0, as in `Train.round`.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from p2pfl.plugins import SPLITS, put_own

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
Rounds = Annotated[int, Field(ge=0)]


class SettingsTable(BaseModel):
    """A table whose unknown keys are refused and whose values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class IidPartition(SettingsTable):
    """Rows dealt at random, alike for all peers."""

    kind: Literal["iid"] = "iid"
    rows_per_peer: Count | None = None
    """Rows of every peer; all rows are dealt out, as evenly as possible, if not given."""
    reuse: bool = False
    """Whether a row may be dealt to several peers, where there are too few."""


class DirichletPartition(SettingsTable):
    """Label skew: each label's rows are split by shares drawn from Dirichlet(alpha)."""

    kind: Literal["dirichlet"]
    alpha: Rate = 0.5
    """Small is skewed: at 0.1 most peers hold two or three labels."""
    minimum_rows: Annotated[int, Field(ge=1)] = 8
    """A peer with fewer gets that many random rows more, which other peers hold too."""


class ShardsPartition(SettingsTable):
    """Label skew: rows sorted by label are cut into equal shards, dealt at random."""

    kind: Literal["shards"]
    per_peer: Count = 2
    """Shards of each peer: about as many labels."""


class QuantityPartition(SettingsTable):
    """Quantity skew: random rows, whose number is drawn from Dirichlet(alpha)."""

    kind: Literal["quantity"]
    alpha: Rate = 0.5
    minimum_rows: Count = 1
    """Rows that each peer has before the others are split by shares."""


class GroupsPartition(SettingsTable):
    """Natural groups: rows that share a column's value stay together."""

    kind: Literal["groups"]
    column: Annotated[str, Field(min_length=1)]
    """One of the columns that the task names, such as the hospital that a row comes from."""


class SitesPartition(SettingsTable):
    """One site a peer, in the order of the task's sites: for tables, that of their files' names."""

    kind: Literal["sites"]


class OwnPartition(SettingsTable):
    """An own split; `kind = "my_module:MySplit"` is short for it."""

    kind: Literal["own"]
    plugin: Annotated[str, Field(min_length=1)]
    """``"my_module:MySplit"``, imported from the folder of this file, or an installed one."""
    options: Mapping[str, Any] = {}
    """Settings of the split, which checks them."""


PartitionSettings: TypeAlias = Annotated[
    IidPartition
    | DirichletPartition
    | ShardsPartition
    | QuantityPartition
    | GroupsPartition
    | SitesPartition
    | OwnPartition,
    Field(discriminator="kind"),
]


class Sgd(SettingsTable):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    momentum: Share = 0.0
    """Heavy-ball momentum."""
    nesterov: bool = False
    """Whether the gradient is taken where the momentum leads to."""
    weight_decay: NotNegative = 0.0
    """Added to the gradient: so many times the parameters."""

    @model_validator(mode="after")
    def _is_consistent(self) -> "Sgd":
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum above 0")
        return self


class AdamW(SettingsTable):
    """Adam with weight decay apart from the gradient (Loshchilov & Hutter, 2019)."""

    kind: Literal["adamw"]
    beta1: Share = 0.9
    """What a step keeps of the running mean of gradients."""
    beta2: Share = 0.999
    """What a step keeps of the running mean of their squares."""
    epsilon: Rate = 1e-8
    """Added to the root of that mean, which a step is divided by."""
    weight_decay: NotNegative = 0.01
    """Parameters shrink by so many times the learning rate in each step."""


OptimiserSettings: TypeAlias = Annotated[Sgd | AdamW, Field(discriminator="kind")]


class OuterSettings(SettingsTable):
    """What the way of all models together in a round does to where the next one begins.

    The way from where a peer's last round began to the mean of all models is taken as a gradient
    (with its sign turned), and an optimiser goes on from there: momentum on it is the outer step of
    DiLoCo (Douillard et al., 2023), AdamW without decay is FedAdam (Reddi et al., ICLR 2021). Each
    peer does it by itself, and peers that were in the same rounds come to the same bits. A peer
    that missed a round begins at the mean, and anew.
    """

    learning_rate: Rate = 1.0
    """Of the outer step; 1 and no momentum begin at the mean, as without it."""
    optimiser: OptimiserSettings = Sgd(momentum=0.9, nesterov=True)
    """Its rule."""


class PlainSteps(SettingsTable):
    """The loss alone."""

    kind: Literal["plain"] = "plain"


class FedProx(SettingsTable):
    """Each step pulls the model back to where the round began (Li et al., MLSys 2020)."""

    kind: Literal["fedprox"]
    pull: Rate
    """So many times the way from there to the model is added to each gradient."""


class Scaffold(SettingsTable):
    """Control variates correct each step for how a peer's rows differ from all rows.

    SCAFFOLD (Karimireddy et al., ICML 2020), option II. Control variates travel with the model and
    are averaged as it is, so a peer sends twice as much. Those of a peer that is not in a round
    are not in that round's average.
    """

    kind: Literal["scaffold"]


class Ditto(SettingsTable):
    """Each peer trains a personal model as well (Li et al., ICML 2021), which it alone uses.

    It never travels, and takes as many steps as the joint model, from where it was. The joint model
    is trained as without it.
    """

    kind: Literal["ditto"]
    pull: Rate
    """So many times the way from the joint model to the personal one is added to each gradient."""


LocalSettings: TypeAlias = Annotated[
    PlainSteps | FedProx | Scaffold | Ditto, Field(discriminator="kind")
]


class ConstantSchedule(SettingsTable):
    """The learning rate as it is."""

    kind: Literal["constant"] = "constant"
    warm_up: Rounds = 0
    """Rounds in which the rate grows, by equal steps, to its full size."""

    def share_at(self, round_number: int) -> float:
        """Return the share of the learning rate that a round has, without the warm-up."""
        return 1.0


class CosineSchedule(ConstantSchedule):
    """The rate falls along half a cosine (Loshchilov & Hutter, 2017)."""

    kind: Literal["cosine"]  # type: ignore[assignment]
    rounds: Count
    """Rounds from the end of the warm-up to the smallest rate."""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The smallest rate, as a share of `learning_rate`."""

    def share_at(self, round_number: int) -> float:
        """Fall from 1 to `floor`, and stay there."""
        done = min(max(round_number - self.warm_up, 0) / self.rounds, 1.0)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2


class StepSchedule(ConstantSchedule):
    """The rate is multiplied by a factor every so many rounds."""

    kind: Literal["step"]  # type: ignore[assignment]
    every: Count
    """Rounds from one step to the next, from the end of the warm-up on."""
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """What each step multiplies the rate by."""

    def share_at(self, round_number: int) -> float:
        """Fall by steps."""
        return float(self.factor ** (max(round_number - self.warm_up, 0) // self.every))


class RatesByRound(SettingsTable):
    """Learning rates as listed; `schedule = [[from_round, rate], ...]` is short for it."""

    kind: Literal["rates"]
    rates: Annotated[tuple[tuple[Rounds, Rate], ...], Field(min_length=1)]
    """``[[from_round, learning_rate], ...]``: the last entry reached replaces the rate."""

    @model_validator(mode="after")
    def _is_consistent(self) -> "RatesByRound":
        if any(later <= earlier for (earlier, _), (later, _) in pairwise(self.rates)):
            raise ValueError("schedule's rounds must increase from entry to entry")
        return self


ScheduleSettings: TypeAlias = Annotated[
    ConstantSchedule | CosineSchedule | StepSchedule | RatesByRound, Field(discriminator="kind")
]


class TrainingSettings(SettingsTable):
    """How one peer trains in one round, on its own rows."""

    learning_rate: Rate = 0.1
    batch_size: Count = 32
    """Rows of one step, at most; a peer's last batch of an epoch may have fewer."""
    drop_last: bool = False
    """Whether an epoch leaves its last batch out where that has fewer rows, unless it is the
    only one."""
    epochs: Count | None = None
    """Passes over the peer's rows in each round; 1 if neither this nor `steps` is given."""
    steps: Count | None = None
    """Steps in each round, in place of `epochs`, whatever the number of rows."""
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """In place of both: as many steps as fit into so many seconds on the peer's own machine, at
    least one. So a slow peer does fewer steps, and nobody waits for it; its update is smaller."""
    sampling: Literal["epoch", "replacement"] = "epoch"
    """Rows in random order, each once an epoch; or each row of each batch drawn from all."""
    full_batch: Literal[True] | None = None
    """`true` if all peers may train on all their rows in every step. Nothing is drawn then, so two
    masked sums that differ by one member give its update away. Without privacy a charter and a
    launch refuse that, and a simulation warns, unless it is said here that it is meant."""
    optimiser: OptimiserSettings = Sgd()
    """What a gradient does to the model. ``momentum = 0.9`` beside it is short for SGD's."""
    clip_norm: Rate | None = None
    """Largest Euclidean norm of a step's gradient; a larger one is scaled down to it."""
    schedule: ScheduleSettings = ConstantSchedule()
    """How the learning rate changes from round to round."""
    keep_moments: bool = False
    """Whether a round's momentum, or the moments of AdamW, go on in the next round; otherwise they
    begin at zero, since a model that was averaged has no past of its own."""
    local: LocalSettings = PlainSteps()
    """What each step minds beside the loss."""
    outer: OuterSettings | None = None
    """Momentum, or Adam, over rounds; a round begins at the mean of all models if not given."""

    @model_validator(mode="before")
    @classmethod
    def _takes_short_forms(cls, given: Any) -> Any:
        """Put `momentum`, and a `schedule` that is a list, into their tables."""
        if not isinstance(given, dict):
            return given
        whole = dict(given)
        if isinstance(given.get("schedule"), (list, tuple)):
            rates = given["schedule"]
            whole["schedule"] = {"kind": "rates", "rates": rates} if rates else ConstantSchedule()
        if "momentum" in whole:
            if "optimiser" in whole:
                raise ValueError(
                    "momentum and optimiser are both given; write optimiser = { kind = 'sgd',"
                    " momentum = ... }"
                )
            whole["optimiser"] = {"kind": "sgd", "momentum": whole.pop("momentum")}
        return whole

    @model_validator(mode="after")
    def _is_consistent(self) -> "TrainingSettings":
        given = [name for name in ("epochs", "steps", "seconds") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; give one of them")
        is_plain = self.optimiser == Sgd() and self.clip_norm is None
        if isinstance(self.local, Scaffold) and not is_plain:
            raise ValueError(
                "local.kind = 'scaffold' works the gradient out from how far plain steps went:"
                " take optimiser = { kind = 'sgd' } without momentum, weight_decay and clip_norm"
            )
        if self.drop_last and self.sampling == "replacement":
            raise ValueError(
                "drop_last is for sampling = 'epoch'; with 'replacement' all batches are full"
            )
        return self

    def takes_all_of(self, rows: float) -> bool:
        """Tell whether each step of a peer with so many rows takes all of them: none are drawn."""
        return self.sampling == "epoch" and rows <= self.batch_size

    def are_all_full(self, rows: Iterable[float]) -> bool:
        """Tell whether that is so of all peers, by how many rows each has, and nobody meant it."""
        return not self.full_batch and all(map(self.takes_all_of, rows))

    def rate_at(self, round_number: int) -> float:
        """Return the learning rate of a round."""
        schedule = self.schedule
        if not isinstance(schedule, RatesByRound):
            warm = min(1.0, (round_number + 1) / (schedule.warm_up + 1))
            return self.learning_rate * schedule.share_at(round_number) * warm
        reached = [rate for first, rate in schedule.rates if round_number >= first]
        return reached[-1] if reached else self.learning_rate


class TaskSettings(SettingsTable):
    """What is learnt, and how."""

    task: Annotated[str, Field(min_length=1)] = "digits"
    """A built-in task, or ``"my_module:MyTask"``, imported from the folder of this file."""
    options: dict[str, Any] = {}
    """Arguments of the task, such as ``hidden = [128]``; the task checks them."""
    training: TrainingSettings = TrainingSettings()
    device: Literal["cpu", "cuda", "mps", "auto"] = "cpu"
    """Where models train; ``"auto"`` is an accelerator if there is one."""
    dtype: Literal["float32", "bf16"] = "float32"
    """What products are computed in; parameters and optimisers are float32 in any case."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of each peer's own rows that it never trains on: its test rows, of each label alike.
    A task may choose them itself; then this is of no account."""
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each peer's own rows to choose a model by: of all rounds, the one that is best on
    these. They are nobody's test rows. With 0 the last model counts."""
    evaluation_rows: Count | None = None
    """Common test rows to measure on, drawn once by the seed; all if not given, or if fewer."""

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> "TaskSettings":
        if self.held_out + self.validation >= 1:
            raise ValueError("held_out and validation leave no rows to train on; lower them")
        return self


class MetricSettings(SettingsTable):
    """An own figure beside those of the task; ``"my_module:MyMetric"`` alone is short for it."""

    plugin: Annotated[str, Field(min_length=1)]
    """``"my_module:MyMetric"``, imported from the folder of this file, or an installed one."""
    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")] | None = None
    """Of the figure; that of its class in small letters if not given, ``top_two`` of ``TopTwo``."""
    options: Mapping[str, Any] = {}
    """Settings of the metric, which checks them."""
    primary: bool = False
    """Whether models are compared by it, in place of the task's own figure."""


class LearningSettings(TaskSettings):
    """What is learnt, from whose rows, and how."""

    data_dir: Path | None = None
    """Where the task's files are, if not where it looks by itself; relative to the scenario."""
    partition: PartitionSettings = IidPartition()
    metrics: tuple[MetricSettings, ...] = ()
    """Own figures."""

    @field_validator("partition", mode="before")
    @classmethod
    def _takes_own_split(cls, value: Any) -> Any:
        return put_own(value, "kind", SPLITS) if isinstance(value, Mapping) else value

    @field_validator("metrics", mode="before")
    @classmethod
    def _takes_names(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return value
        return [{"plugin": it} if isinstance(it, str) else it for it in value]
