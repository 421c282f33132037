"""The adverts of all: what is kept of each member, and what follows from them."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from ledger_group import Bench, LedgerGroup

from p2pfl_gossip.ledger.adverts import (
    ROUNDS_KEPT,
    VERSIONS_MAX,
    Adverts,
    by_head,
    charter_named,
    ready,
)
from p2pfl_gossip.ledger.charter import NONE
from p2pfl_gossip.ledger.entries import EntryStep, Head
from p2pfl_gossip.ledger.messages import GroupAdvert, Rest

GROUP = LedgerGroup(7)


def fresh() -> Adverts:
    """Member 0's book of adverts."""
    return Adverts(Bench(GROUP).seat)


def take(adverts: Adverts, advert: GroupAdvert) -> GroupAdvert | None:
    """Have an advert taken."""
    return adverts.take(advert, advert.digest(GROUP.epoch))


def test_an_advert_is_held_by_round_member_and_digest() -> None:
    """And is the member's latest, if its round is."""
    adverts = fresh()
    one, other = GROUP.advert(2, 5), GROUP.advert(2, 4)
    assert take(adverts, one) is None
    assert take(adverts, other) is None
    assert adverts.latest(2) == one
    assert adverts.round_of(2) == 5
    assert adverts.round_of(3) == 0
    assert adverts.latest(3) is None
    digest = one.digest(GROUP.epoch)
    assert adverts.holds(5, 2, digest)
    assert adverts.version(5, 2, digest) == one
    assert not adverts.holds(4, 2, digest)
    assert adverts.version(5, 3, digest) is None


def test_two_adverts_of_one_round_are_told() -> None:
    """The first one stays what the member said; few more are kept, as a list may name them."""
    adverts = fresh()
    versions = [GROUP.advert(2, 5, key=bytes([i]) * 32) for i in range(VERSIONS_MAX + 1)]
    assert take(adverts, versions[0]) is None
    assert take(adverts, versions[0]) is None
    for version in versions[1:VERSIONS_MAX]:
        assert take(adverts, version) == versions[0]
    assert take(adverts, versions[-1]) is None
    held = [adverts.holds(5, 2, version.digest(GROUP.epoch)) for version in versions]
    assert held == [True] * VERSIONS_MAX + [False]
    assert adverts.of_round(5) == {2: versions[0]}


def test_a_liar_that_runs_ahead_fills_nothing() -> None:
    """Of each member only the latest rounds are kept, and nobody else's go for them."""
    adverts = fresh()
    take(adverts, GROUP.advert(1, 3))
    for round_ in range(1, 50):
        take(adverts, GROUP.advert(2, round_))
    latest = list(range(50 - ROUNDS_KEPT, 50))
    assert [round_ for round_ in range(60) if 2 in adverts.of_round(round_)] == latest
    for round_ in range(45, 0, -1):  # Nor does one that goes back from there.
        take(adverts, GROUP.advert(2, round_, key=b"k" * 32))
    assert [round_ for round_ in range(60) if 2 in adverts.of_round(round_)] == latest
    assert list(adverts.of_round(3)) == [1]


@given(st.lists(st.integers(0, 9), min_size=6, max_size=6), st.integers(1, 6))
def test_the_round_that_so_many_others_reached(rounds: list[int], count: int) -> None:
    """So that a liar takes nobody with it."""
    adverts = fresh()
    for rank, round_ in enumerate(rounds, start=1):
        if round_:
            take(adverts, ADVERTS[rank, round_])
    take(adverts, ADVERTS[0, 9])  # Our own does not count.
    found = adverts.round_of_others(count)
    reached = [sum(other >= round_ for other in rounds) >= count for round_ in range(1, 10)]
    assert found == max((r for r, is_reached in enumerate(reached, 1) if is_reached), default=0)
    for round_ in range(1, 10):
        assert adverts.reached(round_) == 1 + sum(other >= round_ for other in rounds)


ADVERTS = {
    (rank, round_): GROUP.advert(rank, round_) for rank in range(7) for round_ in range(1, 10)
}


