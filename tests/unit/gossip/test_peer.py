# mypy: disable-error-code="comparison-overlap"
"""A whole peer against a test in the place of everybody else: its states, and what moves it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from one_peer import DEADLINE_S, OnePeer

from p2pfl_gossip import events
from p2pfl_gossip.actions import Command, LocalProtocolError, PeerId, RemoteProtocolError
from p2pfl_gossip.averaging.base import LOOKAHEAD_ROUNDS
from p2pfl_gossip.averaging.cohort_averaging import MeanHeader, PartHeader
from p2pfl_gossip.catch_up import (
    FETCH_DEADLINES,
    MODELS_SERVED_MAX,
    SEEK_FANOUT,
    ModelHeader,
    ModelRequest,
    NoUpdate,
    Status,
    StatusRequest,
)
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained
from p2pfl_gossip.peer_state import NEXT_STATES, State

MODEL = [7.0] * 8


# --- one round ----------------------------------------------------------------------------------


def test_a_round_trains_exchanges_persists_evaluates_and_reports() -> None:
    peer = OnePeer().start()
    assert peer.peer.state is State.TRAINING
    assert peer.records == {"incarnation": (1).to_bytes(8, "little")}
    (job,) = peer.work.values()
    assert isinstance(job, Train)
    assert (job.round, job.stream) == (0, "test/0/1/train/0")
    peer.train(4.0)
    assert peer.peer.state is State.AVERAGING
    assert len(peer.bodies) == 3
    peer.exchange(8.0)
    assert peer.peer.state is State.TRAINING
    assert peer.peer.round == 1
    assert peer.peer.vector.tolist() == [7.0] * 2 + [8.0] * 6
    assert peer.records["round"] == (1).to_bytes(8, "little")
    assert peer.records["model"].tolist() == peer.peer.vector.tolist()
    assert peer.timers == {}
    peer.evaluate()
    assert [type(event).__name__ for event in peer.events] == [
        "RoundStarted", "AveragingStarted", "RoundEnded", "RoundStarted", "PeerEvaluated",
    ]  # fmt: skip
    assert peer.reported(events.AveragingStarted) == [events.AveragingStarted(0, 0.5)]
    assert peer.reported(events.PeerEvaluated)[0].round == 0


def test_the_last_round_ends_in_finished_once_its_figures_are_there() -> None:
    peer = OnePeer(rounds=1).start()
    peer.train()
    peer.exchange()
    assert peer.peer.state is State.FINISHED
    assert peer.reported(events.Finished) == []
    peer.evaluate()
    assert peer.reported(events.Finished) == [events.Finished(1)]
    assert peer.work == peer.timers == {}


@pytest.mark.parametrize(("is_weighed", "weight"), [(True, 30.0), (False, 1.0)])
def test_models_weigh_by_their_rows_if_settings_say_so(is_weighed: bool, weight: float) -> None:
    peer = OnePeer(weigh_by_samples=is_weighed).start()
    peer.train(sample_count=30)
    assert {header.weight for _, header, _ in peer.bodies} == {weight}  # type: ignore[attr-defined]


def test_models_are_persisted_and_evaluated_every_so_often_and_at_the_end() -> None:
    peer = OnePeer(rounds=5, checkpoint_every=2, evaluate_every=3).start()
    persisted, evaluated = [], []
    for _ in range(5):
        peer.train()
        peer.exchange()
        persisted.append(int.from_bytes(peer.records.get("round", b""), "little"))
        evaluated.append([job.round for job in peer.work.values() if isinstance(job, Evaluate)])
        peer.evaluate()
    assert persisted == [0, 2, 2, 4, 5]
    assert evaluated == [[], [], [2], [], [4]]


def test_nothing_is_persisted_or_evaluated_where_settings_say_never() -> None:
    peer = OnePeer(rounds=2, checkpoint_every=0, evaluate_every=0).start()
    peer.do_round()
    peer.do_round()
    assert peer.peer.state is State.FINISHED
    assert set(peer.records) == {"incarnation"}
    assert peer.reported(events.PeerEvaluated) == []


def test_a_failed_training_puts_nothing_in_and_all_are_told() -> None:
    peer = OnePeer().start()
    peer.do_round(4.0)
    peer.bodies.clear()
    peer.failed(Train, "the loss became nan")
    assert peer.reported(events.TrainingFailed) == [events.TrainingFailed(1, "the loss became nan")]
    assert peer.peer.state is State.AVERAGING
    assert peer.bodies == []
    assert peer.asked(NoUpdate) == [1, 2, 3]
    for other in range(1, 4):
        peer.part(other, 8.0)
    # It owns its chunk all the same: the mean of the others' parts.
    assert [(to, body.tolist()) for to, _, body in peer.bodies] == [
        (1, [8.0] * 2),
        (2, [8.0] * 2),
        (3, [8.0] * 2),
    ]
    means = [header for _, header, _ in peer.bodies if isinstance(header, MeanHeader)]
    assert [header.contributors for header in means] == [b"\x0e"] * 3
    for other in range(1, 4):
        peer.mean(other, 8.0)
    assert peer.peer.vector.tolist() == [8.0] * 8


def test_whoever_has_no_update_is_not_waited_for() -> None:
    peer = OnePeer().start()
    peer.message(3, NoUpdate(0))  # While we train.
    peer.train(4.0)
    peer.part(1, 8.0)
    peer.message(2, NoUpdate(0))
    means = [header for _, header, _ in peer.bodies if isinstance(header, MeanHeader)]
    assert {header.contributors for header in means} == {b"\x03"}
    for other in range(1, 4):
        peer.mean(other, 8.0)
    (ended,) = peer.reported(events.RoundEnded)
    assert ended.without_update == ("peer-2", "peer-3")


def test_a_peer_that_hears_of_no_model_either_keeps_its_own() -> None:
    peer = OnePeer().start()
    peer.do_round(4.0)
    peer.failed(Train, "no rows")
    for other in range(1, 4):
        peer.message(other, NoUpdate(1))
    while peer.peer.state is State.AVERAGING:
        peer.timer()
    assert peer.peer.vector.tolist() == [4.0] * 8
    assert peer.reported(events.RoundEnded)[-1].contributors == 0


@pytest.mark.parametrize(("sender", "round_"), [(1, 0), (1, 1 + LOOKAHEAD_ROUNDS + 1), (1, 20)])
def test_no_update_of_another_time_is_forgotten(sender: int, round_: int) -> None:
    peer = OnePeer(rounds=20).start()
    peer.do_round(4.0)
    peer.message(sender, NoUpdate(round_))
    assert not peer.peer._others.without_update(round_)
    with pytest.raises(RemoteProtocolError, match=r"^round_out_of_range$"):
        peer.message(sender, NoUpdate(21))


def test_a_failed_evaluation_is_reported_and_stops_nothing() -> None:
    peer = OnePeer(rounds=1).start()
    peer.train()
    peer.exchange()
    peer.failed(Evaluate, "no rows")
    assert peer.reported(events.EvaluationFailed) == [events.EvaluationFailed(0, "no rows")]
    assert peer.reported(events.Finished) == [events.Finished(1)]


def test_a_peer_on_its_own_trains_to_the_end() -> None:
    peer = OnePeer(peers=1, rounds=2).start()
    for _ in range(2):
        peer.train()
        peer.evaluate()
    assert peer.peer.state is State.FINISHED
    assert peer.sent == peer.bodies == []


# --- work and timers of a driver ----------------------------------------------------------------


def test_what_ends_after_it_was_cancelled_does_nothing() -> None:
    peer = OnePeer().start()
    late = peer.job(Train)
    peer.message(1, PartHeader(LOOKAHEAD_ROUNDS + 1, 1.0))  # So far ahead: the round is given up.
    assert peer.peer.state is State.CATCHING_UP
    assert peer.work == {}
    trained = Trained(np.zeros(8, np.float32), 1, 0.0)
    assert peer.peer.on_work_done(0.0, late, trained) == []
    assert peer.peer.on_work_failed(0.0, late, "why") == []
    (deadline,) = peer.timers
    peer.command(Command.LEAVE)
    assert peer.timers == {}
    assert peer.peer.on_timer(0.0, deadline) == []
    assert peer.peer.state is State.LEFT


def test_a_driver_that_tells_what_was_not_asked_is_a_bug_of_ours() -> None:
    peer = OnePeer().start()
    trained = Trained(np.zeros(8, np.float32), 1, 0.0)
    told: list[Callable[[], Any]] = [
        peer.start,
        lambda: peer.peer.on_work_done(0.0, 999, trained),
        lambda: peer.peer.on_work_part(0.0, peer.job(Train), trained),
        lambda: peer.peer.on_timer(0.0, peer.job(Train)),
        lambda: peer.peer.on_work_done(0.0, peer.job(Train), Evaluated({})),
        lambda: peer.peer.on_work_failed(0.0, 999, "why"),
        lambda: peer.peer.on_timer(0.0, 999),
        lambda: peer.peer.on_sent(0.0, 999, True),
    ]
    for tell in told:
        with pytest.raises(LocalProtocolError):
            tell()


@pytest.mark.parametrize("command", Command)
def test_a_command_before_the_start_is_a_bug_of_ours(command: Command) -> None:
    with pytest.raises(LocalProtocolError):
        OnePeer().command(command)


def test_records_of_another_task_are_a_bug_of_ours() -> None:
    for model in (b"bytes", np.zeros(9, np.float32)):
        peer = OnePeer()
        peer.records = {"incarnation": b"\1", "round": b"\1", "model": model}
        with pytest.raises(LocalProtocolError):
            peer.start()


# --- being behind -------------------------------------------------------------------------------


def test_most_partners_being_past_makes_a_peer_fetch_the_model_of_the_furthest() -> None:
    peer = OnePeer().start()
    peer.status(1, 3)
    peer.status(2, 5)
    assert peer.peer.state is State.TRAINING  # Perhaps they are as slow; it trains on.
    peer.train()
    # Two of three are past: the round is given up as soon as the exchange is seen to be over.
    peer.status(3, 5)
    assert peer.peer.state is State.CATCHING_UP
    assert peer.asked(ModelRequest) == [2]
    assert peer.timers == {min(peer.timers): FETCH_DEADLINES * DEADLINE_S}
    assert peer.body(2, ModelHeader(5), MODEL)
    assert peer.reported(events.CaughtUp) == [events.CaughtUp(0, 5)]
    assert (peer.peer.round, peer.peer.state) == (5, State.TRAINING)
    assert peer.peer.vector.tolist() == MODEL
    assert peer.records["model"].tolist() == MODEL
    assert peer.work[peer.job(Train)].vector.tolist() == MODEL
    assert peer.timers == {}


@pytest.mark.parametrize(("past", "follows"), [(2, False), (3, True)])
def test_half_of_the_partners_is_not_most_of_them(past: int, follows: bool) -> None:
    peer = OnePeer(peers=5, length=10).start()
    for sender in range(1, 1 + past):
        peer.status(sender, 1)
    peer.train()
    while peer.peer.state is State.AVERAGING:
        peer.timer()
    assert (peer.peer.state is State.CATCHING_UP) is follows


def test_a_round_that_is_given_up_is_reported_and_reported_once() -> None:
    peer = OnePeer().start()
    peer.train()
    for sender in (1, 2, 3):
        peer.status(sender, 4)
    assert peer.reported(events.RoundLost) == [events.RoundLost(0, "behind")]
    assert peer.reported(events.RoundEnded) == []


def test_a_minority_that_is_past_is_done_without() -> None:
    peer = OnePeer().start()
    peer.train()
    peer.status(1, 1)
    for sender in (2, 3):
        peer.part(sender, 8.0)
        peer.mean(sender, 8.0)
    (ended,) = peer.reported(events.RoundEnded)
    assert (ended.complete, ended.contributors, ended.expected) == (False, 4, 4)
    assert peer.peer.state is State.TRAINING


def _lost_round(peer: OnePeer, *, ahead: int) -> OnePeer:
    """Have a peer end a round in vain, after so many partners sent frames of a later one."""
    peer.start()
    for sender in range(1, 1 + ahead):
        assert peer.part(sender, 1.0, round_=2)
    peer.train()
    while peer.peer.state is State.AVERAGING:
        peer.timer()
    return peer


def test_without_a_threshold_a_lost_round_is_no_reason_to_leave_it() -> None:
    peer = _lost_round(OnePeer(peers=7, length=14), ahead=3)
    assert peer.peer.round == 1


def test_a_frame_far_ahead_tells_a_peer_that_it_is_behind() -> None:
    peer = OnePeer().start()
    assert not peer.part(2, 1.0, round_=LOOKAHEAD_ROUNDS + 1)
    assert peer.peer.state is State.CATCHING_UP
    assert peer.work == {}
    assert peer.asked(ModelRequest) == [2]
    assert peer.reported(events.RoundLost) == [events.RoundLost(0, "behind")]


def test_a_frame_within_reach_is_kept() -> None:
    peer = OnePeer().start()
    assert peer.part(2, 1.0, round_=LOOKAHEAD_ROUNDS)
    assert peer.peer.state is State.TRAINING


@pytest.mark.parametrize("where", ["catching up", "paused"])
def test_a_frame_far_ahead_changes_nothing_for_who_is_not_in_a_round(where: str) -> None:
    peer = _in_state(where)
    sent = len(peer.sent)
    assert not peer.part(2, 1.0, round_=peer.peer.round + LOOKAHEAD_ROUNDS + 1)
    assert peer.peer.state.value == where
    assert len(peer.sent) == sent


def test_a_late_sender_is_told_our_round_once_in_each() -> None:
    peer = OnePeer().start()
    peer.do_round()
    assert not peer.part(1, 1.0, round_=0)
    assert not peer.mean(1, 1.0, round_=0)
    assert not peer.part(2, 1.0, round_=0)
    assert peer.sent == [(1, Status(1)), (2, Status(1))]
    peer.do_round()
    assert not peer.part(1, 1.0, round_=0)
    assert peer.sent[2:] == [(1, Status(2))]


def test_a_body_whose_round_ended_while_it_came_changes_nothing() -> None:
    peer = OnePeer().start()
    header = PartHeader(0, 1.0)
    bulk = peer.begin(1, header)
    assert bulk is not None
    peer.do_round()
    peer.chunk(1, bulk, bytes(8))
    before = (peer.peer.round, peer.peer.state, len(peer.events))
    peer.end(1, bulk)
    assert (peer.peer.round, peer.peer.state, len(peer.events)) == before


def test_whoever_answers_a_fetch_with_no_later_round_sends_us_back_to_our_own() -> None:
    peer = _in_state("catching up")
    peer.asked(ModelRequest)
    peer.status(2, 0)
    assert (peer.peer.round, peer.peer.state) == (0, State.TRAINING)
    assert peer.timers == {}


def test_a_model_of_no_later_round_is_not_taken() -> None:
    peer = _in_state("catching up")
    assert peer.body(2, ModelHeader(0), MODEL)
    assert peer.peer.vector.tolist() == [0.0] * 8
    assert peer.reported(events.CaughtUp) == []


# --- seeking ------------------------------------------------------------------------------------


def _restarted(**settings: Any) -> OnePeer:
    """Return a peer that was in round 2 and has just started again."""
    peer = OnePeer(peers=8, length=16, **settings).start()
    peer.do_round(1.0)
    peer.do_round(2.0)
    peer.make()
    return peer.start()


def test_a_restarted_peer_asks_some_members_for_their_round() -> None:
    peer = _restarted()
    assert peer.peer.state is State.CATCHING_UP
    assert peer.work == {}
    asked = peer.asked()
    assert len(set(asked)) == SEEK_FANOUT
    assert 0 not in asked
    assert list(peer.timers.values()) == [DEADLINE_S]


def test_a_restarted_peer_never_asks_itself() -> None:
    peer = OnePeer().start()
    peer.make()
    peer.start()
    for _ in range(6):
        assert sorted(peer.asked()) == [1, 2, 3]
        peer.timer()


def test_a_restarted_peer_that_missed_nothing_goes_on_from_its_records() -> None:
    peer = _restarted()
    for member, round_ in zip(peer.asked(), (2, 1, 2), strict=True):
        peer.status(member, round_)
    assert (peer.peer.round, peer.peer.state) == (2, State.TRAINING)
    assert peer.peer.vector.tolist() == [2.0] * 16
    job = peer.work[peer.job(Train)]
    assert job.stream == "test/0/2/train/2"  # type: ignore[attr-defined]  # Never the first's draws.


def test_a_restarted_peer_takes_the_model_of_the_furthest_answer() -> None:
    peer = _restarted()
    asked = peer.asked()
    for member, round_ in zip(asked, (3, 9, 5), strict=True):
        peer.status(member, round_)
    assert peer.asked(ModelRequest) == [asked[1]]
    assert peer.body(asked[1], ModelHeader(10), [3.0] * 16)  # It went on while we asked.
    assert (peer.peer.round, peer.peer.state) == (10, State.TRAINING)
    assert peer.peer.vector.tolist() == [3.0] * 16


def test_a_peer_without_a_checkpoint_that_joins_late_takes_the_others_round() -> None:
    peer = OnePeer(peers=2, checkpoint_every=0).start()
    peer.make()
    peer.start()
    assert peer.asked() == [1]
    peer.status(1, 12)
    assert peer.asked(ModelRequest) == [1]
    peer.body(1, ModelHeader(12), MODEL)
    assert (peer.peer.round, peer.peer.state) == (12, State.TRAINING)


def test_the_incarnation_counts_restarts() -> None:
    peer = OnePeer(peers=1).start()
    for incarnation in (2, 3):
        peer.make()
        peer.start()
        assert peer.records["incarnation"] == incarnation.to_bytes(8, "little")
        assert f"test/0/{incarnation}/train/0" in str(peer.work)


def test_who_answers_decides_at_the_deadline() -> None:
    peer = _restarted()
    asked = peer.asked()
    peer.status(asked[0], 4)
    assert peer.asked(ModelRequest) == []
    peer.timer()
    assert peer.asked(ModelRequest) == [asked[0]]


def test_with_no_answer_others_are_asked_and_nothing_is_trained() -> None:
    peer = _restarted()
    asked = [peer.asked()]
    for attempt in range(1, 6):
        peer.timer()
        asked.append(peer.asked())
        assert len(asked[-1]) == SEEK_FANOUT
        assert peer.now_s == attempt * DEADLINE_S
    assert len({tuple(sorted(members)) for members in asked}) > 1
    assert peer.work == {}


def test_members_that_are_down_are_not_waited_for() -> None:
    peer = _restarted()
    asked = peer.asked()
    peer.down(asked[0])
    peer.status(asked[1], 2)
    peer.down(asked[2])
    assert (peer.peer.round, peer.peer.state) == (2, State.TRAINING)


def test_a_peer_whose_every_link_is_down_waits_for_the_deadline_before_it_asks_again() -> None:
    peer = _restarted()
    for member in peer.asked():
        peer.down(member)
    assert peer.asked() == []
    peer.timer()
    assert len(peer.asked()) == SEEK_FANOUT


def test_an_answer_of_who_was_not_asked_decides_nothing() -> None:
    peer = _restarted()
    asked = peer.asked()
    (other, *_) = sorted(set(range(1, 8)) - set(asked))
    for member in asked[:2]:
        peer.status(member, 2)
    peer.status(other, 15)
    assert peer.peer.state is State.CATCHING_UP
    peer.status(asked[2], 2)
    assert (peer.peer.round, peer.peer.state) == (2, State.TRAINING)


def _fetching() -> tuple[OnePeer, int]:
    """A peer that has restarted and waits for a member's model of round 9; and that member."""
    peer = _restarted()
    first = peer.asked()[1]
    peer.status(first, 9)
    peer.timer()
    assert peer.asked(ModelRequest) == [first]
    return peer, first


