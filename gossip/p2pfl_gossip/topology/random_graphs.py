"""Graphs drawn from a public seed: random regular, Erdos-Renyi, and Epidemic Learning's.

Every peer draws the whole graph for itself, once for each (graph, round); all draw the same one.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from p2pfl_gossip.draws import draw_words
from p2pfl_gossip.topology.base import (
    Neighbourhood,
    Topology,
    TopologyError,
    metropolis_hastings,
    regular,
)

Indices: TypeAlias = npt.NDArray[np.int64]
Adjacency: TypeAlias = tuple[tuple[int, ...], ...]

# Rounds of a time-varying graph whose draws are kept. Peers of one network are a few rounds apart,
# and ask for up to LOOKAHEAD_ROUNDS ahead; a round drawn anew costs time, not correctness. At
# n = 10,000 and degree 8 a draw takes 5 to 7 MB.
GRAPHS_KEPT = 16

# A random graph that is to be connected is redrawn this often. A degree of 3 succeeds at once but
# for one draw in thousands; a graph that fails so often will not do at all.
CONNECTED_ATTEMPTS = 20
# Pairing that got stuck starts afresh; up to 25 peers, at any degree, it takes fewer than 60.
PAIRING_ATTEMPTS = 1000
# One Erdos-Renyi draw at n = 10,000 takes about a second, so fewer attempts.
ERDOS_RENYI_ATTEMPTS = 5


@dataclass(frozen=True)
class RandomRegular(Topology):
    """A random graph where every peer has `degree` neighbours, weight 1 / (degree + 1) each.

    Drawn by pairing (Steger & Wormald, 1999): near uniform. Static and connected, or with
    `redrawn`, a fresh graph in every round, connected or not: that is the oracle of Epidemic
    Learning (EL-Oracle, arXiv 2310.01972), whose variance contracts by
    (1 - degree / (n - 1)) / (degree + 1) a round.

    Attributes:
        degree: neighbours of each peer, 1 <= degree < peer_count.
        seed: public seed of the draw.
        redrawn: whether each round has a graph of its own.

    Raises:
        TopologyError: there is no such graph, or no connected one was found.
    """

    degree: int
    seed: bytes
    redrawn: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        n, degree = self.peer_count, self.degree
        if not 1 <= degree < n:
            raise TopologyError(f"a regular graph of {n} peers has a degree of 1 to {n - 1}")
        if n * degree % 2:
            raise TopologyError(
                f"no graph of {n} peers gives each {degree} neighbours, both numbers being odd;"
                f" take degree {degree - 1 if degree > 1 else 2} or {n + 1} peers"
            )
        if not self.redrawn and degree == 1 and n > 2:
            raise TopologyError("a regular graph of degree 1 falls into pairs; take degree 3")
        if not self.redrawn:
            _connected_regular(n, degree, self.seed)

    @property
    def period(self) -> int | None:
        """One, or None where every round has a fresh graph."""
        return None if self.redrawn else 1

    def neighbourhood(self, round: int, peer: int) -> Neighbourhood:
        """Give a peer's `degree` neighbours."""
        self._check(round, peer)
        n, degree, seed = self.peer_count, self.degree, self.seed
        if self.redrawn:
            return regular(_regular(n, degree, seed, round)[peer])
        return regular(_connected_regular(n, degree, seed)[peer])


@dataclass(frozen=True)
class ErdosRenyi(Topology):
    """G(n, p): every pair of peers is joined with one probability; Metropolis-Hastings weights.

    Static; redrawn a few times where it falls apart.

    Attributes:
        probability: p, above 0 and at most 1, taken to the nearest 2^-32.
        seed: public seed of the draw.

    Raises:
        TopologyError: no connected graph was found.
    """

    probability: float
    seed: bytes

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.probability <= 1:
            raise TopologyError(
                f"an edge probability is above 0 and at most 1, not {self.probability}"
            )
        _connected_erdos_renyi(self.peer_count, self.probability, self.seed)

    @property
    def period(self) -> int:
        """One: the graph is static."""
        return 1

    def neighbourhood(self, round: int, peer: int) -> Neighbourhood:
        """Give a peer's neighbours."""
        self._check(round, peer)
        graph = _connected_erdos_renyi(self.peer_count, self.probability, self.seed)
        neighbours = graph[peer]
        return metropolis_hastings(neighbours, tuple(len(graph[other]) for other in neighbours))


