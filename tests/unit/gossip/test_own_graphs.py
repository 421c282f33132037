"""Graphs from outside that change: faults of later rounds show before anything runs."""

from collections.abc import Callable

import pytest

from p2pfl_gossip.topology import TopologyError
from p2pfl_gossip.topology.own_graph import GRAPHS_TRIED, OwnGraph

Pairs = list[tuple[int, int]]


def halves(round_: int) -> Pairs:
    """Four peers, in pairs that change: no graph is connected, and both together are."""
    return [(0, 1), (2, 3)] if round_ % 2 == 0 else [(1, 2)]


def test_graphs_of_a_period_connect_all_between_them() -> None:
    assert OwnGraph(4, halves, 2).neighbourhood(3, 1).in_neighbours == (2,)
    with pytest.raises(TopologyError, match="to peer 2, so they would never agree; add edges, or"):
        OwnGraph(4, halves, 1)
    with pytest.raises(
        TopologyError, match="peer 2 in any of the 2 rounds after which graphs repeat, so they"
    ):
        OwnGraph(4, lambda round_: [(0, 1)] if round_ else [(2, 3)], 2)


@pytest.mark.parametrize(
    ("wrong", "period", "told"),
    [
        (1, 2, r"round 1: the edge 0 - 9: there are peers 0 to 3"),
        (2, None, r"round 2: the edge 0 - 9"),
        (GRAPHS_TRIED, 2 * GRAPHS_TRIED, rf"round {GRAPHS_TRIED}: the edge 0 - 9"),
    ],
)
def test_a_graph_of_a_later_round_is_tried_at_once(
    wrong: int, period: int | None, told: str
) -> None:
    def edges(round_: int) -> Pairs:
        return [(0, 9)] if round_ >= wrong else [(0, 1), (1, 2), (2, 3)]

    with pytest.raises(TopologyError, match=told):
        OwnGraph(4, edges, period)


@pytest.mark.parametrize("period", [0, -1])
def test_a_period_is_one_round_or_more(period: int) -> None:
    every: Callable[[int], Pairs] = halves
    with pytest.raises(TopologyError, match=f"after 1 round or more, not {period}; a period"):
        OwnGraph(4, every, period)


def test_so_many_graphs_are_drawn_before_anything_runs() -> None:
    drawn: list[int] = []

    def edges(round_: int) -> Pairs:
        drawn.append(round_)
        return [(0, 1)]

    OwnGraph(2, edges, 10 * GRAPHS_TRIED)
    assert len(drawn) == GRAPHS_TRIED
    assert drawn[:3] == [0, 10, 20]
