# mypy: disable-error-code="arg-type, attr-defined, index, union-attr"
"""Attacks on what takes t members: m liars refuse it, and keep one honest member from giving it.

t is n - m: where liars give nothing, each honest member is needed. So none may be kept from what
the others go by, and who refuses is missed.
"""

from collections.abc import Callable
from typing import Any

import pytest
from group_driver import GroupDriver, make_epoch
from session_driver import PATIENCE, Rewrite, SessionDriver
from test_audits import SEED, N, false_sum
from test_disputes import session
from test_naming_attacks import named_as

from p2pfl_gossip.actions import Action, Send, SendBulk
from p2pfl_gossip.masked_sum.blame import verify_blame
from p2pfl_gossip.masked_sum.choices import not_backing
from p2pfl_gossip.masked_sum.group_summing import ALL_RECOUNT_AFTER
from p2pfl_gossip.masked_sum.messages import (
    Ack,
    Ballot,
    ChunkHeader,
    Coin,
    CoinShares,
    CoinSum,
    DisputeStatement,
    Held,
    Manifest,
    Proposal,
    Receipt,
    Reveal,
    Share,
    SumDigest,
    SumHeader,
    Vote,
)
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.masked_sum.stated import stated_in
from p2pfl_gossip.records import Message, replaced

LIARS = (5, 6)
"""The fourth and the fifth to lead: the honest leaders before them have their turns."""
HONEST = tuple(range(5))


def signed(driver: GroupDriver, message: Any) -> Any:
    """A message that a liar who is speaking has changed, with a good signature of its own."""
    stated = stated_in(message)
    signature = driver.speaking.sign(stated.kind, *stated.place, stated.said)
    return replaced(message, signature=signature)


def sent(action: Action) -> Message | None:
    return action.message if isinstance(action, Send) else None


def refusing(*kinds: type) -> Rewrite:
    """Never give such a word of one's own."""

    def rewrite(_driver: SessionDriver, _rank: int, action: Action) -> list[Action]:
        return [] if isinstance(sent(action), kinds) else [action]

    return rewrite


def to_one(victim: int, change: Callable[[GroupDriver, Any], Any], kind: type) -> Rewrite:
    """Give one member another version of one's own words of a kind, and refuse ACK or vote."""

    def rewrite(driver: Any, rank: int, action: Action) -> list[Action]:
        said = sent(action)
        if isinstance(said, Vote if kind in (Manifest, Receipt) else Ack):
            return []
        author = getattr(said, "member", getattr(said, "owner", rank))
        is_for_it = said is not None and action.receiver == driver.cohort.members[victim]
        if not isinstance(said, kind) or author != rank or not is_for_it:
            return [action]
        changed = change(driver, said)
        return [] if changed is None else [Send(action.receiver, changed)]

    return rewrite


def other_manifest(driver: GroupDriver, said: Manifest) -> Any:
    """Of the last chunk, which no victim owns here."""
    return signed(driver, replaced(said, chunk_digests=said.chunk_digests[:-32] + bytes(32)))


def unsigned_manifest(driver: GroupDriver, said: Manifest) -> Any:
    """It comes from its author, so nobody looks at its signature at first."""
    return replaced(other_manifest(driver, said), signature=bytes(64))


def other_receipt(driver: GroupDriver, said: Receipt) -> Any:
    return signed(driver, replaced(said, bitmaps=bytes(len(said.bitmaps))))


def unsigned_receipt(driver: GroupDriver, said: Receipt) -> Any:
    return replaced(other_receipt(driver, said), signature=bytes(64))


def other_header(driver: GroupDriver, said: Share) -> Share:
    """With another share of somebody else."""
    digests = said.header.share_digests
    header = replaced(said.header, share_digests=digests[:-32] + bytes(32))
    return replaced(said, header=signed(driver, header))


def no_share(_driver: GroupDriver, _said: Share) -> None:
    return None


