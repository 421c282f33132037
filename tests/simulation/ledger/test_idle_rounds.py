"""Rounds whose every part is out of range: counted, told, ended after a few, and begun again."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from kept_chunks import KeepsChunks
from ledger_world import LedgerWorld, ToyWorker, first_model, identity_of

from p2pfl.cli.peer_running import _ledger_rows
from p2pfl.daemon.config import PeerFolder
from p2pfl.daemon.driver import Driver
from p2pfl.daemon.ledger_standing import idle_warning, ledger_measures, ledger_status
from p2pfl.daemon.sentences import describe
from p2pfl.daemon.service import Service
from p2pfl.store.acts import read_acts
from p2pfl_gossip import events
from p2pfl_gossip.actions import Action, Job
from p2pfl_gossip.ledger.jobs import perform
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import Rest
from p2pfl_gossip.ledger.participation import Cause, all_idle_heights, idle_heights
from p2pfl_gossip.masked_sum.jobs import DigestChunk, Digested, MaskChunk, MaskedChunk
from p2pfl_gossip.records import Record

ANY: Any = None
RETRIES = 2
LIAR = 4


class BentWorker(ToyWorker):
    """Bends each word that the liar masks, as long as `bends`; what it says of them fits."""

    bends = True

    def _do(self, index: int, job: Job) -> Record:
        result = super()._do(index, job)
        if index != LIAR or not self.bends or not isinstance(result, MaskedChunk):
            return result
        assert isinstance(job, MaskChunk)
        body = result.body + np.uint32(2**30)
        body.flags.writeable = False
        digested = perform(DigestChunk(job.tau2, job.rank, job.chunk, body))
        assert isinstance(digested, Digested)
        return MaskedChunk(job.chunk, body, digested.digest, 0)


class BentGroup(LedgerWorld):
    worker: BentWorker

    def make_worker(self) -> BentWorker:
        return BentWorker()


@pytest.fixture
def group() -> BentGroup:
    """The liar is one of little weight: with equal ones, the range of a whole sum is all words."""
    made = BentGroup(5, rounds=5, retries=RETRIES, weights=[1.0, 0.2, 0.2, 0.2, 0.2])
    made.start()
    return made


def spent_of(group: LedgerWorld, index: int) -> list[events.UpdatesSpent]:
    return [it for it in group.watcher.events[index] if isinstance(it, events.UpdatesSpent)]


def test_a_group_rests_after_some_models_that_are_the_one_before_until_operators_say(
    group: BentGroup,
) -> None:
    group.run(500.0)
    tries = 1 + RETRIES
    for index in range(5):
        member = group.member(index)
        assert member.history.height == idle_heights(member.history) == tries
        assert np.array_equal(member.vector, first_model(64))
        assert member.rest == Rest.SPENT
        assert spent_of(group, index) == [events.UpdatesSpent(tries, tries)]
        assert not [it for it in group.watcher.events[index] if isinstance(it, events.MemberBlamed)]
    group.worker.bends = False
    for index in range(4):  # Of five, as many as a list takes.
        assert group.member(index).may_be_allowed_more
        now_s = group.queue.now_s
        group.hosts[index].queue.push(group.member(index).allow_one_more(now_s))
        assert not group.member(index).may_be_allowed_more
    group.run(1000.0)
    assert group.are_finished()
    history = group.member(0).history
    assert (history.height, idle_heights(history), all_idle_heights(history)) == (5, 0, tries)
    assert group.times_in(group.member(0).vector, 4) > 0, "who was not asked is in the next model"


def test_one_more_is_one_more(group: BentGroup) -> None:
    group.run(500.0)
    for index in range(5):
        now_s = group.queue.now_s
        group.hosts[index].queue.push(group.member(index).allow_one_more(now_s))
        again = group.member(index).allow_one_more(now_s)
        assert not again, "a second word gives nothing"
    group.run(1000.0)
    for index in range(5):
        assert group.member(index).history.height == 2 + RETRIES
        assert group.member(index).rest == Rest.SPENT
        assert len(spent_of(group, index)) == 2


def test_its_operator_is_told_and_has_it_go_on_once_more(group: BentGroup, tmp_path: Path) -> None:
    group.run(3.0)
    member = group.member(1)
    assert idle_heights(member.history) == 2
    assert idle_warning(member).startswith("the last 2 models are the one before: each part")
    service = Service(PeerFolder(tmp_path), ANY, ANY, ANY, member, ANY)
    refused = asyncio.run(service._answer({"command": "resume", "once_more": True}))
    assert "is for one that says spent" in refused["error"]
    group.run(500.0)
    status = ledger_status(member, identity_of(1).peer_id)
    assert (status["idle"], status["rests"]) == (1 + RETRIES, "spent")
    assert status["may_be_allowed_more"]
    (idle_now,) = [it.values[""] for it in ledger_measures(member) if it.name == "ledger_idle"]
    assert idle_now == 1 + RETRIES
    rows = dict(_ledger_rows(status))
    assert rows["idle"] == "the last 3 models brought nothing: sums out of range"
    assert "peer resume --once-more" in rows["spent"]
    told = describe(spent_of(group, 1)[-1])[1]
    assert "the last 3 models are the one before" in told

    class Asked:
        def ask(self, call: Callable[[float], list[Action]]) -> None:
            group.hosts[1].queue.push(call(group.queue.now_s))

    service._driver = cast(Driver, Asked())
    answer = {"command": "resume", "once_more": True}
    assert asyncio.run(service._answer(answer)) == {"ok": True}
    assert member.rest == Rest.NONE
    (act,), _ = read_acts(tmp_path)
    assert act.name == "one update more"
    assert act.facts["head"] == member.history.head.head.entry.hex()


def test_a_restarted_member_has_given_what_it_gave(group: BentGroup) -> None:
    group.run(500.0)
    host = group.hosts[1]
    group.world.take_offline(host, "crash", kills=True)
    group.world.bring_online(host, "crash")
    group.run(600.0)
    assert group.member(1).rest == Rest.SPENT


def test_a_group_whose_last_try_is_lost_says_why_it_rests() -> None:
    """It sees that round through; it had stayed in it, and nobody was told."""
    keepers: list[KeepsChunks] = []

    def wrap(index: int, member: GroupMember) -> Any:
        if index < 3:
            return member
        keepers.append(KeepsChunks(member))
        return keepers[-1]

    group = LedgerWorld(5, rounds=3, retries=RETRIES, wrap=wrap)
    group.start()
    group.run(2000.0)
    for index in range(5):
        member = group.member(index)
        assert member.history.height == 0
        assert spent_of(group, index) == [events.UpdatesSpent(0, 0)]
        assert dict.fromkeys(member.resting.values()) == {Cause.SPENT: None}
        assert len(member.resting) == 5
    tried = [group.member(index)._started.parts.course.round for index in range(5)]
    assert tried == [2 + RETRIES] * 5, "then no round follows another"


def test_no_more_is_allowed_while_the_last_sum_is_under_way(group: BentGroup) -> None:
    """Its model may be a new one."""
    parts = group.member(1)._started.parts
    until_s = 0.0
    while parts.standing.record.spends <= RETRIES:
        until_s += 0.01
        group.run(until_s)
    assert parts.course.rest() == Rest.SPENT
    assert not group.member(1).may_be_allowed_more
    assert not group.member(1).allow_one_more(group.queue.now_s)
    assert parts.standing.record.spends == 1 + RETRIES
