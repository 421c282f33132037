"""A peer whose models are masked: what its sums are told, and what a lost round leads to."""

import numpy as np
import pytest
from one_masked_peer import OneMaskedPeer, advert
from one_peer import DEADLINE_S

from p2pfl_gossip import events
from p2pfl_gossip.actions import Command, RemoteProtocolError
from p2pfl_gossip.catch_up import (
    FETCH_DEADLINES,
    ModelHeader,
    ModelRequest,
    NoUpdate,
    Status,
    Wait,
)
from p2pfl_gossip.learning import Train, Trained
from p2pfl_gossip.masked_sum.certificate import Certificate
from p2pfl_gossip.peer_state import State

MEAN = [9.0] * 8


def _certificate(round_: int, cohort: int = 1) -> Certificate:
    return Certificate(round_, cohort, b"\x1f", bytes(32), b"\x0f", bytes(4 * 64))


def _averaging() -> OneMaskedPeer:
    peer = OneMaskedPeer()
    peer.start()
    peer.now_s = 5.0
    peer.train(4.0)
    return peer


def _lost() -> OneMaskedPeer:
    """Return a peer whose first sum has come to nothing, and that asks what it gave others."""
    peer = _averaging()
    peer.sum_up(4.0, 1)
    assert (peer.peer.round, peer.peer.state) == (1, State.CATCHING_UP)
    return peer


# --- what the sums are told -----------------------------------------------------------------------


def test_a_trained_model_begins_a_sum() -> None:
    assert _averaging().sums.calls == [("begin", 5.0, 0, [4.0] * 8, 1.0)]


def test_a_message_of_our_round_is_for_the_sums() -> None:
    peer = _averaging()
    peer.message(3, advert(0))
    assert peer.sums.calls[1:] == [("message", 5.0, 3, advert(0))]


def test_members_that_are_past_or_down_or_have_no_update_are_told_of_by_name() -> None:
    peer = _averaging()
    peer.status(1, 1)
    peer.down(2)
    peer.message(3, NoUpdate(0))
    peer.message(4, NoUpdate(1))  # Of the next round, which is for later.
    peer.do(peer.machine.on_peer_up(peer.now_s, peer.roster.peers[2]))
    assert peer.sums.calls[1:] == [("past", 5.0, 1), ("down", 5.0, 2), ("no_update", 5.0, 3),
                                   ("up", 2)]  # fmt: skip


def test_what_was_told_before_our_training_ended_is_told_then() -> None:
    peer = OneMaskedPeer()
    peer.start()
    peer.status(3, 1)
    peer.status(2, 2)
    peer.message(4, NoUpdate(0))
    assert peer.sums.calls == []
    peer.now_s = 5.0
    peer.train(4.0)
    assert peer.sums.calls[1:] == [("no_update", 5.0, 4), ("past", 5.0, 2), ("past", 5.0, 3)]


def test_a_message_of_a_past_round_is_answered_where_its_session_lingers() -> None:
    peer = _averaging()
    peer.sum_up(6.0, 5)
    assert peer.peer.round == 1
    heard = len(peer.sums.calls)
    peer.sent.clear()
    for _ in range(2):
        peer.message(1, advert(0))
    assert peer.sent == [(1, Status(1))], "told once"
    assert len(peer.sums.calls) == heard
    peer.sums.lingering = (0,)
    peer.message(1, advert(0))
    assert peer.sums.calls[heard:] == [("message", peer.now_s, 1, advert(0))]


@pytest.mark.parametrize("round_", [0, 1])
def test_who_says_that_it_is_late_is_told_our_round_and_who_is_not_is_not(round_: int) -> None:
    peer = _averaging()
    peer.sum_up(6.0, 5)
    peer.sent.clear()
    heard = len(peer.sums.calls)
    peer.status(2, round_)
    assert peer.sent == ([(2, Status(1))] if round_ == 0 else [])
    assert len(peer.sums.calls) == heard


# --- a round without a sum ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["failed", "unchanged"])
def test_without_an_update_there_is_no_sum_and_the_round_is_lost(kind: str) -> None:
    """A model that training left as it was may be the very one that an earlier session had."""
    peer = OneMaskedPeer()
    peer.start()
    peer.now_s = 5.0
    if kind == "failed":
        peer.failed(Train, "no rows")
    else:
        same = np.zeros(8, np.float32)
        peer.done(Train, Trained(same, 1, 0.5))
    reason = "no rows" if kind == "failed" else "it changed nothing"
    assert peer.reported(events.TrainingFailed) == [events.TrainingFailed(0, reason)]
    assert peer.asked(NoUpdate) == [1, 2, 3, 4]
    assert (peer.peer.round, peer.peer.state) == (1, State.CATCHING_UP)
    assert peer.sums.calls == []
    assert peer.timers == {min(peer.timers): 5.0 + DEADLINE_S}
    peer.deadlines(FETCH_DEADLINES)
    assert (peer.peer.round, peer.peer.state) == (1, State.TRAINING)
    (ended,) = peer.reported(events.RoundEnded)
    assert (ended.round, ended.expected, ended.contributors, ended.complete) == (0, 5, 0, False)
    assert ended.vector.tolist() == [0.0] * 8


def test_an_averaged_model_that_training_left_as_it_was_is_no_update_either() -> None:
    peer = _averaging()
    peer.sum_up(-1.5, 5)
    peer.train(-1.5)
    assert peer.reported(events.TrainingFailed) == [events.TrainingFailed(1, "it changed nothing")]
    assert peer.peer.state is State.CATCHING_UP


