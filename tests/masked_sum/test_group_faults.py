# mypy: disable-error-code="no-any-return"
"""Faults and liars in a group's session: all honest members have the same sums, or none has any."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from group_driver import GroupDriver, make_epoch
from session_driver import Rewrite, SessionDriver

from p2pfl_crypto.transcripts import sum_digest
from p2pfl_gossip.actions import Action, Job, LocalProtocolError, Persist, Send, SendBulk, Work
from p2pfl_gossip.masked_sum.blame import verify_blame
from p2pfl_gossip.masked_sum.cohort import RefusedCohort
from p2pfl_gossip.masked_sum.epoch_cohort import EpochCohort
from p2pfl_gossip.masked_sum.jobs import ChunkSum, Granted, Spend, Unmask
from p2pfl_gossip.masked_sum.journal import Step, read_record
from p2pfl_gossip.masked_sum.messages import (
    Ballot,
    ChunkHeader,
    Fetch,
    Manifest,
    Proposal,
    SumDigest,
    SumHeader,
    Wanted,
)
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.records import Record

replace: Callable[..., Any] = msgspec.structs.replace


def owners(driver: GroupDriver, chunk: int = 0) -> tuple[int, ...]:
    """The owners of a chunk, where all are in U2."""
    return driver.cohort.owners_of(chunk, tuple(range(driver.cohort.size)))


def chunk_owned_by_no_leader(driver: GroupDriver) -> int:
    """A chunk whose owners do not lead first, so that a session without them takes no longer."""
    leader = driver.cohort.leader(0)
    return next(c for c in range(driver.cohort.chunk_count) if leader not in owners(driver, c))


def check(driver: GroupDriver) -> dict[int, Any]:
    """What must hold whatever was done; the sums of the honest."""
    driver.check_safety()
    for machine in driver.machines.values():
        for blame in machine.blames:
            if blame.fault not in ("false_sum", "corrupt_reveal", "bad_dealing"):
                verify_blame(driver.cohort, blame)
    return {r: it for r, it in driver.check_exact().items() if r not in driver.rewrite}


class Sent:
    """Notes when something is sent for the first time, by kind."""

    def __init__(self) -> None:
        self.at_s: dict[type, float] = {}
        self.turns: dict[type, int] = {}
        self.ballots: dict[int, float] = {}  # By leader.

    def __call__(self, driver: SessionDriver, rank: int, action: Action) -> bool:
        if isinstance(action, Send) and isinstance(action.message, Ballot):
            self.ballots.setdefault(rank, driver.now_s)
        if isinstance(action, Send) and type(action.message) not in self.at_s:
            self.at_s[type(action.message)] = driver.now_s
            self.turns[type(action.message)] = getattr(action.message, "turn", 0)
        return False


# Who leads


def test_leaders_that_are_not_listed_have_no_turn() -> None:
    cohort, people = make_epoch(7, 30)
    listed = tuple(rank for rank in range(7) if rank not in cohort.leaders[:2])
    sent = Sent()
    driver = GroupDriver(cohort, people, 1, listed=listed, before=sent).run()
    assert sorted(check(driver)) == list(listed)
    assert sent.turns[Proposal] == sent.turns[Ballot] == 2
    assert sent.at_s[Ballot] < cohort.patience.gather_s


def test_a_leader_that_went_after_its_list_is_passed_over_at_once() -> None:
    cohort, people = make_epoch(7, 30)
    sent = Sent()
    leader = cohort.leader(0)
    driver = GroupDriver(cohort, people, 1, before=sent, tells_down=True)
    driver.at(0.25, lambda: driver.crash(leader))
    driver.is_lost = lambda sender: sender == leader  # type: ignore[method-assign]
    driver.run()
    assert len(check(driver)) == 6
    assert sent.turns[Proposal] == sent.turns[Ballot] == 1
    assert sent.at_s[Ballot] < cohort.patience.gather_s


@pytest.mark.parametrize("phase", [Phase.CHUNK, Phase.VOTE])
def test_a_leader_that_goes_before_its_ballot_is_passed_over_at_once(phase: Phase) -> None:
    cohort, people = make_epoch(7, 30)
    sent = Sent()
    leader = cohort.leader(0)

    def crash(driver: SessionDriver, rank: int, action: Action) -> bool:
        sent(driver, rank, action)
        if rank != leader or driver.machines[rank].phase < phase:
            return False
        return phase == Phase.CHUNK or isinstance(getattr(action, "message", None), Ballot)

    driver = GroupDriver(cohort, people, 1, before=crash, tells_down=True).run()
    assert len(check(driver)) == 6
    ballots = {it.turn for rank, it in driver.said if isinstance(it, Ballot) and rank != leader}
    assert ballots == {1}
    first_s = min(at_s for rank, at_s in sent.ballots.items() if rank != leader)
    assert first_s < cohort.patience.gather_s + (phase == Phase.CHUNK) * cohort.patience.chunks_s


def test_a_turn_that_was_waited_out_is_followed_by_that_of_a_member_that_is_listed() -> None:
    cohort, people = make_epoch(7, 30)
    sent, mute, unlisted = Sent(), cohort.leader(0), cohort.leader(1)
    listed = tuple(rank for rank in range(7) if rank != unlisted)
    rewrite = {mute: without(Ballot)}
    driver = GroupDriver(cohort, people, 1, before=sent, listed=listed, rewrite=rewrite).run()
    assert len(check(driver)) == 5
    patience = cohort.patience
    first_turn_s = patience.chunks_s + 2 * patience.gather_s + patience.takeover_s
    assert sent.turns[Ballot] == 2
    assert first_turn_s < sent.at_s[Ballot] < first_turn_s + patience.takeover_s


def test_the_leader_of_the_list_leads_on() -> None:
    cohort, people = make_epoch(7, 30)
    sent = Sent()
    driver = GroupDriver(cohort, people, 1, before=sent, turn=3).run()
    assert len(check(driver)) == 7
    assert sent.turns[Proposal] == sent.turns[Ballot] == 3


def test_after_m_plus_one_leaders_that_had_their_time_it_is_over() -> None:
    """Of seven that may lead: all links are up, and nobody proposes anything."""
    cohort, people = make_epoch(7, 30)
    assert cohort.leader_turns_max == 7
    mute = {rank: without(Proposal) for rank in range(7)}
    patience = cohort.patience
    turns_s = patience.gather_s + (cohort.liars_max + 1) * patience.takeover_s
    driver = GroupDriver(cohort, people, 1, rewrite=mute).run(until_s=turns_s + 1)
    assert driver.reasons() == dict.fromkeys(range(7), "no_agreement")
    assert {it.turns_ended for it in (m._core for m in driver.machines.values())} == {3}
    assert cohort.liars_max == 2


def without(*kinds: type) -> Rewrite:
    """A member that never sends some kinds of messages or bodies."""

    def rewrite(_driver: SessionDriver, _rank: int, action: Action) -> list[Action]:
        said = action.message if isinstance(action, Send) else None
        if isinstance(action, SendBulk):
            said = action.header
        return [] if isinstance(said, kinds) else [action]

    return rewrite


def not_to(peer: Any, *kinds: type) -> Rewrite:
    """A member that sends some kinds of messages and bodies to all but one."""
    silent = without(*kinds)

    def rewrite(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        is_his = isinstance(action, Send | SendBulk) and action.receiver == peer
        return silent(driver, rank, action) if is_his else [action]

    return rewrite


# Whether the vector may be spent


class Order:
    """Notes a member's asking, its record and its first chunk, in order."""

    def __init__(self, rank: int) -> None:
        self.rank, self.seen = rank, list[str]()

    def __call__(self, _driver: SessionDriver, rank: int, action: Action) -> bool:
        if rank == self.rank:
            match action:
                case Work(job=Spend(epoch=2, round=7)):
                    self.seen.append("asks")
                case Persist(records=records):
                    (stored,) = records.values()
                    assert isinstance(stored, bytes)
                    if read_record(stored).step == Step.SPENT:
                        self.seen.append("records")
                case SendBulk(header=ChunkHeader()) if "sends" not in self.seen:
                    self.seen.append("sends")
        return False


