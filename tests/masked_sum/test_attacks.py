# mypy: disable-error-code="no-any-return"
"""Liars against a session: each attack must fail, and name its author where there is proof.

Several of these worked against an earlier draft of the protocol. A liar is an honest machine whose
outgoing messages, or the results of whose jobs, are rewritten and signed anew.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from session_driver import Rewrite, SessionDriver, make_cohort

from p2pfl_crypto.transcripts import chunk_digest, share_digest, sum_digest, tau1_of
from p2pfl_gossip.actions import Action, Job, Send, SendBulk
from p2pfl_gossip.masked_sum.blame import Unproven, verify_bad_dealing, verify_blame
from p2pfl_gossip.masked_sum.jobs import Deal, Dealt, MaskChunk, MaskedChunk, Rebuild, perform
from p2pfl_gossip.masked_sum.machine import Summed
from p2pfl_gossip.masked_sum.messages import (
    Ack,
    Advert,
    AdvertList,
    Ballot,
    ChunkHeader,
    Fetch,
    Header,
    Proposal,
    Receipt,
    Reveal,
    Share,
    SumDigest,
    SumHeader,
    Vote,
)
from p2pfl_gossip.records import Record

replace: Callable[..., Any] = msgspec.structs.replace


def le32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def le64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def sent(kind: type, change: Callable[[SessionDriver, int, int, Any], Any]) -> Rewrite:
    """A liar that changes each message of a kind: change(driver, liar, receiver, message)."""

    def rewrite(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        if not isinstance(action, Send) or not isinstance(action.message, kind):
            return [action]
        receiver = driver.cohort.rank_of(action.receiver)
        assert receiver is not None
        message = change(driver, rank, receiver, action.message)
        return [] if message is None else [replace(action, message=message)]

    return rewrite


def signed(driver: SessionDriver, rank: int, kind: bytes, *body: bytes) -> bytes:
    return driver.machines[rank]._core.sign(kind, *body)


def without(driver: SessionDriver, bitmap: bytes, digests: bytes, rank: int) -> tuple[bytes, bytes]:
    """A set without one member, and its list of digests."""
    ranks = driver.cohort.unpack(bitmap)
    assert ranks is not None
    place = ranks.index(rank)
    left = driver.cohort.pack(r for r in ranks if r != rank)
    return left, digests[: 32 * place] + digests[32 * place + 32 :]


def other_proposal(driver: SessionDriver, rank: int, message: Proposal, drop: int) -> Proposal:
    members, digests = without(driver, message.members, message.header_digests, drop)
    changed = replace(message, members=members, header_digests=digests)
    signature = signed(driver, rank, b"proposal", le32(message.turn), changed.tau2())
    return replace(changed, signature=signature)


UNPROVABLE = ("false_sum", "corrupt_reveal", "bad_dealing")


def check(driver: SessionDriver) -> dict[int, Summed]:
    driver.check_safety()
    for rank, machine in driver.machines.items():
        if rank not in driver.rewrite and machine.outcome is not None:
            for blame in machine.outcome.blames:
                if blame.fault not in UNPROVABLE:
                    verify_blame(driver.cohort, blame)
    return {
        rank: outcome
        for rank, outcome in driver.check_exact().items()
        if rank not in driver.rewrite
    }


# What a leader may try


@pytest.mark.parametrize("has_colluder", [False, True])
def test_a_leader_that_shows_a_victim_another_u2_does_not_get_its_chunks(
    has_colluder: bool,
) -> None:
    cohort, people = make_cohort(8, 40)
    leader = cohort.leader(0)
    victim, dropped, colluder = [(leader + k) % 8 for k in (1, 2, 3)]
    shown: list[bytes] = []

    def lie(driver: SessionDriver, rank: int, receiver: int, message: Proposal) -> Proposal:
        if receiver != victim:
            return message
        changed = other_proposal(driver, rank, message, dropped)
        shown.append(changed.tau2())
        return changed

    def agree(driver: SessionDriver, rank: int, receiver: int, message: Ack) -> Ack:
        if receiver != victim or not shown:
            return message
        return Ack(message.session, rank, shown[0], signed(driver, rank, b"ack", shown[0]))

    rewrite = {leader: sent(Proposal, lie)}
    if has_colluder:
        rewrite[colluder] = sent(Ack, agree)
    driver = SessionDriver(cohort, people, 1, rewrite=rewrite).run()
    outcomes = check(driver)
    assert shown
    assert not any(
        isinstance(message, ChunkHeader) and message.tau2 == shown[0] for _, message in driver.said
    )
    assert victim not in outcomes or outcomes[victim].members == outcomes[dropped].members


def test_a_list_of_few_adverts_lowers_no_threshold() -> None:
    cohort, people = make_cohort(16, 40)
    leader = cohort.leader(0)

    def bundle(driver: SessionDriver, rank: int, _receiver: int, message: AdvertList) -> AdvertList:
        ranks = [rank, *(r for r in range(16) if r != rank)][:7]
        digests = [next(iter(driver.machines[rank]._advertising._known[r])) for r in sorted(ranks)]
        members = cohort.pack(ranks)
        tau1 = tau1_of(message.session, members, digests)
        signature = signed(driver, rank, b"adverts", le32(message.turn), tau1)
        return AdvertList(message.session, message.turn, members, b"".join(digests), signature)

    driver = SessionDriver(cohort, people, 1, rewrite={leader: sent(AdvertList, bundle)}).run()
    assert {reason for _, _, reason in driver.refusals} == {"too_few_adverts"}
    assert (cohort.threshold, cohort.liars_max) == (11, 5)
    outcomes = check(driver)
    assert len(outcomes) == 15  # The next leader's list is followed.


@pytest.mark.parametrize("n", [7, 8, 11])
def test_a_leader_that_proposes_two_u3_gets_one_certificate_at_most(n: int) -> None:
    cohort, people = make_cohort(n, 40)
    leader = cohort.leader(0)

    def lie(driver: SessionDriver, rank: int, receiver: int, message: Ballot) -> Ballot:
        if receiver % 2:
            return message
        members, digests = without(
            driver, message.members, message.manifest_digests, (leader + 2) % n
        )
        changed = replace(message, members=members, manifest_digests=digests)
        signature = signed(driver, rank, b"ballot", le32(message.turn), changed.digest())
        return replace(changed, signature=signature)

    driver = SessionDriver(cohort, people, 2, rewrite={leader: sent(Ballot, lie)}).run()
    check(driver)  # Among other things: the honest revealed for one ballot only.
    assert "two_ballots" in driver.blamed()[leader]


@pytest.mark.parametrize("acknowledges_it", [False, True])
def test_a_proposal_that_nobody_can_follow_costs_one_turn(acknowledges_it: bool) -> None:
    """A lying leader names a header that there is none of; the next one does not repeat it."""
    cohort, people = make_cohort(8, 40)
    leader = cohort.leader(0)
    bogus: list[bytes] = []

    def lie(driver: SessionDriver, rank: int, _receiver: int, message: Proposal) -> Proposal:
        changed = replace(message, header_digests=bytes(32) + message.header_digests[32:])
        bogus.append(changed.tau2())
        signature = signed(driver, rank, b"proposal", le32(message.turn), changed.tau2())
        return replace(changed, signature=signature)

    def acknowledge(driver: SessionDriver, rank: int, _receiver: int, message: Ack) -> Ack | None:
        if not acknowledges_it:
            return None
        return replace(message, tau2=bogus[0], signature=signed(driver, rank, b"ack", bogus[0]))

    def both(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        (action,) = sent(Proposal, lie)(driver, rank, action)
        return sent(Ack, acknowledge)(driver, rank, action)

    driver = SessionDriver(cohort, people, 1, rewrite={leader: both}).run()
    assert len(check(driver)) == 7


@pytest.mark.parametrize("votes_for_it", [False, True])
def test_a_ballot_that_nobody_can_check_costs_one_turn(votes_for_it: bool) -> None:
    """A lying leader names a manifest that there is none of; the next one does not repeat it."""
    cohort, people = make_cohort(8, 40)
    leader = cohort.leader(0)
    bogus: list[bytes] = []

    def lie(driver: SessionDriver, rank: int, _receiver: int, message: Ballot) -> Ballot:
        digests = bytes(32) + message.manifest_digests[32:]
        changed = replace(message, manifest_digests=digests)
        bogus.append(changed.digest())
        signature = signed(driver, rank, b"ballot", le32(message.turn), changed.digest())
        return replace(changed, signature=signature)

    def vote(driver: SessionDriver, rank: int, _receiver: int, message: Vote) -> Vote | None:
        if not votes_for_it:
            return None
        signature = signed(driver, rank, b"vote", bogus[0])
        return replace(message, ballot=bogus[0], signature=signature)

    def both(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        (action,) = sent(Ballot, lie)(driver, rank, action)
        return sent(Vote, vote)(driver, rank, action)

    driver = SessionDriver(cohort, people, 1, rewrite={leader: both}).run()
    assert len(check(driver)) == 7


def test_a_leader_that_shows_two_lists_to_two_halves_is_named_and_nothing_leaks() -> None:
    cohort, people = make_cohort(8, 40)
    leader = cohort.leader(0)

    def lie(driver: SessionDriver, rank: int, receiver: int, message: AdvertList) -> AdvertList:
        if receiver % 2:
            return message
        drop = next(r for r in (1, 3, 5) if r != leader)
        members, digests = without(driver, message.members, message.digests, drop)
        split = [digests[k : k + 32] for k in range(0, len(digests), 32)]
        tau1 = tau1_of(message.session, members, split)
        signature = signed(driver, rank, b"adverts", le32(message.turn), tau1)
        return replace(message, members=members, digests=digests, signature=signature)

    driver = SessionDriver(cohort, people, 2, rewrite={leader: sent(AdvertList, lie)}).run()
    assert check(driver) == {}
    assert "two_lists" in driver.blamed()[leader]
    assert not any(isinstance(message, ChunkHeader) for _, message in driver.said)


def test_a_leader_that_says_nothing_is_replaced() -> None:
    cohort, people = make_cohort(8, 40)
    leader = cohort.leader(0)
    mute = {leader: sent((AdvertList, Proposal, Ballot), lambda *_: None)}  # type: ignore[arg-type]
    driver = SessionDriver(cohort, people, 1, rewrite=mute).run()
    assert len(check(driver)) == 7


# What a member may try with keys and shares


@pytest.mark.parametrize(
    "number", [0, 1, 325606250916557431795983626356110631294008115727848805560023387167927233504]
)
def test_a_member_with_a_key_of_low_order_is_left_out_and_named(number: int) -> None:
    cohort, people = make_cohort(8, 40)

    def lie(driver: SessionDriver, rank: int, _receiver: int, message: Advert) -> Advert:
        changed = replace(message, mask_key=number.to_bytes(32, "little"))
        return replace(changed, signature=signed(driver, rank, b"advert", changed.digest()))

    driver = SessionDriver(cohort, people, 1, rewrite={3: sent(Advert, lie)}).run()
    outcomes = check(driver)
    assert len(outcomes) == 7
    assert all(people[3].peer_id not in outcome.members for outcome in outcomes.values())
    assert driver.blamed() == {3: {"bad_keys": None}}


def test_a_key_in_another_spelling_is_refused() -> None:
    cohort, people = make_cohort(8, 40)

    def lie(driver: SessionDriver, rank: int, _receiver: int, message: Advert) -> Advert:
        spelt = (int.from_bytes(message.mask_key, "little") + 2**255).to_bytes(32, "little")
        changed = replace(message, mask_key=spelt)
        return replace(changed, signature=signed(driver, rank, b"advert", changed.digest()))

    driver = SessionDriver(cohort, people, 1, rewrite={3: sent(Advert, lie)}).run()
    assert len(check(driver)) == 7
    assert {(of, reason) for _, of, reason in driver.refusals} >= {(3, "bad_key")}


def test_a_member_that_copies_a_key_takes_part_in_nothing() -> None:
    cohort, people = make_cohort(8, 40)

    def copy(driver: SessionDriver, rank: int, _receiver: int, message: Advert) -> Advert:
        victim = next(iter(driver.machines[5]._advertising._known[5].values()))
        changed = replace(message, mask_key=victim.mask_key, share_key=victim.share_key)
        return replace(changed, signature=signed(driver, rank, b"advert", changed.digest()))

    driver = SessionDriver(cohort, people, 1, rewrite={3: sent(Advert, copy)})
    driver.start(5)
    driver.run()
    outcomes = check(driver)
    # Who copied whom is not to be known, so neither is in the sum.
    assert len(outcomes) >= cohort.threshold
    for outcome in outcomes.values():
        assert people[3].peer_id not in outcome.members
        assert people[5].peer_id not in outcome.members
    assert driver.blamed() == {}


def test_two_adverts_name_their_author_and_the_listed_one_counts() -> None:
    cohort, people = make_cohort(8, 40)

    def lie(driver: SessionDriver, rank: int, receiver: int, message: Advert) -> Advert:
        if receiver not in (0, 1):
            return message
        changed = replace(message, mask_key=(9).to_bytes(32, "little"))
        return replace(changed, signature=signed(driver, rank, b"advert", changed.digest()))

    driver = SessionDriver(cohort, people, 1, rewrite={6: sent(Advert, lie)}).run()
    assert len(check(driver)) == 7
    assert "two_adverts" in driver.blamed()[6]


def test_two_headers_name_their_dealer() -> None:
    cohort, people = make_cohort(8, 40)

    def lie(driver: SessionDriver, rank: int, receiver: int, message: Share) -> Share:
        if receiver != 1:
            return message
        header = replace(message.header, commitments=bytes(32))
        header = replace(header, signature=signed(driver, rank, b"header", header.digest()))
        return replace(message, header=header)

    driver = SessionDriver(cohort, people, 1, rewrite={6: sent(Share, lie)}).run()
    outcomes = check(driver)
    assert len(outcomes) >= cohort.threshold
    assert driver.blamed() == {6: {"two_headers": None}}


def test_a_share_that_does_not_match_its_header_is_refused() -> None:
    cohort, people = make_cohort(8, 40)

    def lie(_driver: SessionDriver, _rank: int, receiver: int, message: Share) -> Share:
        if receiver != 1:
            return message
        return replace(message, sealed=bytes(80))

    driver = SessionDriver(cohort, people, 1, rewrite={6: sent(Share, lie)}).run()
    assert len(check(driver)) == 7
    assert (1, 6, "broken_seal") in driver.refusals


def test_a_dealing_on_no_polynomial_names_its_dealer_and_gives_no_sum() -> None:
    cohort, people = make_cohort(8, 40)

    def lie(job: Job, result: Record) -> Record:
        if not isinstance(job, Deal) or not isinstance(result, Dealt):
            return result
        other = perform(replace(job, entropy=job.entropy[::-1]))
        assert isinstance(other, Dealt)
        # Shares of two polynomials with one secret: odd holders get those of the other.
        places = len(job.members)
        digests = [
            (other if job.members[k % places] % 2 else result).share_digests[32 * k : 32 * k + 32]
            for k in range(2 * places)
        ]
        sealed = {r: (other if r % 2 else result).sealed[r] for r in result.sealed}
        own = (other if job.rank % 2 else result).own_shares
        return replace(result, share_digests=b"".join(digests), sealed=sealed, own_shares=own)

    driver = SessionDriver(cohort, people, 1, lies={2: lie}).run()
    assert check(driver) == {}
    assert driver.blamed() == {2: {"bad_dealing": None}}
    # Anybody can check it: shares that the header commits to, and that give no secret of its.
    outcome = driver.outcome(0)
    assert outcome is not None
    header, *reveals = outcome.blames[0].evidence
    assert isinstance(header, Header)
    verified_dealing(driver, header, reveals)
    honest = driver.machines[0]._sharing.headers[3]
    with pytest.raises(Unproven, match="give the dealer's secret"):
        verified_dealing(driver, honest, reveals)


def verified_dealing(driver: SessionDriver, header: Header, reveals: list[Any]) -> None:
    """Find the dealer's shares of b in reveals of a session of eight that all are in U3."""
    everybody, shares = tuple(range(8)), {}
    for reveal in reveals:
        share = reveal.shares[32 * header.dealer : 32 * header.dealer + 32]
        for holder in everybody:
            digest = share_digest(header.tau1, b"b", header.dealer, holder, share)
            if digest == header.share_digests[32 * holder : 32 * holder + 32]:
                shares[holder] = (share, b"")
    advert = driver.machines[0]._advertising.adverts[header.dealer]
    verify_bad_dealing(driver.cohort, everybody, header, advert, shares)


