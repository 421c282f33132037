"""The table `[privacy]`: what a group is to promise of its members' rows, and the plan for it."""

import math
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, model_validator

from p2pfl.learner.settings import SettingsTable
from p2pfl.privacy.errors import PrivacyError
from p2pfl.privacy.mechanisms import Mechanism, Trust, Unit
from p2pfl.privacy.planner import Plan, Question, default_delta, make_plan
from p2pfl_gossip.ledger.privacy import Privacy, PrivateTrust, PrivateUnit

SPARES_SHARE = 0.1
"""Of the rounds: spares where none are named, for rounds that come to nothing."""

SPARES_MIN = 4

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PrivacySettings(SettingsTable):
    """Differential privacy: how much, of what, against whom. Each figure is public.

    None may be worked out from private rows: choose clip and learning rate on rows that are
    nobody's, or by what others say of such tasks.
    """

    epsilon: Annotated[float, Field(gt=0, le=20)]
    """What may be claimed against members that collude, of all rounds together."""
    delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Of epsilon: at most one in ten times all rows; 1e-5, or less, if not given."""
    unit: Literal["record", "member"] = "record"
    """What is hidden: whether one record, or all of one person's, is in the data; or a member."""
    trust: Literal["coalition", "nobody"] = "coalition"
    """Whether members count on each other's noise, but for those that collude; or on none."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """Rows, or persons, that all members train on, as agreed; a simulation counts them."""
    rate: str | float = "1/4"
    """Each unit's chance of being in a round's lot, ``"1/16"``. Whole members take part always."""
    clip: Positive = 1.0
    """The largest norm of one unit's gradient in a sum, or of a whole member's update."""
    learning_rate: Positive = 2.0
    """Of the steps that the sums of gradients make; `learning.training` plays no part in them."""
    learning_rate_last: Positive | None = None
    """Of the last round: it falls by equal steps; a tenth of the first if not given."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of these steps: what stays of the last one."""
    drops: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Each member's chance of being away from a round, for which the least members in a sum are
    chosen. In a simulation that of `faults.dropout` if not given."""
    colluders: Annotated[int, Field(ge=0)] | None = None
    """Members that are assumed to pool what they know; as many as may lie if not given."""
    least: Annotated[int, Field(ge=1)] | None = None
    """Members that must be in a sum, if not to be worked out from `drops`."""
    spares: Annotated[int, Field(ge=0)] | None = None
    """Rounds that may be lost: they are paid for as well. A tenth of the rounds if not given."""
    steps: Annotated[int, Field(ge=1)] = 1
    """Local steps of a round, where nobody is trusted."""
    figures_from: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """Where clip, learning rates and the task's scaling come from, in words: no epsilon counts what
    was tuned on private rows."""

    @model_validator(mode="after")
    def _is_possible(self) -> "PrivacySettings":
        if not 0 < self.lot_rate <= 1:
            raise ValueError(f"rate is above 0 and at most 1, not {self.rate}")
        last = self.learning_rate_last
        if last is not None and last > self.learning_rate:
            raise ValueError("learning_rate_last is above learning_rate")
        return self

    @property
    def is_shared(self) -> bool:
        """Whether members count on each other's noise."""
        return self.trust == "coalition"

    @property
    def lot_rate(self) -> Fraction:
        """Return p."""
        if self.unit == "member":
            return Fraction(1)
        try:
            return Fraction(self.rate)
        except (ValueError, ZeroDivisionError):
            raise ValueError(
                f"rate is a number or a fraction, as 1/16, not {self.rate!r}"
            ) from None

    def plans_as(self, other: "PrivacySettings | None") -> bool:
        """Whether the same plan is made of both: of all but words."""
        words = {"figures_from"}
        return other is not None and self.model_dump(exclude=words) == other.model_dump(
            exclude=words
        )

    def spends(self, rounds: int) -> int:
        """Return T: rounds and spares."""
        spares = self.spares
        if spares is None:
            spares = max(SPARES_MIN, math.ceil(SPARES_SHARE * rounds))
        return rounds + spares


def plan_for(
    settings: PrivacySettings, *, members: int, rows: int, rounds: int, entries: int, drops: float
) -> Plan:
    """Work the plan out.

    Args:
        settings: what is promised.
        members: n.
        rows: units of all members that are trained on, as agreed.
        rounds: heights.
        entries: parameters of the model.
        drops: each member's chance of being away, where the settings name none.

    Raises:
        PrivacyError: no plan fits; the message names the figure and a remedy.
    """
    is_member, agreed = settings.unit == "member", settings.rows or rows
    shares_noise = settings.trust == "coalition"
    if settings.momentum and (is_member or not shares_noise):
        raise PrivacyError(
            "momentum is of sums of gradients: of records, with shared noise; leave it out"
        )
    return make_plan(
        Question(
            members=members,
            rows=None if is_member else agreed,
            rate=settings.lot_rate,
            rounds=settings.spends(rounds),
            epsilon=settings.epsilon,
            delta=default_delta(settings.rows or rows)
            if settings.delta is None
            else settings.delta,
            drops=drops if settings.drops is None else settings.drops,
            least=settings.least,
            colluding=settings.colluders,
            entries=entries,
            unit=Unit(settings.unit),
            trust=Trust(settings.trust),
            steps=settings.steps,
        )
    )


def privacy_of(settings: PrivacySettings, plan: Plan) -> Privacy:
    """Return what a charter says of a plan."""
    mechanism, question = plan.mechanism, plan.question
    is_member = mechanism.unit is Unit.MEMBER
    first = settings.learning_rate
    last = first / 10 if settings.learning_rate_last is None else settings.learning_rate_last
    assert question.delta is not None
    return Privacy(
        unit=PrivateUnit.MEMBER if is_member else PrivateUnit.RECORD,
        trust=PrivateTrust.COALITION if mechanism.trust is Trust.COALITION else PrivateTrust.NOBODY,
        rate_units=mechanism.rate_units,
        noise_units=mechanism.noise_units,
        clip=settings.clip,
        spends=plan.rounds,
        colluding=mechanism.colluding,
        least=mechanism.least,
        rows=0 if is_member else question.rows or 0,
        steps=mechanism.steps,
        delta=question.delta,
        rate_first=first,
        rate_last=last,
        momentum=settings.momentum,
        table=mechanism.width.digest,
    )


def mechanism_of(privacy: Privacy, members: int) -> Mechanism:
    """Return what a charter's own figures say of its noise: what can be claimed follows from it.

    Args:
        privacy: of the charter.
        members: n.
    """
    is_member, is_shared = privacy.unit == PrivateUnit.MEMBER, privacy.is_shared
    return Mechanism(
        unit=Unit.MEMBER if is_member else Unit.RECORD,
        trust=Trust.COALITION if is_shared else Trust.NOBODY,
        members=members,
        colluding=privacy.colluding,
        least=privacy.least,
        rate_units=privacy.rate_units,
        noise_units=privacy.noise_units,
        steps=privacy.steps,
    )