def outcomes(driver: GroupDriver, honest: tuple[int, ...] = HONEST) -> set[Any]:
    """How it ended for the honest: why it was void, and who was missed."""
    found = set()
    for rank in honest:
        outcome = driver.machines[rank].outcome
        found.add((getattr(outcome, "reason", "summed"), getattr(outcome, "absent", ())))
    return found


def victims_of_last_chunk() -> list[int]:
    owners = session().cohort.owners_of(7, tuple(range(N)))
    return [rank for rank in HONEST if rank not in owners and rank != 2]


@pytest.mark.parametrize(
    ("change", "kind", "fault"),
    [
        (other_manifest, Manifest, "two_manifests"),
        (unsigned_manifest, Manifest, ""),
        (other_receipt, Receipt, "two_receipts"),
        (unsigned_receipt, Receipt, ""),
    ],
)
def test_who_was_given_another_version_than_the_leader_can_vote_all_the_same(
    change: Any, kind: type, fault: str
) -> None:
    for victim in victims_of_last_chunk():
        rewrite = {LIARS[0]: to_one(victim, change, kind), LIARS[1]: refusing(Vote)}
        driver = session(rewrite=rewrite).run()
        assert outcomes(driver) == {("summed", ())}
        driver.check_exact()
        blames = driver.machines[victim].blames
        assert [blame.fault for blame in blames] == [fault] * bool(fault)
        for blame in blames:
            verify_blame(driver.cohort, blame)
        assert ("bad_signature" in [why for _, why in driver.disconnects]) != bool(fault)


def test_a_leader_that_goes_by_one_version_and_voters_by_another_come_together() -> None:
    """The leader has the one, all others the other: then these ask it."""
    leader = session().cohort.leader(0)
    rewrite = {
        LIARS[0]: to_one(leader, other_manifest, Manifest),
        LIARS[1]: refusing(Vote),
    }
    driver = session(rewrite=rewrite).run()
    assert outcomes(driver) == {("summed", ())}
    driver.check_exact()


@pytest.mark.parametrize("change", [other_header, no_share])
def test_who_refuses_its_ack_is_missed(change: Any) -> None:
    """Nobody can see whether one member got its share; so it is missed as well, for a round."""
    for victim in (0, 1):
        rewrite = {LIARS[0]: to_one(victim, change, Share), LIARS[1]: refusing(Ack)}
        driver = session(rewrite=rewrite).run()
        others = tuple(rank for rank in HONEST if rank != victim)
        assert outcomes(driver, others) == {("no_agreement", (victim, *LIARS))}
        assert outcomes(driver, (victim,)) == {("no_agreement", LIARS)}
        named = {victim: {"two_headers"}} if change is other_header else {}
        for rank in HONEST:
            faults = {blame.fault for blame in driver.machines[rank].blames}
            assert faults == named.get(rank, set())