def test_a_vector_is_asked_for_then_recorded_then_sent() -> None:
    cohort, people = make_epoch(5, 30)
    order = Order(1)
    driver = GroupDriver(cohort, people, 1, before=order).run()
    assert order.seen == ["asks", "records", "sends"]
    assert all(machine.is_spent for machine in driver.machines.values())


def not_granted(job: Job, result: Record) -> Record:
    """What says no, some day: any end of the job but the one that allows it."""
    return ChunkSum(0, np.zeros(0, np.uint32), b"") if isinstance(job, Spend) else result


def test_a_vector_that_may_not_be_spent_stays_here_and_the_others_have_their_sums() -> None:
    cohort, people = make_epoch(6, 30)
    order = Order(1)
    driver = GroupDriver(cohort, people, 1, before=order, lies={1: not_granted}).run()
    assert order.seen == ["asks"]
    refused = driver.aborted()
    assert {rank: it.reason for rank, it in refused.items()} == {1: "not_granted"}
    assert not refused[1].is_spent
    assert not any(isinstance(it, Manifest) and it.member == 1 for _, it in driver.said)
    sums = check(driver)
    assert sorted(sums) == [0, 2, 3, 4, 5]
    assert {it.members for it in sums.values()} == {(0, 2, 3, 4, 5)}


