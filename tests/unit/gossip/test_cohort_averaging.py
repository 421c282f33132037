# mypy: disable-error-code="arg-type"
"""One round of a cohort, body by body: who is late, gone, or lies."""

import math
import tracemalloc
from random import Random
from typing import Any

import numpy as np
import pytest
from cohort_group import MEAN, PART, CohortGroup, mean_by_chunks

from p2pfl_gossip.actions import LocalProtocolError, PeerId, RemoteProtocolError
from p2pfl_gossip.averaging import cohort_averaging
from p2pfl_gossip.averaging.age_gossip import AgedModelHeader
from p2pfl_gossip.averaging.base import is_finite
from p2pfl_gossip.averaging.cohort_averaging import (
    MEAN_APART_BYTES_MAX,
    CohortAveraging,
    MeanHeader,
    PartHeader,
)
from p2pfl_gossip.catch_up import StatusRequest
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.roster import Roster

MODELS = [[1.0] * 8, [2.0] * 8, [4.0] * 8, [9.0] * 8]
EVERYBODY = b"\x0f"


def _group(models: Any = MODELS, **options: Any) -> CohortGroup:
    return CohortGroup(len(models), len(models[0]), **options)


def _refused(group: CohortGroup, receiver: int, sender: int, header: Any) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        group.members[receiver].body_bytes(sender, header)
    return caught.value.reason


# --- with all present ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 4, 7, 8, 16])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize("apart_bytes_max", [0, 21 * 4])
def test_all_members_end_with_the_same_bits_of_the_mean_in_any_order(
    size: int, seed: int, in_pieces: bool, apart_bytes_max: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohort_averaging, "MEAN_APART_BYTES_MAX", apart_bytes_max)
    rng = np.random.default_rng(seed)
    models = rng.normal(size=(size, 21)).astype(np.float32)
    weights = rng.integers(1, 100, size).astype(float)
    group = CohortGroup(size, 21, in_pieces=in_pieces)
    for index in Random(seed).sample(range(size), size):
        group.begin(index, models[index], weight=weights[index])
    group.deliver_all(Random(f"{seed}/order").randrange)
    first = group.outcome(0).vector
    for index in range(size):
        outcome = group.outcome(index)
        assert outcome.vector.tobytes() == first.tobytes()
        assert outcome.complete
        assert outcome.expected == outcome.contributors == size
        assert outcome.past == ()
        assert outcome.unreachable == 0
    np.testing.assert_allclose(first, mean_by_chunks(models, weights), rtol=0, atol=3e-7)


def test_the_bits_of_the_mean_do_not_depend_on_who_was_first() -> None:
    models = np.random.default_rng(3).normal(size=(6, 30)).astype(np.float32)
    results = []
    for seed in range(6):
        group = _group(models)
        group.begin_all(models)
        group.deliver_all(Random(seed).randrange)
        results.append(group.outcome(0).vector.tobytes())
    assert len(set(results)) == 1


def test_the_mean_of_integers_is_exact() -> None:
    group = _group()
    group.begin_all(MODELS)
    group.deliver_all()
    assert group.outcome(3).vector.tolist() == [4.0] * 8


def test_equal_models_stay_as_they_are() -> None:
    # A third is no float: weights that sum to almost one would move the model.
    model = [1 / 3, 0.1, 7e-30]
    group = CohortGroup(3, 3)
    group.begin_all([model] * 3)
    group.deliver_all()
    assert group.outcome(0).vector.tobytes() == np.array(model, np.float32).tobytes()


def test_models_count_by_their_weights() -> None:
    group = CohortGroup(2, 2)
    group.begin(0, [0.0, 0.0], weight=1.0)
    group.begin(1, [8.0, 16.0], weight=3.0)
    group.deliver_all()
    assert group.outcome(0).vector.tolist() == group.outcome(1).vector.tolist() == [6.0, 12.0]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_model_may_have_fewer_entries_than_the_cohort_has_members(length: int) -> None:
    models = [[float(1 << index)] * length for index in range(4)]
    group = _group(models)
    group.begin_all(models)
    # Only owners of a chunk get parts, and only they send means.
    assert len(group.on_way(PART)) == 3 * length
    group.deliver_all()
    for index in range(4):
        assert group.outcome(index).vector.tolist() == [3.75] * length
        assert group.outcome(index).complete
        assert group.outcome(index).contributors == 4


