# mypy: disable-error-code="comparison-overlap"
"""Graphs and mixing weights, against the theory of each."""

import json
import math
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from p2pfl_gossip.topology import (
    TOPOLOGIES,
    BaseGraph,
    Complete,
    Epidemic,
    ErdosRenyi,
    OnePeerExponential,
    RandomRegular,
    Ring,
    Star,
    Topology,
    TopologyError,
    Torus,
    make_topology,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "draws.json").read_text())
SEED = b"theory"

UNDIRECTED: list[Topology] = [
    Ring(2),
    Ring(3),
    Ring(100),
    Torus(4),
    Torus(6),
    Torus(100),
    Complete(17),
    Star(2),
    Star(30),
    RandomRegular(2, 1, SEED),
    RandomRegular(40, 3, SEED),
    RandomRegular(40, 4, SEED, redrawn=True),
    RandomRegular(30, 25, SEED),
    RandomRegular(12, 11, SEED),
    ErdosRenyi(60, 0.15, SEED),
    ErdosRenyi(12, 1.0, SEED),
    BaseGraph(23, 2),
    BaseGraph(2, 1),
]
DIRECTED: list[Topology] = [
    OnePeerExponential(2),
    OnePeerExponential(64),
    OnePeerExponential(100),
    Epidemic(2, 1, SEED),
    Epidemic(50, 7, SEED),
    Epidemic(20, 19, SEED),
]


@pytest.mark.parametrize("topology", UNDIRECTED + DIRECTED, ids=repr)
@pytest.mark.parametrize("round", [0, 1, 6])
def test_who_sends_is_who_is_heard_and_rows_sum_to_one(topology: Topology, round: int) -> None:
    parts = [topology.neighbourhood(round, peer) for peer in range(topology.peer_count)]
    sends = {(i, j) for i, part in enumerate(parts) for j in part.out_neighbours}
    hears = {(j, i) for i, part in enumerate(parts) for j in part.in_neighbours}
    assert sends == hears
    for peer, part in enumerate(parts):
        assert peer not in part.out_neighbours
        assert list(part.in_neighbours) == sorted(set(part.in_neighbours))
        assert list(part.out_neighbours) == sorted(set(part.out_neighbours))
        assert min(part.in_weights, default=1) > 0
        assert part.self_weight > 0
        assert math.fsum((part.self_weight, *part.in_weights)) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize("topology", UNDIRECTED, ids=repr)
def test_undirected_graphs_have_symmetric_weights(topology: Topology) -> None:
    for round in range(min(topology.period or 3, 20)):
        matrix = topology.mixing_matrix(round)
        np.testing.assert_array_equal(matrix, matrix.T)


@pytest.mark.parametrize(
    ("topology", "graph"),
    [
        (Ring(9), nx.cycle_graph(9)),
        (Torus(12), nx.grid_2d_graph(3, 4, periodic=True)),
        (Torus(4), nx.grid_2d_graph(2, 2)),
        (Complete(7), nx.complete_graph(7)),
        (Star(8), nx.star_graph(7)),
    ],
    ids=["ring", "torus", "smallest torus", "complete", "star"],
)
def test_fixed_graphs_are_those_of_networkx(topology: Topology, graph: "nx.Graph[int]") -> None:
    ours = topology.mixing_matrix(0) > 0
    np.fill_diagonal(ours, val=False)
    theirs = nx.to_numpy_array(graph, nodelist=sorted(graph)) > 0
    np.testing.assert_array_equal(ours, theirs)


def test_metropolis_hastings_weighs_an_edge_by_the_larger_degree() -> None:
    topology = ErdosRenyi(60, 0.15, SEED)
    matrix = topology.mixing_matrix(0)
    degrees = (matrix > 0).sum(axis=1) - 1
    assert len(set(degrees.tolist())) > 3
    for i, j in zip(*np.nonzero(matrix), strict=True):
        if i != j:
            assert matrix[i, j] == 1 / (1 + max(degrees[i], degrees[j]))