def test_if_who_was_to_answer_dies_others_are_sought_and_it_is_not_asked_again() -> None:
    peer, first = _fetching()
    bulk = peer.begin(first, ModelHeader(9))
    assert bulk is not None
    peer.down(first)
    second = peer.asked()
    assert first not in second
    peer.chunk(first, bulk, bytes(64))
    peer.end(first, bulk)  # Too late: not taken.
    assert peer.peer.round == 2
    for member in second:
        peer.status(member, 9)
    assert peer.asked(ModelRequest) == [min(second)]
    peer.body(min(second), ModelHeader(9), [5.0] * 16)
    assert (peer.peer.round, peer.peer.vector.tolist()) == (9, [5.0] * 16)


def test_who_is_late_with_its_model_may_still_give_it_while_others_are_sought() -> None:
    # It may be in its training, which takes as long as it takes, and answer when its round ends.
    peer, first = _fetching()
    peer.timer()
    second = peer.asked()
    assert first not in second
    assert peer.begin(second[0], ModelHeader(9)) is None  # Not asked for yet.
    peer.body(first, ModelHeader(9), [5.0] * 16)
    assert (peer.peer.round, peer.peer.state) == (9, State.TRAINING)
    assert peer.begin(first, ModelHeader(10)) is None


def test_with_two_peers_the_other_is_asked_again_whatever_it_did() -> None:
    peer = OnePeer(peers=2).start()
    peer.make()
    peer.start()
    for _ in range(3):
        assert peer.asked() == [1]
        peer.status(1, 9)
        assert peer.asked(ModelRequest) == [1]
        peer.timer()


