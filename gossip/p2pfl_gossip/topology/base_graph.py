"""The Base-(k+1) graph: the exact mean in finitely many rounds, for any number of peers.

Takezawa et al., NeurIPS 2023 (arXiv 2305.11420): a sequence of undirected graphs of degree at most
k, after whose at most 2 log_{k+1}(n) + 2 rounds every peer holds the exact mean. Three layers:

- *Hyper-hypercube*: n = n_1 ... n_L, every factor at most k + 1. In round l, peers that differ in
  digit l of their mixed-radix number alone take their mean; after L rounds all hold it.
- *Simple Base-(k+1)*: n = sum of a_l (k+1)^{p_l}, p_1 > p_2 > ...: the digits of n in base k + 1.
  Block l is a_l cells of (k+1)^{p_l} peers. First each block reaches its own mean. Then, block by
  block, every peer of the later blocks mixes with one peer of each cell of block l. The weights
  make the mean of each cell, and that of the later blocks, the mean of all. The cells then reach
  it by hyper-hypercubes, while the later blocks go on with block l + 1.
- *Base-(k+1)*: n = p q, p having no prime factor above k + 1 and q none up to it: p simple graphs
  of q peers each, side by side, then hyper-hypercubes of p peers, one through all graphs at each
  position; or the simple graph of all n where that is shorter.

Departure: the factors of a hyper-hypercube are the fewest there are, the largest last.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from p2pfl_gossip.topology.base import Neighbourhood, Topology, TopologyError

Edges: TypeAlias = dict[int, dict[int, float]]
"""One round: for each peer that has neighbours, the weight of each; ascending is not promised."""


@dataclass(frozen=True)
class BaseGraph(Topology):
    """Base-(k+1) graph: at most `k` neighbours a round, the exact mean after `period` rounds.

    Attributes:
        k: largest degree, 1 <= k < peer_count.

    Raises:
        TopologyError: k is out of range.
    """

    k: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.k < self.peer_count:
            raise TopologyError(
                f"the Base-(k+1) graph of {self.peer_count} peers takes a k of 1 to"
                f" {self.peer_count - 1}, not {self.k}"
            )

    @property
    def period(self) -> int:
        """Rounds to the exact mean, after which the sequence starts again."""
        return len(_base(self.peer_count, self.k))

    def neighbourhood(self, round: int, peer: int) -> Neighbourhood:
        """Give a peer's neighbours: none, in some rounds, for some peers."""
        self._check(round, peer)
        graphs = _base(self.peer_count, self.k)
        weights = graphs[round % len(graphs)].get(peer, {})
        neighbours = tuple(sorted(weights))
        in_weights = tuple(weights[other] for other in neighbours)
        return Neighbourhood(neighbours, neighbours, in_weights, 1 - math.fsum(in_weights))


# Two sizes of network at a time; n = 10,000 and k = 1 takes about 60 MB.
@lru_cache(maxsize=2)
def _base(n: int, k: int) -> tuple[Edges, ...]:
    smooth, rest = 1, n
    for factor in range(2, k + 2):
        while rest % factor == 0:
            smooth, rest = smooth * factor, rest // factor
    simple = _simple(list(range(n)), k)
    if rest in (1, n):
        return simple
    groups = [_simple(list(range(start, start + rest)), k) for start in range(0, n, rest)]
    across = [_hypercube(list(range(place, n, rest)), k) for place in range(rest)]
    product = (*map(_together, *groups), *map(_together, *across))
    return product if len(product) <= len(simple) else simple


def _simple(peers: list[int], k: int) -> tuple[Edges, ...]:
    n = len(peers)
    if _fewest_factors(n, k + 1) is not None:
        return tuple(_hypercube(peers, k))
    # blocks[l][a] is cell a of block l, (k + 1)^{p_l} peers.
    blocks: list[list[list[int]]] = []
    place = 0
    for power in range(n.bit_length(), -1, -1):
        size = (k + 1) ** power
        count = (n - place) // size
        if count:
            cells = [peers[place + a * size : place + (a + 1) * size] for a in range(count)]
            blocks.append(cells)
            place += count * size
    whole = [_hypercube([peer for cell in block for peer in cell], k) for block in blocks]
    within = [[_hypercube(cell, k) for cell in block] for block in blocks]

    rounds = [_together(*(_cyclic(cube, m) for cube in whole)) for m in range(len(whole[0]))]
    # Block l mixes with the later ones at stage l, and its cells settle in the stages after that.
    # The last block then has the mean; it goes on within itself, for what training adds.
    last = len(blocks) - 1
    for stage in range(1 + len(within[0][0])):
        parts = [
            _cyclic(cube, stage - 1 - block)
            for block in range(min(stage, last))
            for cube in within[block]
        ]
        parts.append(_match(blocks, stage, k) if stage < last else _cyclic(whole[last], stage))
        rounds.append(_together(*parts))
    return tuple(rounds)


def _match(blocks: list[list[list[int]]], stage: int, k: int) -> Edges:
    """Mix every peer of the blocks after `stage` with one peer of each cell of block `stage`.

    With s peers in the block and t after it, a later peer keeps t / (s + t) of its own and takes
    s / (s + t) from the block, in equal parts from its a cells. Peers of the block that are left
    over take the mean of k + 1 of them; they hold the same, so that helps only while training.
    """
    cells = blocks[stage]
    later = [peer for block in blocks[stage + 1 :] for cell in block for peer in cell]
    block_size = sum(len(cell) for cell in cells)
    weight = block_size / (block_size + len(later)) / len(cells)
    edges: Edges = {peer: {} for peer in later}
    for cell in cells:
        for one, other in zip(later, cell, strict=False):
            edges[one][other] = weight
            edges[other] = {one: weight}
    left = [peer for cell in cells for peer in cell[len(later) :]]
    for start in range(0, len(left), k + 1):
        _join(left[start : start + k + 1], edges)
    return edges


def _hypercube(peers: list[int], k: int) -> list[Edges]:
    """Give the rounds of the hyper-hypercube of these peers, whose number must factor."""
    factors = _fewest_factors(len(peers), k + 1)
    assert factors is not None
    rounds = []
    stride = 1
    for factor in factors:
        edges: Edges = {}
        for start in range(len(peers)):
            if start // stride % factor == 0:
                _join(peers[start : start + stride * factor : stride], edges)
        rounds.append(edges)
        stride *= factor
    return rounds


def _join(clique: list[int], edges: Edges) -> None:
    weight = 1 / len(clique)
    for one in clique:
        edges[one] = {other: weight for other in clique if other != one}


def _cyclic(rounds: list[Edges], number: int) -> Edges:
    return rounds[number % len(rounds)] if rounds else {}


def _together(*parts: Edges) -> Edges:
    return {peer: weights for part in parts for peer, weights in part.items()}


@lru_cache(maxsize=1024)
def _fewest_factors(n: int, largest: int) -> tuple[int, ...] | None:
    """Write n as a product of as few factors of 2 .. `largest` as can be, or None if none is."""
    if n == 1:
        return ()
    best: tuple[int, ...] | None = None
    for factor in range(min(n, largest), 1, -1):
        if n % factor == 0:
            rest = _fewest_factors(n // factor, factor)
            if rest is not None and (best is None or len(rest) + 1 < len(best)):
                best = (*rest, factor)
    return best
