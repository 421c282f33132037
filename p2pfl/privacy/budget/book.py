"""What a dataset's records add up to, and which record may follow them.

| state of a charter | reserve | spend | presume | give back | close | forfeit |
|---|---|---|---|---|---|---|
| none | OPEN, or refused | refused | refused | refused | refused | - |
| OPEN | as it is | counts, up to T | counts, up to T | counts back | CLOSED | FORFEITED |
| CLOSED: what was spent counts | refused | refused | refused | refused | as it is | FORFEITED |
| FORFEITED: T counts | refused | refused | refused | refused | refused | FORFEITED |

**What is added up.** Charters are chosen after models were seen, and several run at once. Then
divergences of *one order, fixed before the first charter*, may be added up until they reach the
budget (Feldman, Zrnic, "Individual Privacy Accounting via a Renyi Filter", NeurIPS 2021; for
charters that run at once Haney et al., "Concurrent Composition for Interactive Differential
Privacy with Adaptive Privacy-Loss Parameters", CCS 2023: every filter that is valid for a fixed
order). Curves of many orders, of which the best is taken at the end, are not covered by these
theorems. Loss distributions neither, and there it is false in general ("f-Differential Privacy
Filters: Validity and Approximate Solutions", arXiv 2602.06756). So the order is in the first
record.

**The first charter** was chosen before anything was seen. It may use the tighter figure of loss
distributions, if nothing else is ever to follow: `alone`.
"""

import math
from dataclasses import dataclass, field
from enum import Enum

from p2pfl.privacy.budget.records import (
    BudgetOpened,
    Closed,
    Forfeited,
    Presumed,
    Record,
    Reserved,
    Returned,
    Spent,
)
from p2pfl.privacy.errors import PrivacyError
from p2pfl.privacy.releases import Releases
from p2pfl.privacy.renyi import budget_of, divergence

_TINY = 1e-9  # Relative: sums of floats, in the order of records.


class BudgetState(Enum):
    """Of a charter (see the table above)."""

    OPEN = "open"
    CLOSED = "closed"
    FORFEITED = "forfeited"


class BudgetRefused(PrivacyError):
    """The budget does not allow it; the member rests."""


@dataclass
class BudgetStanding:
    """One charter's.

    Attributes:
        reserved: its record.
        divergence_of_round: of the ledger's order.
        state: see `BudgetState`.
        spends: sessions whose vector may have left: (epoch, round, session).
        presumed: rounds that were charged without a record.
    """

    reserved: Reserved
    divergence_of_round: float
    state: BudgetState = BudgetState.OPEN
    spends: set[tuple[int, int, int]] = field(default_factory=set)
    presumed: int = 0

    @property
    def spent(self) -> int:
        """Rounds that count as spent."""
        return len(self.spends) + self.presumed

    @property
    def left(self) -> int:
        """Rounds that may still be spent."""
        return self.reserved.rounds - self.spent if self.state is BudgetState.OPEN else 0

    @property
    def full(self) -> float:
        """Divergence of all its rounds."""
        return self.reserved.rounds * self.divergence_of_round

    @property
    def charged(self) -> float:
        """Divergence that counts now."""
        if self.state is BudgetState.CLOSED:
            return self.spent * self.divergence_of_round
        return self.full