def test_a_cohort_of_one_ends_at_once_with_its_own_model() -> None:
    group = CohortGroup(1, 3)
    group.begin(0, [1.0, 2.0, 3.0])
    assert group.sent == []
    outcome = group.outcome(0)
    assert outcome.vector.tolist() == [1.0, 2.0, 3.0]
    assert outcome.complete
    assert outcome.expected == 1


def test_bytes_and_bodies_are_those_of_a_reduce_scatter() -> None:
    group = _group()
    group.begin_all(MODELS)
    parts = [item.body.nbytes for item in group.sent]
    assert (len(parts), sum(parts)) == (4 * 3, 4 * 3 * 2 * 4)
    for item in [group.sent.pop(0) for _ in parts]:
        group.deliver(item)
    assert len(group.on_way(MEAN)) == 4 * 3
    assert sum(item.body.nbytes for item in group.sent) == sum(parts)


def test_the_means_of_one_owner_are_one_and_the_same_body() -> None:
    # A driver encodes and digests a body once for all who get it, by its identity.
    group = _group()
    group.begin_all(MODELS)
    for item in list(group.sent):
        group.sent.remove(item)
        group.deliver(item)
    bodies = [item.body for item in group.sent if item.sender == 2]
    assert len(bodies) == 3
    assert all(body is bodies[0] for body in bodies)


def test_results_and_means_are_read_only() -> None:
    group = _group()
    group.begin_all(MODELS)
    group.deliver_all()
    assert not group.outcome(0).vector.flags.writeable


def test_who_waits_for_means_has_no_second_model_yet() -> None:
    # Thousands of simulated peers wait at one time.
    size, length = 8, 8 * 20_000
    models = [np.full(length, value, np.float32) for value in range(size)]
    group = CohortGroup(size, length, in_pieces=False)
    group.begin_all(models)
    parts, group.sent = group.sent, []
    tracemalloc.start()
    try:
        for item in parts:
            group.deliver(item)
        for mean in list(group.sent):
            if mean.sender and mean.receiver:  # The first member's links are slow.
                group.sent.remove(mean)
                group.deliver(mean)
        assert tracemalloc.get_traced_memory()[0] < 2 * models[0].nbytes
    finally:
        tracemalloc.stop()
    assert group.outcomes == [[]] * 8
    group.deliver_all()
    assert [group.outcome(index).vector[-1] for index in range(size)] == [3.5] * size