def test_old_rounds_are_forgotten_but_not_how_far_members_came() -> None:
    """Until another epoch begins."""
    adverts = fresh()
    for round_ in (3, 4, 5):
        take(adverts, ADVERTS[1, round_])
    adverts.forget_before(5)
    assert [bool(adverts.of_round(round_)) for round_ in (3, 4, 5)] == [False, False, True]
    adverts.forget_before(9)
    assert adverts.round_of(1) == 5
    adverts.clear()
    assert adverts.round_of(1) == 0
    assert adverts.of_round(5) == {}


def test_adverts_are_sorted_by_head_and_by_rest() -> None:
    """In the order of ranks."""
    head = EntryStep(GROUP.sum_entry(GROUP.first, 1)).head
    adverts = {
        0: GROUP.advert(0, 5, head),
        1: GROUP.advert(1, 5),
        2: GROUP.advert(2, 5, head, rest=Rest.SPENT),
    }
    found = by_head(adverts)
    assert {key: list(value) for key, value in found.items()} == {
        head: [0, 2],
        GROUP.first.head: [1],
    }
    assert list(ready(adverts)) == [0, 1]


ONE, TWO = b"1" * 32, b"2" * 32


def test_a_charter_needs_m_plus_1_of_the_listed() -> None:
    """One of whom is honest; of several the one that most name, of equals the lowest digest."""

    def named(*charters: bytes) -> bytes:
        adverts = {r: GROUP.advert(r, 5, charter=charter) for r, charter in enumerate(charters)}
        return charter_named(adverts, GROUP.epoch.liars_max + 1)

    assert named(NONE, NONE, NONE) == NONE
    assert named(ONE, ONE, NONE, NONE) == NONE
    assert named(ONE, ONE, ONE, NONE) == ONE
    for order in set(itertools.permutations((ONE, ONE, ONE, TWO, TWO, TWO))):
        assert named(*order) == ONE
    assert named(ONE, ONE, ONE, TWO, TWO, TWO, TWO) == TWO
    assert Head(0, 0, ONE) < Head(0, 0, TWO)


def test_each_answer_follows_each_advert() -> None:
    """What is asked at every message is kept, and never older than the last change."""
    adverts = fresh()
    asked = []
    for member in range(1, 7):
        asked.append((adverts.reached(5), adverts.round_of_others(3), sorted(adverts.of_round(5))))
        take(adverts, GROUP.advert(member, 5))
    assert asked == [
        (0, 0, []),
        (1, 0, [1]),
        (2, 0, [1, 2]),
        (3, 5, [1, 2, 3]),
        (4, 5, [1, 2, 3, 4]),
        (5, 5, [1, 2, 3, 4, 5]),
    ]
    adverts.forget_before(6)
    assert adverts.of_round(5) == {}
    assert adverts.reached(5) == 6
    adverts.clear()
    assert (adverts.reached(5), adverts.round_of_others(1), adverts.of_round(5)) == (0, 0, {})


def all_of(*adverts: GroupAdvert) -> dict[int, tuple[bytes, GroupAdvert]]:
    """Adverts of one round, as many of them are taken together."""
    return {advert.member: (advert.digest(GROUP.epoch), advert) for advert in adverts}


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 7)), max_size=30))
def test_many_adverts_are_kept_as_each_by_itself_is(said: list[tuple[int, int]]) -> None:
    """Round by round, in the order in which they were first said."""
    one_by_one, together = fresh(), fresh()
    for round_, heard in itertools.groupby(said, key=lambda it: it[1]):
        adverts = {member: GROUP.advert(member, round_) for member, _ in heard}
        for advert in adverts.values():
            take(one_by_one, advert)
        assert together.take_all(round_, all_of(*adverts.values()))
    for round_ in range(9):
        assert together.of_round(round_) == one_by_one.of_round(round_)
        assert together.count_of(round_) == len(one_by_one.of_round(round_))
        assert together.reached(round_) == one_by_one.reached(round_)
    for count in range(1, 7):
        assert together.round_of_others(count) == one_by_one.round_of_others(count)


def test_of_many_adverts_none_is_kept_where_one_contradicts() -> None:
    """So that each is heard by itself, and the lie is told."""
    adverts = fresh()
    take(adverts, GROUP.advert(2, 5))
    others = [GROUP.advert(1, 5), GROUP.advert(2, 5, key=b"k" * 32)]
    assert not adverts.take_all(5, all_of(*others))
    assert adverts.count_of(5) == 1
    assert adverts.round_of(1) == 0
