# mypy: disable-error-code="list-item, misc"
"""Cancels do not wait for the disk: what was cancelled is never told of, however late it ends."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import pytest
from driving import LISTEN, AtOnce, Driven, MemoryJournal, run, scripted_pair, seen, until
from one_opening import OURS
from scripted import IDS

from p2pfl.libp2p import Host
from p2pfl_gossip.actions import (
    Action,
    CancelSend,
    CancelTimer,
    CancelWork,
    Command,
    Job,
    Persist,
    SendBulk,
    SetTimer,
    Work,
)
from p2pfl_gossip.catch_up import ModelHeader
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained
from p2pfl_gossip.masked_sum.jobs import perform
from p2pfl_gossip.opening import Opening
from p2pfl_gossip.records import Record
from p2pfl_simulations.draws import stream
from p2pfl_simulations.group import make_gossips, make_identity, make_roster
from p2pfl_simulations.scenario import make_scenario

EVALUATE = Evaluate(0, np.zeros(1, np.float32))


class SlowJournal(MemoryJournal):
    """Once it `is_slow`, it keeps nothing before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.is_slow = self.is_writing = False
        self.may_keep = threading.Event()

    def persist(self, records: dict[str, Any]) -> None:
        if self.is_slow:
            self.is_writing = True
            self.may_keep.wait()
        super().persist(records)


class OnFirstTimer(AtOnce):
    """Answers timer 1 with what `then` says."""

    def __init__(self, actions: list[Action], then: list[Action]) -> None:
        super().__init__([*actions, SetTimer(1, 0.0)])
        self.then = then

    def on_timer(self, now_s: float, ticket: int) -> list[Action]:
        super().on_timer(now_s, ticket)
        return self.then if ticket == 1 else []


def _drive(
    first: list[Action],
    then: list[Action],
    check: Callable[[Driven, SlowJournal], Any],
    work: Callable[[Job], Record] = lambda _job: Evaluated({}),
) -> list[tuple[Any, ...]]:
    """Have a machine ask for `first`, then, with a disk that does not end, for `then`."""
    told: list[tuple[Any, ...]] = []

    async def main() -> None:
        async with scripted_pair([], [], work=work) as (one, two):
            two.start()
            journal = SlowJournal()
            journal.is_slow = True
            machine = OnFirstTimer(first, [Persist({"vote": b"1"}), *then])
            driven = Driven(
                machine,
                one.host,
                addresses={IDS[1]: [str(it) for it in two.host.addresses]},
                work=work,
                journal=journal,
            )
            driven.start()
            try:
                await until(lambda: journal.is_writing)
                await check(driven, journal)
            finally:
                journal.may_keep.set()
            await until(lambda: len(journal.persisted) == 1)
            await driven.end()
            told.extend(seen(driven))

    run(main)
    return told


def test_a_job_that_ends_while_its_cancel_is_behind_a_record_is_not_told_of() -> None:
    may_end = threading.Event()

    def work(_job: Job) -> Record:
        may_end.wait()
        return Evaluated({})

    async def end_it(driven: Driven, journal: SlowJournal) -> None:
        may_end.set()  # Jobs of learning are done one by one: 3 was done after 2.
        await until(lambda: ("done", 3, Evaluated({})) in seen(driven))
        assert not journal.persisted

    told = _drive([Work(2, EVALUATE), Work(3, EVALUATE)], [CancelWork(2)], end_it, work)
    assert [it[1] for it in told if it[0] == "done"] == [3]


def test_a_timer_whose_cancel_is_behind_a_record_does_not_fire() -> None:
    async def let_time_pass(driven: Driven, journal: SlowJournal) -> None:
        await until(lambda: ("timer", 3) in seen(driven))
        assert not journal.persisted

    told = _drive([SetTimer(2, 0.04), SetTimer(3, 0.05)], [CancelTimer(2)], let_time_pass)
    assert [it[1] for it in told if it[0] == "timer"] == [1, 3]


def test_what_waits_behind_a_record_and_is_cancelled_is_never_begun() -> None:
    begun: list[Job] = []

    def work(job: Job) -> Record:
        begun.append(job)
        return Evaluated({})

    body = SendBulk(IDS[1], ModelHeader(1), (b"abc",), 3, ticket=4)
    waiting = [Work(2, EVALUATE), SetTimer(3, 0.0), body]

    async def wait_for_the_body(driven: Driven, journal: SlowJournal) -> None:
        await until(lambda: ("sent", 4, False) in seen(driven))
        assert not journal.persisted

    told = _drive(
        [], [*waiting, CancelWork(2), CancelTimer(3), CancelSend(4)], wait_for_the_body, work
    )
    assert begun == []
    assert [it for it in told if it[0] in ("timer", "done", "sent")] == [
        ("timer", 1), ("sent", 4, False),
    ]  # fmt: skip


def test_a_job_that_waits_for_its_thread_and_is_cancelled_is_not_done() -> None:
    begun: list[Job] = []
    may_end = threading.Event()

    def work(job: Job) -> Record:
        begun.append(job)
        may_end.wait()
        return Evaluated({})

    async def end_them(driven: Driven, _journal: SlowJournal) -> None:
        may_end.set()
        await until(lambda: ("done", 4, Evaluated({})) in seen(driven))

    jobs: list[Action] = [Work(ticket, Evaluate(ticket, EVALUATE.vector)) for ticket in (2, 3, 4)]
    _drive(jobs, [CancelWork(3)], end_them, work)
    assert [job.round for job in begun if isinstance(job, Evaluate)] == [2, 4]


