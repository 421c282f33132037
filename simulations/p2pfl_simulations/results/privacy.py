"""What a private run promises, to whom, and what it has spent; screen, page and notebook say it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from p2pfl.cli.quantities import percent, scientific

YARDSTICKS = "What it is held against is trained without noise."
SEEDED = (
    "Seeded noise, no privacy: here all noise comes from the scenario's seed, so whoever has the"
    " seed takes it away. The claims are of members that run the same with noise of their own."
)
REAL = (
    "Each process drew its noise by itself. But this machine split the rows and made all keys, so"
    " it could know all: the claims are of members that each have their own."
)
NOT_PRIVATE = "Not private: no noise is added, so models and sums may tell of single records."
PER_ROW = (
    "Per row, not per patient: whoever has several rows is protected less. A column 'unit' says"
    " whose a row is."
)
TWO_PLACES = "Of somebody with {what} epsilon is {two:.2g}; nobody can see that."


@dataclass(slots=True)
class ClaimRow:
    """What one adversary can learn of a unit.

    Attributes:
        adversary: who.
        is_the_claim: whether the plan is made for it.
        shares: members whose noise it cannot subtract.
        epsilon: None where nothing is hidden.
        found: the largest share of units that it finds, at 1 in 100 false alarms.
    """

    adversary: str
    is_the_claim: bool
    shares: int
    epsilon: float | None
    found: float


@dataclass(slots=True)
class Compared:
    """What privacy costs: the primary figure after the last round.

    Attributes:
        metric: its name, for people.
        is_percentage: whether it is written in percent.
        rows: what it was measured on; a mean over peers where each has its own.
        with_noise: of the private run; as the next two, None if not known.
        without_noise: of the same group: same rows, lots, clip and steps, and no noise.
        alone: of peers that each train alone, without noise.
        not_private: of the same group, trained as it would be without privacy: not by lots of
            clipped gradients.
    """

    metric: str
    is_percentage: bool
    rows: str
    with_noise: float | None
    without_noise: float | None
    alone: float | None
    not_private: float | None = None

    def told(self) -> str:
        """Say it in a line."""
        write = percent if self.is_percentage else scientific
        return (
            f"{self.metric[:1].upper()}{self.metric[1:]} on {self.rows} after the last round:"
            f" {write(self.with_noise)} with noise;"
            f" {write(self.without_noise)} by the same lots and steps without noise;"
            f" {write(self.not_private)} by the same group without privacy;"
            f" {write(self.alone)} alone, without noise."
        )


@dataclass(slots=True)
class PrivacyRow:
    """What was promised, by which plan.

    Attributes:
        unit: ``"row"``, ``"person"`` or ``"member"``.
        trust: ``"coalition"`` or ``"nobody"``.
        epsilon, renyi_epsilon: of the claim, by both accountants.
        delta: of epsilon.
        rounds: T, vectors that a member gives at most.
        spent: those that a member gave, of all members the most.
        members, least, colluding: n, u_min, c.
        noise: z; `share` of it each member adds, in clips.
        rate: p.
        units: of all members together.
        refused: share of rounds in which too few would be there.
        replaced: epsilon where a unit's rows are others; None if not worked out.
        with_two_rows: epsilon of somebody who is two units; None if not worked out.
        noise_to_signal: rho.
        claims: one for each adversary.
        words: the claim without a Greek letter.
        training: how gradients are clipped.
        compared: what noise costs; None where that was not measured.
        is_seeded: whether all noise came from the scenario's seed, as in a simulation.
    """

    unit: str
    trust: str
    epsilon: float
    renyi_epsilon: float
    delta: float
    rounds: int
    spent: int
    members: int
    least: int
    colluding: int
    noise: float
    share: float
    rate: float
    units: int
    refused: float
    replaced: float | None
    with_two_rows: float | None
    noise_to_signal: float | None
    claims: list[ClaimRow]
    words: str
    training: str
    compared: Compared | None = None
    is_seeded: bool = True

    def caption(self) -> str:
        """Say all that a figure of epsilon needs beside it."""
        return (
            f"epsilon of one {self.unit}, there or not; delta {self.delta:.2g}; all of"
            f" {self.rounds:,} rounds; {self.colluding} of {self.members} members collude, at least"
            f" {self.least} are in a sum"
        )

    def sentences(self) -> list[str]:
        """Say the rest, a line each."""
        told = [
            self.words,
            f"By two accountants: {self.epsilon:.3g}; by the coarser one {self.renyi_epsilon:.3g}.",
            f"Spent: {self.spent:,} of {self.rounds:,} rounds; all of them are counted above.",
        ]
        if self.replaced is not None:
            told.append(f"Where a {self.unit} is replaced by another: epsilon {self.replaced:.2g}.")
        if self.unit == "row":
            told.append(PER_ROW)
        if self.with_two_rows is not None:
            what = "two rows" if self.unit == "row" else "rows at two members"
            told.append(TWO_PLACES.format(what=what, two=self.with_two_rows))
        told.append(YARDSTICKS if self.compared is None else self.compared.told())
        return [*told, SEEDED if self.is_seeded else REAL]


def read_privacy(found: Mapping[str, Any] | None) -> PrivacyRow | None:
    """Read what `summary.json` has of it."""
    if found is None:
        return None
    rows = [ClaimRow(**row) for row in found["claims"]]
    compared = found.get("compared")
    return PrivacyRow(
        **{**found, "claims": rows, "compared": None if compared is None else Compared(**compared)}
    )


def told_epsilon(epsilon: float | None) -> str:
    """Write an epsilon for a table."""
    if epsilon is None:
        return "nothing is hidden"
    return f"{epsilon:.2g}" if epsilon < 10 else f"{epsilon:.0f}"


def told_found(found: float) -> str:
    """Write a share of units that are found, rounded up."""
    return f"{math.ceil(1000 * found - 1e-9) / 10:.1f} %"
