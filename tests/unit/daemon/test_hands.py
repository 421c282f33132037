"""The hands: each action is carried out in the real world, counted, and answered once."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from driving import DEADLINE_S, MemoryJournal, Notes, run, until
from scripted import IDS

from p2pfl.daemon.hands import SUMMING_THREADS, LoopHands
from p2pfl_gossip import wire
from p2pfl_gossip.actions import (
    Connect,
    Disconnect,
    Job,
    PeerId,
    Persist,
    Report,
    Send,
    SendBulk,
    SetTimer,
    Ticket,
    Work,
)
from p2pfl_gossip.catch_up import ModelHeader, Status
from p2pfl_gossip.events import Finished
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, WorkFailed
from p2pfl_gossip.records import Message, Record

VECTOR = np.zeros(1, np.float32)
EVALUATE = Evaluate(0, VECTOR)
TRAIN = Train(0, VECTOR, "a stream")


class Sum(Job, frozen=True):
    """A job that is not of learning."""

    number: int


class NotedLinks:
    """Links that note what they are asked for; a body leaves once `may_leave` is set."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.may_leave = asyncio.Event()
        self.bodies: list[asyncio.Task[None]] = []

    def send(self, peer: PeerId, frame: bytes, ticket: Ticket | None) -> None:
        self.asked.append(("send", peer, frame, ticket))

    def send_bulk(self, action: SendBulk, header: bytes) -> asyncio.Task[None]:
        self.asked.append(("send_bulk", action, header))
        self.bodies.append(asyncio.ensure_future(self._leave()))
        return self.bodies[-1]

    async def _leave(self) -> None:
        await self.may_leave.wait()

    def keep(self, peer: PeerId) -> None:
        self.asked.append(("keep", peer))

    def disconnect(self, peer: PeerId, reason: str) -> None:
        self.asked.append(("disconnect", peer, reason))


class NotedTraffic(Notes):
    """Notes frames and times of events, too."""

    def __init__(self) -> None:
        super().__init__()
        self.traffic: list[tuple[Any, ...]] = []
        self.event_times_s: list[float] = []

    def on_event(self, now_s: float, event: Any) -> None:
        super().on_event(now_s, event)
        self.event_times_s.append(now_s)

    def on_traffic(
        self, direction: str, peer: PeerId, message: Message, frame: bytes | bytearray
    ) -> None:
        self.traffic.append((direction, peer, message, bytes(frame)))