def test_what_ended_at_the_hands_while_it_was_cancelled_is_dropped() -> None:
    """No cancel can call back a timer that had fired, or a job whose end the loop knew of."""

    async def tell_late(driven: Driven, _journal: SlowJournal) -> None:
        driven.driver.on_timer(2)
        driven.driver.on_work_ended(3, Evaluated({}))
        driven.driver.on_sent(4, True)

    told = _drive(
        [SetTimer(2, 3600.0), Work(3, EVALUATE)], [CancelTimer(2), CancelWork(3)], tell_late
    )
    assert [it for it in told if it[0] in ("timer", "done", "sent")] == [("timer", 1)]


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_body_that_is_cancelled_is_told_of_once(is_begun: bool) -> None:
    """Before its stream is open, too: a task that never ran tells nothing by itself."""
    big = np.zeros(2**23, np.float32)

    async def main() -> None:
        body = SendBulk(IDS[1], ModelHeader(3), (big,), big.nbytes, ticket=7)
        actions: list[Action] = [body] if is_begun else [body, CancelSend(7)]
        async with scripted_pair(actions, []) as (one, two):
            two.start()
            one.start()
            if is_begun:
                await until(lambda: any(it[0] == "chunk" for it in seen(two)))
                one.driver._queue.push([CancelSend(7)])
                await until(lambda: ("lost", 0) in seen(two))
            await until(lambda: ("sent", 7, False) in seen(one))
            await one.end()
            assert [it for it in seen(one) if it[0] == "sent"] == [("sent", 7, False)]

    run(main)


@pytest.mark.parametrize("kind", ["Train", "Deal", "MaskChunk", "DigestChunk", "Unmask"])
def test_a_member_that_leaves_while_a_record_is_written_is_not_told_of_its_jobs(kind: str) -> None:
    """A real member of a masked cohort, over real links, with each of its jobs under way."""
    scenario = make_scenario(
        {
            "peers": 5,
            "rounds": 2,
            "learning": {"task": "digits"},
            "averaging": {"algorithm": "cohorts", "cohort_size": 5, "deadline_s": 30.0},
            "evaluation": {"baselines": []},
        }
    )
    roster = make_roster(scenario)
    initial = np.zeros(4000, np.float32)
    initial.flags.writeable = False
    make_peer = make_gossips(scenario, roster, initial)
    is_begun, may_end = threading.Event(), threading.Event()

    def work(job: Job) -> Record:
        if isinstance(job, Train):
            return Trained(job.vector + np.float32(1), 1, 0.0)  # Or nothing would be masked.
        return Evaluated({}) if isinstance(job, Evaluate) else perform(job)

    def held_up(job: Job) -> Record:
        if type(job).__name__ == kind:
            is_begun.set()
            may_end.wait()
        return work(job)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            hosts = [
                await stack.enter_async_context(Host(make_identity(scenario.seed, index)))
                for index in range(scenario.peers)
            ]
            addresses = {
                host.peer_id: [str(it) for it in await host.listen(LISTEN)] for host in hosts
            }
            journal = SlowJournal()
            group = []
            for index, host in enumerate(hosts):
                machine = Opening(
                    index=index,
                    roster=roster,
                    deadline_s=30.0,
                    draw_seed=bytes(32),
                    description=OURS,
                    make_peer=lambda _seed, desk, index=index: make_peer(index, desk),
                    rng=stream(index, "opening"),
                )
                others = {peer: at for peer, at in addresses.items() if peer != host.peer_id}
                group.append(
                    Driven(
                        machine,
                        host,
                        addresses=others,
                        work=work if index else held_up,
                        journal=None if index else journal,
                    )
                )
            try:
                for driven in group:
                    driven.start()
                await _leave_during(group[0], journal, is_begun, may_end)
            finally:
                may_end.set()
                journal.may_keep.set()
                for driven in group:
                    await driven.end()

    run(main)


async def _leave_during(
    driven: Driven, journal: SlowJournal, is_begun: threading.Event, may_end: threading.Event
) -> None:
    machine: Any = driven.machine
    told: list[int] = []
    tell = machine.on_work_done

    def note(now_s: float, ticket: int, result: Record) -> list[Action]:
        told.append(ticket)
        actions: list[Action] = tell(now_s, ticket, result)
        return actions

    await until(is_begun.is_set)
    await until(lambda: not driven.driver._queue.is_persisting)
    journal.is_slow = True
    driven.driver._queue.push([Persist({"test": b"1"})])
    await until(lambda: journal.is_writing)
    machine.on_work_done = note
    under_way = set(driven.driver._hands._jobs)
    assert under_way
    driven.driver.command(Command.LEAVE)
    assert machine.state == "left"
    may_end.set()
    # Each thread of the jobs comes here after it has told the loop of what it did before.
    loop, hands = asyncio.get_running_loop(), driven.driver._hands
    both = threading.Barrier(2)
    await asyncio.gather(
        loop.run_in_executor(hands._learning, int),
        *(loop.run_in_executor(hands._summing, both.wait) for _ in range(2)),
    )
    assert journal.persisted[-1:] != [{"test": b"1"}]
    journal.may_keep.set()
    await until(lambda: journal.persisted[-1:] == [{"test": b"1"}])
    assert not under_way & set(told)