def test_an_asking_that_fails_is_no_grant() -> None:
    cohort, people = make_epoch(6, 30)
    driver = GroupDriver(cohort, people, 1)

    def work(rank: int, action: Action) -> None:
        if rank == 1 and isinstance(action, Work) and isinstance(action.job, Spend):
            desk = driver.desks[1]
            driver.at(
                0.01,
                lambda: driver.feed(
                    1, lambda _machine: desk.on_work_failed(driver.now_s, action.ticket, "none")
                ),
            )
            return
        perform(rank, action)

    perform, driver.perform = driver.perform, work  # type: ignore[method-assign]
    driver.run()
    assert driver.reasons() == {1: "not_granted"}
    assert len(check(driver)) == 5


def test_a_grant_that_comes_after_the_vote_spends_nothing() -> None:
    cohort, people = make_epoch(6, 30)
    driver = GroupDriver(cohort, people, 1)
    asked = []

    def work(rank: int, action: Action) -> None:
        if rank == 1 and isinstance(action, Work) and isinstance(action.job, Spend):
            asked.append(action.ticket)
        else:
            perform(rank, action)

    perform, driver.perform = driver.perform, work  # type: ignore[method-assign]
    driver.run(until_s=30.0)
    machine = driver.machines[1]
    assert machine.phase == Phase.DONE
    driver.feed(1, lambda _m: driver.desks[1].on_work_done(driver.now_s, asked[0], Granted()))
    assert not machine.is_spent
    assert 1 not in machine.outcome.members
    assert len(check(driver)) == 6


def test_who_has_nothing_to_put_in_helps_and_is_not_in_the_sums() -> None:
    cohort, people = make_epoch(6, 30)
    driver = GroupDriver(cohort, people, 1, without_delta=(4,)).run()
    sums = check(driver)
    assert sorted(sums) == [0, 1, 2, 3, 4, 5]
    assert {it.members for it in sums.values()} == {(0, 1, 2, 3, 5)}
    assert not driver.machines[4].is_spent
    assert not any(rank == 4 for rank, _ in driver.masked)


