"""How a group averages: a table of a scenario, and of a roster.

Unknown keys are refused. Durations are seconds.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from p2pfl.learner.settings import SettingsTable
from p2pfl_gossip.masked_sum.cohort import COHORT_SIZE_MIN as MASKED_COHORT_MIN

PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TopologySettings(SettingsTable):
    """Who is whose neighbour; `degree` for regular, `probability` for erdos-renyi, `k` for base."""

    kind: str = "ring"
    """As `p2pfl topologies` lists them."""
    degree: Annotated[int, Field(ge=1)] | None = None
    """Neighbours of each peer."""
    probability: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of each edge."""
    k: Annotated[int, Field(ge=1)] | None = None
    """Most neighbours that a peer has in a round."""


class _Averaging(SettingsTable):
    deadline_s: PositiveSeconds = 10.0
    """How long a peer that has trained waits for the others, in each step of an exchange."""
    weights: Literal["equal", "samples"] = "equal"
    """Whether each model counts alike, or by the rows it was trained on."""


class CohortSettings(_Averaging):
    """Disjoint random cohorts, which average by masked sums; or plain ones, or a grid of those."""

    algorithm: Literal["cohorts"] = "cohorts"
    cohort_size: Annotated[int, Field(ge=2)] = 8
    """Peers of one cohort; a larger one mixes faster, and loses more to one silent member."""
    grid: bool = False
    """Whether peers stand in a grid and average along one axis after another, round by round."""
    masking: Literal["real", "modelled", "none"] = "real"
    """By masked sums, so that nobody sees a single model; or `"none"`: partners see models in the
    clear. `"modelled"` is for large simulations: as real ones, without the cryptography."""
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 8.0
    """Of masked sums: a parameter beyond it counts as that, whatever its sign."""
    weight_max: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1000.0
    """Of masked sums with weights = "samples": a peer with more rows counts as this many."""
    assumed_liars: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the peers assumed to lie or collude. It changes nothing in the run: it says what may
    be claimed of it, since a random cohort may draw too many of them."""

    @property
    def is_masked(self) -> bool:
        """Whether cohorts average by masked sums, real or modelled."""
        return self.masking != "none"

    @model_validator(mode="after")
    def _hides_what_it_must(self) -> "CohortSettings":
        if self.is_masked and self.cohort_size < MASKED_COHORT_MIN:
            raise ValueError(
                f"masking hides nothing in a cohort of {self.cohort_size}: set cohort_size to at"
                f" least {MASKED_COHORT_MIN}, or masking to 'none'"
            )
        if self.is_masked and self.grid:
            raise ValueError(
                "masked sums of a grid's lines are not supported; set grid to false, or masking to"
                " 'none'"
            )
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


def require_fit(averaging: AveragingSettings, peers: int) -> None:
    """Raise ValueError if so few peers cannot average so; the message says what to change."""
    is_masked = isinstance(averaging, CohortSettings) and averaging.is_masked
    if is_masked and peers < MASKED_COHORT_MIN:
        raise ValueError(
            f"masking hides nothing among {peers} peers: have at least {MASKED_COHORT_MIN},"
            " or set averaging.masking to 'none'"
        )
    if isinstance(averaging, CohortSettings) and averaging.cohort_size > peers:
        raise ValueError(
            f"averaging.cohort_size is {averaging.cohort_size} but there are only"
            f" {peers} peers; set one of the two"
        )
    if isinstance(averaging, EpidemicSettings) and averaging.fanout >= peers:
        raise ValueError(
            f"averaging.fanout is {averaging.fanout} but each of the {peers} peers"
            f" has only {peers - 1} others; lower it"
        )
