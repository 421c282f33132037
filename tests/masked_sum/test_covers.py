"""Whom a leader leaves out where not all have everything, and what it repeats of another."""

from typing import Any

import msgspec
import pytest
from session_driver import SessionDriver, make_cohort

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.choices import cover, most_backed
from p2pfl_gossip.masked_sum.messages import Receipt

Pairs = list[tuple[int, int]]


@pytest.mark.parametrize(
    ("missing", "droppable", "is_holder_cheaper", "dropped"),
    [
        pytest.param([], 9, True, ((), ()), id="nobody misses anything"),
        pytest.param([(0, 5)], 9, True, ((0,), ()), id="of two alike the cheaper holder goes"),
        pytest.param([(0, 5)], 9, False, ((), (5,)), id="of two alike the cheaper giver goes"),
        pytest.param([(0, 5)], 0, True, ((), (5,)), id="a holder that may not go stays"),
        pytest.param(
            [(0, 5), (0, 6)], 9, False, ((0,), ()), id="who misses more goes, cheaper or not"
        ),
        pytest.param(
            [(0, 5), (1, 5)], 9, True, ((), (5,)), id="who is missed more goes, cheaper or not"
        ),
        pytest.param(
            [(1, 5), (2, 6)], 9, True, ((1, 2), ()), id="the lowest of equal holders goes first"
        ),
        pytest.param(
            [(1, 5), (2, 6)], 1, True, ((1,), (6,)), id="once no holder may go any more, givers go"
        ),
        pytest.param(
            [(1, 2), (2, 1)], 9, False, ((1,), (1,)), id="of two that miss each other one stays"
        ),
        pytest.param(
            [(1, 6), (2, 5)], 0, False, ((), (5, 6)), id="those that go are told ascending"
        ),
        pytest.param(
            [(0, 5), (0, 5), (1, 6), (2, 6)], 9, True, ((0,), (6,)), id="a pair counts once"
        ),
        pytest.param(
            [(0, 4), (0, 5), (1, 6), (2, 6), (3, 6)], 9, True, ((0,), (6,)), id="one of each"
        ),
    ],
)
def test_who_is_left_out(
    missing: Pairs,
    droppable: int,
    is_holder_cheaper: bool,
    dropped: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    def may_drop(_rank: int, before: list[int]) -> bool:
        return len(before) < droppable

    assert cover(missing, may_drop, is_holder_cheaper=is_holder_cheaper) == dropped


def test_whether_a_holder_may_go_is_asked_of_each_with_those_that_went() -> None:
    asked: list[tuple[int, list[int]]] = []

    def may_drop(rank: int, before: list[int]) -> bool:
        asked.append((rank, list(before)))
        return rank != 1

    assert cover([(1, 5), (2, 5), (2, 6)], may_drop, is_holder_cheaper=True) == ((2,), (5,))
    assert asked == [(1, []), (2, []), (1, [2])]


@pytest.mark.parametrize(
    ("backers", "sound", "chosen"),
    [
        pytest.param({}, "", None, id="nobody can check any"),
        pytest.param({}, "ab", "a", id="the first of equals"),
        pytest.param({"b": "1"}, "ab", "b", id="the one with more backers"),
        pytest.param({"b": "12"}, "a", "a", id="as many backers as may lie prove nothing"),
        pytest.param({"b": "123"}, "a", "b", id="more backers than may lie do"),
        pytest.param({"a": "1", "c": "1234"}, "a", "a", id="another one is not ours to repeat"),
    ],
)
def test_what_is_repeated(backers: dict[str, str], sound: str, chosen: str | None) -> None:
    assert (
        most_backed(
            {it.encode(): it for it in "ab"},
            {digest.encode(): those for digest, those in backers.items()},
            2,
            lambda candidate: candidate in sound,
        )
        == chosen
    )


# --- in a session --------------------------------------------------------------------------------

SIZE = 7  # t = 5, and chunk k is owned by members k and k + 1.


@pytest.mark.parametrize(
    ("lacking", "silent", "away", "summed"),
    [
        pytest.param({2: (4,)}, None, (), {0, 1, 2, 3, 5, 6}, id="rather a giver than an owner"),
        pytest.param({2: (4, 5)}, None, (2,), set(range(SIZE)), id="rather an owner than two"),
        pytest.param({2: (4, 5)}, 3, (3,), {0, 1, 2, 3, 6}, id="no owner that is the last one"),
        pytest.param(
            {2: (0, 4, 5), 3: (4, 5)}, None, (2,), {0, 1, 2, 3, 6}, id="nor one that is left alone"
        ),
        pytest.param(
            {2: (0, 4, 5), 3: (0, 4, 5)}, None, (2, 3), set(range(SIZE)), id="unless all is lost"
        ),
    ],
)
def test_who_is_left_out_where_receipts_lack_some(
    lacking: dict[int, tuple[int, ...]], silent: int | None, away: tuple[int, ...], summed: set[int]
) -> None:
    """Owners say that they lack what some members gave them; one says nothing at all."""

    def lie(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        message: Any = action.message if isinstance(action, Send) else None
        if not isinstance(message, Receipt) or message.owner != rank:
            return [action]
        if rank == silent:
            return []
        held = driver.cohort.pack(set(range(SIZE)) - set(lacking[rank]))
        bitmaps = held * len(message.bitmaps)
        signature = driver.machines[rank]._core.sign(b"receipt", message.tau2, bitmaps)
        changed = msgspec.structs.replace(message, bitmaps=bitmaps, signature=signature)
        return [Send(action.receiver, changed)]  # type: ignore[union-attr]

    cohort, people = make_cohort(SIZE, 40)
    assert [cohort.owned_by(rank, tuple(range(SIZE))) for rank in (2, 3)] == [(1, 2), (2, 3)]
    liars = (*lacking, *(() if silent is None else (silent,)))
    driver = SessionDriver(cohort, people, 1, rewrite=dict.fromkeys(liars, lie)).run()
    sums = driver.check_exact()
    assert set(sums) >= set(range(SIZE)) - set(liars)
    members = {cohort.rank_of(peer) for peer in sums[0].members}
    assert members == summed
    voting = driver.machines[0]._voting
    assert set(voting.named_owners(voting.certified)) == set(range(SIZE)) - set(away)
    assert sums[0].kept == ({2: "no_owner"} if away == (2, 3) else {})