def test_a_restarted_member_is_silent_in_the_session() -> None:
    cohort, people = make_epoch(6, 30)
    crashed: list[int] = []

    def crash(driver: SessionDriver, rank: int, action: Action) -> bool:
        if rank != 1 or crashed or not isinstance(action, SendBulk):
            return False
        crashed.append(rank)
        driver.at(0.5, lambda: driver.restart(1))
        return True

    driver = GroupDriver(cohort, people, 1, after=crash).run()
    assert driver.reasons() == {1: "replayed"}
    assert len(check(driver)) == 5


# Owners that fail


def silent_owner(driver: SessionDriver, _rank: int, action: Action) -> list[Action]:
    """Gives the others' chunks and its own, but never a sum."""
    return without(SumDigest, SumHeader)(driver, _rank, action)


@pytest.mark.parametrize("n", [5, 7, 10, 16])
def test_two_owners_that_give_no_sum_cost_no_round(n: int) -> None:
    cohort, people = make_epoch(n, 3 * n)
    driver = GroupDriver(cohort, people, n)
    chunk = chunk_owned_by_no_leader(driver)
    liars = owners(driver, chunk)
    if len(liars) > cohort.liars_max:  # Two of five are honest, and stay silent all the same.
        assert n == 5
    driver = GroupDriver(cohort, people, n, rewrite=dict.fromkeys(liars, silent_owner))
    sums = check(driver.run(until_s=60.0))
    assert sorted(sums) == sorted(set(range(n)) - set(liars))
    for rank in sums:
        signers = driver.machines[rank]._summing.digests_of(chunk)
        assert len(signers) > cohort.liars_max
        assert not any(said.member in liars for said in signers)
    if n > 7:  # The others believe m + 1 of them, and need not work it out themselves.
        worked = [rank for rank in sums if chunk in driver.machines[rank]._summing._own]
        assert len(worked) == cohort.liars_max + 1


def test_deputies_that_own_nothing_ask_for_the_shares() -> None:
    """The first m + 1 deputies of the last chunk own none, so nobody reveals to them unasked."""
    cohort, people = make_epoch(16, 24)
    chunk = cohort.chunk_count - 1
    everybody = tuple(range(16))
    ring = cohort.ring_of(chunk, everybody)
    liars, deputies = ring[:2], ring[2 : 3 + cohort.liars_max]
    assert not any(cohort.owned_by(rank, everybody) for rank in deputies)
    driver = GroupDriver(cohort, people, 2, rewrite=dict.fromkeys(liars, silent_owner))
    driver.run(until_s=1.8 * cohort.patience.sums_s)
    sums = check(driver)
    assert len(sums) == 14
    worked = [rank for rank in sums if chunk in driver.machines[rank]._summing._own]
    assert sorted(worked) == sorted(deputies)


@pytest.mark.parametrize("seed", range(4))
def test_an_owner_that_dies_after_the_vote_costs_no_time(seed: int) -> None:
    """Who hears of it steps in, and confirms what the other owner finds."""
    cohort, people = make_epoch(8, 24)
    driver = GroupDriver(cohort, people, seed)
    victim = owners(driver, chunk_owned_by_no_leader(driver))[0]

    def crash(driver: SessionDriver, rank: int, _action: Action) -> bool:
        return rank == victim and driver.machines[rank].phase == Phase.REVEAL

    driver = GroupDriver(cohort, people, seed, before=crash, tells_down=True)
    driver.run(until_s=cohort.patience.sums_s)
    assert len(check(driver)) == 7


