# mypy: disable-error-code="arg-type, comparison-overlap, index"
"""What a member says itself counts unchecked; what others are to rest on is checked."""

from typing import Any

import msgspec
import pytest
from session_driver import Rewrite, SessionDriver, make_cohort

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.masked_sum.messages import (
    Ack,
    Fetch,
    Header,
    Manifest,
    Receipt,
    Share,
    Vote,
    Wanted,
)

SIZE, ENTRIES = 8, 40
LEADER, LIAR, DEAF = 3, 5, 6
HONEST = tuple(rank for rank in range(SIZE) if rank != LIAR)


def falsely_signed(message: Any) -> Any:
    if isinstance(message, Share):
        return msgspec.structs.replace(message, header=falsely_signed(message.header))
    return msgspec.structs.replace(message, signature=bytes(64))


def signs_falsely(
    kind: type, but: tuple[int, ...] = (), says_nothing_to: tuple[int, ...] = ()
) -> Rewrite:
    """Sign one kind of message falsely, for all but some members; some get none."""

    def lie(driver: SessionDriver, _rank: int, action: Action) -> list[Action]:
        if not isinstance(action, Send) or not isinstance(action.message, kind):
            return [action]
        receiver = driver.cohort.rank_of(action.receiver)
        if receiver in says_nothing_to:
            return []
        if receiver in but:
            return [action]
        return [Send(action.receiver, falsely_signed(action.message))]

    return lie


def run(lie: Rewrite, until_s: float = float("inf")) -> SessionDriver:
    cohort, people = make_cohort(SIZE, ENTRIES)
    return SessionDriver(cohort, people, 5, rewrite={LIAR: lie}).run(until_s=until_s)


def members_of(driver: SessionDriver) -> tuple[int, ...]:
    """U3, the same for all honest members; all of them have the exact sum."""
    outcomes = driver.check_exact()
    assert all(rank in outcomes for rank in HONEST)
    return tuple(driver.cohort.rank_of(peer) or 0 for peer in outcomes[0].members)


@pytest.mark.parametrize("kind", [Share, Manifest, Receipt])
def test_a_leader_rests_nothing_on_what_it_could_not_pass_on(kind: type) -> None:
    driver = run(signs_falsely(kind))
    members = members_of(driver)
    assert (LEADER, "bad_signature") in driver.disconnects
    assert (LIAR in members) == (kind is Receipt)  # Its chunks have another owner.


@pytest.mark.parametrize("kind", [Ack, Vote])
def test_what_is_never_passed_on_counts_by_its_link(kind: type) -> None:
    driver = run(signs_falsely(kind))
    assert members_of(driver) == tuple(range(SIZE))
    assert driver.disconnects == driver.refusals == []


@pytest.mark.parametrize("kind", [Share, Manifest, Receipt])
def test_a_member_signs_falsely_for_all_but_the_leader_in_vain(kind: type) -> None:
    """They have it from its author; who has nothing of it asks the leader."""
    driver = run(signs_falsely(kind, but=(LEADER,), says_nothing_to=(DEAF,)))
    members = members_of(driver)
    assert set(HONEST) <= set(members)
    assert LIAR in members or kind is not Receipt


@pytest.mark.parametrize(
    ("kind", "wanted", "answer"),
    [
        (Share, Wanted.HEADER, Header),
        (Manifest, Wanted.MANIFEST, Manifest),
        (Receipt, Wanted.RECEIPT, Receipt),
    ],
)
def test_only_what_is_proven_is_passed_on(kind: type, wanted: Wanted, answer: type) -> None:
    driver = run(signs_falsely(kind, but=(LEADER,)), until_s=2.5)
    asker = driver.cohort.members[0]
    for member, holder, is_given in ((LIAR, 1, False), (LIAR, LEADER, True), (2, 1, True)):
        fetch = Fetch(driver.cohort.session, wanted, member)
        actions = driver.machines[holder].on_message(driver.now_s, asker, fetch)
        given = [it.message for it in actions if isinstance(it, Send)]
        assert [type(it) for it in given] == ([answer] if is_given else [])


@pytest.mark.parametrize("kind", [Ack, Vote, Manifest, Receipt])
@pytest.mark.parametrize("is_first_false", [True, False])
def test_who_says_two_things_and_signs_one_falsely_is_told_off_and_not_blamed(
    kind: type, is_first_false: bool
) -> None:
    """What is proven counts, whichever came first."""
    field = {Ack: "tau2", Vote: "ballot", Manifest: "chunk_digests", Receipt: "bitmaps"}[kind]

    def lie(_driver: SessionDriver, _rank: int, action: Action) -> list[Action]:
        if not isinstance(action, Send) or not isinstance(action.message, kind):
            return [action]
        value = bytearray(getattr(action.message, field))
        value[0] ^= 1
        other = msgspec.structs.replace(action.message, **{field: bytes(value)})
        said: list[Action] = [action, Send(action.receiver, falsely_signed(other))]
        return said[::-1] if is_first_false else said

    driver = run(lie)
    assert LIAR not in driver.blamed()
    assert {reason for _, reason in driver.disconnects} == {"bad_signature"}
    members_of(driver)