@dataclass(frozen=True)
class Epidemic(Topology):
    """In each round every peer sends to `fanout` others drawn at random (EL-Local).

    De Vos et al., NeurIPS 2023 (arXiv 2310.01972). A receiver takes the plain mean of its own and
    what it hears, from a number of peers that varies. Departure: the draws are public, from a
    shared seed, so that a receiver knows whom to expect.

    Attributes:
        fanout: s, receivers of each peer in a round, 1 <= s < peer_count.
        seed: public seed of the draws.

    Raises:
        TopologyError: the fanout is out of range.
    """

    fanout: int
    seed: bytes

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.fanout < self.peer_count:
            raise TopologyError(
                f"each of {self.peer_count} peers can send to 1 to {self.peer_count - 1} others,"
                f" not {self.fanout}"
            )

    @property
    def period(self) -> None:
        """None: every round is drawn afresh."""
        return

    def neighbourhood(self, round: int, peer: int) -> Neighbourhood:
        """Give the `fanout` receivers of a peer, and those that send to it."""
        self._check(round, peer)
        receivers, senders = _epidemic(self.peer_count, self.fanout, self.seed, round)
        weight = 1 / (1 + len(senders[peer]))
        return Neighbourhood(receivers[peer], senders[peer], (weight,) * len(senders[peer]), weight)


@lru_cache(maxsize=GRAPHS_KEPT)
def _epidemic(n: int, fanout: int, seed: bytes, round: int) -> tuple[Adjacency, Adjacency]:
    """Draw every peer's receivers, and list every peer's senders.

    Peer i takes words i * fanout .. (i + 1) * fanout - 1 of the round's stream and picks by Floyd's
    method (Bentley & Floyd, CACM 1987) among the n - 1 others, numbered in ascending order: for
    k = 0 .. fanout - 1, with top = n - 1 - fanout + k, it picks word_k mod (top + 1), or `top` if
    that is picked already. The bias of the remainder is below n / 2^64.
    """
    words = draw_words(seed, b"p2pfl/epidemic", round, count=n * fanout).reshape(n, fanout)
    picks = np.empty((n, fanout), dtype=np.int64)
    for k in range(fanout):
        top = n - 1 - fanout + k
        pick = (words[:, k] % np.uint64(top + 1)).astype(np.int64)
        taken = (picks[:, :k] == pick[:, None]).any(axis=1)
        picks[:, k] = np.where(taken, top, pick)
    picks.sort(axis=1)
    receivers = picks + (picks >= np.arange(n)[:, None])
    senders = np.repeat(np.arange(n), fanout)
    return tuple(map(tuple, receivers.tolist())), _group(receivers.ravel(), senders, n)


@lru_cache(maxsize=4)
def _connected_regular(n: int, degree: int, seed: bytes) -> Adjacency:
    for attempt in range(CONNECTED_ATTEMPTS):
        graph = _draw_regular(n, degree, seed, b"p2pfl/regular", attempt)
        if _is_connected(graph):
            return graph
    raise TopologyError(
        f"{CONNECTED_ATTEMPTS} random graphs of {n} peers and degree {degree} all fell apart;"
        f" take degree {max(3, degree + 1)} or a ring"
    )


@lru_cache(maxsize=GRAPHS_KEPT)
def _regular(n: int, degree: int, seed: bytes, round: int) -> Adjacency:
    return _draw_regular(n, degree, seed, b"p2pfl/redrawn", round)


def _draw_regular(n: int, degree: int, seed: bytes, purpose: bytes, number: int) -> Adjacency:
    if degree > (n - 1) // 2:
        # Pairing finds no partners in dense graphs; those that are not joined are sparse.
        rest = _draw_pairs(n, n - 1 - degree, seed, purpose, number)
        matrix = ~np.eye(n, dtype=np.bool_)
        matrix[rest[:, 0], rest[:, 1]] = matrix[rest[:, 1], rest[:, 0]] = False
        first, second = np.nonzero(matrix)
        return _group(first, second, n)
    pairs = _draw_pairs(n, degree, seed, purpose, number)
    return _undirected(pairs, n)