@pytest.mark.parametrize("kind", [Ack, Vote])
def test_who_backs_what_nobody_else_does_is_missed_as_if_it_were_silent(
    kind: type[Message],
) -> None:
    """One honest member is down, so that each of the liars is needed."""
    field = {Ack: "tau2", Vote: "ballot"}[kind]

    def junk(driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        said = sent(action)
        if not isinstance(said, kind):
            return [action]
        return [Send(action.receiver, signed(driver, replaced(said, **{field: b"j" * 32})))]

    driver = session(rewrite=dict.fromkeys(LIARS, junk)).run(absent=(0,))
    reason = {Ack: "no_agreement", Vote: "no_certificate"}[kind]
    assert outcomes(driver, HONEST[1:]) == {(reason, (0, *LIARS))}


@pytest.mark.parametrize(
    ("backers", "in_time", "missed"),
    [
        ({}, True, ()),
        ({b"1": (0, 1)}, True, ()),
        ({b"1": (0, 1, 2)}, True, (3, 4, 5)),
        ({b"1": (0, 1, 2)}, False, (3, 4, 5)),
        ({b"1": (0, 1, 2), b"2": (3, 4)}, True, (3, 4, 5)),
        ({b"1": (0, 1, 2), b"2": (3, 4)}, False, (5,)),
        ({b"1": (1, 2, 3), b"2": (0, 4)}, True, ()),
        ({b"1": (1, 2, 3)}, False, (4, 5)),
    ],
    ids=[
        *("nobody", "m", "more", "late", "a minority", "a minority that was told late"),
        *("our own minority", "we could not"),
    ],
)
def test_whom_a_member_misses(
    backers: dict[bytes, tuple[int, ...]], in_time: bool, missed: Any
) -> None:
    assert not_backing(range(6), backers, 2, 0, in_time=in_time) == missed


# What fills a place that others need


def stuffing(kind: type, turns: list[int]) -> Rewrite:
    """Say many things for one's own turn, long before it."""

    def rewrite(driver: Any, rank: int, action: Action) -> list[Action]:
        said = sent(action)
        if not isinstance(said, Manifest if kind is Ballot else Held):
            return [action]
        machine, cohort = driver.machines[rank], driver.epoch_cohort
        turn = cohort.leaders.index(rank)
        turns.append(turn)
        everybody, found = cohort.pack(range(N)), [action]
        for number in range(1, 10):
            digests = bytes([number]) * 32 * N
            if kind is Ballot:
                tau2, owners = machine._exchange.tau2, bytes([3]) * cohort.chunk_count
                one: Any = Ballot(said.session, turn, tau2, everybody, owners, digests, bytes(64))
            else:
                tau1 = machine._sharing.tau1
                one = Proposal(said.session, turn, tau1, everybody, digests, bytes(64))
            found.append(Send(action.receiver, signed(driver, one)))
        return found

    return rewrite


@pytest.mark.parametrize("kind", [Ballot, Proposal])
def test_one_liar_fills_no_place_of_an_honest_leaders_word(kind: type) -> None:
    """It has its own turn late; and what it says of it names it."""
    turns: list[int] = []
    driver = session(rewrite={LIARS[0]: stuffing(kind, turns)}).run()
    assert set(turns) == {3}
    assert outcomes(driver) == {("summed", ())}
    fault = {Ballot: "two_ballots", Proposal: "two_proposals"}[kind]
    named = named_as(driver, fault)  # Some have gone on before they come.
    assert frozenset(LIARS[:1]) in named
    assert named <= {frozenset(LIARS[:1]), frozenset()}


def test_a_third_ballot_is_kept_once_more_than_m_have_voted_for_it() -> None:
    """A lying leader shows two to one member, and another one to all others, who certify it."""
    leader = session().cohort.leader(0)

    def three(driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        said, receiver = sent(action), getattr(action, "receiver", None)
        if not isinstance(said, Ballot) or said.turn:
            return [action]
        found: list[Action] = []
        for out in (0, 1) if receiver == driver.cohort.members[0] else (3,):
            fewer = driver.cohort.pack(it for it in range(N) if it != out)
            left = said.manifest_digests[: 32 * out] + said.manifest_digests[32 * out + 32 :]
            other = replaced(said, members=fewer, manifest_digests=left)
            found.append(Send(receiver, signed(driver, other)))
        return found

    driver = session(rewrite={leader: three}).run()
    assert outcomes(driver, tuple(rank for rank in range(N) if rank != leader)) == {("summed", ())}
    driver.check_exact()


def test_a_third_proposal_is_kept_once_more_than_m_have_acknowledged_it() -> None:
    """A lying leader shows two to one member, and another one to all others, who go by it."""
    leader = session().cohort.leader(0)

    def three(driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        said, receiver = sent(action), getattr(action, "receiver", None)
        if not isinstance(said, Proposal) or said.turn:
            return [action]
        found: list[Action] = []
        for out in (0, 1) if receiver == driver.cohort.members[0] else (3,):
            fewer = driver.cohort.pack(it for it in range(N) if it != out)
            left = said.header_digests[: 32 * out] + said.header_digests[32 * out + 32 :]
            other = replaced(said, members=fewer, header_digests=left)
            found.append(Send(receiver, signed(driver, other)))
        return found

    driver = session(rewrite={leader: three}).run()
    proposals = driver.machines[0]._agreement._proposals
    acks = driver.machines[0]._agreement._acks
    most = max(acks, key=lambda tau2: len(acks[tau2]))
    assert sorted(acks[most]) == [rank for rank in range(1, N) if rank != leader]
    assert most in proposals


def test_a_ballot_of_a_turn_that_never_comes_costs_no_questions() -> None:
    """It names manifests that there are not; of its turn they would be asked for."""
    machine = session().run().machines[0]
    voting, core = machine._voting, machine._core
    ballot = replaced(voting.certified, manifest_digests=bytes(32 * N))
    named = machine._exchange._named
    named.clear()
    for turn, count in ((core.turn + 1, 0), (core.turn, N)):
        core.begin(0.0)
        voting._fetch_for(replaced(ballot, turn=turn), 3)
        assert len(core.actions) == count
        assert len(named) == count  # Nor is a second version of any kept for it.


# Words that are signed, and never given


def signing_only(_driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
    """Sign the sum of a chunk, and give it to nobody."""
    if not isinstance(action, SendBulk) or not isinstance(action.header, SumHeader):
        return [action]
    it = action.header
    digest = SumDigest(it.session, it.ballot, it.member, it.chunk, it.digest, it.signature)
    return [Send(action.receiver, digest)]


def withholding(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
    """Nor give anybody who is no owner its words."""
    is_word = isinstance(action, SendBulk) and isinstance(action.header, ChunkHeader)
    if is_word and driver.machines[rank].phase >= Phase.REVEAL:
        return []
    return signing_only(driver, rank, action)


def owners_of(chunk: int) -> tuple[int, ...]:
    return session().cohort.owners_of(chunk, tuple(range(N)))


def test_a_sum_that_both_owners_sign_and_keep_others_work_out() -> None:
    rewrite = dict.fromkeys(owners_of(0), signing_only)
    driver = session(rewrite=rewrite).run()
    honest = tuple(rank for rank in range(N) if rank not in rewrite)
    assert outcomes(driver, honest) == {("summed", ())}
    driver.check_exact()


def test_members_that_own_nothing_work_it_out_once_they_have_the_shares() -> None:
    """Of a vector of one entry there is one chunk; five members of seven own none."""
    cohort, people = make_epoch(N, 1, audit=True, names=True, weights=(1.0,) * N)
    owners = cohort.owners_of(0, tuple(range(N)))
    driver = GroupDriver(cohort, people, SEED, rewrite=dict.fromkeys(owners, signing_only)).run()
    honest = tuple(rank for rank in range(N) if rank not in owners)
    assert outcomes(driver, honest) == {("summed", ())}


def test_owners_that_sign_a_sum_and_keep_it_with_their_words_are_missed() -> None:
    rewrite = dict.fromkeys(owners_of(0), withholding)
    driver = session(rewrite=rewrite).run()
    honest = tuple(rank for rank in range(N) if rank not in rewrite)
    assert outcomes(driver, honest) == {("sums_missing", tuple(sorted(rewrite)))}


def false_shares(_driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
    said = sent(action)
    if not isinstance(said, Reveal):
        return [action]
    return [Send(action.receiver, replaced(said, shares=b"\x01" * len(said.shares)))]


def test_who_shows_false_shares_is_missed_where_they_are_needed() -> None:
    """One member was given no share by a liar; it said so, and so it is missed by nobody."""

    def both(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
        is_kept = isinstance(sent(action), Share) and action.receiver == driver.cohort.members[0]
        return [] if is_kept else false_shares(driver, rank, action)

    driver = session(rewrite={LIARS[0]: both, LIARS[1]: false_shares}).run()
    missed = set()
    for rank in HONEST:
        outcome = driver.machines[rank].outcome
        assert outcome.reason == "sums_missing"
        assert set(outcome.absent) <= set(LIARS)
        assert outcome.absent
        missed |= set(outcome.absent)
    assert missed == set(LIARS)


def test_who_was_given_no_share_is_not_missed_for_the_coin_that_it_cannot_show() -> None:
    """Liars acknowledge, as if they held all; and then they show no coin."""

    def kept(driver: GroupDriver, _rank: int, action: Action) -> list[Action]:
        said = sent(action)
        is_kept = isinstance(said, Share) and action.receiver == driver.cohort.members[0]
        return [] if is_kept or isinstance(said, Coin | CoinSum | CoinShares) else [action]

    refuses = refusing(Coin, CoinSum, CoinShares)
    driver = session(rewrite={LIARS[0]: kept, LIARS[1]: refuses}).run()
    assert outcomes(driver) == {("coins_missing", LIARS)}


# Disputes


def test_all_ask_for_words_where_fewest_deputies_have_signed() -> None:
    """Liars refuse to sign where they are deputies, so that hardly any chunk has m + 1 alike."""
    driver = session(lies=dict.fromkeys(owners_of(0), false_sum)).run()
    last = 5
    cohort, everybody = driver.cohort, tuple(range(N))
    rank = next(it for it in everybody if it in cohort.ring_of(last, everybody)[5:])
    summing: Any = driver.machines[rank]._summing
    asked: list[int] = []
    word = next(iter(summing._said[last].values()))
    for chunk in summing.sums:  # Two of the first three deputies; of one chunk both owners.
        ring = cohort.ring_of(chunk, everybody)
        signers = ring[:2] if chunk == last else ring[2:4]
        summing._said[chunk] = dict.fromkeys(signers, word)
    summing._recount_waits, summing._ask_for_words = ALL_RECOUNT_AFTER, asked.append
    summing._recount_all()
    first = {it for it in summing.sums if rank in cohort.ring_of(it, everybody)[2:5]}
    assert last not in first
    assert asked[0] == last
    assert set(asked) == first | {last}


@pytest.mark.parametrize("count", [1, 2])
def test_a_second_statement_that_few_were_given_they_show_to_all(count: int) -> None:
    """They find its author out just before sums are worked out again, which they then are not."""
    cohort, people = make_epoch(N, 40, audit=True, names=True, weights=(1.0,) * N)
    owners = cohort.owners_of(0, tuple(range(N)))
    few = [rank for rank in range(N) if rank not in owners][:count]

    def second(driver: GroupDriver, rank: int, action: Action) -> list[Action]:
        said = sent(action)
        if not isinstance(said, DisputeStatement) or said.member != owners[0] or rank != owners[0]:
            return [action]
        receiver = driver.cohort.rank_of(action.receiver)
        if receiver in few:
            other = replaced(said, sketch=bytes(8) + said.sketch[8:])
            other = other.signed(driver.speaking.sign(b"statement", other.digest()))
            driver.at(2.9 * PATIENCE.sums_s, lambda: driver.deliver(rank, receiver, other))
        return [action]

    lies, rewrite = dict.fromkeys(owners, false_sum), {owners[0]: second}
    driver = GroupDriver(cohort, people, SEED, lies=lies, rewrite=rewrite).run()
    for rank in [rank for rank in range(N) if rank not in owners]:
        named = {
            (driver.cohort.members.index(blame.member), blame.fault)
            for blame in driver.machines[rank].blames
        }
        assert (owners[0], "false_statement") in named
        for blame in driver.machines[rank].blames:
            if blame.fault != "false_sum":
                verify_blame(driver.cohort, blame)