def test_a_restart_after_the_last_round_finishes_at_once() -> None:
    # Everybody else may have left: who has all rounds needs nobody.
    peer = OnePeer(rounds=1).start()
    peer.do_round()
    peer.make()
    peer.start()
    assert peer.peer.state is State.FINISHED
    assert peer.reported(events.Finished) == [events.Finished(1)]
    assert peer.timers == {}


# --- cut off ------------------------------------------------------------------------------------


def test_a_peer_that_reaches_nobody_does_not_train_on_alone() -> None:
    peer = OnePeer().start()
    peer.train()
    for partner in (1, 2, 3):
        peer.down(partner)
    assert (peer.peer.round, peer.peer.state) == (1, State.CATCHING_UP)
    assert peer.job(Evaluate)
    peer.evaluate()
    assert peer.work == {}
    for partner in peer.asked():
        peer.down(partner)
    for _ in range(3):
        peer.timer()
        assert peer.peer.state is State.CATCHING_UP
    peer.asked()
    peer.timer()
    for partner in peer.asked():
        peer.status(partner, 1)
    assert (peer.peer.round, peer.peer.state) == (1, State.TRAINING)


def test_a_peer_that_hears_nobody_does_not_train_on_alone() -> None:
    # Links may go dead without a word: silence of all partners is as good a sign.
    peer = OnePeer().start()
    peer.train()
    peer.timer()
    peer.timer()
    assert (peer.peer.round, peer.peer.state) == (1, State.CATCHING_UP)
    assert len(peer.asked()) == SEEK_FANOUT


