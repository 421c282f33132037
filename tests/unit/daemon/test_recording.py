"""What a peer records is read back as it was."""

from pathlib import Path

import numpy as np

from p2pfl.daemon.recording import EVENTS, Recording, Sent, recorder
from p2pfl_gossip import events


def test_events_come_back_with_their_models(tmp_path: Path) -> None:
    sent = Sent(5, 70, {"Vote": 70})
    record = recorder(tmp_path, lambda: sent)
    model = np.arange(5, dtype=np.float32)
    reading = Recording(tmp_path)
    record(events.RoundStarted(0))
    record(events.RoundEnded(0, model, 5, 4, True))
    first, second = reading.fresh()
    assert (first.event, first.sent) == (events.RoundStarted(0), sent)
    assert isinstance(second.event, events.RoundEnded)
    assert np.array_equal(second.event.vector, model)
    assert (second.event.expected, second.event.contributors) == (5, 4)
    assert first.monotonic_s <= second.monotonic_s
    record(events.PeerEvaluated(0, {"accuracy": 0.5}))
    assert [it.event for it in reading.fresh()] == [events.PeerEvaluated(0, {"accuracy": 0.5})]


def test_a_line_that_is_half_written_waits(tmp_path: Path) -> None:
    record = recorder(tmp_path, lambda: Sent(0, 0, {}))
    record(events.Finished(3))
    whole = (tmp_path / EVENTS).read_bytes()
    with (tmp_path / EVENTS).open("ab") as lines:
        lines.write(whole[:20])
    reading = Recording(tmp_path)
    assert [it.event for it in reading.fresh()] == [events.Finished(3)]
    assert not list(reading.fresh())
    with (tmp_path / EVENTS).open("ab") as lines:
        lines.write(whole[20:])
    assert [it.event for it in reading.fresh()] == [events.Finished(3)]


def test_nothing_is_recorded_before_a_peer_starts(tmp_path: Path) -> None:
    assert not list(Recording(tmp_path).fresh())


def test_what_a_kill_left_of_a_line_spoils_no_other(tmp_path: Path) -> None:
    recorder(tmp_path, lambda: Sent(0, 0, {}))(events.Finished(3))
    with (tmp_path / EVENTS).open("r+b") as lines:
        lines.truncate(20)
    recorder(tmp_path, lambda: Sent(0, 0, {}))(events.Finished(4))
    assert [it.event for it in Recording(tmp_path).fresh()] == [events.Finished(4)]