def test_a_bit_that_changed_is_an_update() -> None:
    peer = OneMaskedPeer()
    peer.start()
    changed = np.zeros(8, np.float32)
    changed[7] = -0.0
    changed.flags.writeable = False
    peer.done(Train, Trained(changed, 1, 0.5))
    assert peer.peer.state is State.AVERAGING


def test_who_lost_its_round_asks_its_cohort_and_tells_nobody_its_model() -> None:
    peer = _lost()
    assert sorted(peer.asked(ModelRequest)) == [1, 2, 3, 4]
    assert peer.peer.vector.tolist() == [4.0] * 8
    peer.sent.clear()
    peer.message(2, ModelRequest(0))
    assert peer.sent == [(2, Status(1))]
    assert peer.bodies == []


def test_the_mean_that_others_have_ends_the_round() -> None:
    peer = _lost()
    assert peer.body(2, ModelHeader(1, _certificate(0)), MEAN)
    assert (peer.peer.round, peer.peer.state) == (1, State.TRAINING)
    assert peer.peer.vector.tolist() == MEAN
    assert peer.timers == {}
    (ended,) = peer.reported(events.RoundEnded)
    assert (ended.round, ended.contributors, ended.complete) == (0, 5, True)
    assert peer.records["model"].tolist() == MEAN


def test_one_model_at_a_time_is_taken_until_it_is_lost() -> None:
    peer = _lost()
    header = ModelHeader(1, _certificate(0))
    bulk = peer.begin(2, header)
    assert bulk is not None
    assert peer.begin(3, header) is None
    peer.do(peer.machine.on_bulk_lost(peer.now_s, peer.roster.peers[2], bulk))
    assert peer.body(3, header, MEAN)
    assert peer.peer.vector.tolist() == MEAN


def test_the_loss_of_the_last_hope_ends_the_search() -> None:
    peer = _lost()
    bulk = peer.begin(2, ModelHeader(1, _certificate(0)))
    assert bulk is not None
    for member in (1, 3, 4):
        peer.status(member, 1)
    assert peer.peer.state is State.CATCHING_UP, "a model is on its way"
    peer.do(peer.machine.on_bulk_lost(peer.now_s, peer.roster.peers[2], bulk))
    assert (peer.peer.round, peer.peer.state) == (1, State.TRAINING)
    assert peer.peer._position.round_began_s == peer.now_s
    assert peer.reported(events.RoundEnded)[0].contributors == 1


def test_the_body_of_a_sum_that_is_lost_changes_no_search() -> None:
    peer = _averaging()
    peer.sums.size_bytes = 32
    bulk = peer.begin(1, advert(0))
    assert bulk is not None
    assert peer.machine.on_bulk_lost(peer.now_s, peer.roster.peers[1], bulk) == []
    assert peer.peer.state is State.AVERAGING


def test_who_answers_when_its_round_ends_is_waited_for() -> None:
    peer = _lost()
    for member in range(1, 5):
        peer.message(member, Wait(0))
    for _ in range(2 * FETCH_DEADLINES):
        peer.timer()
        for member in range(1, 5):
            peer.message(member, Wait(0))
    assert peer.peer.state is State.CATCHING_UP
    for member in range(1, 5):
        peer.status(member, 1)
    assert (peer.peer.round, peer.peer.state) == (1, State.TRAINING)
    with pytest.raises(RemoteProtocolError, match=r"^round_out_of_range$"):
        peer.message(1, Wait(21))


def test_who_is_down_is_not_waited_for() -> None:
    peer = _lost()
    for member in (1, 2, 3):
        peer.down(member)
    peer.status(4, 1)
    assert peer.peer.state is State.TRAINING


def test_a_pause_holds_after_a_lost_round_too() -> None:
    peer = _lost()
    peer.command(Command.PAUSE)
    for member in range(1, 5):
        peer.status(member, 1)
    assert (peer.peer.round, peer.peer.state) == (1, State.PAUSED)


def test_no_members_word_moves_a_masked_peer() -> None:
    """In the open, most partners' word would."""
    peer = _averaging()
    for member in range(1, 5):
        peer.status(member, 9)
    assert (peer.peer.round, peer.peer.state) == (0, State.AVERAGING)
    assert peer.asked(ModelRequest) == []


@pytest.mark.parametrize("has_partners", [False, True])
def test_who_restarts_asks_others_where_its_round_has_any(has_partners: bool) -> None:
    peer = OneMaskedPeer()
    peer.start()
    peer.now_s = 5.0
    peer.train(4.0)
    peer.sum_up(6.0, 5)
    peer.make()
    assert peer.records["round"] == (1).to_bytes(8, "little")
    peer.sums._partners = lambda round_: (1, 2) if round_ == 1 and has_partners else ()
    peer.start()
    assert peer.peer.state is (State.CATCHING_UP if has_partners else State.TRAINING)
    asked = peer.asked(ModelRequest)
    assert 0 not in asked
    assert len(asked) == (3 if has_partners else 0)


def test_who_restarts_never_asks_itself() -> None:
    peer = OneMaskedPeer(peers=4)
    peer.start()
    peer.make()
    peer.start()
    for _ in range(6):
        assert sorted(peer.asked(ModelRequest)) == [1, 2, 3]
        peer.timer()