def test_after_the_last_round_nobody_is_needed() -> None:
    peer = OnePeer(rounds=1).start()
    peer.train()
    for partner in (1, 2, 3):
        peer.down(partner)
    assert peer.peer.state is State.FINISHED


def test_some_partners_down_is_no_reason_to_stop() -> None:
    peer = OnePeer().start()
    peer.train()
    peer.down(1)
    peer.down(2)
    peer.part(3, 8.0)
    peer.mean(3, 8.0)
    assert (peer.peer.round, peer.peer.state) == (1, State.TRAINING)


# --- giving models away ---------------------------------------------------------------------------


def test_a_model_is_given_to_who_is_behind_and_a_round_to_who_is_not() -> None:
    peer = OnePeer().start()
    peer.do_round(4.0)
    peer.message(1, ModelRequest(0))
    assert peer.models() == [(1, 1, [4.0] * 8)]
    peer.message(2, ModelRequest(1))
    peer.message(3, ModelRequest(9))
    assert peer.sent == [(2, Status(1)), (3, Status(1))]
    assert peer.models() == []


def test_while_averaging_the_answer_waits_and_is_never_the_trained_model() -> None:
    peer = OnePeer().start()
    peer.do_round(4.0)
    peer.train(99.0)
    peer.message(1, ModelRequest(0))
    peer.message(1, ModelRequest(0))
    assert peer.models() == []
    peer.exchange(3.0)
    assert peer.models() == [(1, 2, [27.0] * 2 + [3.0] * 6)]