class Book:
    """The records of one ledger, added up. It checks every record before it takes it.

    Args:
        opened: the first record.

    Raises:
        PrivacyError: the budget is out of range.
    """

    def __init__(self, opened: BudgetOpened) -> None:
        if not (math.isfinite(opened.epsilon) and opened.epsilon > 0):
            raise PrivacyError(f"a budget's epsilon is positive and finite, not {opened.epsilon}")
        if not 0 < opened.delta < 1:
            raise PrivacyError(f"a budget's delta is above 0 and below 1, not {opened.delta}")
        if opened.order < 2:
            raise PrivacyError(f"an order is 2 or more, not {opened.order}")
        self.opened = opened
        self.budget = budget_of(opened.order, opened.epsilon, opened.delta)
        self.charters: dict[str, BudgetStanding] = {}
        self.forfeited = 0.0

    @property
    def charged(self) -> float:
        """Divergence that counts now, of all charters; at least what was forfeited."""
        return max(self.forfeited, math.fsum(one.charged for one in self.charters.values()))

    @property
    def charged_in_full(self) -> float:
        """Divergence that would count if every charter were charged for all its rounds."""
        return max(self.forfeited, math.fsum(one.full for one in self.charters.values()))

    @property
    def epsilon(self) -> float:
        """What all that counts costs: of the only charter, or of the sum of divergences."""
        if len(self.charters) == 1 and not self.forfeited:
            (only,) = self.charters.values()
            if only.reserved.alone:
                return only.reserved.epsilon
        if not self.charged:
            return 0.0
        floor = budget_of(self.opened.order, 0.0, self.opened.delta)
        return max(0.0, self.charged - floor)

    def reservation(
        self,
        charter: str,
        *,
        rate_units: int,
        noise: float,
        steps: int,
        rounds: int,
        epsilon: float,
    ) -> Reserved:
        """Make the record of a charter that is to be joined.

        Args:
            charter: its digest.
            rate_units: as in `Reserved`.
            noise: as in `Reserved`.
            steps: as in `Reserved`.
            rounds: as in `Reserved`.
            epsilon: of all its rounds, at the ledger's delta.

        Raises:
            BudgetRefused: it does not fit; the message says what would.
        """
        one_round = divergence(Releases(rate_units, noise, steps), self.opened.order)
        left = self.budget - self.charged
        fits = rounds * one_round <= left + _TINY * max(self.budget, 0.0)
        if any(one.reserved.alone for one in self.charters.values()):
            raise BudgetRefused(
                "the whole budget of this data set went to one charter, so that nothing may follow"
                " it, not even after its end"
            )
        alone = not fits and not self.charters and not self.forfeited
        if alone and epsilon > self.opened.epsilon:
            raise BudgetRefused(
                f"{rounds:,} rounds cost an epsilon of {epsilon:.3g}, and the owner allows"
                f" {self.opened.epsilon:.3g}; {self._what_fits(one_round)}"
            )
        if not fits and not alone:
            raise BudgetRefused(
                f"{rounds:,} rounds do not fit beside what other charters hold;"
                f" {self._what_fits(one_round)}"
            )
        return Reserved(charter, rate_units, noise, steps, rounds, epsilon, alone)

    def room(self, *, rate_units: int, noise: float, steps: int) -> int:
        """Return how many rounds of a charter that is to be joined surely fit.

        Args:
            rate_units: as in `Reserved`.
            noise: as in `Reserved`.
            steps: as in `Reserved`.
        """
        if any(one.reserved.alone for one in self.charters.values()):
            return 0
        return self._room(divergence(Releases(rate_units, noise, steps), self.opened.order))

    def _room(self, one_round: float) -> int:
        return max(0, math.floor((self.budget - self.charged) / one_round))

    def _what_fits(self, one_round: float) -> str:
        rounds = self._room(one_round)
        return (
            f"{rounds:,} rounds of this noise and rate surely fit"
            if rounds
            else "not one round of this noise and rate fits: more noise, or a smaller rate, might"
        )

    def take(self, record: Record) -> None:
        """Take a record, or refuse it and change nothing.

        Raises:
            BudgetRefused: it may not follow.
        """
        match record:
            case BudgetOpened():
                raise BudgetRefused("a ledger is opened once")
            case Reserved():
                self._reserve(record)
            case Spent():
                standing = self._open(record.charter)
                key = (record.epoch, record.round, record.session)
                if key in standing.spends:
                    raise BudgetRefused(
                        f"epoch {record.epoch}, round {record.round}, session {record.session} is"
                        " spent already: no vector is sent twice"
                    )
                self._require_left(standing, 1)
                standing.spends.add(key)
            case Presumed():
                standing = self._open(record.charter)
                if not 0 < record.count <= record.last - record.first + 1:
                    raise BudgetRefused(
                        f"of rounds {record.first} to {record.last} not {record.count}"
                    )
                # More than are left cannot have been sent: each was written down before.
                standing.presumed += min(record.count, standing.left)
            case Returned():
                standing = self._open(record.charter)
                key = (record.epoch, record.round, record.session)
                if key not in standing.spends:
                    raise BudgetRefused(
                        f"epoch {record.epoch}, round {record.round}, session {record.session} was"
                        " not spent, so it cannot come back"
                    )
                standing.spends.remove(key)
            case Closed():
                self._open(record.charter).state = BudgetState.CLOSED
            case Forfeited():
                self._forfeit(record)

    def _reserve(self, record: Reserved) -> None:
        if record.charter in self.charters:
            raise BudgetRefused("this charter has its reservation already")
        expected = self.reservation(
            record.charter,
            rate_units=record.rate_units,
            noise=record.noise,
            steps=record.steps,
            rounds=record.rounds,
            epsilon=record.epsilon,
        )
        if expected != record:
            raise BudgetRefused(
                "a reservation that says 'alone' where it is not, or not where it is"
            )
        one_round = divergence(
            Releases(record.rate_units, record.noise, record.steps), self.opened.order
        )
        Releases(record.rate_units, record.noise, record.steps * record.rounds)  # Its bounds.
        self.charters[record.charter] = BudgetStanding(record, one_round)

    def _open(self, charter: str) -> BudgetStanding:
        standing = self.charters.get(charter)
        if standing is None:
            raise BudgetRefused(f"charter {charter[:12]} has no reservation; join it first")
        if standing.state is not BudgetState.OPEN:
            raise BudgetRefused(f"charter {charter[:12]} is {standing.state.value}")
        return standing

    @staticmethod
    def _require_left(standing: BudgetStanding, count: int) -> None:
        if standing.left < count:
            raise BudgetRefused(
                f"all {standing.reserved.rounds:,} rounds of charter"
                f" {standing.reserved.charter[:12]} are spent; the member rests"
            )

    def _forfeit(self, record: Forfeited) -> None:
        if not record.divergence >= self.charged_in_full * (1 - _TINY):
            raise BudgetRefused("forfeiting counts every charter in full")
        self.forfeited = record.divergence
        for standing in self.charters.values():
            standing.state = BudgetState.FORFEITED
