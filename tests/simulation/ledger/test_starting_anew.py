"""Epochs that start from another model: a new one, or that at the end of an earlier epoch."""

from typing import Any

import numpy as np
import pytest
from ledger_world import (
    LedgerWorld,
    first_model,
    make_charter,
    parcel_of,
    pull_of,
)

from p2pfl_gossip.ledger.charter import NEW_STATE, Charter, RefusedCharter
from p2pfl_gossip.ledger.entries import Head, Kind
from p2pfl_gossip.ledger.record import read_record, write_record
from p2pfl_gossip.ledger.standing import KEPT_MAX
from p2pfl_gossip.ledger.states import digest_state
from p2pfl_gossip.peer_state import State

WIDER = np.linspace(3, 4, 96, dtype=np.float32)
WIDER.flags.writeable = False


def anew(present: Charter, members: Any = range(5), **changes: Any) -> Charter:
    """A charter that starts from another model, of another length."""
    fields: dict[str, Any] = {"start": NEW_STATE, "state": (digest_state("model", WIDER).item,)}
    return make_charter(members, present=present.digest(), **(fields | changes))


def give(group: LedgerWorld, index: int) -> None:
    """Have a member's host give the new model."""
    actions = group.member(index).give_model(group.queue.now_s, WIDER)
    group.hosts[index].queue.push(actions)


@pytest.mark.parametrize("at_s", [6.1, 90.0], ids=["running", "finished"])
@pytest.mark.parametrize("givers", [[2, 3], range(5)], ids=["m + 1 have it", "all have it"])
def test_a_group_starts_another_model(at_s: float, givers: Any) -> None:
    """Heights begin again; who lacks the model fetches it; the record is in order."""
    group = LedgerWorld(5, rounds=4)
    charter = anew(group.charter, rounds=3)

    def change() -> None:
        group.approve(charter, range(5))

    def hand_out() -> None:
        for index in givers:
            give(group, index)

    group.start()
    group.run(200.0, at=[(at_s, change), (at_s + 2.0, hand_out)])
    assert {group.member(index).epoch.digest for index in range(5)} == {charter.digest()}
    assert group.are_finished()
    model = WIDER + 3 * sum(pull_of(index, 96) for index in range(5)) / 5
    for index in range(5):
        assert group.member(index).round == 3
        assert np.allclose(group.member(index).vector, model, atol=1e-4)
    history = group.member(0).history
    assert read_record(write_record(history)).head.head == history.head.head
    sums = [entry for entry in entries(group, 0) if entry.kind == Kind.SUM and entry.epoch == 1]
    assert [entry.height for entry in sums] == [1, 2, 3]


def entries(group: LedgerWorld, index: int) -> list[Any]:
    history = group.member(index).history
    step, found = history.head, []
    while step.entry.round:
        found.append(step.entry)
        below = history.step(step.entry.base)
        assert below is not None
        step = below
    return found[::-1]


def test_a_group_goes_back_to_the_end_of_an_epoch() -> None:
    """As where a member's rounds are to be withdrawn: train again without it."""
    group = LedgerWorld(6, rounds=2)
    second = make_charter(range(6), present=group.charter.digest(), rounds=5, retries=9)
    group.start()
    group.run(60.0, at=[(40.0, lambda: group.approve(second, range(6)))])
    at_end = group.member(0).history.closings(0)[0].certificate.entry
    (item,) = at_end.state
    back = make_charter(
        range(5),
        present=second.digest(),
        rounds=2,
        retries=9,
        state=(item,),
        start=Head(at_end.epoch, at_end.round, at_end.digest()),
    )
    group.run(300.0, at=[(150.0, lambda: group.approve(back, range(5)))])
    assert group.are_finished(range(5))
    assert group.member(5).state is State.LEFT
    # Two rounds of all six, then two of five: nothing of the epoch between is in it.
    model = first_model(64) + 2 * sum(pull_of(index, 64) for index in range(6)) / 6
    model += 2 * sum(pull_of(index, 64) for index in range(5)) / 5
    assert np.allclose(group.member(0).vector, model, atol=1e-4)


def test_a_group_goes_back_to_its_first_state() -> None:
    group = LedgerWorld(5, rounds=2)
    group.start()
    group.run(60.0)
    first = group.member(0).history.first
    again = make_charter(range(5), present=group.charter.digest(), rounds=1, start=first.head)
    group.run(150.0, at=[(61.0, lambda: group.approve(again, range(5)))])
    assert group.are_finished()
    model = first_model(64) + sum(pull_of(index, 64) for index in range(5)) / 5
    assert np.allclose(group.member(0).vector, model, atol=1e-4)


def test_who_lacks_the_model_does_not_name_the_charter() -> None:
    """Of m + 1 that name it one is honest, and gives it to all: no group starts from nothing."""
    group = LedgerWorld(5, rounds=2)
    charter = anew(group.charter, rounds=3)
    group.start()
    group.run(120.0, at=[(50.0, lambda: group.approve(charter, range(5)))])
    assert {group.member(index).epoch.number for index in range(5)} == {0}
    assert [proposal.digest for proposal in group.member(4).proposals.open] == [charter.digest()]
    group.run(180.0, at=[(121.0, lambda: give(group, 1))])
    assert {group.member(index).epoch.number for index in range(5)} == {0}
    group.run(400.0, at=[(181.0, lambda: give(group, 4))])
    assert {group.member(index).epoch.digest for index in range(5)} == {charter.digest()}
    assert group.are_finished()
    assert group.member(0).round == 3


def test_a_newcomer_and_a_restarted_member_come_to_the_model() -> None:
    group = LedgerWorld(5, hosts=6, rounds=3)
    charter = anew(group.charter, range(6), rounds=6)
    host = group.hosts[3]

    def change() -> None:
        group.approve(charter, range(5))
        for index in range(3):
            give(group, index)

    group.start()
    group.run(
        250.0,
        at=[
            (40.0, change),
            (44.0, lambda: group.world.take_offline(host, "killed", kills=True)),
            (60.0, lambda: group.world.bring_online(host, "started")),
        ],
    )
    assert [group.member(index).state for index in range(6)] == [State.FINISHED] * 6
    assert len({group.member(index).vector.tobytes() for index in range(6)}) == 1
    assert len(group.member(5).vector) == 96


def test_a_start_is_an_end_of_an_epoch_and_names_its_state() -> None:
    group = LedgerWorld(5, rounds=2)
    group.start()
    group.run(60.0)
    history = group.member(0).history
    head, first = history.head, history.first
    for start, state in (
        (head.head, head.entry.state),  # No epoch ended with it.
        (first.head, head.entry.state),
        (Head(0, 9, bytes(32)), first.entry.state),
    ):
        charter = make_charter(range(5), present=group.charter.digest(), start=start, state=state)
        with pytest.raises(RefusedCharter, match="no end of an epoch"):
            group.member(0).propose(61.0, parcel_of(charter, range(5)))


def test_the_last_few_models_are_kept() -> None:
    """Also before a charter comes that names one."""
    group = LedgerWorld(5, rounds=2)
    group.start()
    group.run(60.0, at=[(30.0, lambda: give(group, 0))])
    standing = group.member(0)._started.parts.standing
    assert standing.record.kept == (digest_state("model", WIDER).item.digest,)
    for number in range(KEPT_MAX):
        standing.keep_model(bytes([number]) * 32, WIDER)
    assert standing.record.kept == tuple(bytes([number]) * 32 for number in range(KEPT_MAX))
    assert digest_state("model", WIDER).item.digest not in standing.models
    assert standing.record.model in standing.models