def test_who_waits_for_a_model_gets_none_of_a_round_that_is_given_up() -> None:
    peer = OnePeer().start()
    peer.do_round(4.0)
    peer.train(99.0)
    peer.message(1, ModelRequest(0))
    peer.part(2, 1.0, round_=12)
    assert peer.peer.state is State.CATCHING_UP
    assert peer.models() == []
    peer.message(3, ModelRequest(0))
    given = peer.models()
    assert all(99.0 not in model for _, _, model in given)


def test_a_peer_that_catches_up_never_gives_its_trained_model_away() -> None:
    peer = OnePeer().start()
    peer.train(99.0)
    for sender in (1, 2, 3):
        peer.status(sender, 4)
    assert peer.peer.state is State.CATCHING_UP
    peer.message(1, ModelRequest(0))
    assert all(99.0 not in model for _, _, model in peer.models())


def _alone_ahead(peer: OnePeer) -> OnePeer:
    """Have a peer end a round alone, its own model being all there is of the next."""
    peer.start()
    peer.do_round(4.0)
    peer.train(99.0)
    peer.message(2, ModelRequest(0))
    for partner in (1, 2, 3):
        peer.down(partner)
    assert peer.peer.round == 2
    assert peer.peer.vector.tolist() == [99.0] * 8
    return peer


