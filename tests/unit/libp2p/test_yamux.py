"""yamux: two sessions that talk to each other, and hand-made frames."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pfl.libp2p.errors import LimitReached, LocalFault, RemoteFault
from p2pfl.libp2p.yamux import ACK_BACKLOG_MAX, CONTROL_BYTES_MAX, Yamux
from p2pfl.libp2p.yamux_events import (
    DataReceived,
    Event,
    GoneAway,
    PingAnswered,
    StreamFinishedWriting,
    StreamOpened,
    StreamWasReset,
    WindowGrown,
)
from p2pfl.libp2p.yamux_frames import INITIAL_WINDOW_BYTES as WINDOW
from p2pfl.libp2p.yamux_frames import Flag, FrameType, GoAwayCode, encode_header
from p2pfl.libp2p.yamux_streams import WindowBudget

DATA, UPDATE, PING, GO_AWAY = FrameType
VECTORS = Path(__file__).parents[2] / "vectors"
CAPTURED = json.loads((VECTORS / "yamux_py_libp2p.json").read_text())


def session(*, dialer: bool, streams: int = 1000, window: int = WINDOW, budget: int = 0) -> Yamux:
    return Yamux(
        dialer=dialer,
        inbound_streams_max=streams,
        outbound_streams_max=streams,
        window_bytes_max=window,
        budget=WindowBudget(budget),
    )


def feed(machine: Yamux, data: bytes, now_s: float = 0.0, pieces: int = 1 << 30) -> list[Event]:
    """Feed bytes in pieces; data are copied out, since they are valid for a moment only."""
    events: list[Event] = []
    for start in range(0, len(data), pieces):
        for event in machine.receive_untrusted(memoryview(data[start : start + pieces]), now_s):
            if isinstance(event, DataReceived):
                events.append(DataReceived(event.stream_id, memoryview(bytes(event.data))))
            else:
                events.append(event)
    return events


def control(machine: Yamux) -> bytes:
    taken = bytes(machine.control)
    machine.control.clear()
    return taken


def data_frame(machine: Yamux, stream_id: int, body: bytes) -> bytes:
    header = machine.data_header(stream_id, len(body))
    return control(machine) + header + body


def opened_pair(**options: int) -> tuple[Yamux, Yamux, int]:
    ours, theirs = session(dialer=True, **options), session(dialer=False, **options)
    stream_id = ours.open_stream(0.0)
    assert feed(theirs, control(ours)) == [StreamOpened(stream_id)]
    return ours, theirs, stream_id


def received(events: list[Event]) -> bytes:
    return b"".join(bytes(event.data) for event in events if isinstance(event, DataReceived))


@pytest.mark.parametrize("pieces", [1, 5, 12, 13, 1 << 20])
def test_data_flow_both_ways_and_both_ends_finish(pieces: int) -> None:
    ours, theirs, stream_id = opened_pair()
    events = feed(theirs, data_frame(ours, stream_id, b"question"), pieces=pieces)
    assert received(events) == b"question"
    ours.finish(stream_id)
    assert feed(theirs, control(ours), pieces=pieces) == [StreamFinishedWriting(stream_id)]
    answer = data_frame(theirs, stream_id, b"answer")
    assert answer[:12] == encode_header(UPDATE, Flag.ACK, stream_id, 0)
    assert received(feed(ours, answer, pieces=pieces)) == b"answer"
    theirs.finish(stream_id)
    assert feed(ours, control(theirs), pieces=pieces) == [StreamFinishedWriting(stream_id)]
    assert ours.stream_count == theirs.stream_count == theirs.inbound_count == 0


def test_ids_are_odd_for_the_dialer_and_even_for_the_listener() -> None:
    assert [session(dialer=True).open_stream(0.0) for _ in range(2)] == [1, 1]
    machine = session(dialer=False)
    assert [machine.open_stream(0.0) for _ in range(3)] == [2, 4, 6]


def test_a_sender_cannot_exceed_the_window_and_a_receiver_does_not_let_it() -> None:
    ours, theirs, stream_id = opened_pair()
    assert received(feed(theirs, data_frame(ours, stream_id, bytes(WINDOW)))) == bytes(WINDOW)
    assert ours.send_window(stream_id) == 0
    with pytest.raises(LocalFault):
        ours.data_header(stream_id, 1)
    with pytest.raises(RemoteFault, match=r"^yamux_window_exceeded$"):
        feed(theirs, encode_header(DATA, 0, stream_id, 1))


def test_a_giant_frame_is_refused_at_its_header() -> None:
    _, theirs, stream_id = opened_pair()
    with pytest.raises(RemoteFault, match=r"^yamux_window_exceeded$"):
        feed(theirs, encode_header(DATA, 0, stream_id, 0xFFFFFFFF))


def test_the_window_is_given_back_half_by_half() -> None:
    ours, theirs, stream_id = opened_pair()
    feed(theirs, data_frame(ours, stream_id, bytes(WINDOW)))
    theirs.consume(stream_id, WINDOW // 2 - 1, 0.0)
    assert not theirs.control
    theirs.consume(stream_id, 1, 0.0)
    assert feed(ours, control(theirs)) == [WindowGrown(stream_id)]
    assert ours.send_window(stream_id) == WINDOW // 2


def test_the_window_grows_for_a_reader_that_keeps_up_as_far_as_the_budget_goes() -> None:
    ours, theirs, stream_id = opened_pair(window=4 * WINDOW, budget=3 * WINDOW - 1)
    theirs.round_trip_s = 0.010

    def exchange(now_s: float) -> int:
        left = ours.send_window(stream_id)
        feed(theirs, data_frame(ours, stream_id, bytes(left)), now_s)
        theirs.consume(stream_id, left, now_s)
        feed(ours, control(theirs), now_s)
        return ours.send_window(stream_id)

    assert exchange(0.020) == 2 * WINDOW
    assert exchange(1.020) == 2 * WINDOW, "a slow sender is not held up by the window"
    assert exchange(1.040) == 2 * WINDOW, "the budget has less than two windows left"
    budget = theirs._budget
    assert budget.left == 2 * WINDOW - 1
    theirs.reset(stream_id)
    assert budget.left == 3 * WINDOW - 1


def test_budgets_are_bounded_by_their_parents() -> None:
    parent = WindowBudget(10)
    first, second = WindowBudget(8, parent), WindowBudget(8, parent)
    assert first.take(8)
    assert not second.take(3)
    assert second.take(2)
    first.give_back(8)
    assert (parent.left, first.left, second.left) == (8, 8, 6)


def test_a_reset_ends_the_stream_at_both_ends_and_what_was_on_its_way_is_skipped() -> None:
    ours, theirs, stream_id = opened_pair()
    late = data_frame(ours, stream_id, b"late")
    theirs.reset(stream_id)
    assert feed(theirs, late) == []
    assert feed(ours, control(theirs)) == [StreamWasReset(stream_id)]
    assert ours.stream_count == theirs.stream_count == 0
    with pytest.raises(LocalFault):
        ours.finish(stream_id)
    theirs.reset(stream_id)
    assert not theirs.control


def test_more_data_than_the_window_allowed_for_a_stream_that_is_gone_is_an_offence() -> None:
    _, theirs, stream_id = opened_pair()
    theirs.reset(stream_id)
    assert feed(theirs, encode_header(DATA, 0, stream_id, WINDOW) + bytes(WINDOW)) == []
    with pytest.raises(RemoteFault, match=r"^yamux_unknown_stream$"):
        feed(theirs, encode_header(DATA, 0, stream_id, 1))


def test_a_stream_reset_in_the_middle_of_a_frame_gets_no_more_of_it() -> None:
    ours, theirs, stream_id = opened_pair()
    frame = data_frame(ours, stream_id, b"0123456789")
    assert received(feed(theirs, frame[:-5])) == b"01234"
    theirs.reset(stream_id)
    assert feed(theirs, frame[-5:] + encode_header(PING, Flag.SYN, 0, 7)) == []
    assert theirs.control.endswith(encode_header(PING, Flag.ACK, 0, 7))


def test_a_consumer_may_reset_on_any_event() -> None:
    """The driver acts between events of one frame."""
    for frame in (
        encode_header(UPDATE, Flag.SYN | Flag.FIN, 1, 5),
        encode_header(DATA, Flag.SYN | Flag.FIN, 1, 3) + b"abc",
    ):
        for stop_at in range(3):
            theirs = session(dialer=False)
            for index, event in enumerate(theirs.receive_untrusted(memoryview(frame), 0.0)):
                if index == stop_at:
                    theirs.reset(event.stream_id)  # type: ignore[union-attr]
            assert theirs.stream_count == 0


def test_pings_are_answered_and_answers_told() -> None:
    ours, theirs = session(dialer=True), session(dialer=False)
    ours.ping(0xDEADBEEF)
    assert feed(theirs, control(ours)) == []
    assert feed(ours, control(theirs)) == [PingAnswered(0xDEADBEEF)]


def test_a_peer_that_does_not_read_cannot_make_us_queue_answers_for_ever() -> None:
    machine = session(dialer=False)
    ping = encode_header(PING, Flag.SYN, 0, 1)
    feed(machine, ping * (CONTROL_BYTES_MAX // 12))
    with pytest.raises(RemoteFault, match=r"^yamux_control_flood$"):
        feed(machine, ping * 2)
    machine = session(dialer=False, streams=0)
    opens = b"".join(
        encode_header(UPDATE, Flag.SYN, stream_id, 0)
        for stream_id in range(1, CONTROL_BYTES_MAX, 2)
    )
    with pytest.raises(RemoteFault, match=r"^yamux_control_flood$"):
        feed(machine, opens)


def test_streams_above_the_limit_are_reset_and_their_data_skipped() -> None:
    machine = session(dialer=False, streams=1)
    feed(machine, encode_header(UPDATE, Flag.SYN, 1, 0))
    assert feed(machine, encode_header(DATA, Flag.SYN, 3, 4) + b"data") == []
    assert control(machine) == encode_header(UPDATE, Flag.RST, 3, 0)
    assert machine.refused_count == 1
    assert feed(machine, encode_header(DATA, 0, 1, 1) + b"x")


def test_our_own_streams_are_limited() -> None:
    machine = session(dialer=True, streams=2)
    machine.open_stream(0.0)
    machine.open_stream(0.0)
    with pytest.raises(LimitReached, match="outbound_streams"):
        machine.open_stream(0.0)
    machine = session(dialer=True)
    for _ in range(ACK_BACKLOG_MAX):
        machine.open_stream(0.0)
    with pytest.raises(LimitReached, match="ack_backlog"):
        machine.open_stream(0.0)
    feed(machine, encode_header(UPDATE, Flag.ACK, 1, 0))
    machine.open_stream(0.0)


def test_after_going_away_no_stream_is_opened_in_either_direction() -> None:
    ours, theirs, stream_id = opened_pair()
    theirs.go_away(GoAwayCode.NORMAL)
    theirs.go_away(GoAwayCode.NORMAL)
    assert feed(ours, control(theirs)) == [GoneAway(0)]
    with pytest.raises(LimitReached, match="session_ending"):
        ours.open_stream(0.0)
    assert feed(theirs, encode_header(UPDATE, Flag.SYN, 3, 0)) == []
    assert control(theirs) == encode_header(UPDATE, Flag.RST, 3, 0)
    assert received(feed(theirs, data_frame(ours, stream_id, b"x"))) == b"x"


SYN_1 = encode_header(UPDATE, Flag.SYN, 1, 0)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ("01" + "00" * 11, "yamux_version"),
        ("0004" + "00" * 10, "yamux_type"),
        (encode_header(DATA, 16, 1, 0), "yamux_flags"),
        (encode_header(DATA, Flag.SYN | Flag.ACK, 1, 0), "yamux_flags"),
        (encode_header(DATA, 0, 0, 0), "yamux_stream_id"),
        (encode_header(PING, Flag.SYN, 1, 0), "yamux_stream_id"),
        (encode_header(GO_AWAY, 0, 1, 0), "yamux_stream_id"),
        (encode_header(PING, 0, 0, 0), "yamux_ping_flags"),
        (encode_header(PING, Flag.FIN, 0, 0), "yamux_ping_flags"),
        (encode_header(UPDATE, Flag.SYN, 2, 0), "yamux_stream_parity"),
        (SYN_1 * 2, "yamux_stream_exists"),
        (encode_header(DATA, 0, 2, 1), "yamux_unknown_stream"),
        (encode_header(UPDATE, 0, 2, 1), "yamux_unknown_stream"),
        (encode_header(DATA, 0, 7, 1), "yamux_unknown_stream"),
        (SYN_1 + encode_header(UPDATE, 0, 1, 0xFFFFFFFF), "yamux_window_overflow"),
        (SYN_1 + encode_header(DATA, Flag.RST, 1, 1), "yamux_data_with_reset"),
        (SYN_1 + encode_header(DATA, Flag.FIN, 1, 0) * 2, "yamux_fin_repeated"),
        (
            SYN_1 + encode_header(DATA, Flag.FIN, 1, 0) + encode_header(DATA, 0, 1, 1),
            "yamux_data_after_fin",
        ),
    ],
)
def test_offences_end_the_session(frames: bytes | str, reason: str) -> None:
    raw = bytes.fromhex(frames) if isinstance(frames, str) else frames
    for pieces in (1, 1 << 20):
        with pytest.raises(RemoteFault, match=f"^{reason}$"):
            feed(session(dialer=False), raw, pieces=pieces)


def test_a_stream_may_be_opened_used_and_finished_by_one_frame() -> None:
    events = feed(session(dialer=False), encode_header(DATA, Flag.SYN | Flag.FIN, 1, 2) + b"hi")
    assert [type(event) for event in events] == [StreamOpened, DataReceived, StreamFinishedWriting]
    events = feed(session(dialer=False), encode_header(DATA, Flag.SYN | Flag.RST, 1, 0))
    assert [type(event) for event in events] == [StreamOpened, StreamWasReset]


def test_nothing_is_sent_after_finishing_nor_finished_twice() -> None:
    ours, _, stream_id = opened_pair()
    ours.finish(stream_id)
    for step in (lambda: ours.data_header(stream_id, 1), lambda: ours.finish(stream_id)):
        with pytest.raises(LocalFault):
            step()


def test_consuming_from_a_stream_that_is_gone_or_finished_tells_nothing() -> None:
    ours, theirs, stream_id = opened_pair()
    feed(theirs, data_frame(ours, stream_id, bytes(WINDOW)))
    ours.finish(stream_id)
    feed(theirs, control(ours))
    theirs.consume(stream_id, WINDOW, 0.0)
    theirs.consume(999, WINDOW, 0.0)
    assert not theirs.control


def test_closing_forgets_every_stream() -> None:
    ours, theirs, _ = opened_pair()
    for machine in (ours, theirs):
        machine.close()
        assert machine.stream_count == machine.inbound_count == 0


@pytest.mark.parametrize("pieces", [1, 7, 12, 1 << 20])
def test_a_session_captured_from_py_libp2p(pieces: int) -> None:
    """Streams opened, used, finished and reset, pings, window growth, updates after FIN."""
    captured = bytes.fromhex(CAPTURED["dialler_sent"])
    machine = session(dialer=False)
    events = feed(machine, captured, pieces=pieces)
    by_stream: dict[int, bytes] = {}
    for event in events:
        if isinstance(event, DataReceived):
            by_stream[event.stream_id] = by_stream.get(event.stream_id, b"") + bytes(event.data)
    header = b"\x13/multistream/1.0.0\n"
    assert by_stream[1] == header + b"\x0f/ipfs/id/1.0.0\n"
    assert by_stream[3].startswith(header + b"\x07/sum/1\n")
    assert len(by_stream[3]) == 20 + 8 + 100
    assert by_stream[5] == header + b"\x08/echo/1\n"
    assert len(by_stream[7]) == 20 + 18 + 32
    assert by_stream[9] == header + b"\x08/echo/1\np2pflp2pfl"
    told = [event for event in events if not isinstance(event, DataReceived | WindowGrown)]
    assert told == [
        PingAnswered(1),
        StreamOpened(1),
        StreamFinishedWriting(1),
        StreamOpened(3),
        StreamFinishedWriting(3),
        StreamOpened(5),
        StreamWasReset(5),
        StreamOpened(7),
        StreamFinishedWriting(7),
        StreamOpened(9),
        StreamFinishedWriting(9),
    ]
    assert bytes(machine.control) == encode_header(PING, Flag.ACK, 0, 1)
    assert machine.stream_count == 4


def frames(data: bytes) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(data), 12):
        yield tuple(data[start : start + 12])


def test_the_bytes_of_opening_are_those_of_the_specification() -> None:
    machine = session(dialer=True)
    stream_id = machine.open_stream(0.0)
    machine.finish(stream_id)
    assert list(frames(control(machine))) == [
        (0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0),
        (0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0),
    ]
