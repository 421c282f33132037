"""How a group averages: a table of a scenario, and of a charter.

Unknown keys are refused. Durations are seconds. `chosen_algorithm` is the one place where an
algorithm is chosen that nobody has named.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from p2pfl.learner.settings import SettingsTable
from p2pfl_gossip.averaging.robust.registry import FIRST, RULES, RobustError, rule_kind
from p2pfl_gossip.ledger.charter import AUDIT_NAME, AUDIT_OFF, AUDIT_VOID
from p2pfl_gossip.masked_sum.cohort import COHORT_SIZE_MAX, liars_max_of
from p2pfl_gossip.masked_sum.cohort import COHORT_SIZE_MIN as MASKED_COHORT_MIN

MEMBERS_MAX = COHORT_SIZE_MAX
"""Of a group; more gossip in cohorts."""

PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

RETRIES = 8
"""Updates beyond the first that a member gives from one model, if nothing else is said."""

PROGRESS_SHARE = 0.25
"""Of `deadline_s`: how often a member that works says so, if the settings do not say."""


class TopologySettings(SettingsTable):
    """Who is whose neighbour; `degree` for regular, `probability` for erdos-renyi, `k` for base."""

    kind: str = "ring"
    """As `p2pfl topologies` lists them; or `"file"`, or an own one, `"my_module:MyGraph"`."""
    degree: Annotated[int, Field(ge=1)] | None = None
    """Neighbours of each peer."""
    probability: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of each edge."""
    k: Annotated[int, Field(ge=1)] | None = None
    """Most neighbours that a peer has in a round."""
    options: dict[str, Any] | None = None
    """Settings of a graph from files (`files`, `rounds_each`), or of an own one."""


class RobustSettings(SettingsTable):
    """A rule in place of the mean, which bounds what models of liars do; partners see all models.

    `robust = "median"` is short for a table with that rule alone.
    """

    rule: str
    """`trimmed-mean`, `median`, `geometric-median`, `krum`, `multi-krum`, `centred-clipping`; of
    graphs also `self-centred-clipping` (ClippedGossip) and `clipped-sum` (CS+)."""
    liars: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """f: among the models that a peer averages, at most so many may be liars'. `"auto"`: a fifth of
    them, and at least one."""
    first: Literal["none", "nnm", "bucketing"] = "none"
    """What is done before the rule: `nnm` replaces each model by the mean of its nearest, which
    helps where members' data differ; `bucketing` averages models by twos, in a drawn order."""
    radius: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Of the two clippings: the L2 norm that differences are clipped to; found anew in each round
    if not given."""

    @field_validator("rule")
    @classmethod
    def _is_there(cls, value: str) -> str:
        try:
            return rule_kind(value).name
        except RobustError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _fits_its_rule(self) -> "RobustSettings":
        kind = RULES[self.rule]
        if self.radius is not None and not kind.takes_radius:
            raise ValueError(f"the rule {self.rule!r} takes no radius; leave it out")
        if kind.is_centred_on_own and self.first != "none":
            raise ValueError(
                f"the rule {self.rule!r} moves a peer's own model, and {self.first!r} mixes it with"
                f" others before ({FIRST[self.first]}): set first to 'none', or take another rule"
            )
        return self


class _Averaging(SettingsTable):
    takes_robust: ClassVar[bool] = False

    @model_validator(mode="before")
    @classmethod
    def _refuses_robust(cls, document: Any) -> Any:
        """Say by name why a rule that looks at single models cannot be had."""
        if isinstance(document, Mapping) and document.get("robust") and not cls.takes_robust:
            if cls is GroupSettings:
                raise ValueError(ROBUST_AND_MASKS.format("algorithm to 'cohorts' and masking to"))
            raise ValueError(
                "robust rules are for the algorithms 'cohorts', 'dsgd' and 'fedavg'; take one of"
                " these, or leave robust out"
            )
        return document

    deadline_s: PositiveSeconds = 10.0
    """How long a peer that has trained waits for the others, in each step of an exchange."""
    weights: Literal["equal", "samples"] = "equal"
    """Whether each model counts alike, or by the rows it was trained on."""


ROBUST_AND_MASKS = (
    "a robust rule looks at every single model, and masks hide them: the two are never had"
    " together. Set {} 'none', so that partners see models in the clear, or leave robust out"
)


class _PlainAveraging(_Averaging):
    takes_robust: ClassVar[bool] = True

    robust: RobustSettings | None = None

    @field_validator("robust", mode="before")
    @classmethod
    def _rule_alone(cls, value: Any) -> Any:
        return {"rule": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _weighs_alike(self) -> "_PlainAveraging":
        if self.robust is not None and self.weights != "equal":
            raise ValueError(
                "a robust rule counts all models alike, as a liar may claim any weight: set weights"
                " to 'equal', or leave robust out"
            )
        return self


Audit: TypeAlias = Literal["off", "void", "name"]
"""Whether members prove that their updates are bounded, and what becomes of a round if not."""

AUDITS: dict[Audit, int] = {"off": AUDIT_OFF, "void": AUDIT_VOID, "name": AUDIT_NAME}
"""As charters write them."""


def audit_named(number: int) -> Audit:
    """Return what a charter's number says of audits."""
    return next(name for name, it in AUDITS.items() if it == number)