def test_an_owner_that_dies_before_it_tells_its_sum_costs_no_time() -> None:
    """Also where all others have told theirs."""
    cohort, people = make_epoch(8, 24)
    driver = GroupDriver(cohort, people, 2)
    victim = owners(driver, chunk_owned_by_no_leader(driver))[0]

    def stop(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
        """Say no sum, and be gone when the others have said theirs."""
        left = silent_owner(driver, rank, action)
        if not left:
            driver.at(1.0, lambda: driver.crash(victim))
        return left

    driver = GroupDriver(cohort, people, 2, rewrite={victim: stop}, tells_down=True)
    driver.run(until_s=cohort.patience.sums_s)
    assert len(check(driver)) == 7


def false_sums(driver: SessionDriver, rank: int, action: Action) -> list[Action]:
    """Signs a sum of its own making for each chunk, each time a member another one."""
    said = action.message if isinstance(action, Send) else None
    if isinstance(action, SendBulk):
        said = action.header
    if not isinstance(said, SumDigest | SumHeader) or said.member != rank:
        return [action]
    receiver = driver.cohort.rank_of(action.receiver)  # type: ignore[union-attr]
    words = driver.cohort.body_bytes(said.chunk) // 4
    body = np.full(words, 1000 * rank + (receiver or 0), np.uint32)
    return [_false(driver, rank, action, said, body)]


def _false(driver: SessionDriver, rank: int, action: Any, said: Any, body: Any) -> Any:
    digest = sum_digest(said.ballot, said.chunk, body.data.cast("B"))
    number = said.chunk.to_bytes(8, "little")
    signature = driver.machines[rank]._core.sign(b"sum", said.ballot, number, digest)
    forged = replace(said, digest=digest, signature=signature)
    if isinstance(action, Send):
        return replace(action, message=forged)
    return replace(action, header=forged, parts=(body,))


def test_an_owner_that_signs_another_sum_for_each_member_is_named_by_two_of_them() -> None:
    """With both statements, once members compare by which digests they took their sums."""
    cohort, people = make_epoch(7, 21)
    driver = GroupDriver(cohort, people, 3)
    liar = owners(driver, chunk_owned_by_no_leader(driver))[1]
    driver = GroupDriver(cohort, people, 3, rewrite={liar: false_sums}).run(until_s=30.0)
    assert len(check(driver)) == 6
    for rank, machine in driver.machines.items():
        if rank == liar:
            continue
        for other in driver.machines:
            if other != rank:
                actions = machine.ask_digests(driver.now_s, cohort.members[other])
                driver.feed(rank, lambda _machine, done=actions: done)  # type: ignore[misc]
    driver.run_rest(until_s=31.0)
    for rank, machine in driver.machines.items():
        if rank == liar:
            continue
        (named,) = [it for it in machine.blames if it.fault == "two_sums"]
        assert named.member == cohort.members[liar]
        assert len(named.evidence) == 2
        verify_blame(cohort, named)


def test_owners_that_die_with_what_they_put_in_lose_the_round() -> None:
    """Nobody else holds what they put into the chunk that both own."""
    cohort, people = make_epoch(8, 24)
    driver = GroupDriver(cohort, people, 2)
    victims = owners(driver, chunk_owned_by_no_leader(driver))

    def crash(driver: SessionDriver, rank: int, _action: Action) -> bool:
        return rank in victims and driver.machines[rank].phase == Phase.REVEAL

    driver = GroupDriver(cohort, people, 2, before=crash, tells_down=True).run()
    assert driver.has_lost_parts()
    ended = driver.aborted()
    assert len(ended) == 6
    for aborted in ended.values():
        assert (aborted.reason, aborted.phase, aborted.is_spent) == ("sums_missing", "REVEAL", True)
    assert driver.now_s >= cohort.patience.session_s  # They were asked for until its time was up.


def test_owners_that_die_before_the_ballot_leave_a_chunk_void_for_all() -> None:
    cohort, people = make_epoch(8, 24)
    driver = GroupDriver(cohort, people, 2)
    chunk = chunk_owned_by_no_leader(driver)
    victims = owners(driver, chunk)

    def crash(_driver: SessionDriver, rank: int, action: Action) -> bool:
        is_told = isinstance(action, Send) and isinstance(action.message, Manifest)
        return rank in victims and is_told

    driver = GroupDriver(cohort, people, 2, before=crash, tells_down=True).run()
    sums = check(driver)
    assert len(sums) == 6
    for it in sums.values():
        assert [number for number, one in enumerate(it.chunks) if one is None] == [chunk]


def test_two_owners_that_take_turns_to_be_neighbours() -> None:
    """The ring is another one in each round: no two members own a chunk together in all."""
    together = []
    for round_ in range(40):
        cohort, _ = make_epoch(16, 64, round=round_)
        everybody = tuple(range(16))
        assert sorted(cohort.ring(everybody)) == list(everybody)
        pairs = [set(cohort.owners_of(chunk, everybody)) for chunk in range(16)]
        together.append({3, 9} in pairs)
    assert 1 <= sum(together) <= 12  # 2 of 15, as a rule.


# Who gives sums


def test_who_hears_of_a_chunk_from_no_owner_gets_its_sum_from_others() -> None:
    """Its links to both owners are cut from the vote on; no deputy speaks in this seed."""
    cohort, people = make_epoch(8, 24)
    driver = GroupDriver(cohort, people, 1)
    chunk = chunk_owned_by_no_leader(driver)
    cut = owners(driver, chunk)
    lonely = next(rank for rank in range(8) if rank not in cut and rank != cohort.leader(0))

    silent = not_to(cohort.members[lonely], SumDigest, SumHeader)
    driver = GroupDriver(cohort, people, 1, rewrite=dict.fromkeys(cut, silent)).run()
    check(driver)
    assert len(driver.summed()) == 8
    signers = [it.member for it in driver.machines[lonely]._summing.digests_of(chunk)]
    assert sorted(signers) == sorted(cut)  # The owners' own words, brought by others.


@pytest.mark.parametrize("what", ["digest", "signature", "body"])
def test_sums_that_others_bring_are_held_against_their_signers(what: str) -> None:
    cohort, people = make_epoch(6, 24)
    cut = {rank: not_to(cohort.members[1], SumDigest, SumHeader) for rank in range(6) if rank != 1}
    driver = GroupDriver(cohort, people, 4, rewrite=cut).run(until_s=3.0)
    giver, taker = driver.machines[0], driver.machines[1]
    assert taker.phase == Phase.REVEAL
    chunk = next(
        number
        for number in range(cohort.chunk_count)
        if not {0, 1} & set(owners(driver, number)) and number not in taker._summing.sums
    )
    have, said = giver._summing.sums[chunk], giver._summing.digests_of(chunk)[0]
    header = SumHeader(said.session, said.ballot, said.member, chunk, said.digest, said.signature)
    body, now_s = have.body, driver.now_s
    if what == "body":
        body = body ^ 1
    elif what == "digest":
        header = replace(header, digest=bytes(32))
    else:
        header = replace(header, signature=bytes(64))
    before = len(driver.disconnects)
    driver.deliver_body(
        0,
        SendBulk(cohort.members[1], header, (body,), body.nbytes),
        lambda *_: None,
    )
    driver.run_rest(until_s=now_s + 1)
    assert chunk not in taker._summing.sums
    if what == "body":
        assert driver.disconnects[before:] == [(1, "digest_mismatch")]
    else:
        assert driver.refusals[-1] == (1, 0, "bad_signature")


def test_what_is_asked_for_too_often_is_given_twice() -> None:
    cohort, people = make_epoch(6, 24)
    driver = GroupDriver(cohort, people, 4).run(until_s=30.0)
    for what in (Wanted.SUM, Wanted.SUM_DIGESTS):
        given = []
        for _ in range(3):
            fetch = Fetch(cohort.session, what, 3)
            actions = driver.machines[0].on_message(driver.now_s, cohort.members[5], fetch)
            given.append(len(actions))
        assert given[0] == given[1] > given[2] == 0
    nothing = Fetch(cohort.session, Wanted.SUM_DIGESTS, cohort.chunk_count)
    assert driver.machines[0].on_message(driver.now_s, cohort.members[5], nothing) == []


# What a session is made of


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"round": -1}, "round and epoch"),
        ({"epoch": 2**63}, "round and epoch"),
        ({"charter": b"short"}, "digest has 32 bytes"),
        ({"weights": (1.0,) * 5}, "5 weights of 6"),
        ({"weights": (1.0,) * 5 + (0.0,)}, "a weight is positive"),
        ({"weights": (1.0,) * 5 + (float("inf"),)}, "a weight is positive"),
        ({"leaders": ()}, "leaders are ranks"),
        ({"leaders": (1, 1)}, "leaders are ranks"),
        ({"leaders": (6,)}, "leaders are ranks"),
        ({"leaders": (-1,)}, "leaders are ranks"),
        ({"clip": 0.0}, "clip is positive"),
    ],
)
def test_members_of_an_epoch_that_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(RefusedCohort, match=why):
        make_epoch(6, 10, **changes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"dealers": (1, 0, 2, 3, 4, 5)}, "ascending"),
        ({"dealers": (0, 2, 3, 4, 5)}, "with our own"),
        ({"dealers": (0, 1, 2, 3)}, "4 dealers"),
        ({"dealers": (0, 1, 2, 3, 4, 6)}, "6 dealers"),
        ({"turn": 6}, "turn 6"),
        ({"turn": -1}, "turn -1"),
        ({"share_keys": dict.fromkeys(range(6), bytes(32))}, "our own keys"),
    ],
)
def test_keys_that_are_refused(changes: dict[str, Any], why: str) -> None:
    cohort, people = make_epoch(6, 10)
    driver = GroupDriver(cohort, people, 1)
    gathered = replace(driver.gathered(1), **changes)
    driver.gathered = lambda rank: gathered  # type: ignore[method-assign]  # noqa: ARG005
    with pytest.raises(LocalProtocolError, match=why):
        driver.start(1)


