# mypy: disable-error-code="arg-type, attr-defined, index, union-attr"
"""Attacks that say for a later turn what an earlier leader is about to say.

A proposal and a ballot are the same, whoever says them, so that a leader may repeat another's. And
what an honest leader will say can be told before, where all is there.
"""

from typing import Any

import pytest
from group_driver import GroupDriver
from session_driver import CODEC, Rewrite
from test_disputes import session
from test_quorum_attacks import LIARS, outcomes, sent, signed

from p2pfl_gossip.actions import Action
from p2pfl_gossip.masked_sum.messages import Ack, Ballot, Manifest, Proposal, Share, Vote
from p2pfl_gossip.records import replaced

LAST = LIARS[1]
"""Its turn is the fifth: of seven members with two liars only three turns come."""


def foretold(driver: GroupDriver, rank: int, kind: type, out: int | None) -> Any:
    """What an honest leader will say, or the same without one member, of our own turn."""
    machine, cohort = driver.machines[rank], driver.epoch_cohort
    everybody, turn = range(cohort.size), cohort.leaders.index(rank)
    ranks = [it for it in everybody if it != out]
    packed, unsigned = cohort.pack(ranks), bytes(64)
    if kind is Proposal:
        sharing = machine._sharing
        digests = b"".join(sharing.header_digests[it] for it in ranks)
        return Proposal(cohort.session, turn, sharing.tau1, packed, digests, unsigned)
    exchange = machine._exchange
    digests = b"".join(exchange.manifest_digests[it] for it in ranks)
    owners = bytes([3]) * cohort.chunk_count
    return Ballot(cohort.session, turn, exchange.tau2, packed, owners, digests, unsigned)


def foretelling(kind: type, out: int | None, told: list[Any]) -> Rewrite:
    """Give one's own word last, and before it what an honest leader will say then."""
    last_word = {Proposal: Share, Ballot: Manifest}[kind]

    def rewrite(driver: Any, rank: int, action: Action) -> list[Action]:
        said = sent(action)
        if not isinstance(said, last_word) or getattr(said, "member", rank) != rank:
            return [action]
        receiver = driver.cohort.rank_of(action.receiver)

        def speak() -> None:
            driver.speaking = driver.machines[rank]._core
            told.append(signed(driver, foretold(driver, rank, kind, out)))
            driver.deliver(rank, receiver, told[-1])
            driver.at(0.3, lambda: driver.deliver(rank, receiver, said))

        driver.at(0.5, speak)
        return []

    return rewrite


@pytest.mark.parametrize("kind", [Proposal, Ballot])
def test_what_is_foretold_of_a_turn_that_never_comes_is_followed_in_its_own(kind: type) -> None:
    told: list[Any] = []
    driver = session(rewrite={LAST: foretelling(kind, None, told)}).run()
    assert outcomes(driver, tuple(range(6))) == {("summed", ())}
    driver.check_exact()
    for rank in range(6):  # The leader as well, which has said it itself.
        machine = driver.machines[rank]
        part = machine._voting._ballots if kind is Ballot else machine._agreement._proposals
        assert [it.turn for it in part.values()] == [0]
    machine = driver.machines[0]
    if kind is Ballot:
        assert {it.digest() for it in told} == {machine._voting.certified.digest()}
    else:
        assert {it.tau2() for it in told} == {machine._exchange.tau2}


@pytest.mark.parametrize("kind", [Proposal, Ballot])
def test_no_leader_repeats_what_is_said_of_a_turn_that_never_comes(kind: type) -> None:
    """A liar would choose who is in the sum, in each round."""
    told: list[Any] = []
    driver = session(rewrite={LAST: foretelling(kind, 0, told)}).run()
    assert told
    for rank in range(6):
        assert driver.machines[rank].outcome.members == tuple(range(7))


# What a lying leader says late


class Watcher:
    """Has a lying leader show its word to some, while the next leader's is under way to them."""

    def __init__(self, kind: type, victims: tuple[int, ...]) -> None:
        self.kind, self.victims = kind, victims
        self.kept: Any = None

    def __call__(self, driver: Any, rank: int, action: Action) -> list[Action]:
        said: Any = sent(action)
        if isinstance(said, {Proposal: Ack, Ballot: Vote}[self.kind]):
            return []  # Were it to back its own, there would be enough.
        if isinstance(said, self.kind) and said.turn == 0:
            if self.kept is None:  # It leaves out somebody, and so is not what others say.
                field = "header_digests" if self.kind is Proposal else "manifest_digests"
                fewer = driver.cohort.pack(it for it in range(7) if it != 3)
                digests = getattr(said, field)
                digests = digests[: 3 * 32] + digests[4 * 32 :]
                one: Any = said
                other = replaced(one, members=fewer, **{field: digests})
                self.kept = signed(driver, other)
                driver.at(0.01, lambda: self.watch(driver, rank))
            return []
        return [action]

    def watch(self, driver: Any, rank: int) -> None:
        machine = driver.machines[driver.cohort.leader(1)]
        part = machine._agreement if self.kind is Proposal else machine._voting
        if not part._proposed:
            driver.at(0.001, lambda: self.watch(driver, rank))
            return
        for victim in self.victims:
            driver.arrive(rank, victim, CODEC.encode(self.kept))


@pytest.mark.parametrize("kind", [Proposal, Ballot])
def test_whom_a_lying_leader_told_late_misses_no_honest_member_for_it(kind: type) -> None:
    """The others follow the next leader by then. The round is lost, as all that a liar leads."""
    leader = session().cohort.leader(0)
    other, victims = LIARS[1], (0, 1, 4)
    backing = {Proposal: Ack, Ballot: Vote}[kind]

    def back_it_for_them(driver: Any, rank: int, action: Action) -> list[Action]:
        said = sent(action)
        if not isinstance(said, backing) or said.member != rank:
            return [action]
        return [action] if driver.cohort.rank_of(action.receiver) in victims else []

    watcher = Watcher(kind, victims)
    driver = session(rewrite={leader: watcher, other: back_it_for_them}).run()
    found = {rank: driver.machines[rank].outcome for rank in (*victims, 3, 5)}
    reason = {Proposal: "no_agreement", Ballot: "no_certificate"}[kind]
    assert {getattr(one, "reason", "summed") for one in found.values()} == {reason}
    assert all(leader in found[rank].absent for rank in victims)
    assert not {0, 1, 3, 4, 5} & {it for one in found.values() for it in one.absent}