AUDITED_MEMBERS_MIN = 8
"""From so many members on sums are audited, if nothing is said."""


def audit_of(audit: Audit | None, members: int, *, is_noise_shared: bool) -> Audit:
    """Return whether sums are audited: as it is said, else by the group's size.

    In a small group a member that is lost at a bad moment costs a round more often than it gains.

    Args:
        audit: what is said; None if nothing is.
        members: of the group.
        is_noise_shared: whether members count on each other's noise, which no audit looks through.
    """
    if audit is not None:
        return audit
    return "void" if members >= AUDITED_MEMBERS_MIN and not is_noise_shared else "off"


def retries_of(retries: int | None, audit: Audit, members: int) -> int:
    """Return how often a member gives an update from one model again, as it is said or not.

    Args:
        retries: what is said; None if nothing is.
        audit: whether its sums are audited.
        members: of the group.

    Raises:
        ValueError: sums are audited, and members that lie would stop the group by fewer void rounds
            than it takes to find them out.
    """
    liars = liars_max_of(members)
    least = 0 if audit == "off" else 2 * liars
    if retries is None:
        return max(RETRIES, least)
    if retries < least:
        raise ValueError(
            f"averaging.retries = {retries}: where sums are audited, each of {liars} members that"
            f" lie may cost two rounds before it is found out; give {least} or more, leave it"
            " out, or set averaging.audit to 'off'"
        )
    return retries


class GroupSettings(_Averaging):
    """One certified model a round: one masked sum over all members, whose result a quorum signs.

    For 5 to 128 members. `deadline_s` is how long an answer of another member may take.
    """

    algorithm: Literal["group"] = "group"
    masking: Literal["real", "modelled"] = "real"
    """`"modelled"` is for large simulations: as real masks, without the cryptography."""
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    """S, the largest L2 norm of an update: a longer one is shrunk to it, and its peer is told. It
    bounds what one member can do to a model. In the tasks that ship, an honest update has a norm
    of 0.5 to 2 and at most 4.0 (two epochs of Fashion-MNIST from a fresh start)."""
    patience_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60.0
    """How long a member that says that it works is waited for, beyond `deadline_s`, at most. Each
    wait in vain halves it for that member, each delivery doubles it again."""
    progress_s: PositiveSeconds | None = None
    """How often a member that works says so; a quarter of `deadline_s` if not given."""
    retries: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Updates from one model that a member gives beyond the first, where rounds are lost. If not
    given, 8; with an audit no fewer than two for each member that may lie, and less is refused."""
    audit: Audit | None = None
    """`"void"`: a round counts only if every member whose update is in it has proved, without
    showing it, that it is no longer than `clip`. `"name"`: so too, and where what they proved does
    not add up, members find out whose proof was of something else. If not given, as in a charter:
    `"void"` for 8 members and more, unless they count on each other's noise, else `"off"`."""

    @property
    def said_every_s(self) -> float:
        """How often a member that works says so."""
        return self.progress_s or PROGRESS_SHARE * self.deadline_s

    def audit_of(self, members: int, *, is_noise_shared: bool) -> Audit:
        """Return `audit`, or what is taken in a group of so many members."""
        return audit_of(self.audit, members, is_noise_shared=is_noise_shared)

    def retries_of(self, members: int, *, is_noise_shared: bool) -> int:
        """Return `retries`, or what is taken in a group of so many members; ValueError if few."""
        audit = self.audit_of(members, is_noise_shared=is_noise_shared)
        return retries_of(self.retries, audit, members)