def test_whoever_is_alone_ahead_gives_its_model_to_those_who_are_behind() -> None:
    # They may have nobody else to go on from: kept back, they would wait for ever.
    peer = _alone_ahead(OnePeer())
    assert peer.models() == [(2, 2, [99.0] * 8)]
    peer.message(1, ModelRequest(0))
    assert peer.models() == [(1, 2, [99.0] * 8)]


def test_only_so_many_models_are_given_at_once() -> None:
    peer = OnePeer(peers=8, length=16).start()
    peer.do_round()
    for member in range(1, 8):
        peer.message(member, ModelRequest(0))
    assert [receiver for receiver, _, _ in peer.models()] == [1, 2, 3, 4]
    assert MODELS_SERVED_MAX == 4
    first, second = peer.tickets[-2:]
    peer.do(peer.peer.on_sent(0.0, first, True))
    peer.do(peer.peer.on_sent(0.0, second, False))
    for member in range(5, 8):
        peer.message(member, ModelRequest(0))
    assert [receiver for receiver, _, _ in peer.models()] == [5, 6]


def test_those_who_wait_for_the_end_of_a_round_count_as_well() -> None:
    peer = OnePeer(peers=8, length=16).start()
    peer.do_round()
    peer.train()
    for member in range(1, 8):
        peer.message(member, ModelRequest(0))
    peer.exchange()
    assert [receiver for receiver, _, _ in peer.models()] == [1, 2, 3, 4]


@pytest.mark.parametrize("where", ["training", "averaging", "catching up", "paused", "finished"])
def test_everybody_answers_who_asks_for_a_round(where: str) -> None:
    peer = _in_state(where)
    peer.sent.clear()
    peer.message(1, StatusRequest())
    assert peer.sent == [(1, Status(peer.peer.round))]


# --- commands -----------------------------------------------------------------------------------


