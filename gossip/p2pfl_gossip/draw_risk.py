"""What the draw of cohorts leaves to chance: cohorts with more liars than a masked sum bears.

A masked sum of n members keeps its promise against up to m = ceil(n/3) - 1 of them. Random cohorts
make "at most m" a lottery, whose odds follow from the number of peers, an assumed share of liars,
the cohorts' size and the number of rounds. They hold if the seed of the draw could not be ground
and nobody can add members at will.
"""

from dataclasses import dataclass
from math import ceil, comb, expm1, log1p

from p2pfl_gossip.cohorts import cohort_sizes
from p2pfl_gossip.masked_sum.cohort import liars_max_of

MALICIOUS_MAX = 1e-6
"""Expected number of cohorts with too many liars, up to which malice is claimed to be borne."""

MALICIOUS, CURIOUS = "against malicious members", "against curious members"
"""The claims."""


@dataclass(frozen=True, slots=True)
class DrawRisk:
    """The odds of a whole run.

    Attributes:
        liars: how many of the peers are assumed to lie.
        liars_borne: m, how many a cohort bears; of the smallest cohort.
        cohorts: how many are drawn, over all rounds.
        cohorts_exceeded: expected number of those with more liars; bounds the probability of one.
        peer_exceeded: probability that a given honest peer's cohort has more in some round.
    """

    liars: int
    liars_borne: int
    cohorts: int
    cohorts_exceeded: float
    peer_exceeded: float

    @property
    def claim(self) -> str:
        """Against whom masked sums may be claimed to protect."""
        return MALICIOUS if self.cohorts_exceeded <= MALICIOUS_MAX else CURIOUS


def draw_risk(peer_count: int, cohort_size: int, rounds: int, liar_share: float) -> DrawRisk:
    """Work out the odds of disjoint random cohorts.

    Args:
        peer_count: number of peers.
        cohort_size: members that every cohort has at least, as `draw_cohorts` takes it.
        rounds: how many draws, independent of each other.
        liar_share: assumed share of the peers that lie, 0 <= share < 1; rounded up to whole peers.
    """
    liars = min(ceil(liar_share * peer_count - 1e-9), peer_count - 1)
    sizes = cohort_sizes(peer_count, cohort_size)
    exceeded = sum(
        count * more_liars_than(liars_max_of(size), peer_count, liars, size)
        for size, count in sizes.items()
    )
    # A given honest peer is in a cohort of a size with probability size * count / peer_count, and
    # the others in it are drawn from all but itself.
    beside = sum(
        size
        * count
        / peer_count
        * more_liars_than(liars_max_of(size), peer_count - 1, liars, size - 1)
        for size, count in sizes.items()
    )
    return DrawRisk(
        liars=liars,
        liars_borne=liars_max_of(min(sizes)),
        cohorts=rounds * sum(sizes.values()),
        cohorts_exceeded=rounds * exceeded,
        peer_exceeded=1.0 if beside >= 1 else -expm1(rounds * log1p(-beside)),
    )


def more_liars_than(borne: int, peer_count: int, liars: int, drawn: int) -> float:
    """Return P(X > borne) for a hypergeometric X: the liars among `drawn` of `peer_count` peers."""
    honest = peer_count - liars
    ways = sum(
        comb(liars, found) * comb(honest, drawn - found)
        for found in range(borne + 1, min(liars, drawn) + 1)
    )
    return ways / comb(peer_count, drawn)  # Of integers: exact, then rounded once.
