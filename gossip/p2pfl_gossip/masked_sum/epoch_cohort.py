"""The members of one epoch of a group, and one of its rounds.

Unlike a drawn cohort's, their weights are known to all, so that none travels with the vectors.
What is summed are deltas of a bounded L2 norm. A round is tried once, so there is no attempt.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from p2pfl_crypto.encoding import DeltaEncoding
from p2pfl_crypto.private_encoding import WordsAsTheyAre
from p2pfl_crypto.transcripts import group_session_id, ring_place
from p2pfl_gossip.actions import LocalProtocolError
from p2pfl_gossip.masked_sum.cohort import RefusedCohort, SessionMembers

RINGS_KEPT = 16
"""Of sets of members: the U2 of each proposal that a session keeps, and few more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochCohort(SessionMembers):
    """All members of an epoch, for the session of one round.

    Attributes:
        epoch: its number.
        charter: digest of its charter, by which all else that was agreed on is in the session's
            name: clip, weights, what privacy and audit ask for.
        weights: w > 0, by rank. W is the largest of them.
        leaders: ranks in the order in which they lead; whoever may not is left out.
        least: members that must be in a sum, if more than t.
        takes_words: whether members give words that hold their noise, and no deltas.
        is_private: whether a budget pays for what a member gives.
        audit: whether the sum counts only once all have proved that their part is bounded.
        names: whether a false total leads to a dispute, which names who made it.

    `clip` is the largest L2 norm S of a delta.
    """

    epoch: int
    charter: bytes
    weights: tuple[float, ...]
    leaders: tuple[int, ...]
    least: int = 0
    takes_words: bool = False
    is_private: bool = False
    audit: bool = False
    names: bool = False
    encoding: DeltaEncoding | WordsAsTheyAre = field(init=False, repr=False)
    _places: dict[int, bytes] = field(init=False, repr=False, compare=False, default_factory=dict)
    _rings: dict[tuple[int, ...], tuple[int, ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    passes_over_away: ClassVar[bool] = True

    def _make_encoding(self) -> DeltaEncoding | WordsAsTheyAre:
        if not (0 <= self.round < 2**63 and 0 <= self.epoch < 2**63):
            raise RefusedCohort("round and epoch are 0 or more")
        if len(self.charter) != 32:
            raise RefusedCohort(f"a charter's digest has 32 bytes, not {len(self.charter)}")
        if len(self.weights) != self.size:
            raise RefusedCohort(f"{len(self.weights)} weights of {self.size} members")
        for weight in self.weights:
            if not (math.isfinite(weight) and weight > 0):
                raise RefusedCohort(f"a weight is positive and finite, not {weight}")
        ranks = dict.fromkeys(self.leaders)
        if (
            not ranks
            or len(ranks) != len(self.leaders)
            or not 0 <= min(ranks) <= max(ranks) < (self.size)
        ):
            raise RefusedCohort("leaders are ranks, at least one, and each comes once")
        if self.least > self.size:
            raise RefusedCohort(f"a sum of at least {self.least} of {self.size} members")
        if self.takes_words:
            if self.audit:
                raise RefusedCohort("words that hold noise are not audited: no bound holds them")
            return WordsAsTheyAre()
        try:
            return DeltaEncoding(self.size, self.clip, max(self.weights))
        except ValueError as error:
            raise RefusedCohort(str(error)) from None

    @property
    def deltas(self) -> DeltaEncoding:
        """The encoding, where deltas are summed.

        Raises:
            LocalProtocolError: words are.
        """
        if not isinstance(self.encoding, DeltaEncoding):
            raise LocalProtocolError("words are summed, and no deltas")
        return self.encoding

    @property
    def contributors_min(self) -> int:
        """Members that must be in a sum: t, or `least` if that is more."""
        return max(self.threshold, self.least)

    @property
    def is_audited(self) -> bool:
        """Whether members prove that what they put in is bounded."""
        return self.audit

    @property
    def names_liars(self) -> bool:
        """Whether members find out who made a total false."""
        return self.audit and self.names

    def _name(self) -> bytes:
        return self.name_of(self.round)

    def name_of(self, round_: int) -> bytes:
        """Name the session of a round of this epoch."""
        return group_session_id(
            group=self.group,
            epoch=self.epoch,
            charter=self.charter,
            round_number=round_,
            members=self.public_keys,
            vector_entries=self.vector_entries,
            chunk_count=self.chunk_count,
            owner_count=self.owner_count,
        )

    @property
    def leader_turns_max(self) -> int:
        """Places of leaders; of those that are waited for there are m + 1 at most."""
        return len(self.leaders)

    def leader(self, turn: int) -> int:
        """Return the rank that leads in a turn."""
        return self.leaders[turn]

    def ring(self, members: tuple[int, ...]) -> tuple[int, ...]:
        """Return the members in an order that is another one in each round.

        It follows from the session's name, which nobody can choose. Owners that say nothing lose
        the round if no others hold what they put in; by this they are not neighbours each time.
        """
        ring = self._rings.get(members)
        if ring is None:
            if not self._places:
                ranks = range(self.size)
                self._places.update((rank, ring_place(self.session, rank)) for rank in ranks)
            ring = tuple(sorted(members, key=self._places.__getitem__))
            if len(self._rings) < RINGS_KEPT:
                self._rings[members] = ring
        return ring

    def weight_of(self, ranks: Iterable[int]) -> float:
        """Sum the weights of members, rounded once: the order plays no part."""
        return math.fsum(self.weights[rank] for rank in ranks)