def _in_state(where: str) -> OnePeer:
    peer = OnePeer(rounds=1 if where == "finished" else 20).start()
    match where:
        case "averaging":
            peer.train()
        case "catching up":
            peer.part(2, 1.0, round_=LOOKAHEAD_ROUNDS + 1)
        case "paused":
            peer.command(Command.PAUSE)
            peer.do_round()
        case "finished":
            peer.do_round()
        case "left":
            peer.command(Command.LEAVE)
    assert peer.peer.state.value == where
    return peer


@pytest.mark.parametrize("where", ["training", "averaging", "catching up", "paused", "finished"])
def test_who_leaves_drops_everything_and_says_nothing_more(where: str) -> None:
    peer = _in_state(where)
    bulk = peer.begin(1, PartHeader(peer.peer.round, 1.0)) if where != "finished" else None
    peer.command(Command.LEAVE)
    assert peer.peer.state is State.LEFT
    assert peer.timers == {}
    assert not [job for job in peer.work.values() if isinstance(job, Train)]
    (left,) = peer.reported(events.Left)
    assert left.round == peer.peer.round
    lost = [events.RoundLost(0, "left")] if where in {"training", "averaging"} else []
    assert [e for e in peer.reported(events.RoundLost) if e.reason == "left"] == lost
    peer.sent.clear()
    if bulk is not None:
        peer.chunk(1, bulk, bytes(8))
        peer.end(1, bulk)
    peer.status(1, 7)
    peer.message(1, StatusRequest())
    peer.message(1, ModelRequest(0))
    for round_ in (0, 1, 15):
        assert not peer.part(1, 1.0, round_=round_)
    peer.down(1)
    peer.evaluate()
    for command in Command:
        peer.command(command)
    assert peer.sent == peer.models() == []
    assert peer.peer.state is State.LEFT
    assert len(peer.reported(events.Left)) == 1


def test_an_evaluation_under_way_when_we_leave_is_reported() -> None:
    peer = OnePeer().start()
    peer.train()
    peer.exchange()
    peer.command(Command.LEAVE)
    peer.evaluate()
    assert len(peer.reported(events.PeerEvaluated)) == 1
    assert peer.reported(events.Finished) == []


@pytest.mark.parametrize("where", ["training", "averaging", "catching up"])
def test_a_pause_lets_the_round_end_first(where: str) -> None:
    peer = _in_state(where)
    peer.command(Command.PAUSE)
    assert peer.peer.state.value == where
    if where == "training":
        peer.train()
    if where == "catching up":
        peer.body(2, ModelHeader(9), MODEL)
    else:
        peer.exchange()
    assert peer.peer.state is State.PAUSED
    peer.evaluate()
    assert peer.work == peer.timers == {}


def test_a_paused_peer_keeps_what_comes_and_answers() -> None:
    peer = _in_state("paused")
    assert peer.reported(events.Paused) == [events.Paused(peer.peer.round)]
    assert peer.part(1, 1.0)
    peer.message(2, ModelRequest(0))
    assert [receiver for receiver, _, _ in peer.models()] == [2]
    peer.down(1)
    peer.status(1, 5)
    assert peer.peer.state is State.PAUSED


def test_a_resumed_peer_asks_first_what_it_has_missed() -> None:
    peer = _in_state("paused")
    peer.command(Command.RESUME)
    assert peer.peer.state is State.CATCHING_UP
    for member in peer.asked():
        peer.status(member, 1)
    assert (peer.peer.round, peer.peer.state) == (1, State.TRAINING)


def test_a_pause_that_is_taken_back_pauses_nothing() -> None:
    peer = OnePeer().start()
    peer.command(Command.PAUSE)
    peer.command(Command.RESUME)
    peer.do_round()
    assert peer.peer.state is State.TRAINING


@pytest.mark.parametrize("where", ["training", "averaging", "catching up", "finished"])
def test_a_resume_without_a_pause_is_nothing(where: str) -> None:
    peer = _in_state(where)
    peer.sent.clear()
    peer.command(Command.RESUME)
    assert peer.peer.state.value == where
    assert peer.sent == []


def test_a_peer_on_its_own_goes_on_after_a_pause() -> None:
    peer = OnePeer(peers=1).start()
    peer.command(Command.PAUSE)
    peer.train()
    assert peer.peer.state is State.PAUSED
    peer.command(Command.RESUME)
    assert peer.peer.state is State.TRAINING


def test_a_pause_in_the_last_round_does_not_keep_it_from_finishing() -> None:
    peer = OnePeer(rounds=1).start()
    peer.command(Command.PAUSE)
    peer.do_round()
    assert peer.peer.state is State.FINISHED


# --- lies ---------------------------------------------------------------------------------------


