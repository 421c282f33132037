"""Settings of learning: which task, who holds which rows, how a peer trains.

They are a table of a scenario, or of a daemon's configuration. Unknown keys are refused. Rounds
count from 0, as in `Train.round`.
"""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


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


PartitionSettings: TypeAlias = Annotated[
    IidPartition
    | DirichletPartition
    | ShardsPartition
    | QuantityPartition
    | GroupsPartition
    | SitesPartition,
    Field(discriminator="kind"),
]


class TrainingSettings(SettingsTable):
    """How one peer trains in one round: stochastic gradient descent on its own rows."""

    learning_rate: Rate = 0.1
    batch_size: Count = 32
    """Rows of one step, at most; a peer's last batch of an epoch may have fewer."""
    epochs: Count | None = None
    """Passes over the peer's rows in each round; 1 if neither this nor `steps` is given."""
    steps: Count | None = None
    """Steps in each round, in place of `epochs`, whatever the number of rows."""
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """In place of both: as many steps as fit into so many seconds on the peer's own machine, at
    least one. So a slow peer does fewer steps, and nobody waits for it; its update is smaller."""
    sampling: Literal["epoch", "replacement"] = "epoch"
    """Rows in random order, each once an epoch; or each row of each batch drawn from all."""
    schedule: tuple[tuple[Annotated[int, Field(ge=0)], Rate], ...] = ()
    """``[[from_round, learning_rate], ...]``: the last entry reached replaces the rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Heavy-ball momentum within a round: it starts at zero in every round."""

    @model_validator(mode="after")
    def _is_consistent(self) -> "TrainingSettings":
        given = [name for name in ("epochs", "steps", "seconds") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; give one of them")
        if any(later <= earlier for (earlier, _), (later, _) in pairwise(self.schedule)):
            raise ValueError("schedule's rounds must increase from entry to entry")
        return self

    def rate_at(self, round_number: int) -> float:
        """Return the learning rate of a round."""
        rate = self.learning_rate
        for from_round, scheduled in self.schedule:
            if round_number >= from_round:
                rate = scheduled
        return rate


class TaskSettings(SettingsTable):
    """What is learnt, and how."""

    task: Annotated[str, Field(min_length=1)] = "digits"
    """A built-in task, or ``"my_module:MyTask"``, imported from the folder of this file."""
    options: dict[str, Any] = {}
    """Arguments of the task, such as ``hidden = [128]``; the task checks them."""
    training: TrainingSettings = TrainingSettings()
    evaluation_rows: Count | None = None
    """Test rows to measure on, drawn once by the seed; all if not given, or if there are fewer."""


class LearningSettings(TaskSettings):
    """What is learnt, from whose rows, and how."""

    data_dir: Path | None = None
    """Where the task's files are, if not where it looks by itself; relative to the scenario."""
    partition: PartitionSettings = IidPartition()