@pytest.mark.parametrize(
    ("topology", "second"),
    [
        (Ring(100), 1 / 3 + 2 / 3 * math.cos(2 * math.pi / 100)),
        (Torus(100), 1 / 5 + 2 / 5 * (1 + math.cos(2 * math.pi / 10))),
        (Star(100), 1 - 1 / 100),
        (Complete(100), 0),
    ],
    ids=repr,
)
def test_second_eigenvalue(topology: Topology, second: float) -> None:
    eigenvalues = np.linalg.eigvalsh(topology.mixing_matrix(0))
    assert eigenvalues[-1] == pytest.approx(1, abs=1e-12)
    assert eigenvalues[-2] == pytest.approx(second, abs=1e-12)


def test_random_regular_graphs_mix_about_as_well_as_any() -> None:
    # Friedman (2008): a random d-regular graph's second eigenvalue is near 2 sqrt(d - 1).
    degree = 7
    matrix = RandomRegular(1000, degree, SEED).mixing_matrix(0)
    adjacency_second = np.linalg.eigvalsh(matrix)[-2] * (degree + 1) - 1
    assert adjacency_second == pytest.approx(2 * math.sqrt(degree - 1), rel=0.05)


@pytest.mark.parametrize("degree", [3, 8, 13, 17])
def test_random_regular_graphs_have_equal_degrees_and_hang_together(degree: int) -> None:
    matrix = RandomRegular(18, degree, SEED).mixing_matrix(0)
    assert ((matrix > 0).sum(axis=1) == degree + 1).all()
    assert nx.is_connected(nx.from_numpy_array(matrix))


def test_every_edge_of_a_redrawn_regular_graph_is_equally_likely() -> None:
    n, degree, rounds = 12, 3, 700
    topology = RandomRegular(n, degree, SEED, redrawn=True)
    counts = sum(topology.mixing_matrix(round) > 0 for round in range(rounds))
    assert isinstance(counts, np.ndarray)
    frequencies = counts[np.triu_indices(n, 1)] / rounds
    share = degree / (n - 1)
    # Five standard deviations of a binomial: 66 edges seldom exceed it (4e-5).
    assert np.abs(frequencies - share).max() < 5 * math.sqrt(share * (1 - share) / rounds)


@pytest.mark.parametrize("n", [64, 100, 128])
def test_one_peer_exponential_is_exact_for_powers_of_two_only(n: int) -> None:
    topology = OnePeerExponential(n)
    product = np.eye(n)
    for round in range(topology.period):
        product = topology.mixing_matrix(round) @ product
    # After tau rounds peer i has heard from i, i + 1, ..., i + 2^tau - 1 with weight 2^-tau each,
    # so from 2^tau - n of them twice.
    total = 2**topology.period
    twice = total - n
    expected = twice * (2 / total - 1 / n) ** 2 + (n - twice) * (1 / total - 1 / n) ** 2
    rows = np.square(product - 1 / n).sum(axis=1)
    np.testing.assert_allclose(rows, expected if twice < n else 0, atol=1e-30)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_base_graphs_are_exact_in_finite_time_for_any_n(k: int) -> None:
    for n in range(k + 1, 100):
        topology = BaseGraph(n, k)
        assert topology.period <= 2 * math.log(n, k + 1) + 2
        product = np.eye(n)
        for round in range(topology.period):
            matrix = topology.mixing_matrix(round)
            assert (matrix > 0).sum(axis=1).max() <= k + 1
            np.testing.assert_allclose(matrix.sum(axis=0), 1, atol=1e-14)
            product = matrix @ product
        assert np.abs(product - 1 / n).max() < 1e-14, (n, k)


@pytest.mark.parametrize(
    ("n", "k", "rounds"), [(25, 1, 9), (25, 2, 6), (100, 1, 11), (100, 2, 8), (1000, 1, 16)]
)
def test_base_graphs_take_as_many_rounds_as_published(n: int, k: int, rounds: int) -> None:
    assert BaseGraph(n, k).period == rounds


