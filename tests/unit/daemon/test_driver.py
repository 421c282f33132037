# mypy: disable-error-code="arg-type, assignment, func-returns-value, method-assign, return-value"
"""The driver: actions in order, inputs told, faults of peers and of our own told apart."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from driving import GROUP, run, scripted_pair, seen, until
from scripted import IDS, Scripted

from p2pfl.daemon.links import protocol_prefix
from p2pfl.libp2p.errors import StreamReset
from p2pfl_gossip import wire
from p2pfl_gossip.actions import (
    CancelTimer,
    CancelWork,
    Command,
    Job,
    PeerId,
    Persist,
    RemoteProtocolError,
    Report,
    Send,
    SendBulk,
    SetTimer,
    Work,
)
from p2pfl_gossip.catch_up import ModelHeader, Status, StatusRequest
from p2pfl_gossip.events import Finished
from p2pfl_gossip.learning import Evaluate, Evaluated
from p2pfl_gossip.records import Record

BODY = np.arange(300_000, dtype=np.float32)


def test_messages_arrive_in_order_and_tickets_return() -> None:
    async def main() -> None:
        sends = [Send(IDS[1], Status(number), ticket=number) for number in range(200)]
        async with scripted_pair(list(sends), []) as (one, two):
            two.start()
            one.start()
            await until(lambda: len([it for it in seen(two) if it[0] == "message"]) == 200)
            told = [it[2].round for it in seen(two) if it[0] == "message"]
            assert told == list(range(200))
            await until(lambda: ("sent", 199, True) in seen(one))
            assert two.links.counters["frames_received"] == 200

    run(main)


def test_what_only_some_machines_take_is_asked_with_the_time() -> None:
    async def main() -> None:
        asked_s: list[float] = []

        def ask(now_s: float) -> list[Any]:
            asked_s.append(now_s)
            return [Send(IDS[1], Status(5))]

        async with scripted_pair([], []) as (one, two):
            two.start()
            one.start()
            await until(lambda: one.driver.counters["input_start"] == 1)
            before_s = one.driver.now_s
            one.driver.ask(ask)
            assert before_s <= asked_s[0] <= one.driver.now_s
            assert one.driver.counters["input_host"] == len(asked_s) == 1
            await until(lambda: ("message", 0, Status(5)) in seen(two))

    run(main)


def test_a_body_arrives_whole_with_header_and_trailer() -> None:
    async def main() -> None:
        parts = [BODY[:10], BODY[10:]]
        action = SendBulk(
            IDS[1], ModelHeader(3), parts, BODY.nbytes, trailer=lambda: Status(9), ticket=7
        )
        async with scripted_pair([action], []) as (one, two):
            two.start()
            one.start()
            await until(lambda: ("body", 0) in seen(two))
            told = [it for it in seen(two) if it[0] in ("begin", "chunk")]
            assert told[0] == ("begin", 0, ModelHeader(3))
            assert b"".join(it[2] for it in told[1:]) == BODY.tobytes()
            await until(lambda: ("sent", 7, True) in seen(one))

    run(main)


def test_an_unwanted_body_is_refused_and_the_link_stays() -> None:
    async def main() -> None:
        big = np.zeros(2**23, np.float32)
        action = SendBulk(IDS[1], ModelHeader(3), (big,), big.nbytes, ticket=7)
        async with scripted_pair([action], []) as (one, two):
            assert isinstance(two.machine, Scripted)
            two.machine.is_curious = False
            two.start()
            one.start()
            await until(lambda: ("sent", 7, False) in seen(one))
            assert not [it for it in seen(two) if it[0] in ("chunk", "body", "lost")]
            assert not [it for it in seen(one) if it[0] == "down"]

    run(main)


def test_a_body_whose_link_breaks_is_lost() -> None:
    async def main() -> None:
        big = np.zeros(2**25, np.float32)
        action = SendBulk(IDS[1], ModelHeader(3), (big,), big.nbytes, ticket=7)
        async with scripted_pair([action], []) as (one, two):
            two.start()
            one.start()
            await until(lambda: any(it[0] == "chunk" for it in seen(two)))
            one.host.disconnect(IDS[1], "test")
            await until(lambda: ("lost", 0) in seen(two))
            await until(lambda: ("sent", 7, False) in seen(one))
            assert ("down", 1) in seen(one)

    run(main)


def test_what_is_persisted_is_kept_before_what_comes_after_it() -> None:
    async def main() -> None:
        may_keep = threading.Event()
        actions = [Persist({"vote": b"1"}), Send(IDS[1], Status(1)), Persist({"vote": None})]
        async with scripted_pair(list(actions), []) as (one, two):
            keep = one.journal.persist

            def slowly(records: Mapping[str, bytes | None]) -> None:
                may_keep.wait()
                keep(records)

            one.journal.persist = slowly
            two.start()
            one.start()
            await until(lambda: one.driver.counters["action_Persist"] == 1)
            await until(lambda: ("up", 0) in seen(two))
            assert one.driver.counters["action_Send"] == 0
            may_keep.set()
            await until(lambda: ("message", 0, Status(1)) in seen(two))
            await until(lambda: len(one.journal.persisted) == 2)
            assert one.journal.kept == {}

    run(main)


def test_what_is_asked_for_from_within_an_action_follows_its_list() -> None:
    """A frame that finds no room is told of at once, while its list is being carried out."""

    async def main() -> None:
        async with scripted_pair([], []) as (one, two):
            two.start()
            one.start()
            await until(lambda: ("up", 0) in seen(two))
            sent = []

            def send(_peer: PeerId, frame: bytes, ticket: int | None) -> None:
                sent.append(frame)
                if ticket is not None:
                    one.driver.on_sent(ticket, False)

            one.links.send = send
            one.machine.on_sent = lambda _now, _ticket, _ok: [Send(IDS[1], Status(3))]
            one.machine.on_command = lambda _now, _command: [
                Send(IDS[1], Status(1), ticket=1), Send(IDS[1], Status(2)), SetTimer(1, 0.0)
            ]  # fmt: skip
            one.driver.command(Command.PAUSE)
            assert sent == [wire.encode(Status(number)) for number in (1, 2, 3)]
            await until(lambda: ("timer", 1) in seen(one))

    run(main)


def test_a_restarted_machine_is_given_what_was_kept() -> None:
    async def main() -> None:
        async with scripted_pair([], []) as (one, _two):
            one.journal.kept["round"] = b"7"
            one.start()
            await until(lambda: ("start", {"round": b"7"}) in seen(one))

    run(main)


def test_timers_fire_once_and_not_after_they_were_cancelled() -> None:
    async def main() -> None:
        actions = [
            SetTimer(1, 0.01), SetTimer(2, 0.01), CancelTimer(2), SetTimer(3, 0.02), CancelTimer(9)
        ]  # fmt: skip
        async with scripted_pair(list(actions), []) as (one, _two):
            one.start()
            await until(lambda: ("timer", 3) in seen(one))
            assert [it[1] for it in seen(one) if it[0] == "timer"] == [1, 3]

    run(main)


class Compute(Job, frozen=True):
    what: str


def test_work_is_done_elsewhere_and_its_failures_are_told() -> None:
    main_thread = threading.get_ident()

    def work(job: Job) -> Record:
        assert threading.get_ident() != main_thread
        if isinstance(job, Evaluate):
            return Evaluated({"accuracy": 0.5})
        raise ValueError("no such\n  thing")

    async def main() -> None:
        jobs = [Work(1, Evaluate(0, BODY)), Work(2, Compute("x")), Work(3, Compute("y"))]
        async with scripted_pair([*jobs, CancelWork(3)], [], work=work) as (one, _two):
            one.start()
            await until(lambda: ("done", 1, Evaluated({"accuracy": 0.5})) in seen(one))
            await until(lambda: ("failed", 2, "ValueError: no such thing") in seen(one))
            assert not [it for it in seen(one) if it[1:2] == (3,)]

    run(main)


def test_a_peer_that_breaks_the_protocol_loses_its_link_and_no_more() -> None:
    async def main() -> None:
        async with scripted_pair([Send(IDS[1], Status(1))], []) as (one, two):
            assert isinstance(two.machine, Scripted)
            two.machine.is_offended = True
            two.start()
            one.start()
            await until(lambda: two.notes.refused == [(IDS[0], "offended")])
            await until(lambda: ("down", 0) in seen(two) and ("down", 1) in seen(one))
            two.machine.is_offended = False
            one.driver._queue.push([Send(IDS[1], StatusRequest())])
            await until(lambda: ("message", 0, StatusRequest()) in seen(two))

    run(main)


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [(b"\xc1", "malformed_frame"), (bytes(wire.FRAME_BYTES_MAX + 1), "message_too_long")],
)
def test_garbage_on_the_frames_stream_ends_the_link(garbage: bytes, reason: str) -> None:
    async def main() -> None:
        async with scripted_pair([], []) as (one, two):
            two.start()
            frames = f"{protocol_prefix(GROUP)}/frames"
            one.host.set_handler(frames, lambda stream: stream.read(timeout_s=None))
            await one.host.dial(IDS[1], [str(it) for it in two.host.addresses])
            stream = await one.host.open_stream(IDS[1], frames)
            with contextlib.suppress(StreamReset):  # It is ended amid what is too long.
                await stream.write_message(garbage)
            await until(lambda: ("down", 0) in seen(two))
            assert two.links.counters[f"disconnected.{reason}"] == 1

    run(main)


def test_a_body_cut_short_is_lost() -> None:
    async def main() -> None:
        async with scripted_pair([], []) as (one, two):
            two.start()
            await one.host.dial(IDS[1], [str(it) for it in two.host.addresses])
            stream = await one.host.open_stream(IDS[1], f"{protocol_prefix(GROUP)}/body")
            await stream.write_message(wire.encode(ModelHeader(1)))
            await stream.write((100).to_bytes(8, "little") + bytes(50))
            stream.finish()
            await until(lambda: ("lost", 0) in seen(two))
            assert two.links.counters["disconnected.body_too_short"] == 1

    run(main)


def test_a_member_of_another_group_is_told_so() -> None:
    async def main() -> None:
        script = [Send(IDS[1], Status(1), ticket=1)]
        async with scripted_pair(script, [], groups=(GROUP, bytes(32))) as (one, two):
            two.start()
            one.start()
            await until(lambda: ("sent", 1, False) in seen(one))
            assert (IDS[1], False, "other_group_or_version") in one.notes.links

    run(main)


def test_a_receiver_that_is_not_there_is_told_as_down() -> None:
    async def main() -> None:
        async with scripted_pair([Send(IDS[1], Status(1), ticket=1)], []) as (one, two):
            await two.host.close()
            one.start()
            await until(lambda: ("down", 1) in seen(one) and ("sent", 1, False) in seen(one))

    run(main)


def test_a_journal_that_fails_ends_the_run_before_anything_after_it() -> None:
    async def main() -> None:
        actions = [Persist({"vote": b"1"}), Send(IDS[1], Status(1))]
        async with scripted_pair(list(actions), []) as (one, two):
            one.journal.failure = OSError("no space left")
            two.start()
            one.start()
            assert one.task is not None
            with pytest.raises(OSError, match="no space left"):
                await one.task
            one.task = None
            assert one.driver.counters["action_Send"] == 0

    run(main)


def test_a_machine_that_raises_ends_the_run() -> None:
    async def main() -> None:
        async with scripted_pair([Report(Finished(1))], []) as (one, _two):
            told = []
            one.machine.on_peer_up = lambda _now, peer: told.append(peer) or 1 / 0
            one.start()
            assert one.task is not None
            one.driver.on_peer_up(IDS[1])
            one.driver.on_peer_up(IDS[1])
            assert len(told) == 1
            with pytest.raises(ZeroDivisionError):
                await one.task
            one.task = None

    run(main)


def test_the_drawing_of_a_body_that_raises_ends_the_run() -> None:
    def parts() -> Iterator[Any]:
        yield BODY
        raise ValueError("torn")

    async def main() -> None:
        action = SendBulk(IDS[1], ModelHeader(3), parts(), 2 * BODY.nbytes)
        async with scripted_pair([action], []) as (one, two):
            two.start()
            one.start()
            assert one.task is not None
            with pytest.raises(ValueError, match="torn"):
                await one.task
            one.task = None
            await until(lambda: ("lost", 0) in seen(two))

    run(main)


def test_a_stop_before_the_machine_has_started_starts_nothing() -> None:
    async def main() -> None:
        async with scripted_pair([Send(IDS[1], Status(1))], []) as (one, _two):
            one.stop.set()
            one.start()
            await one.end()
            assert seen(one) == []
            assert one.links.counters["frames_sent"] == 0

    run(main)


def _offended(*_: Any) -> Any:
    raise RemoteProtocolError("offended")


@pytest.mark.parametrize("place", ["on_bulk_begin", "on_bulk_chunk", "on_bulk_end"])
def test_whose_body_breaks_the_protocol_loses_its_link_and_no_more(place: str) -> None:
    async def main() -> None:
        action = SendBulk(IDS[1], ModelHeader(3), (BODY,), BODY.nbytes)
        async with scripted_pair([action], []) as (one, two):
            setattr(two.machine, place, _offended)
            two.start()
            one.start()
            await until(lambda: two.notes.refused == [(IDS[0], "offended")])
            await until(lambda: ("down", 0) in seen(two) and ("down", 1) in seen(one))
            assert two.links.counters["disconnected.offended"] == 1
            assert two.task is not None
            assert not two.task.done()

    run(main)


INPUTS_OF_OUR_OWN: dict[str, list[Any]] = {
    "on_start": [],
    "on_timer": [SetTimer(1, 0.0)],
    "on_sent": [Send(IDS[1], Status(1), ticket=1)],
    "on_work_done": [Work(1, Evaluate(0, BODY))],
    "on_peer_up": [],
    "on_command": [],
}


@pytest.mark.parametrize("place", INPUTS_OF_OUR_OWN)
def test_a_fault_where_no_peer_is_at_fault_ends_the_run(place: str) -> None:
    async def main() -> None:
        actions = list(INPUTS_OF_OUR_OWN[place])
        async with scripted_pair(actions, [], work=lambda _job: Evaluated({})) as (one, two):
            setattr(one.machine, place, _offended)
            two.start()
            one.start()
            if place == "on_command":
                await until(lambda: one.driver.counters["input_start"] == 1)
                one.driver.command(Command.PAUSE)
            assert one.task is not None
            with pytest.raises(RemoteProtocolError, match=r"^offended$"):
                await one.task
            one.task = None
            assert one.notes.refused == []

    run(main)


def test_all_that_was_asked_for_before_a_stop_is_done_and_leaves() -> None:
    async def main() -> None:
        async with scripted_pair([], []) as (one, two):
            may_keep = threading.Event()
            keep = one.journal.persist

            def slowly(records: Mapping[str, bytes | None]) -> None:
                may_keep.wait()
                keep(records)

            one.journal.persist = slowly
            one.machine.on_command = lambda _now, _command: [
                Persist({"vote": b"1"}), Send(IDS[1], Status(1)), Persist({"vote": b"2"}),
                Send(IDS[1], Status(2)),
            ]  # fmt: skip
            two.start()
            one.start()
            try:
                await until(lambda: ("up", 1) in seen(one))
                one.driver.command(Command.LEAVE)
                one.stop.set()
                for _ in range(100):
                    await asyncio.sleep(0)
                assert one.task is not None
                assert not one.task.done()
            finally:
                may_keep.set()
            await one.task
            assert one.journal.kept == {"vote": b"2"}
            await until(lambda: ("message", 0, Status(2)) in seen(two))
            one.driver.command(Command.LEAVE)  # Too late, as is all that comes now.
            assert one.driver.on_bulk_chunk(IDS[1], 0, bytearray(4)) is False
            assert one.driver.counters["input_command"] == 1
            assert one.driver.counters["input_chunk"] == 0

    run(main)


def test_an_action_that_cannot_be_carried_out_ends_the_run() -> None:
    def send(*_: Any) -> None:
        raise OSError("no such link")

    async def main() -> None:
        async with scripted_pair([], []) as (one, _two):
            one.links.send = send
            one.machine.on_command = lambda _now, _command: [Send(IDS[1], Status(1))]
            one.start()
            await until(lambda: one.driver.counters["input_start"] == 1)
            one.driver.command(Command.PAUSE)
            assert one.task is not None
            with pytest.raises(OSError, match="no such link"):
                await one.task
            one.task = None

    run(main)


def test_a_journal_that_cannot_be_read_ends_the_run_before_it_begins() -> None:
    def records() -> dict[str, bytes]:
        raise OSError("no such disk")

    async def main() -> None:
        async with scripted_pair([], []) as (one, _two):
            one.journal.records = records
            one.start()
            assert one.task is not None
            with pytest.raises(OSError, match="no such disk"):
                await one.task
            one.task = None
            assert seen(one) == []

    run(main)


def test_inputs_are_counted_by_name_and_what_came_is_shown() -> None:
    async def main() -> None:
        header, body = ModelHeader(3), np.arange(4, dtype=np.float32)
        script = [
            Send(IDS[1], Status(7), ticket=1),
            SendBulk(IDS[1], header, (body,), body.nbytes, ticket=2),
            SetTimer(3, 0.0),
            Work(4, Evaluate(0, BODY)),
            Work(5, Compute("x")),
        ]

        def work(job: Job) -> Record:
            if isinstance(job, Compute):
                raise ValueError
            return Evaluated({})

        shown: list[tuple[Any, ...]] = []
        async with scripted_pair(script, [], work=work) as (one, two):
            two.notes.on_traffic = lambda *told: shown.append(told)
            two.start()
            one.start()
            await until(lambda: ("body", 0) in seen(two) and ("message", 0, Status(7)) in seen(two))
            assert sorted(shown, key=lambda it: it[2] == header) == [
                ("in", IDS[0], Status(7), wire.encode(Status(7))),
                ("in", IDS[0], header, wire.encode(header)),
            ]
            assert {it for it in two.driver.counters if it.startswith("input_")} == {
                *("input_start", "input_peer_up", "input_frame"),
                *("input_body", "input_chunk", "input_body_end"),
            }
            await until(lambda: one.driver.counters["input_sent"] == 2)
            await until(lambda: one.driver.counters["input_timer"] == 1)
            await until(lambda: one.driver.counters["input_work"] == 1)
            await until(lambda: one.driver.counters["input_work_failed"] == 1)
            two.host.disconnect(IDS[0], "test")
            await until(lambda: one.driver.counters["input_peer_down"] > 0)
            assert one.driver.sent_bytes["Status"] == len(wire.encode(Status(7)))
            assert one.driver.counters["input_start"] == 1

    run(main)


def test_links_are_told_of_with_the_reason_that_they_broke() -> None:
    async def main() -> None:
        async with scripted_pair([], []) as (one, two):
            two.start()
            one.start()
            await until(lambda: (IDS[1], True, "") in one.notes.links)
            await until(lambda: ("up", 1) in seen(one))
            one.driver.on_peer_down(IDS[1], "a reason")
            assert one.notes.links[-1] == (IDS[1], False, "a reason")
            assert seen(one)[-1] == ("down", 1)

    run(main)


def test_a_bodys_trailer_and_its_number_are_passed_on() -> None:
    async def main() -> None:
        ended: list[tuple[Any, ...]] = []
        body = SendBulk(IDS[1], ModelHeader(3), (BODY,), BODY.nbytes, trailer=lambda: Status(9))
        async with scripted_pair([body], []) as (one, two):
            two.machine.on_bulk_end = lambda _now, *told: ended.append(told) or []
            two.machine.on_bulk_lost = lambda _now, *told: ended.append(told) or []
            two.start()
            one.start()
            await until(lambda: len(ended) == 1)
            assert ended == [(IDS[0], 1, Status(9))]
            two.driver.on_bulk_end(IDS[0], 5, None)
            two.driver.on_bulk_lost(IDS[0], 7)
            assert ended[1:] == [(IDS[0], 5, None), (IDS[0], 7)]
            assert two.driver.counters["input_body_lost"] == 1

    run(main)


def test_a_command_is_told_with_its_time() -> None:
    async def main() -> None:
        async with scripted_pair([], []) as (one, _two):
            one.start()
            await until(lambda: one.driver.counters["input_start"] == 1)
            one.driver.command(Command.PAUSE)
            assert seen(one)[-1] == ("command", Command.PAUSE)

    run(main)


@pytest.mark.parametrize("error", [RemoteProtocolError("offended"), ValueError("ours")])
def test_no_more_of_a_body_is_taken_once_a_chunk_has_failed(error: Exception) -> None:
    def fail(*_: Any) -> Any:
        raise error

    async def main() -> None:
        async with scripted_pair([], []) as (one, _two):
            one.start()
            await until(lambda: one.driver.counters["input_start"] == 1)
            one.machine.on_bulk_chunk = fail
            assert one.driver.on_bulk_chunk(IDS[1], 0, bytearray(4)) is False
            assert one.task is not None
            if isinstance(error, ValueError):
                with pytest.raises(ValueError, match="ours"):
                    await one.task
                one.task = None

    run(main)


@pytest.mark.parametrize("fails", [False, True])
def test_links_are_emptied_before_they_are_closed_unless_the_run_has_failed(fails: bool) -> None:
    async def main() -> None:
        called: list[str] = []

        async def flush() -> None:
            called.append("flush")

        async with scripted_pair([], []) as (one, _two):
            one.links.flush = flush
            one.start()
            await until(lambda: one.driver.counters["input_start"] == 1)
            assert one.task is not None
            if fails:
                one.driver.on_failed(ValueError("ours"))
                with pytest.raises(ValueError, match="ours"):
                    await one.task
            else:
                one.stop.set()
                await one.task
            one.task = None
            assert called == ([] if fails else ["flush"])

    run(main)
