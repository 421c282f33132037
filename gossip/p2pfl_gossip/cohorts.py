"""Who averages with whom: disjoint random cohorts, and the grid of cohorts.

*Disjoint random cohorts*: every round deals all peers anew into cohorts. The variance between
peers contracts by (n - g) / (g (n - 1)) a round in expectation, g being the cohort's size: as
Epidemic Learning does at equal degree, and each peer's model enters exactly one sum.

*Grid* (Moshpit, arXiv 2103.03239): peers stand on a grid of n = g_1 ... g_d places; round by round
the cohorts are its lines along axis 1, 2, ..., d, after which all hold the exact mean. The paper
takes equal sides, n = g^d; unequal sides lose nothing but equal size. Departure: places are dealt
anew from the public seed for every d rounds, instead of by a hash table.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from p2pfl_gossip.draws import draw_permutation

# Sides of a grid may be up to this many times the cohort size asked for.
SIDE_FACTOR_MAX = 2


CACHED_ROUNDS = 32
"""Draws kept: peers of one process ask for the same few rounds, each peer for each of them."""


class CohortError(ValueError):
    """Cohorts that cannot be, in one line that says what to change."""


@dataclass(frozen=True, eq=False)
class Cohorts:
    """All peers of one round, dealt into cohorts; immutable.

    Attributes:
        order: int64[n], a permutation of the peers: cohort after cohort.
        starts: int64[count + 1]; cohort c is ``order[starts[c]:starts[c + 1]]``.
    """

    order: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    _cohort_of: npt.NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        cohort_of = np.empty(len(self.order), dtype=np.int64)
        cohort_of[self.order] = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        object.__setattr__(self, "_cohort_of", cohort_of)
        for array in (self.order, self.starts, cohort_of):
            array.flags.writeable = False

    @property
    def count(self) -> int:
        """Number of cohorts."""
        return len(self.starts) - 1

    def cohort_of(self, peer: int) -> int:
        """Give the number of the cohort that a peer is in.

        Raises:
            IndexError: there is no such peer.
        """
        if not 0 <= peer < len(self.order):
            raise IndexError(f"peer {peer} of {len(self.order)}")
        return int(self._cohort_of[peer])

    def members(self, peer: int) -> tuple[int, ...]:
        """Give the members of a peer's cohort, itself included, ascending in admission order.

        Raises:
            IndexError: there is no such peer.
        """
        return self.members_of(self.cohort_of(peer))

    def members_of(self, cohort: int) -> tuple[int, ...]:
        """Give the members of cohort 0 .. count - 1, ascending in admission order.

        Raises:
            IndexError: there is no such cohort.
        """
        if not 0 <= cohort < self.count:
            raise IndexError(f"cohort {cohort} of {self.count}")
        members: list[int] = self.order[self.starts[cohort] : self.starts[cohort + 1]].tolist()
        return tuple(sorted(members))


@lru_cache(maxsize=CACHED_ROUNDS)
def draw_cohorts(seed: bytes, round: int, peer_count: int, cohort_size: int) -> Cohorts:
    """Deal all peers into disjoint random cohorts.

    There are floor(peer_count / cohort_size) of them, so none is smaller than asked (what protects
    a member of a masked sum is its cohort's size); the peers left over go one each to the first
    cohorts, or evenly where there are more of them. Sizes differ by at most one.

    Args:
        seed: public seed of the draws.
        round: which round, at least 0.
        peer_count: number of peers; they are permuted by admission order, which nobody chooses.
        cohort_size: members that every cohort has at least.

    Raises:
        CohortError: a cohort of fewer than 2, or of more than all peers.
    """
    if not 2 <= cohort_size <= peer_count:
        raise CohortError(
            f"a cohort of {peer_count} peers has 2 to {peer_count} members, not {cohort_size}"
        )
    order = draw_permutation(seed, b"p2pfl/cohorts", round, count=peer_count)
    count = peer_count // cohort_size
    size, larger = divmod(peer_count, count)
    places = np.arange(count + 1)
    return Cohorts(order, places * size + np.minimum(places, larger))


def cohort_sizes(peer_count: int, cohort_size: int) -> dict[int, int]:
    """Count the cohorts of each size that `draw_cohorts` deals: size -> how many."""
    count = peer_count // cohort_size
    size, larger = divmod(peer_count, count)
    return {size: count - larger} | ({size + 1: larger} if larger else {})


def grid_sides(peer_count: int, cohort_size: int) -> tuple[int, ...]:
    """Find the sides of a grid of all peers, each near the cohort size.

    The number of sides is log(peer_count) / log(cohort_size), rounded; among the products of so
    many factors, from 2 to twice the cohort size, it is the one with the smallest largest factor,
    then the largest smallest one.

    Returns:
        The sides, ascending; their product is `peer_count`.

    Raises:
        CohortError: there is no such product.
    """
    if not 2 <= cohort_size <= peer_count:
        raise CohortError(
            f"a cohort of {peer_count} peers has 2 to {peer_count} members, not {cohort_size}"
        )
    sides = _sides(peer_count, cohort_size)
    if sides is None:
        near = [
            f"{count} = {' x '.join(map(str, found))}"
            for count in _nearest(peer_count)
            if (found := _sides(count, cohort_size)) is not None
        ]
        raise CohortError(
            f"{peer_count} peers make no grid with sides near {cohort_size}; draw disjoint cohorts,"
            f" or take {' or '.join(near[:2])} peers"
        )
    return sides


@lru_cache(maxsize=CACHED_ROUNDS)
def draw_grid_cohorts(seed: bytes, round: int, sides: tuple[int, ...]) -> Cohorts:
    """Give the lines of a grid along one axis: axis `round` mod d.

    Places are dealt afresh for every d rounds; d rounds from a multiple of d on give the exact
    mean of all peers.

    Args:
        seed: public seed of the draws.
        round: which round, at least 0.
        sides: the sides g_1 ... g_d, each at least 2 (`grid_sides` finds some).

    Raises:
        CohortError: a side is below 2, or there is none.
    """
    if not sides or min(sides) < 2:
        raise CohortError(f"a grid has sides of at least 2, not {sides}")
    epoch, axis = divmod(round, len(sides))
    order = draw_permutation(seed, b"p2pfl/grid", epoch, count=math.prod(sides))
    lines = np.moveaxis(order.reshape(sides), axis, -1).reshape(-1)
    return Cohorts(np.ascontiguousarray(lines), np.arange(0, len(order) + 1, sides[axis]))


def _sides(peer_count: int, cohort_size: int) -> tuple[int, ...] | None:
    dimensions = max(1, round(math.log(peer_count) / math.log(cohort_size)))
    found = _products(peer_count, dimensions, 2, SIDE_FACTOR_MAX * cohort_size)
    return min(found, key=lambda sides: (sides[-1], -sides[0]), default=None)


def _products(number: int, factors: int, low: int, high: int) -> list[tuple[int, ...]]:
    """List the ways to write `number` as so many ascending factors of `low` .. `high`."""
    if factors == 1:
        return [(number,)] if low <= number <= high else []
    return [
        (side, *rest)
        for side in range(low, min(high, math.isqrt(number)) + 1)
        if number % side == 0
        for rest in _products(number // side, factors - 1, side, high)
    ]


def _nearest(peer_count: int) -> list[int]:
    return [
        count for step in range(1, peer_count) for count in (peer_count - step, peer_count + step)
    ]