class CohortSettings(_PlainAveraging):
    """Disjoint random cohorts, which average by masked sums; or plain ones, or a grid of those."""

    algorithm: Literal["cohorts"] = "cohorts"
    cohort_size: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"
    """Peers of one cohort; a larger one mixes faster, and loses more to one silent member.
    `"auto"`: all peers up to 128; of more, the smallest size with which masked sums may be claimed
    to protect against malicious members, as `assumed_liars` has it. Plain cohorts take 8."""
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
        if self.is_masked and self.robust is not None:
            raise ValueError(ROBUST_AND_MASKS.format("masking to"))
        if self.grid and self.cohort_size == "auto":
            raise ValueError("a grid needs a cohort_size: that of its lines")
        if self.is_masked and self.cohort_size != "auto" and self.cohort_size < MASKED_COHORT_MIN:
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


class DsgdSettings(_PlainAveraging):
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


class FedAvgSettings(_PlainAveraging):
    """Federated averaging with a server (peer 0): a yardstick only."""

    algorithm: Literal["fedavg"]


class OwnRuleSettings(_Averaging):
    """An own rule: neighbours of a topology hear each other's models, and the rule mixes them.

    `algorithm = "my_module:MyRule"` is short for it.
    """

    algorithm: Literal["own"]
    plugin: Annotated[str, Field(min_length=1)]
    """``"my_module:MyRule"``, imported from the folder of this file, or an installed one."""
    options: Mapping[str, Any] = {}
    """Settings of the rule, which checks them."""
    topology: TopologySettings = TopologySettings(kind="complete")
    """Who hears whom; `p2pfl topologies` lists the kinds."""


class NoAveragingSettings(_Averaging):
    """Every peer alone."""

    algorithm: Literal["none"]


NetworkSettings: TypeAlias = (
    CohortSettings
    | DsgdSettings
    | EpidemicSettings
    | PushSumSettings
    | AgeGossipSettings
    | FedAvgSettings
    | NoAveragingSettings
)

NetworkAveraging = Annotated[NetworkSettings, Field(discriminator="algorithm")]
"""How members average that gossip, and keep no ledger: by code of p2pfl's own."""

AveragingSettings = Annotated[
    GroupSettings | NetworkSettings | OwnRuleSettings, Field(discriminator="algorithm")
]


def chosen_algorithm(table: Mapping[str, Any], peers: int) -> str:
    """Choose the algorithm of a table `averaging` that names none.

    A group, wherever there are 5 to 128 members and masks are on; else cohorts. A key that only
    cohorts have asks for them.
    """
    asks_for_cohorts = table.get("masking") == "none" or any(
        key in table for key in CohortSettings.model_fields.keys() - GroupSettings.model_fields
    )
    if asks_for_cohorts or not MASKED_COHORT_MIN <= peers <= MEMBERS_MAX:
        return "cohorts"
    return "group"


def require_fit(averaging: AveragingSettings, peers: int) -> None:
    """Raise ValueError if so few or so many peers cannot average so, saying what to change."""
    if isinstance(averaging, GroupSettings):
        if peers > MEMBERS_MAX:
            raise ValueError(
                f"a group has at most {MEMBERS_MAX} members, not {peers}: set averaging.algorithm"
                " to 'cohorts'"
            )
        if peers < MASKED_COHORT_MIN:
            raise ValueError(
                f"a group of {peers} hides nothing: have at least {MASKED_COHORT_MIN} members, or"
                " set averaging.algorithm to 'cohorts' and averaging.masking to 'none'"
            )
    is_masked = isinstance(averaging, CohortSettings) and averaging.is_masked
    if is_masked and peers < MASKED_COHORT_MIN:
        raise ValueError(
            f"masking hides nothing among {peers} peers: have at least {MASKED_COHORT_MIN},"
            " or set averaging.masking to 'none'"
        )
    if (
        isinstance(averaging, CohortSettings)
        and averaging.cohort_size != "auto"
        and averaging.cohort_size > peers
    ):
        raise ValueError(
            f"averaging.cohort_size is {averaging.cohort_size} but there are only"
            f" {peers} peers; set one of the two"
        )
    if isinstance(averaging, EpidemicSettings) and averaging.fanout >= peers:
        raise ValueError(
            f"averaging.fanout is {averaging.fanout} but each of the {peers} peers"
            f" has only {peers - 1} others; lower it"
        )
