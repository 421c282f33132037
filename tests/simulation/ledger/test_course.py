"""Groups that keep a ledger, in the simulated world: rounds, faults, and who is in which model."""

import numpy as np
import pytest
from ledger_world import RELAY_S, LedgerWorld, first_model
from sampled import sampled

from p2pfl_gossip import events
from p2pfl_gossip.actions import Command
from p2pfl_gossip.learning import Train
from p2pfl_gossip.ledger.entries import EntryStep, Kind
from p2pfl_gossip.ledger.standing import read_standing
from p2pfl_gossip.peer_state import State


def members_of(group: LedgerWorld, index: int = 0) -> dict[int, tuple[int, ...]]:
    """Who was in which height, as a member's history says."""
    history = group.member(index).history
    found = {}
    step: EntryStep | None = history.head
    while step is not None and step.entry.round:
        if step.entry.kind == Kind.SUM:
            ranks = history.epochs[step.entry.epoch].unpack(step.entry.members)
            assert ranks is not None
            found[step.entry.height] = ranks
        step = history.step(step.entry.base)
    return found


def require_one_history(group: LedgerWorld, members: list[int] | None = None) -> None:
    """All have one head, and one model, bit by bit."""
    chosen = group.alive if members is None else members
    assert len({group.member(index).history.head.head for index in chosen}) == 1
    assert len({group.member(index).vector.tobytes() for index in chosen}) == 1


@pytest.mark.parametrize("size", [5, 8, 13])
def test_everybody_is_in_every_model(size: int) -> None:
    group = LedgerWorld(size, rounds=3)
    group.start()
    group.run(200.0)
    assert group.are_finished()
    require_one_history(group)
    assert members_of(group) == dict.fromkeys((1, 2, 3), tuple(range(size)))
    # Each adds 1 at its own place, three times, as one of so many equal weights.
    expected = first_model(64) + np.bincount(range(size), minlength=64) * 3 / size
    assert np.abs(group.member(0).vector - expected).max() < 1e-4


def test_weights_are_the_charters() -> None:
    group = LedgerWorld(5, rounds=1, weights=[1.0, 2.0, 3.0, 4.0, 10.0])
    group.start()
    group.run(100.0)
    moved = group.member(0).vector - first_model(64)
    assert np.allclose(moved[:5], [0.05, 0.1, 0.15, 0.2, 0.5], atol=1e-5)


def test_who_is_left_out_does_not_scale_the_others_up() -> None:
    group = LedgerWorld(5, rounds=1, weights=[1.0, 1.0, 1.0, 1.0, 4.0])
    group.worker.fails = lambda index, _job: index == 4
    group.start()
    group.run(100.0)
    assert members_of(group) == {1: (0, 1, 2, 3)}
    moved = group.member(0).vector - first_model(64)
    assert np.allclose(moved[:5], [0.125, 0.125, 0.125, 0.125, 0.0], atol=1e-5)


def test_a_failed_training_puts_nothing_in_and_the_next_one_counts() -> None:
    def fails(index: int, job: Train) -> bool:
        return index == 2 and job.round == 1

    group = LedgerWorld(5, rounds=3)
    group.worker.fails = fails
    group.start()
    group.run(200.0)
    assert members_of(group) == {1: (0, 1, 2, 3, 4), 2: (0, 1, 3, 4), 3: (0, 1, 2, 3, 4)}
    failed = [e for e in group.watcher.events[2] if isinstance(e, events.TrainingFailed)]
    assert [event.round for event in failed] == [1]


def test_members_whose_training_fails_try_again_in_the_next_round() -> None:
    trained: list[int] = []

    def fails(index: int, _job: Train) -> bool:
        trained.append(index)
        return index in (1, 3) and trained.count(index) == 1

    group = LedgerWorld(5, rounds=1)  # Two fail of five, of whom four are needed.
    group.worker.fails = fails
    group.start()
    group.run(200.0)
    assert group.are_finished()
    assert members_of(group) == {1: (0, 1, 2, 3, 4)}


def test_a_group_whose_members_cannot_train_tries_again_no_faster_than_answers_come() -> None:
    group = LedgerWorld(5, rounds=1)
    group.worker.fails = lambda index, _job: index in (1, 3)
    group.start()
    group.run(400.0)
    assert members_of(group) == {}
    rounds = group.member(0).history.head.head.round
    advert = group.hosts[0].records["ledger/standing"]
    assert isinstance(advert, bytes)
    said = read_standing(advert).advert
    assert said is not None
    assert rounds == 0
    assert 10 < said.round <= 400 / RELAY_S


@pytest.mark.parametrize("seed", sampled(range(3), every=3))
def test_a_member_that_is_killed_comes_back_to_the_same_history(seed: int) -> None:
    group = LedgerWorld(5, rounds=6, seed=seed)
    world = group.world
    group.start()
    group.run(
        300.0,
        at=[
            (6.0 + seed, lambda: world.take_offline(group.hosts[1], "killed", kills=True)),
            (30.0, lambda: world.bring_online(group.hosts[1], "started")),
        ],
    )
    assert group.are_finished()
    require_one_history(group)