class Answers:
    """Who is told what came of the actions."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def on_timer(self, ticket: Ticket) -> None:
        self.told.append(("timer", ticket))

    def on_work_ended(self, ticket: Ticket, result: Record) -> None:
        self.told.append(("work", ticket, result))

    def on_sent(self, ticket: Ticket, ok: bool) -> None:
        self.told.append(("sent", ticket, ok))

    def on_persisted(self) -> None:
        self.told.append(("persisted",))

    def on_failed(self, error: BaseException) -> None:
        self.told.append(("failed", error))


class Desk:
    """Hands, with all that they deal with."""

    def __init__(self, work: Callable[[Job], Record]) -> None:
        self.links, self.notes, self.answers = NotedLinks(), NotedTraffic(), Answers()
        self.journal, self.counters = MemoryJournal(), Counter[str]()
        self.hands = LoopHands(
            journal=self.journal,
            work=work,
            observer=self.notes,
            told=self.answers,
            counters=self.counters,
        )
        self.hands.links = self.links  # type: ignore[assignment]

    @property
    def told(self) -> list[tuple[Any, ...]]:
        return self.answers.told


def _no_work(job: Job) -> Record:
    raise AssertionError(job)


def _with_hands(
    main: Callable[[Desk], Awaitable[None]], work: Callable[[Job], Record] = _no_work
) -> None:
    async def with_hands() -> None:
        desk = Desk(work)
        try:
            await main(desk)
        finally:
            desk.hands.stop()
            desk.hands.close()

    run(with_hands)


def test_a_frame_goes_to_the_links_and_its_bytes_are_counted_by_name() -> None:
    async def main(desk: Desk) -> None:
        frames = [wire.encode(Status(number)) for number in (1, 300)]
        desk.hands.send(Send(IDS[1], Status(1), ticket=7))
        desk.hands.send(Send(IDS[2], Status(300)))
        assert desk.links.asked == [
            ("send", IDS[1], frames[0], 7),
            ("send", IDS[2], frames[1], None),
        ]
        assert desk.notes.traffic == [
            ("out", IDS[1], Status(1), frames[0]),
            ("out", IDS[2], Status(300), frames[1]),
        ]
        assert desk.hands.sent_bytes == {"Status": sum(map(len, frames))}
        assert desk.counters == {"action_Send": 2}

    _with_hands(main)


def test_a_body_is_counted_with_its_header() -> None:
    async def main(desk: Desk) -> None:
        header = wire.encode(ModelHeader(3))
        bodies = [SendBulk(IDS[1], ModelHeader(3), (b"abc",), 3, ticket=7)] * 2
        for body in bodies:
            desk.hands.send_bulk(body)
        assert desk.links.asked == [("send_bulk", body, header) for body in bodies]
        assert desk.notes.traffic == [("out", IDS[1], ModelHeader(3), header)] * 2
        assert desk.hands.sent_bytes == {"ModelHeader": 2 * (len(header) + 3)}
        assert desk.counters == {"action_SendBulk": 2}
        desk.links.may_leave.set()
        await asyncio.gather(*desk.links.bodies)

    _with_hands(main)


def test_a_body_that_ended_is_forgotten() -> None:
    async def main(desk: Desk) -> None:
        body = SendBulk(IDS[1], ModelHeader(3), (b"abc",), 3, ticket=7)
        desk.hands.send_bulk(body)
        desk.links.may_leave.set()
        await until(lambda: desk.told == [("sent", 7, False)])
        desk.hands.cancel_send(7)
        assert not desk.links.bodies[0].cancelled()
        desk.links.may_leave.clear()
        desk.hands.send_bulk(body)  # The ticket is free again.
        desk.hands.cancel_send(8)
        desk.hands.cancel_send(7)
        await until(lambda: desk.told == [("sent", 7, False)] * 2)
        assert desk.links.bodies[1].cancelled()
        assert desk.counters == {"action_SendBulk": 2, "action_CancelSend": 3}

    _with_hands(main)


def test_a_body_without_a_ticket_is_told_of_to_nobody() -> None:
    async def main(desk: Desk) -> None:
        desk.hands.send_bulk(SendBulk(IDS[1], ModelHeader(3), (b"abc",), 3))
        desk.links.may_leave.set()
        await desk.links.bodies[0]
        await asyncio.sleep(0)
        assert desk.told == []

    _with_hands(main)


def test_what_was_not_sent_is_told_later_and_not_from_within() -> None:
    async def main(desk: Desk) -> None:
        desk.hands.not_sent(7)
        assert desk.told == []
        await until(lambda: desk.told == [("sent", 7, False)])

    _with_hands(main)


def test_links_are_held_and_ended() -> None:
    async def main(desk: Desk) -> None:
        for _ in range(2):
            desk.hands.connect(Connect(IDS[1]))
            desk.hands.disconnect(Disconnect(IDS[2], "lied"))
        assert desk.links.asked == [("keep", IDS[1]), ("disconnect", IDS[2], "lied")] * 2
        assert desk.counters == {"action_Connect": 2, "action_Disconnect": 2}

    _with_hands(main)


def test_a_timer_is_due_at_its_time_and_never_once_it_was_cancelled() -> None:
    async def main(desk: Desk) -> None:
        loop = asyncio.get_running_loop()
        made_s = loop.time() - desk.hands.now_s
        handles: list[asyncio.TimerHandle] = []
        call_at = loop.call_at

        def noted(when: float, *arguments: Any) -> asyncio.TimerHandle:
            handles.append(call_at(when, *arguments))
            return handles[-1]

        loop.call_at = noted  # type: ignore[method-assign, assignment]
        desk.hands.set_timer(SetTimer(1, 3600.0))
        desk.hands.set_timer(SetTimer(2, 0.0))
        assert handles[0].when() == pytest.approx(made_s + 3600.0, abs=10.0)
        await until(lambda: desk.told == [("timer", 2)])
        for ticket in (1, 2, 3):  # 2 was due, and 3 was never set.
            desk.hands.cancel_timer(ticket)
        assert [it.cancelled() for it in handles] == [True, False]
        assert desk.counters == {"action_SetTimer": 2, "action_CancelTimer": 3}

    _with_hands(main)


def test_each_job_is_answered_with_its_result_or_one_line_of_what_went_wrong() -> None:
    def work(job: Job) -> Record:
        if isinstance(job, Sum) and job.number == 2:
            raise ValueError("no such\n   thing")
        if isinstance(job, Sum):
            raise MemoryError
        return Evaluated({"accuracy": 0.5})

    async def main(desk: Desk) -> None:
        jobs = {1: EVALUATE, 2: Sum(2), 3: Sum(3)}
        for ticket, job in jobs.items():
            desk.hands.work(Work(ticket, job))
        assert desk.hands.job_count == 3
        await until(lambda: len(desk.told) == 3)
        assert sorted(desk.told, key=lambda it: it[1]) == [
            ("work", 1, Evaluated({"accuracy": 0.5})),
            ("work", 2, WorkFailed("ValueError: no such thing")),
            ("work", 3, WorkFailed("MemoryError")),
        ]
        assert desk.hands.job_count == 0
        desk.hands.cancel_work(1)  # It has ended: nothing is left to cancel.
        assert desk.counters == {"action_Work": 3, "action_CancelWork": 1}

    _with_hands(main, work)


def test_learning_is_done_one_by_one_and_sums_beside_it() -> None:
    """A sum that waited for a training would hold the whole cohort up."""
    may_end = threading.Event()
    doing: list[str] = []

    def work(_job: Job) -> Record:
        doing.append(threading.current_thread().name)
        may_end.wait()
        return Evaluated({})

    async def main(desk: Desk) -> None:
        try:
            for ticket, job in enumerate((TRAIN, EVALUATE, Sum(1), Sum(2), Sum(3))):
                desk.hands.work(Work(ticket, job))
            await until(lambda: len(doing) == 1 + SUMMING_THREADS)
            names = Counter(name.rsplit("_", 1)[0] for name in doing)
            assert names == {"learning": 1, "summing": SUMMING_THREADS}
        finally:
            may_end.set()
        await until(lambda: len(desk.told) == 5)
        names = Counter(name.rsplit("_", 1)[0] for name in doing)
        assert names == {"learning": 2, "summing": 3}

    _with_hands(main, work)


def test_a_job_that_was_cancelled_is_not_begun_and_not_told_of() -> None:
    may_end, has_begun = threading.Event(), threading.Semaphore(0)
    begun: list[Job] = []

    def work(job: Job) -> Record:
        begun.append(job)
        has_begun.release()
        may_end.wait()
        return Evaluated({})

    async def main(desk: Desk) -> None:
        try:
            for ticket in (1, 2, 3):
                desk.hands.work(Work(ticket, Evaluate(ticket, VECTOR)))
            assert has_begun.acquire(timeout=DEADLINE_S)
            for ticket in (1, 2):  # The first is under way, the second waits for the thread.
                desk.hands.cancel_work(ticket)
            assert desk.hands.job_count == 1
        finally:
            may_end.set()
        # The next one begins before the loop has turned.
        assert has_begun.acquire(timeout=DEADLINE_S)
        await until(lambda: ("work", 3, Evaluated({})) in desk.told)
        assert desk.told == [("work", 3, Evaluated({}))]
        assert [it.round for it in begun if isinstance(it, Evaluate)] == [1, 3]
        assert desk.counters == {"action_Work": 3, "action_CancelWork": 2}

    _with_hands(main, work)


def test_what_was_stopped_is_told_of_to_nobody() -> None:
    may_end = threading.Event()

    def work(_job: Job) -> Record:
        may_end.wait()
        return Evaluated({})

    async def main(desk: Desk) -> None:
        loop = asyncio.get_running_loop()
        try:
            desk.hands.work(Work(1, EVALUATE))
            desk.hands.set_timer(SetTimer(2, desk.hands.now_s + 0.01))
            desk.hands.stop()
            assert desk.hands.job_count == 0
        finally:
            may_end.set()
        # The thread of learning comes here after the job; the loop's timers in turn.
        await loop.run_in_executor(desk.hands._learning, int)
        passed = loop.create_future()
        loop.call_later(0.02, passed.set_result, None)
        await passed
        assert desk.told == []

    _with_hands(main, work)


def test_records_are_written_by_a_thread_of_their_own_and_told_once_they_are_durable() -> None:
    async def main(desk: Desk) -> None:
        writers: list[str] = []
        keep = desk.journal.persist

        def noted(records: dict[str, Any]) -> None:
            writers.append(threading.current_thread().name)
            keep(records)

        desk.journal.persist = noted  # type: ignore[method-assign]
        for number in (b"1", b"2"):
            # An answer of False: what follows has to wait.
            assert desk.hands.persist(Persist({"vote": number})) is False
        await until(lambda: desk.told == [("persisted",)] * 2)
        assert desk.journal.persisted == [{"vote": b"1"}, {"vote": b"2"}]
        assert [name.rsplit("_", 1)[0] for name in writers] == ["journal"] * 2
        assert desk.counters == {"action_Persist": 2}

    _with_hands(main)


def test_a_record_that_cannot_be_written_is_told_as_a_failure() -> None:
    async def main(desk: Desk) -> None:
        desk.journal.failure = error = OSError("no space left")
        desk.hands.persist(Persist({"vote": b"1"}))
        await until(lambda: desk.told == [("failed", error)])

    _with_hands(main)


def test_closing_waits_for_the_record_under_way_and_for_no_job() -> None:
    may_end = threading.Event()

    def work(_job: Job) -> Record:
        may_end.wait()
        return Evaluated({})

    async def main(desk: Desk) -> None:
        is_writing, may_keep = threading.Event(), threading.Event()
        keep = desk.journal.persist

        def slowly(records: dict[str, Any]) -> None:
            is_writing.set()
            may_keep.wait()
            keep(records)

        desk.journal.persist = slowly  # type: ignore[method-assign]
        try:
            desk.hands.work(Work(1, EVALUATE))
            desk.hands.work(Work(2, Sum(1)))
            desk.hands.persist(Persist({"vote": b"1"}))
            await until(is_writing.is_set)
            threading.Timer(0.01, may_keep.set).start()
            desk.hands.stop()
            desk.hands.close()
            assert desk.journal.kept == {"vote": b"1"}
            assert not may_end.is_set()
        finally:
            may_keep.set()
            may_end.set()

    _with_hands(main, work)


def test_records_that_waited_for_their_thread_when_all_ended_are_told_of_to_nobody() -> None:
    async def main(desk: Desk) -> None:
        is_writing, may_keep = threading.Event(), threading.Event()

        def slowly(_records: dict[str, Any]) -> None:
            is_writing.set()
            may_keep.wait()

        desk.journal.persist = slowly  # type: ignore[method-assign, assignment]
        for number in (b"1", b"2"):
            desk.hands.persist(Persist({"vote": number}))
        await until(is_writing.is_set)
        threading.Timer(0.01, may_keep.set).start()
        desk.hands.close()
        await until(lambda: desk.told == [("persisted",)])
        await asyncio.sleep(0)
        assert desk.told == [("persisted",)]

    _with_hands(main)


def test_an_event_is_shown_with_the_time_since_the_hands_were_made() -> None:
    async def main(desk: Desk) -> None:
        for number in (1, 2):
            desk.hands.report(Report(Finished(number)))
        assert desk.notes.events == [Finished(1), Finished(2)]
        assert 0 <= desk.notes.event_times_s[0] <= desk.notes.event_times_s[1] <= desk.hands.now_s
        assert desk.counters == {"action_Report": 2}

    _with_hands(main)