def _draw_pairs(n: int, degree: int, seed: bytes, purpose: bytes, number: int) -> Indices:
    """Pair n * degree stubs at random, int64[n * degree / 2, 2], without loops or doubles.

    All stubs are permuted and joined two by two; pairs that are loops or doubles are taken apart
    and their stubs paired again. Where that stops making progress, all starts afresh.
    """
    shuffle = 0
    for _ in range(PAIRING_ATTEMPTS):
        stubs = np.repeat(np.arange(n), degree)
        keys = np.empty(0, dtype=np.int64)
        fruitless = 0
        while len(stubs) and fruitless < 10:  # Ten: the last stubs often just need new partners.
            words = draw_words(seed, purpose, number, shuffle, count=len(stubs))
            shuffle += 1
            pairs = stubs[np.argsort(words, kind="stable")].reshape(-1, 2)
            pairs.sort(axis=1)
            wanted = pairs[:, 0] * n + pairs[:, 1]
            _, first = np.unique(wanted, return_index=True)
            good = np.zeros(len(wanted), dtype=np.bool_)
            good[first] = True
            good &= (pairs[:, 0] != pairs[:, 1]) & ~np.isin(wanted, keys)
            fruitless = 0 if good.any() else fruitless + 1
            keys = np.concatenate([keys, wanted[good]])
            stubs = pairs[~good].ravel()
        if not len(stubs):
            return np.stack(np.divmod(keys, n), axis=1)
    raise TopologyError(f"no {degree}-regular graph of {n} peers was found; take another seed")


@lru_cache(maxsize=4)
def _connected_erdos_renyi(n: int, probability: float, seed: bytes) -> Adjacency:
    threshold = np.uint64(min(round(probability * 2**32), 2**32))
    for attempt in range(ERDOS_RENYI_ATTEMPTS):
        rows: list[Indices] = []
        columns: list[Indices] = []
        for peer in range(n - 1):
            # Peer i decides on all later peers: one 32-bit half of a word each, low half first.
            later = n - 1 - peer
            words = draw_words(seed, b"p2pfl/erdos-renyi", attempt, peer, count=(later + 1) // 2)
            halves = words.astype("<u8", copy=False).view("<u4")[:later].astype(np.uint64)
            joined = np.flatnonzero(halves < threshold) + peer + 1
            rows.append(np.full(len(joined), peer))
            columns.append(joined)
        pairs = np.stack([np.concatenate(rows), np.concatenate(columns)], axis=1)
        graph = _undirected(pairs, n)
        if _is_connected(graph):
            return graph
    raise TopologyError(
        f"{ERDOS_RENYI_ATTEMPTS} Erdos-Renyi graphs of {n} peers fell apart at edge probability"
        f" {probability:g}; take more than ln(n)/n, say {min(1, 2 * math.log(n) / n):.2g}"
    )


def _undirected(pairs: Indices, n: int) -> Adjacency:
    both = np.concatenate([pairs, pairs[:, ::-1]])
    return _group(both[:, 0], both[:, 1], n)


def _group(keys: Indices, values: Indices, n: int) -> Adjacency:
    """List, for each key of 0 .. n - 1, its values in ascending order."""
    order = np.lexsort((values, keys))
    ordered: list[int] = values[order].tolist()
    ends = np.cumsum(np.bincount(keys, minlength=n)).tolist()
    starts = [0, *ends[:-1]]
    return tuple(tuple(ordered[start:end]) for start, end in zip(starts, ends, strict=True))


def _is_connected(graph: Sequence[Sequence[int]]) -> bool:
    seen = [False] * len(graph)
    seen[0] = True
    queue = deque([0])
    while queue:
        for other in graph[queue.popleft()]:
            if not seen[other]:
                seen[other] = True
                queue.append(other)
    return all(seen)