def test_epidemic_receivers_are_distinct_and_uniform() -> None:
    n, fanout, rounds = 10, 3, 3000
    topology = Epidemic(n, fanout, SEED)
    counts = np.zeros((n, n))
    for round in range(rounds):
        for peer in range(n):
            receivers = topology.neighbourhood(round, peer).out_neighbours
            assert len(set(receivers)) == fanout
            counts[peer, receivers] += 1
    share = fanout / (n - 1)
    frequencies = counts[~np.eye(n, dtype=bool)] / rounds
    assert np.abs(frequencies - share).max() < 5 * math.sqrt(share * (1 - share) / rounds)


@pytest.mark.parametrize("case", VECTORS["epidemic"], ids=str)
def test_epidemic_receivers_are_pinned(case: dict[str, list[int] | int | str]) -> None:
    n, fanout, round = case["peer_count"], case["fanout"], case["round"]
    assert isinstance(n, int)
    assert isinstance(fanout, int)
    assert isinstance(round, int)
    topology = Epidemic(n, fanout, bytes.fromhex(str(case["seed"])))
    receivers = [list(topology.neighbourhood(round, peer).out_neighbours) for peer in range(n)]
    assert receivers == case["receivers"]


@pytest.mark.parametrize("case", VECTORS["regular"] + VECTORS["erdos_renyi"], ids=str)
def test_drawn_graphs_are_pinned(case: dict[str, list[list[int]] | int | float | str]) -> None:
    n, seed = int(str(case["peer_count"])), bytes.fromhex(str(case["seed"]))
    topology: Topology
    if "degree" in case:
        topology = RandomRegular(n, int(str(case["degree"])), seed)
    else:
        topology = ErdosRenyi(n, float(str(case["probability"])), seed)
    graph = [list(topology.neighbourhood(0, peer).out_neighbours) for peer in range(n)]
    assert graph == case["neighbours"]


@pytest.mark.parametrize(
    ("name", "n", "parameters", "message"),
    [
        ("regular", 9, {"degree": 3}, "both numbers being odd; take degree 2 or 10 peers"),
        ("regular", 9, {"degree": 9}, "degree of 1 to 8"),
        ("regular", 8, {"degree": 1}, "falls into pairs; take degree 3"),
        ("regular", 3000, {"degree": 2}, "all fell apart; take degree 3"),
        ("regular", 9, {}, "needs a degree"),
        ("ring", 9, {"degree": 2}, "takes no degree"),
        ("torus", 97, {}, "being prime; take 98 peers"),
        ("torus", 3, {}, "being prime; take 4 peers"),
        ("erdos-renyi", 100, {"probability": 0.01}, "fell apart at edge probability 0.01; take"),
        ("erdos-renyi", 100, {"probability": 1.5}, "above 0 and at most 1"),
        ("base", 9, {"k": 9}, "a k of 1 to 8, not 9"),
        ("epidemic", 9, {"degree": 9}, "1 to 8 others"),
        ("rign", 9, {}, "did you mean 'ring'"),
        ("zzz", 9, {}, "there are ring, torus"),
        ("ring", 1, {}, "at least 2 peers"),
    ],
)
def test_errors_say_what_to_change(
    name: str, n: int, parameters: dict[str, int], message: str
) -> None:
    with pytest.raises(TopologyError, match=message) as caught:
        make_topology(name, n, SEED, **parameters)
    assert "\n" not in str(caught.value)


def test_every_listed_topology_can_be_made() -> None:
    values = {"degree": {"degree": 4}, "probability": {"probability": 0.5}, "k": {"k": 2}}
    for name, kind in TOPOLOGIES.items():
        assert kind.name == name
        assert kind.description
        parameters = values[kind.parameter] if kind.parameter else {}
        topology = make_topology(name, 24, SEED, **parameters)  # type: ignore[arg-type]
        assert topology.neighbourhood(0, 23).in_neighbours


def test_a_peer_or_round_that_is_not_there() -> None:
    for topology in UNDIRECTED + DIRECTED:
        for round, peer in ((0, -1), (0, topology.peer_count), (-1, 0)):
            with pytest.raises(IndexError):
                topology.neighbourhood(round, peer)