def _refused(peer: OnePeer, sender: int, message: Any) -> str:
    before = (peer.peer.state, peer.peer.round, len(peer.sent), len(peer.events))
    give = peer.message if isinstance(message, (Status, ModelRequest)) else peer.begin
    with pytest.raises(RemoteProtocolError) as caught:
        give(sender, message)
    assert (peer.peer.state, peer.peer.round, len(peer.sent), len(peer.events)) == before
    return caught.value.reason


@pytest.mark.parametrize(
    "where", ["training", "averaging", "catching up", "paused", "finished", "left"]
)
def test_a_stranger_is_refused_in_every_state(where: str) -> None:
    peer = _in_state(where)
    stranger = PeerId("stranger")
    with pytest.raises(RemoteProtocolError, match=r"^not_a_member$"):
        peer.peer.on_message(0.0, stranger, Status(3))
    with pytest.raises(RemoteProtocolError, match=r"^not_a_member$"):
        peer.peer.on_bulk_begin(0.0, stranger, 1, PartHeader(0, 1.0))
    with pytest.raises(RemoteProtocolError, match=r"^not_a_member$"):
        peer.peer.on_peer_down(0.0, stranger)


@pytest.mark.parametrize("where", ["training", "averaging", "catching up", "paused", "finished"])
def test_rounds_beyond_the_end_are_refused_in_every_state(where: str) -> None:
    peer = _in_state(where)
    for round_ in (peer.rounds, peer.rounds + 1, 2**32 - 1):
        assert _refused(peer, 1, PartHeader(round_, 1.0)) == "round_out_of_range"
        assert _refused(peer, 1, MeanHeader(round_, b"\x02")) == "round_out_of_range"
    for round_ in (peer.rounds + 1, 2**32 - 1):
        assert _refused(peer, 1, ModelHeader(round_)) == "round_out_of_range"
        assert _refused(peer, 1, Status(round_)) == "round_out_of_range"
        assert _refused(peer, 1, ModelRequest(round_)) == "round_out_of_range"


@pytest.mark.parametrize("poison", [math.nan, math.inf, 2e30])
def test_a_fetched_model_out_of_range_is_refused_and_others_are_sought(poison: float) -> None:
    peer = _in_state("catching up")
    with pytest.raises(RemoteProtocolError, match=r"^entry_out_of_range$"):
        peer.body(2, ModelHeader(9), [poison] * 8)
    assert (peer.peer.round, peer.peer.state) == (0, State.CATCHING_UP)
    assert peer.peer.vector.tolist() == [0.0] * 8
    peer.down(2)  # The driver drops who breaks the protocol.
    assert peer.asked() != []


def test_a_model_nobody_asked_for_is_not_wanted() -> None:
    peer = OnePeer().start()
    assert peer.begin(1, ModelHeader(5)) is None
    peer = _in_state("catching up")
    assert peer.begin(1, ModelHeader(5)) is None  # Asked of 2.


# --- the table of states ------------------------------------------------------------------------


def test_every_transition_of_the_table_happens_and_no_other() -> None:
    seen: set[tuple[State, State]] = set()

    def watch(peer: OnePeer) -> OnePeer:
        position = peer.peer._position
        enter = position.enter

        def record(state: State) -> None:
            before = position.state
            enter(state)
            seen.add((before, state))

        position.enter = record  # type: ignore[method-assign]
        return peer

    def restart(peer: OnePeer) -> OnePeer:
        peer.make()
        return watch(peer).start()

    for leave_from in ("training", "averaging", "catching up", "paused", "finished"):
        watch(_in_state(leave_from)).command(Command.LEAVE)
    watch(OnePeer(rounds=1)).start().do_round()  # To training, averaging, finished.
    peer = watch(OnePeer()).start()
    peer.do_round()  # From averaging to training.
    peer.part(2, 1.0, round_=12)  # From training to catching up.
    peer.body(2, ModelHeader(12), MODEL)  # And back.
    peer.train()
    peer.part(2, 1.0, round_=peer.peer.round)
    for sender in (1, 2, 3):
        peer.status(sender, 20)  # From averaging to catching up.
    peer.body(1, ModelHeader(20), MODEL)  # To finished.
    restart(peer)  # From new to finished.
    peer = watch(OnePeer()).start()
    peer.command(Command.PAUSE)
    peer.do_round()  # From averaging to paused.
    peer.command(Command.RESUME)  # From paused to catching up.
    peer.command(Command.PAUSE)
    for member in peer.asked():
        peer.status(member, 1)  # From catching up to paused.
    restart(peer)  # From new to catching up.
    alone = OnePeer(peers=1).start()
    alone.command(Command.PAUSE)
    alone.train()
    watch(alone).command(Command.RESUME)  # From paused to training.
    table = {(before, after) for before, states in NEXT_STATES.items() for after in states}
    assert seen == table