@pytest.mark.parametrize(
    "share", [bytes(31) + b"\1", b"\xff" * 32], ids=["another number", "no number modulo L"]
)
def test_a_corrupt_reveal_is_dropped_and_the_sum_succeeds(share: bytes) -> None:
    cohort, people = make_cohort(8, 40)

    def lie(_driver: SessionDriver, _rank: int, _receiver: int, message: Reveal) -> Reveal:
        return replace(message, shares=share + message.shares[32:])

    driver = SessionDriver(cohort, people, 1, rewrite={2: sent(Reveal, lie)}).run()
    assert len(check(driver)) == 7
    assert driver.blamed() == {2: {"corrupt_reveal": None}}


def test_corrupt_reveals_of_m_members_cost_one_rebuilding_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each spoils another member's secret; after the first failure all shares are checked."""
    cohort, people = make_cohort(8, 40)
    rebuilt: Counter[int] = Counter()

    def lie(_driver: SessionDriver, rank: int, _receiver: int, message: Reveal) -> Reveal:
        at, shares = 32 * (rank + 1), message.shares
        return replace(message, shares=shares[:at] + b"\1" * 32 + shares[at + 32 :])

    do = SessionDriver.do

    def count(driver: SessionDriver, rank: int, job: Any) -> Any:
        rebuilt[rank] += isinstance(job, Rebuild)
        return do(driver, rank, job)

    monkeypatch.setattr(SessionDriver, "do", count)
    liars = range(cohort.liars_max)
    driver = SessionDriver(cohort, people, 1, rewrite=dict.fromkeys(liars, sent(Reveal, lie))).run()
    assert len(check(driver)) == 8 - len(liars)
    assert max(rebuilt.values()) == 2
    assert all(set(faults) == {"corrupt_reveal"} for faults in driver.blamed().values())
    assert set(driver.blamed()) <= set(liars)