def test_the_larger_part_goes_on_and_the_smaller_one_follows() -> None:
    group = LedgerWorld(7, rounds=6, training_s=lambda _index: 8.0)
    heights: dict[str, list[int]] = {}

    def note(when: str) -> None:
        heights[when] = [group.member(index).round for index in range(7)]

    parts = [0, 0, 0, 0, 0, 1, 1]
    group.start()
    group.run(
        600.0,
        at=[
            (5.0, lambda: group.world.split(parts)),
            (60.0, lambda: note("parted")),
            (60.0, lambda: group.world.split(None)),
        ],
    )
    assert min(heights["parted"][:5]) >= 2
    assert max(heights["parted"][5:]) == 0
    assert group.are_finished()
    require_one_history(group)


def test_two_halves_both_wait() -> None:
    group = LedgerWorld(6, rounds=4)
    heights: list[int] = []
    group.start()
    group.run(
        900.0,
        at=[
            (1.0, lambda: group.world.split([0, 0, 0, 1, 1, 1])),
            (200.0, lambda: heights.extend(group.member(index).round for index in range(6))),
            (200.0, lambda: group.world.split(None)),
        ],
    )
    assert heights == [0] * 6
    assert group.are_finished()
    require_one_history(group)


def test_a_slow_member_is_in_every_model_if_patience_allows() -> None:
    group = LedgerWorld(
        6, rounds=4, patience_s=60.0, training_s=lambda index: 30.0 if index == 3 else 1.0
    )
    group.start()
    group.run(900.0)
    assert group.are_finished()
    assert members_of(group) == dict.fromkeys((1, 2, 3, 4), tuple(range(6)))


def test_a_member_that_is_slower_than_patience_costs_less_and_less() -> None:
    group = LedgerWorld(
        6, rounds=6, patience_s=20.0, training_s=lambda index: 1e4 if index == 3 else 1.0
    )
    group.start()
    group.run(900.0)
    for index in (0, 1, 2, 4, 5):
        assert group.member(index).round == 6
    assert all(3 not in members for members in members_of(group).values())


def test_a_paused_member_is_not_waited_for_and_comes_back() -> None:
    group = LedgerWorld(5, rounds=8)
    group.start()

    def command(what: Command) -> None:
        group.hosts[2].queue.push(group.member(2).on_command(group.queue.now_s, what))

    group.run(
        400.0,
        at=[(3.0, lambda: command(Command.PAUSE)), (9.0, lambda: command(Command.RESUME))],
    )
    assert group.are_finished()
    in_models = [height for height, members in members_of(group).items() if 2 in members]
    assert len(in_models) < 8
    assert max(in_models) == 8


def test_a_member_that_leaves_is_gone_and_the_others_go_on() -> None:
    group = LedgerWorld(7, rounds=5)
    group.start()

    def leave() -> None:
        group.hosts[2].queue.push(group.member(2).on_command(group.queue.now_s, Command.LEAVE))

    group.run(300.0, at=[(8.0, leave)])
    others = [0, 1, 3, 4, 5, 6]
    assert group.member(2).state is State.LEFT
    assert group.are_finished(others)
    require_one_history(group, others)


@pytest.mark.parametrize("loss", [0.02, 0.1])
def test_lost_messages_are_repeated(loss: float) -> None:
    group = LedgerWorld(5, rounds=4, loss=loss, seed=1)
    group.start()
    group.run(1500.0)
    assert group.are_finished()
    require_one_history(group)


def test_nothing_is_left_to_do_once_all_are_finished() -> None:
    group = LedgerWorld(5, rounds=2)
    group.start()
    group.run(200.0)
    before = group.world.frames_sent
    group.run(200.0 + 50 * RELAY_S)
    assert group.world.frames_sent == before


@pytest.mark.parametrize("training_s", sampled([0.01, 0.3], every=2))
def test_a_member_that_fell_behind_is_in_the_models_again(training_s: float) -> None:
    """Rounds are short: it must not name its old head each time just before it has the new one."""
    group = LedgerWorld(5, rounds=40, training_s=lambda _index: training_s)
    world, back_at = group.world, []

    def bring_back() -> None:
        back_at.append(max(group.member(index).round for index in range(5)))
        world.bring_online(group.hosts[1], "thawed")

    group.start()
    group.run(
        600.0,
        at=[
            (5.0, lambda: world.take_offline(group.hosts[1], "frozen")),
            (9.0, bring_back),
        ],
    )
    assert group.are_finished()
    require_one_history(group)
    after = [who for height, who in members_of(group).items() if height > back_at[0] + 2]
    assert len(after) >= 10
    assert all(1 in members for members in after)