def test_weights_are_summed_to_the_last_bit_in_any_order() -> None:
    weights = (1e16, 1.0, 1.0, 3.0, 7.0, 1e-3)
    cohort: EpochCohort = make_epoch(6, 10, weights=weights)[0]
    assert cohort.weight_of((0, 1, 2)) == cohort.weight_of((2, 1, 0)) == 1e16 + 2
    assert cohort.deltas.weight_max == 1e16


def test_sums_are_worked_out_by_jobs_of_their_own_sizes() -> None:
    """No weight travels: a body has as many words as its chunk has entries."""
    cohort, people = make_epoch(5, 23)
    jobs: list[Unmask] = []

    def note(_driver: SessionDriver, _rank: int, action: Action) -> bool:
        if isinstance(action, Work) and isinstance(action.job, Unmask):
            jobs.append(action.job)
        return False

    GroupDriver(cohort, people, 1, before=note).run()
    assert len(jobs) == 2 * cohort.chunk_count
    for job in jobs:
        entries = cohort.entries_of(job.chunk)
        assert {len(body) for body in job.bodies} == {entries.stop - entries.start}


# Who does not know yet that a leader is dead


@pytest.mark.parametrize("dying", [Phase.DEAL, Phase.AGREE, Phase.CHUNK])
@pytest.mark.parametrize("told", [1, 3, 5])
@pytest.mark.parametrize("n", [6, 8])
def test_members_a_turn_apart_come_to_one_sum(n: int, told: int, dying: Phase) -> None:
    """Some know at once that the leader is dead; the others wait for it, and are a turn behind."""
    cohort, people = make_epoch(n, 30)
    leader = cohort.leader(0)

    def crash(driver: SessionDriver, rank: int, _action: Action) -> bool:
        is_now = rank == leader and driver.machines[rank].phase >= dying
        if is_now and leader not in driver.dead:
            peer = cohort.members[leader]
            for other in [it for it in range(n) if it != leader][:told]:
                driver.feed(other, lambda machine: machine.on_peer_down(driver.now_s, peer))
        return is_now

    driver = GroupDriver(cohort, people, 1, before=crash)
    driver.run()
    assert len(check(driver)) == n - 1
