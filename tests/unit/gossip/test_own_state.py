"""State of one's own: from training to training, over restarts, and to nobody else."""

from typing import Any

import numpy as np
import pytest
from one_member import EMPTY, GROUP, OneMember
from one_peer import OnePeer

from p2pfl_gossip import own_state, wire
from p2pfl_gossip.actions import LocalProtocolError
from p2pfl_gossip.learning import Evaluate, Train, Trained
from p2pfl_gossip.own_state import OwnState


def arrays(value: float) -> dict[str, Any]:
    return {
        "head": np.full((2, 3), value, np.float32) + np.arange(3, dtype=np.float32),
        "count": np.full((), value, np.float32),
    }


def trained(own: dict[str, Any], *, length: int = 8) -> Trained:
    vector = np.full(length, 4.0, np.float32)
    vector.flags.writeable = False
    return Trained(vector, 1, 0.5, own)


def given(peer: OnePeer, kind: type[Any] = Train) -> dict[str, list[Any]]:
    """What the peer's one job of a kind is given of its own."""
    job: Any = peer.work[peer.job(kind)]
    return {name: array.tolist() for name, array in job.own.items()}


def told(own: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: array.tolist() for name, array in own.items()}


def test_what_a_training_leaves_is_given_to_the_next_and_to_the_evaluation() -> None:
    peer = OnePeer().start()
    assert given(peer) == {}
    peer.done(Train, trained(arrays(1.0)))
    peer.exchange()
    assert given(peer) == given(peer, Evaluate) == told(arrays(1.0))


def test_a_failed_training_keeps_the_last_that_was_good() -> None:
    peer = OnePeer().start()
    peer.done(Train, trained(arrays(1.0)))
    peer.exchange()
    peer.evaluate()
    peer.failed(Train, "the loss became nan")
    peer.exchange()
    assert given(peer) == told(arrays(1.0))


def test_a_restart_goes_on_with_what_was_kept_with_the_model() -> None:
    peer = OnePeer(peers=1, checkpoint_every=2).start()
    for value in (1.0, 2.0, 3.0):
        peer.done(Train, trained(arrays(value)))
        peer.evaluate()
    peer.make()
    peer.start()
    assert peer.peer.round == 2
    assert given(peer) == told(arrays(2.0))


def test_a_member_of_a_ledger_keeps_it_with_the_model_that_it_belongs_to() -> None:
    """In the journal lie the start and nothing, then the next model and what its training left."""
    member = OneMember().begun()
    assert given(member) == {}
    member.done(Train, trained(arrays(1.0), length=member.length))
    assert own_state.RECORD not in member.records
    member.message(1, GROUP.certificate(EMPTY.entry))  # It has the start's model.
    assert own_state.RECORD not in member.records
    member.message(1, GROUP.certificate(GROUP.sum_entry(EMPTY, 2, value=0.0)))
    restored = OwnState()
    restored.restore(member.records)
    assert told(dict(restored.arrays)) == told(arrays(1.0))
    member.make()
    member.begun()
    assert given(member) == told(arrays(1.0))


def test_a_training_of_a_member_that_changed_nothing_leaves_nothing() -> None:
    member = OneMember().begun()
    vector = np.zeros(member.length, np.float32)
    member.done(Train, Trained(vector, 1, 0.5, arrays(1.0)))
    assert own_state.RECORD not in member.records


def test_no_frame_and_no_body_carries_it() -> None:
    own = {"head": np.random.default_rng(0).normal(size=64).astype(np.float32)}
    peers: list[OnePeer] = [OnePeer().start(), OneMember().begun()]
    for peer in peers:
        peer.done(Train, trained(own, length=peer.length))
    peers[0].exchange()
    peers[0].make()
    peers[0].start()
    pieces = [own["head"][at : at + 2].tobytes() for at in range(0, 64, 2)]
    left = [wire.encode(message) for peer in peers for _, message in peer.sent] + [
        body.tobytes() for peer in peers for _, _, body in peer.bodies
    ]
    assert len(left) > 3
    assert not any(piece in data for piece in pieces for data in left)


def test_what_is_kept_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    own = OwnState()
    monkeypatch.setattr(own_state, "BYTES_MAX", 28)
    own.take(arrays(1.0))
    monkeypatch.setattr(own_state, "BYTES_MAX", 27)
    with pytest.raises(LocalProtocolError, match="more than 27 bytes"):
        own.take(arrays(2.0))
    assert told(dict(own.arrays)) == told(arrays(1.0))
    with pytest.raises(LocalProtocolError, match="float32"):
        own.take({"head": np.zeros(2)})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "record",
    [
        np.zeros(3, np.float32),
        b"",
        b"\x93",
        own_state._CODEC.encode(own_state.KeptArrays((("head", (2, 2), bytes(12)),))),
    ],
)
def test_a_record_that_is_not_ours_is_a_bug_of_ours(record: Any) -> None:
    with pytest.raises(LocalProtocolError, match="own state"):
        OwnState().restore({own_state.RECORD: record})