@pytest.mark.parametrize(("more", "is_apart"), [(0, True), (1, False)])
def test_the_mean_of_a_long_chunk_is_written_to_the_new_model_at_once(
    more: int, is_apart: bool
) -> None:
    length = 2 * (MEAN_APART_BYTES_MAX // 4 + more)
    group = CohortGroup(2, length)
    group.begin_all([np.zeros(length, np.float32), np.ones(length, np.float32)])
    group.deliver(group.pick(kind=PART, sender=1, receiver=0))
    mean = group.pick(kind=MEAN, sender=0, receiver=1)
    group.deliver_all()
    assert group.outcome(0).vector[0] == 0.5
    assert np.shares_memory(mean.body, group.outcome(0).vector) is not is_apart


def test_float64_models_are_averaged_in_float64() -> None:
    group = CohortGroup(2, 2, dtype=np.float64)
    group.begin_all([[1.0, 1.0], [1.0 + 2**-40, 1.0]])
    group.deliver_all()
    assert group.outcome(0).vector.tolist() == [1.0 + 2**-41, 1.0]


# --- early and late -----------------------------------------------------------------------------


def test_parts_and_means_before_ones_own_training_are_kept() -> None:
    group = _group()
    for index in (0, 1, 2):
        group.begin(index, MODELS[index])
    group.deliver_all()
    assert group.outcomes[3] == []
    group.begin(3, MODELS[3])
    # All other parts had come: the late member closes its own chunk as it begins.
    assert group.on_way(MEAN) == [(3, 0), (3, 1), (3, 2)]
    group.deliver_all()
    assert [group.outcome(index).vector.tolist() for index in range(4)] == [[4.0] * 8] * 4


def test_who_comes_after_the_deadline_gets_the_means_and_sends_no_parts() -> None:
    group = _group()
    for index in (0, 1, 2):
        group.begin(index, MODELS[index])
    group.deliver_all()
    for index in (0, 1, 2):
        group.fire(index)
    group.deliver_all()
    group.begin(3, MODELS[3])
    assert group.on_way(PART) == []
    outcome = group.outcome(3)
    mean = 7 / 3
    assert outcome.vector.tolist() == pytest.approx([mean] * 6 + [4.0] * 2)
    assert outcome.complete
    assert outcome.contributors == 4
    group.deliver_all()
    for index in (0, 1, 2):  # They await its mean, and get it before the second deadline.
        assert group.outcome(index).vector.tobytes() == outcome.vector.tobytes()
        assert group.outcome(index).complete


def test_a_part_after_the_chunk_was_closed_is_not_wanted() -> None:
    group = _group()
    for index in range(4):
        group.begin(index, MODELS[index])
    late = group.pick(kind=PART, sender=3, receiver=0)
    for sender in (1, 2):
        group.deliver(group.pick(kind=PART, sender=sender, receiver=0))
    group.fire(0)
    assert group.deliver(late) is False
    mean = group.pick(kind=MEAN, sender=0, receiver=1)
    assert mean.header == MeanHeader(0, b"\x07")
    assert mean.body.tolist() == pytest.approx([7 / 3] * 2)


def test_a_part_that_was_on_its_way_as_the_chunk_closed_changes_nothing() -> None:
    group = _group()
    group.begin_all(MODELS)
    late = group.pick(kind=PART, sender=3, receiver=0)
    assert group.members[0].body_bytes(3, late.header) == late.body.nbytes
    for sender in (1, 2):
        group.deliver(group.pick(kind=PART, sender=sender, receiver=0))
    group.fire(0)
    sent = list(group.sent)
    group.take(0, group.members[0].on_body(0.0, 3, late.header, late.body))
    assert group.sent == sent


def test_bodies_of_rounds_ahead_are_kept_until_we_get_there() -> None:
    group = _group()
    ahead = [[20.0] * 8, [24.0] * 8, [28.0] * 8, [32.0] * 8]
    group.begin(0, MODELS[0])
    for index in (1, 2, 3):
        group.give(0, index, PartHeader(5, 1.0), ahead[index][:2])
        group.give(0, index, MeanHeader(5, EVERYBODY), [26.0] * 2)
    assert group.outcomes[0] == []
    group.abandon(0)
    group.sent.clear()
    group.begin(0, ahead[0], round_=5)
    assert group.outcome(0).vector.tolist() == [26.0] * 8
    assert group.on_way(PART) == []
    assert group.on_way(MEAN) == [(0, 1), (0, 2), (0, 3)]


def test_bodies_of_a_round_ahead_do_not_end_the_present_one() -> None:
    group = _group()
    group.begin(0, MODELS[0])
    for index in (1, 2, 3):
        group.give(0, index, PartHeader(1, 1.0), [5.0] * 2)
        group.give(0, index, MeanHeader(1, EVERYBODY), [5.0] * 2)
    assert group.outcomes[0] == []
    assert group.on_way(MEAN) == []


def test_a_member_that_restarts_sends_twice_and_its_first_part_counts() -> None:
    group = _group()
    group.begin_all(MODELS)
    group.deliver(group.pick(kind=PART, sender=3, receiver=0))
    group.restart(3)
    group.sent = [item for item in group.sent if item.sender != 3]
    group.begin(3, [90.0] * 8)
    second = group.pick(kind=PART, sender=3, receiver=0)
    assert group.deliver(second) is False
    group.deliver(group.pick(kind=PART, sender=3, receiver=1))
    group.deliver_all()
    group.fire(3)  # The parts for its chunk went to the process that died: one deadline.
    group.deliver_all()
    vector = group.outcome(0).vector.tolist()
    assert vector[:2] == [4.0] * 2  # Closed with what it sent before it died.
    assert vector[2:4] == [(1 + 2 + 4 + 90) / 4] * 2


def test_a_chunk_that_only_its_owner_contributed_to_keeps_everybodys_values() -> None:
    # As after a restart. Taken for a mean, one member's values would overwrite the others'.
    group = CohortGroup(2, 4)
    group.begin_all([[1.0] * 4, [3.0] * 4])
    group.pick(kind=PART, sender=0, receiver=1)
    group.deliver(group.pick(kind=PART, sender=1, receiver=0))
    group.fire(1)
    group.deliver(group.pick(kind=MEAN, sender=1, receiver=0))
    outcome = group.outcome(0)
    assert outcome.vector.tolist() == [2.0, 2.0, 1.0, 1.0]
    assert not outcome.complete
    assert outcome.contributors == 2
    group.deliver_all()
    assert group.outcome(1).vector.tolist() == [2.0, 2.0, 3.0, 3.0]
    assert not group.outcome(1).complete


# --- absent -------------------------------------------------------------------------------------


def test_a_dead_owners_chunk_keeps_local_values_and_the_outcome_is_not_complete() -> None:
    group = _group()
    for index in (0, 1, 2):
        group.begin(index, MODELS[index])
    group.sent = [item for item in group.sent if item.receiver != 3]
    group.deliver_all()
    for index in (0, 1, 2):
        group.fire(index)
    group.deliver_all()
    assert group.outcomes[0] == []  # Its mean may yet come: a second deadline.
    for index in (0, 1, 2):
        group.fire(index)
        outcome = group.outcome(index)
        assert outcome.vector.tolist() == pytest.approx([7 / 3] * 6 + MODELS[index][:2])
        assert not outcome.complete
        assert (outcome.contributors, outcome.expected) == (3, 4)
        assert outcome.unreachable == 0


def _stuck_mean(group: CohortGroup) -> Any:
    """Have owner 3's mean come to member 0 as far as its first entry; return where it is written.

    All others' bodies have arrived.
    """
    group.begin_all(MODELS)
    for item in list(group.sent):
        if isinstance(item.header, PART):
            group.sent.remove(item)
            group.deliver(item)
    stuck = group.pick(kind=MEAN, sender=3, receiver=0)
    group.deliver_all()
    member = group.members[0]
    assert member.body_bytes(3, stuck.header) == 8
    room = member.room_for(3, stuck.header)
    assert room is not None
    room[0] = 77.0
    return room


def test_a_mean_that_breaks_off_leaves_nothing_of_itself() -> None:
    group = _group()
    room = _stuck_mean(group)
    group.fire(0)
    outcome = group.outcome(0)
    assert outcome.vector.tolist() == [4.0] * 6 + [1.0] * 2
    room[:] = 99.0  # Some more of it comes when all is over.
    assert outcome.vector.tolist() == [4.0] * 6 + [1.0] * 2


def test_a_second_mean_counts_where_the_first_is_stuck() -> None:
    # Its owner has restarted, and does its round again.
    group = _group()
    room = _stuck_mean(group)
    group.give(0, 3, MeanHeader(0, EVERYBODY), [4.0, 4.0])
    room[:] = 99.0
    outcome = group.outcome(0)
    assert outcome.vector.tolist() == [4.0] * 8
    assert outcome.complete


def test_a_peer_that_goes_down_before_its_part_costs_no_deadline() -> None:
    group = _group()
    for index in (0, 1, 2):
        group.begin(index, MODELS[index])
    group.sent = [item for item in group.sent if item.receiver != 3]
    for index in (0, 1, 2):
        group.down(index, 3)
    group.deliver_all()
    for index in (0, 1, 2):
        outcome = group.outcome(index)
        assert outcome.vector.tolist() == pytest.approx([7 / 3] * 6 + MODELS[index][:2])
        assert not outcome.complete
        assert outcome.contributors == 3
        assert outcome.unreachable == 1


def test_a_peer_that_goes_down_after_its_part_is_still_in_the_mean() -> None:
    group = _group()
    group.begin_all(MODELS)
    for item in [item for item in group.sent if isinstance(item.header, PartHeader)]:
        group.sent.remove(item)
        if item.receiver != 3:
            group.deliver(item)
    for index in (0, 1, 2):
        group.down(index, 3)
    group.sent = [item for item in group.sent if item.receiver != 3]
    group.deliver_all()
    outcome = group.outcome(0)
    assert outcome.vector.tolist() == [4.0] * 6 + [1.0] * 2
    assert outcome.contributors == 4
    assert not outcome.complete


def test_a_peer_that_goes_down_after_its_mean_is_missed_by_nobody() -> None:
    group = _group()
    group.begin_all(MODELS)
    group.deliver_all()
    vector = group.outcome(0).vector
    group.down(0, 3)
    assert group.outcome(0).vector is vector


def test_all_partners_down_leaves_the_own_model() -> None:
    group = _group()
    group.begin(0, MODELS[0])
    for partner in (1, 2, 3):
        group.down(0, partner)
    outcome = group.outcome(0)
    assert outcome.vector.tolist() == MODELS[0]
    assert not outcome.complete
    assert (outcome.contributors, outcome.unreachable) == (1, 3)


def test_silence_of_all_costs_two_deadlines() -> None:
    group = _group()
    group.begin(0, MODELS[0])
    group.fire(0)
    assert group.outcomes[0] == []
    group.fire(0)
    outcome = group.outcome(0)
    assert outcome.vector.tolist() == MODELS[0]
    assert not outcome.complete
    assert (outcome.contributors, outcome.unreachable) == (1, 3)


def test_partners_that_are_all_past_end_the_exchange_and_are_named() -> None:
    group = _group()
    group.begin(0, MODELS[0])
    for partner in (3, 1, 2):
        group.past(0, partner)
    outcome = group.outcome(0)
    assert outcome.past == (3, 1, 2)
    assert not outcome.complete
    assert outcome.vector.tolist() == MODELS[0]


def test_a_partner_that_is_past_but_has_given_everything_is_not_counted_as_past() -> None:
    group = _group()
    group.begin_all(MODELS)
    group.deliver(group.pick(kind=PART, sender=1, receiver=0))
    group.give(0, 1, MeanHeader(0, EVERYBODY), [4.0] * 2)
    group.past(0, 1)
    group.past(0, 2)
    group.past(0, 3)
    assert group.outcome(0).past == (2, 3)


def test_absence_is_told_twice_and_counted_once() -> None:
    group = _group()
    group.begin(0, MODELS[0])
    for _ in range(2):
        group.down(0, 1)
        group.past(0, 1)
        group.past(0, 2)
        group.down(0, 2)
    group.down(0, 3)
    outcome = group.outcome(0)
    assert (outcome.unreachable, outcome.past) == (2, (2,))


@pytest.mark.parametrize("told", ["down", "past"])
def test_who_is_not_in_the_cohort_is_not_missed(told: str) -> None:
    group = CohortGroup(2, 4, roster_size=5)
    group.begin(0, [1.0] * 4)
    getattr(group, told)(0, 4)
    getattr(group, told)(0, 0)
    assert group.outcomes[0] == []


def test_absence_before_and_after_an_exchange_is_nothing() -> None:
    group = _group()
    for told in (group.down, group.past):
        told(0, 1)
    group.begin_all(MODELS)
    group.deliver_all()
    for told in (group.down, group.past):
        told(0, 1)
    assert len(group.outcomes[0]) == 1


def test_an_exchange_that_is_given_up_leaves_no_timer_and_no_outcome() -> None:
    group = _group()
    group.begin(0, MODELS[0])
    group.abandon(0)
    assert group.timers[0] == {}
    for partner in (1, 2, 3):
        group.down(0, partner)
    assert group.outcomes[0] == []
    group.abandon(0)


# --- liars --------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_part_that_is_not_finite_is_left_out_and_its_sender_dropped(poison: float) -> None:
    group = _group()
    group.begin_all(MODELS)
    group.pick(kind=PART, sender=3, receiver=0)
    group.give(0, 3, PartHeader(0, 1.0), [9.0, poison])
    group.deliver_all()
    assert group.dropped == [(0, 3)]
    for index in range(4):
        outcome = group.outcome(index)
        assert outcome.vector.tolist() == pytest.approx([7 / 3] * 2 + [4.0] * 6)
        assert outcome.complete


def test_infinities_of_both_signs_are_both_found() -> None:
    group = _group()
    group.begin_all(MODELS)
    for sender, poison in ((1, math.inf), (3, -math.inf)):
        group.pick(kind=PART, sender=sender, receiver=0)
        group.give(0, sender, PartHeader(0, 1.0), [poison] * 2)
    group.deliver_all()
    assert group.dropped == [(0, 1), (0, 3)]
    assert group.outcome(2).vector.tolist() == [2.5] * 2 + [4.0] * 6


def test_nothing_but_lies_leaves_the_own_chunk_as_it_is() -> None:
    group = CohortGroup(2, 4)
    group.begin_all([[1.0] * 4, [3.0] * 4])
    group.pick(kind=PART, sender=1, receiver=0)
    group.give(0, 1, PartHeader(0, 1.0), [math.nan] * 2)
    group.deliver_all()
    outcome = group.outcome(0)
    assert outcome.vector.tolist() == [1.0, 1.0, 2.0, 2.0]
    assert not outcome.complete
    # Its owner's values alone are no mean to the liar either.
    assert group.outcome(1).vector.tolist() == [3.0, 3.0, 2.0, 2.0]


def test_a_mean_that_is_not_finite_keeps_local_values_and_its_owner_is_dropped() -> None:
    group = _group()
    group.begin_all(MODELS)
    for item in [item for item in group.sent if isinstance(item.header, PartHeader)]:
        group.sent.remove(item)
        group.deliver(item)
    group.pick(kind=MEAN, sender=2, receiver=1)
    group.give(1, 2, MeanHeader(0, EVERYBODY), [math.nan, 4.0])
    group.deliver_all()
    assert group.dropped == [(1, 2)]
    outcome = group.outcome(1)
    assert outcome.vector.tolist() == [4.0] * 4 + [2.0] * 2 + [4.0] * 2
    assert not outcome.complete
    assert group.outcome(0).complete


LARGEST = float(np.finfo(np.float32).max)


def test_a_mean_of_the_largest_floats_is_finite_and_nobody_is_blamed() -> None:
    # Their sum overflows, though each of them is finite, and so is their mean.
    models = [[LARGEST] * 4, [LARGEST / 2] * 4, [-LARGEST] * 4, [LARGEST] * 4]
    group = _group(models)
    group.begin_all(models)
    group.deliver_all()
    assert group.dropped == []
    for index in range(4):
        outcome = group.outcome(index)
        assert outcome.vector.tolist() == pytest.approx([LARGEST * 0.375] * 4)
        assert outcome.complete


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_may_differ_by_any_factor(dtype: Any) -> None:
    models = [[1.0, 2.0], [3.0, 4.0]]
    group = CohortGroup(2, 2, dtype=dtype)
    group.begin(0, models[0], weight=2.0**53)
    group.begin(1, models[1], weight=1.0)
    group.deliver_all()
    assert group.outcome(1).vector.tolist() == pytest.approx(models[0])


@pytest.mark.parametrize(
    "weight", [0.0, -0.0, -1.0, math.nan, math.inf, -math.inf, 1.7e308, 2.0**53 * 1.01]
)
def test_a_weight_out_of_range_is_refused(weight: float) -> None:
    group = _group()
    group.begin(0, MODELS[0])
    assert _refused(group, 0, 1, PartHeader(0, weight)) == "weight_out_of_range"


@pytest.mark.parametrize(
    ("bitmap", "why"),
    [
        (b"\x00", "of nobody"),
        (b"\x12", "of a fifth of four"),
        (b"\x02\x01", "of a ninth of four"),
        (b"\xff" * 128, "of 1,024"),
    ],
)
def test_contributors_out_of_range_are_refused(bitmap: bytes, why: str) -> None:
    group = _group()
    group.begin(0, MODELS[0])
    assert _refused(group, 0, 1, MeanHeader(0, bitmap)) == "contributors_out_of_range", why


def test_a_bitmap_may_be_longer_than_it_needs() -> None:
    group = _group()
    group.begin(0, MODELS[0])
    assert group.members[0].body_bytes(1, MeanHeader(0, b"\x02\x00")) == 8


def test_each_body_has_the_size_of_its_chunk_and_nothing_else() -> None:
    models = [[1.0] * 10] * 4
    group = _group(models)
    sizes = []
    for owner in range(4):
        receiver = (owner + 1) % 4
        sizes.append(group.members[owner].body_bytes(receiver, PartHeader(0, 1.0)))
        mean = MeanHeader(0, (1 << owner).to_bytes(1, "little"))
        assert group.members[receiver].body_bytes(owner, mean) == sizes[-1]
    assert sizes == [8, 12, 8, 12]  # 10 entries in four chunks.


def test_a_stranger_to_the_cohort_and_oneself_are_refused() -> None:
    group = CohortGroup(3, 6, roster_size=5)
    group.begin(0, [1.0] * 6)
    for sender in (3, 4, 0):
        for header in (PartHeader(0, 1.0), MeanHeader(0, b"\x07")):
            assert _refused(group, 0, sender, header) == "not_in_cohort"


def test_cohorts_are_those_of_the_frames_round() -> None:
    group = CohortGroup(
        4, 4, members_of=lambda index, round_: (0, index or round_ % 3 + 1), roster_size=4
    )
    group.begin(0, [1.0] * 4)  # With 1 in round 0, 2 in round 1, 3 in round 2.
    assert group.members[0].body_bytes(2, PartHeader(1, 1.0)) == 8
    assert group.members[0].body_bytes(3, PartHeader(2, 1.0)) == 8
    assert _refused(group, 0, 2, PartHeader(2, 1.0)) == "not_in_cohort"


def test_messages_of_other_kinds_are_refused() -> None:
    group = _group()
    assert _refused(group, 0, 1, AgedModelHeader(1.0)) == "unexpected_message"
    for message in (StatusRequest(), PartHeader(0, 1.0)):
        with pytest.raises(RemoteProtocolError, match=r"^unexpected_message$"):
            group.members[0].on_message(0.0, 1, message)


def test_an_owner_that_sends_two_means_is_believed_once() -> None:
    group = _group()
    group.begin(0, MODELS[0])
    assert group.give(0, 1, MeanHeader(0, b"\x03"), [1.5] * 2)
    assert not group.give(0, 1, MeanHeader(0, EVERYBODY), [100.0] * 2)
    assert group.members[0].body_bytes(1, MeanHeader(0, EVERYBODY)) is None


# --- a driver's bugs ----------------------------------------------------------------------------


def test_a_model_of_another_shape_or_type_is_a_bug_of_ours() -> None:
    machine = _group().members[0]
    for model in (np.zeros(7, np.float32), np.zeros(8), np.zeros((8, 1), np.float32)):
        with pytest.raises(LocalProtocolError):
            machine.begin(0.0, 0, model, 1.0)


def test_a_second_begin_within_an_exchange_is_a_bug_of_ours() -> None:
    group = _group()
    group.begin(0, MODELS[0])
    with pytest.raises(LocalProtocolError, match="under way"):
        group.begin(0, MODELS[0], round_=1)


def test_a_timer_that_was_not_set_is_a_bug_of_ours() -> None:
    group = _group()
    with pytest.raises(LocalProtocolError):
        group.desks[0].on_timer(0.0, 77)
    group.begin(0, MODELS[0])
    with pytest.raises(LocalProtocolError):
        group.desks[0].on_timer(0.0, 77)


def test_tickets_come_from_the_peers_desk() -> None:
    outer = Desk()
    outer.set_timer("of the peer", 1.0, lambda _now_s: [])
    desk = outer.sub()
    machine = CohortAveraging(
        index=0,
        roster=Roster([PeerId("a"), PeerId("b")]),
        length=2,
        dtype=np.float32,
        members_of=lambda _: (0, 1),
        deadline_s=1.0,
        desk=desk,
    )
    actions = machine.begin(3.0, 0, np.zeros(2, np.float32), 1.0)
    assert [getattr(action, "ticket", None) for action in actions] == [None, 2]
    assert actions[-1].at_s == 4.0  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_entry_that_is_not_finite_goes_unseen(dtype: type[np.floating[Any]]) -> None:
    largest = np.full(20_000, np.finfo(dtype).max, dtype)  # Its squares overflow.
    assert is_finite(largest)
    assert is_finite(-largest)
    for bad in (np.nan, np.inf, -np.inf):
        for at in (0, 19_999):
            spoilt = np.zeros(20_000, dtype)
            spoilt[at] = bad
            assert not is_finite(spoilt)