# What a member may try with its chunks


def other_bytes(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
    """Send the backup of each chunk other bytes than the primary, duly signed."""
    if not isinstance(action, SendBulk) or not isinstance(action.header, ChunkHeader):
        return [action]
    header = action.header
    members = driver.machines[rank]._agreement.members
    if driver.cohort.rank_of(action.receiver) == driver.cohort.owners_of(header.chunk, members)[0]:
        return [action]
    if header.member != rank:
        return [action]
    body = np.frombuffer(b"".join(bytes(p) for p in action.parts), "<u4") + np.uint32(1)
    digest = chunk_digest(header.tau2, rank, header.chunk, body.tobytes())
    signature = signed(driver, rank, b"chunk", header.tau2, le64(header.chunk), digest)
    changed = replace(header, digest=digest, signature=signature)
    return [replace(action, header=changed, parts=(body,))]


def test_a_second_version_of_a_chunk_names_its_author_and_is_refused() -> None:
    cohort, people = make_cohort(8, 40)
    driver = SessionDriver(cohort, people, 1, rewrite={4: other_bytes}).run()
    outcomes = check(driver)
    assert len(outcomes) == 7  # Backups take the version of the manifest from the primaries.
    assert all(outcome.kept == {} for outcome in outcomes.values())
    assert driver.blamed() == {4: {"two_versions": None}}
    blame = next(outcome.blames[0] for outcome in outcomes.values() if outcome.blames)
    verify_blame(cohort, blame)
    for false in (
        replace(blame, member=people[3].peer_id),
        replace(blame, evidence=blame.evidence[:1]),
        replace(blame, evidence=(blame.evidence[0], blame.evidence[0])),
    ):
        with pytest.raises(Unproven):
            verify_blame(cohort, false)


@pytest.mark.parametrize("shift", [2**31, 2**30 - 1])
def test_a_sum_that_no_honest_inputs_give_is_refused(shift: int) -> None:
    cohort, people = make_cohort(8, 40)

    def lie(job: Job, result: Record) -> Record:
        if not isinstance(job, MaskChunk) or not isinstance(result, MaskedChunk):
            return result
        body = result.body.copy()
        body[:1] += np.uint32(shift)
        digest = chunk_digest(job.tau2, job.rank, job.chunk, body.tobytes())
        return MaskedChunk(result.chunk, body, digest, 0)

    weights = [10.0] * 8  # The bound is the sum of the encoded weights.
    driver = SessionDriver(cohort, people, 1, lies={4: lie}, weights=weights).run()
    driver.check_safety()
    reasons = {reason for rank, reason in driver.reasons().items() if rank != 4}
    assert driver.summed() == {}
    assert reasons == {"no_sum"}


def test_a_false_chunk_brought_in_anothers_name_does_not_keep_its_own_out() -> None:
    cohort, people = make_cohort(8, 40)
    victim, brought = 6, [0]

    def preempt(_driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        """Beside each chunk of ours, bring its owner a false one of the victim's."""
        if not isinstance(action, SendBulk) or not isinstance(action.header, ChunkHeader):
            return [action]
        if action.header.member != rank:
            return [action]
        brought[0] += 1
        body = np.zeros(action.size_bytes // 4, np.uint32)
        header = action.header
        digest = chunk_digest(header.tau2, victim, header.chunk, body.tobytes())
        false = replace(header, member=victim, digest=digest)
        return [replace(action, header=false, parts=(body,), ticket=None), action]

    driver = SessionDriver(cohort, people, 3, rewrite={4: preempt}).run()
    outcomes = check(driver)
    assert brought[0]
    assert len(outcomes) == 7
    assert all(people[victim].peer_id in outcome.members for outcome in outcomes.values())
    assert driver.blamed() == {}


def test_a_false_chunk_in_the_name_of_the_owner_that_gets_it_names_nobody() -> None:
    """It knows what it said; the signature is not even a good one."""
    cohort, people = make_cohort(8, 40)

    def bring(_driver: SessionDriver, _rank: int, action: Action) -> list[Action]:
        """Beside each chunk of ours, bring its owner a false one of its own."""
        if not isinstance(action, SendBulk) or not isinstance(action.header, ChunkHeader):
            return [action]
        owner = cohort.rank_of(action.receiver)
        false = replace(action.header, member=owner, digest=bytes(32))
        return [replace(action, header=false, ticket=None), action]

    driver = SessionDriver(cohort, people, 3, rewrite={4: bring}).run()
    assert len(check(driver)) == 7
    assert driver.blamed() == {}


# What an owner may try


def false_sums(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
    """Give out another sum than the right one, duly signed."""
    core = driver.machines[rank]._core
    if isinstance(action, SendBulk) and isinstance(action.header, SumHeader):
        header = action.header
        body = np.frombuffer(b"".join(bytes(p) for p in action.parts), "<u4").copy()
        body[:1] += np.uint32(1)
        digest = sum_digest(header.ballot, header.chunk, body.tobytes())
        signature = core.sign(b"sum", header.ballot, le64(header.chunk), digest)
        changed = replace(header, digest=digest, signature=signature)
        return [replace(action, header=changed, parts=(body,))]
    if isinstance(action, Send) and isinstance(action.message, SumDigest):
        said = action.message
        digest = bytes(32)
        signature = core.sign(b"sum", said.ballot, le64(said.chunk), digest)
        return [replace(action, message=replace(said, digest=digest, signature=signature))]
    return [action]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_owner_that_signs_false_sums_is_named_and_believed_by_nobody(seed: int) -> None:
    cohort, people = make_cohort(8, 40)
    driver = SessionDriver(cohort, people, seed, rewrite={4: false_sums}).run()
    outcomes = check(driver)
    assert len(outcomes) == 7
    assert all(outcome.kept == {} for outcome in outcomes.values())
    assert set(driver.blamed()) == {4}
    assert "false_sum" in driver.blamed()[4]


def test_owners_that_say_nothing_are_stood_in_for() -> None:
    cohort, people = make_cohort(8, 40)
    mute = sent(SumDigest, lambda *_: None)

    def silent(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        is_sum = isinstance(action, SendBulk) and isinstance(action.header, SumHeader)
        return [] if is_sum else mute(driver, rank, action)

    driver = SessionDriver(cohort, people, 1, rewrite={4: silent, 1: silent}).run()
    outcomes = check(driver)
    assert len(outcomes) == 6
    assert all(outcome.kept == {} for outcome in outcomes.values())


def test_a_false_not_received_only_excludes() -> None:
    cohort, people = make_cohort(8, 40)

    def lie(driver: SessionDriver, rank: int, _receiver: int, message: Receipt) -> Receipt:
        bitmap = cohort.pack(r for r in range(8) if r != 6)
        bitmaps = bitmap * (len(message.bitmaps) // len(bitmap))
        signature = signed(driver, rank, b"receipt", message.tau2, bitmaps)
        return replace(message, bitmaps=bitmaps, signature=signature)

    driver = SessionDriver(cohort, people, 1, rewrite={4: sent(Receipt, lie)}).run()
    outcomes = check(driver)
    assert len(outcomes) == 7
    assert all(len(outcome.members) >= 7 for outcome in outcomes.values())


# What anybody may try


def test_messages_of_another_session_and_forged_ones_change_nothing() -> None:
    cohort, people = make_cohort(6, 40)
    first = SessionDriver(cohort, people, 1).run()
    old = [(rank, message) for rank, message in first.said if not isinstance(message, Fetch)]
    other, _ = make_cohort(6, 40, round=4)
    driver = SessionDriver(other, people, 2)
    for rank, message in old[::9]:
        if isinstance(message, ChunkHeader | SumHeader):
            continue
        receiver = (rank + 1) % 6
        for again in (message, replace(message, session=other.session)):
            for delay in (0.3, 1.0):
                driver.at(delay, lambda m=again, s=rank, r=receiver: driver.deliver(s, r, m))  # type: ignore[misc]
    driver.run()
    assert len(driver.check_exact()) == 6
    reasons = {reason for _, _, reason in driver.refusals}
    assert "wrong_session" in reasons
    assert "bad_signature" in reasons
    assert driver.blamed() == {}


def test_an_old_ack_does_not_prove_that_its_author_acknowledged_twice() -> None:
    # It did while the session was no part of what is signed: ACKs of two sessions looked alike.
    cohort, people = make_cohort(6, 40)
    first = SessionDriver(cohort, people, 1).run()
    old = next(message for rank, message in first.said if rank == 2 and isinstance(message, Ack))
    other, _ = make_cohort(6, 40, round=4)
    driver = SessionDriver(other, people, 2)
    driver.at(0.3, lambda: driver.deliver(2, 4, replace(old, session=other.session)))
    driver.run()
    assert driver.blamed() == {}
    assert (4, 2, "bad_signature") in driver.refusals or (4, "bad_signature") in driver.disconnects
    assert len(driver.check_exact()) == 6


def test_a_late_chunk_and_replayed_votes_are_refused() -> None:
    cohort, people = make_cohort(6, 40)
    driver = SessionDriver(cohort, people, 1).run()
    headers = [(r, m) for r, m in driver.said if isinstance(m, ChunkHeader)]
    votes = [(r, m) for r, m in driver.said if isinstance(m, Vote)]
    for rank, header in headers:
        for receiver in range(6):
            if receiver != rank:
                machine = driver.machines[receiver]
                assert machine.body_bytes(driver.now_s, cohort.members[rank], header) is None
    before = len(driver.said)
    for rank, vote in votes:
        for receiver in range(6):
            if receiver != rank:
                driver.deliver(rank, receiver, vote)
    driver.run_rest()
    assert len(driver.said) == before


def test_a_chunk_after_its_receipt_is_refused() -> None:
    cohort, people = make_cohort(8, 40)
    held_back: list[tuple[SendBulk, int]] = []

    def late(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        if isinstance(action, SendBulk) and isinstance(action.header, ChunkHeader):
            held_back.append((action, rank))
            driver.at(30.0, lambda: driver.perform(rank, action))
            return []
        return [action]

    driver = SessionDriver(cohort, people, 1, rewrite={5: late}).run()
    outcomes = check(driver)
    assert held_back
    assert len(outcomes) == 7
    assert all(people[5].peer_id not in outcome.members for outcome in outcomes.values())


def test_messages_out_of_turn_are_refused_by_their_bounds() -> None:
    cohort, people = make_cohort(6, 40)
    driver = SessionDriver(cohort, people, 1).run()
    machine = driver.machines[0]
    advert = next(m for r, m in driver.said if isinstance(m, Advert))
    stranger = make_cohort(9, 40)[0].members[8]
    for sender, message, reason in [
        (stranger, advert, "not_in_cohort"),
        (cohort.members[0], advert, "not_in_cohort"),
        (cohort.members[1], replace(advert, session=bytes(32)), "wrong_session"),
    ]:
        with pytest.raises(Exception, match=reason):
            machine.on_message(driver.now_s, sender, message)


def test_an_owner_that_sends_many_versions_of_a_sum_fills_no_memory() -> None:
    cohort, people = make_cohort(8, 40)
    versions = 20

    def flood(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        if not isinstance(action, SendBulk) or not isinstance(action.header, SumHeader):
            return [action]
        header, flooded = action.header, []
        for version in range(versions):
            body = np.full(action.size_bytes // 4, version, np.uint32)
            digest = sum_digest(header.ballot, header.chunk, body.tobytes())
            signature = signed(driver, rank, b"sum", header.ballot, le64(header.chunk), digest)
            changed = replace(header, digest=digest, signature=signature)
            flooded.append(replace(action, header=changed, parts=(body,), ticket=None))
        return [*flooded, action]

    driver = SessionDriver(cohort, people, 1, rewrite={4: flood}).run(until_s=2.0)
    for rank in range(8):
        if rank != 4:
            for bodies in driver.machines[rank]._summing._bodies.values():
                assert len(bodies) <= 2
    driver.run_rest()
    assert len(check(driver)) == 7
    assert "two_sums" in driver.blamed()[4]
