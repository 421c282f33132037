"""Who joins says nothing in a history that leads elsewhere than its invitation."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
from ledger_world import LedgerWorld, identity_of, make_charter

from p2pfl_gossip import events
from p2pfl_gossip.ledger.charter import NEW_STATE, Charter
from p2pfl_gossip.ledger.entries import EntryStep, Kind
from p2pfl_gossip.ledger.history import History, invitation_of, joined_at
from p2pfl_gossip.ledger.record import read_record, write_record
from p2pfl_gossip.ledger.standing import KEPT_MAX
from p2pfl_gossip.ledger.states import digest_state
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import replaced
from p2pfl_simulations.checkers.beginnings import BeginsAsSaid


def grown(invitation: bytes | None) -> LedgerWorld:
    """A group of five that admits member 5."""
    group = LedgerWorld(
        5, hosts=6, rounds=4, invitation=lambda index: invitation if index == 5 else None
    )
    charter = make_charter(range(6), present=group.epoch.digest, rounds=8)
    group.start()
    group.run(300.0, at=[(9.0, lambda: group.approve(charter, range(5)))])
    return group


@pytest.fixture(scope="module")
def right() -> bytes:
    """What a member's own ledger says of the newcomer."""
    told = {joined_at(grown(None).member(rank).history, identity_of(5).peer_id) for rank in (0, 3)}
    (invitation,) = told
    assert invitation is not None
    return invitation


def test_with_the_right_invitation_it_takes_part(right: bytes) -> None:
    group = grown(right)
    assert group.are_finished()
    assert group.times_in(group.member(5).vector, 5) > 0
    # A founder has none, and so asks for none.
    assert joined_at(group.member(0).history, identity_of(0).peer_id) is None


def test_in_another_history_it_stops_and_says_so_at_each_start(right: bytes) -> None:
    other = invitation_of(bytes(32), bytes(32))
    assert other != right
    group = grown(other)
    assert group.are_finished(range(5))
    assert group.member(5).state is State.LEFT
    assert group.times_in(group.member(0).vector, 5) == 0
    told = group.watcher.events[5]
    assert events.OtherHistory() in told
    assert not any(isinstance(it, events.Opened | events.RoundStarted) for it in told)
    group.world.take_offline(group.hosts[5], "a restart", kills=True)
    group.world.bring_online(group.hosts[5], "a restart")
    group.run(400.0)
    assert group.member(5).state is State.LEFT
    assert group.watcher.events[5].count(events.OtherHistory()) == 2


@pytest.mark.parametrize("is_over", [False, True])
def test_a_newcomer_finds_the_way_where_no_founder_is_in_reach(is_over: bool) -> None:
    """Members speak to it, at the end of all rounds too: it asks whoever is ahead."""
    group = LedgerWorld(5, hosts=7, rounds=1, training_s=lambda _: 15.0, patience_s=40.0)
    newcomer, last = group.hosts[6], group.hosts[5]

    def come() -> None:
        group.world.bring_online(newcomer, "comes")
        # As the daemon tells it: who rests says nothing by itself.
        last.queue.push(group.member(5).on_peer_up(group.queue.now_s, newcomer.peer_id))

    first = make_charter(range(6), present=group.epoch.digest, rounds=1)
    second = make_charter(range(7), present=first.digest(), rounds=1 if is_over else 4)
    for founder in range(5):
        group.world.cut(group.hosts[founder], newcomer)
    group.start()
    group.world.take_offline(newcomer, "comes later", kills=True)
    group.run(
        200.0 if is_over else 110.0,
        at=[
            (5.0, lambda: group.approve(first, range(5))),
            (60.0, lambda: group.approve(second, range(6))),
            (160.0 if is_over else 75.0, come),
        ],
    )
    assert group.are_finished(range(6)) == is_over
    assert {group.member(index).epoch.digest for index in range(7)} == {second.digest()}


CHANGES = KEPT_MAX + 3
"""Charters one after the other: more than members keep models of epochs' ends."""


def changed_often(group: LedgerWorld, last: Charter) -> list[tuple[float, Callable[[], None]]]:
    """Plan one charter after the other, of five members that go on; then the last one."""
    charters: list[Charter] = []
    for place in range(CHANGES):
        present = charters[-1].digest() if charters else group.epoch.digest
        charters.append(make_charter(range(5), present=present, rounds=4 + place))
    charters.append(replaced(last, present=charters[-1].digest()))
    return [
        (9.0 + 40.0 * place, partial(group.approve, charter, range(5)))
        for place, charter in enumerate(charters)
    ]


def steps_of(history: History) -> Iterator[EntryStep]:
    """All entries below a head, the highest first."""
    step: EntryStep | None = history.head
    while step is not None and step.entry.round:
        yield step
        step = history.step(step.entry.base)


def held_of(group: LedgerWorld, index: int) -> list[bytes]:
    return list(group.member(index)._started.parts.standing.record.kept)


def test_a_newcomer_joins_after_more_changes_than_models_of_their_ends_are_kept() -> None:
    """It goes through old epochs by the proofs of their ends: nobody has all their models."""
    group = LedgerWorld(5, hosts=6, rounds=4)
    newcomer, last = group.hosts[5], make_charter(range(6), rounds=40)
    at = changed_often(group, last)
    group.start()
    group.world.take_offline(newcomer, "comes later", kills=True)
    end_s = at[-1][0] + 5.0
    group.run(end_s + 600.0, at=[*at, (end_s, lambda: group.world.bring_online(newcomer, "comes"))])
    assert group.are_finished()
    assert group.member(5).epoch.number == CHANGES + 1
    assert group.times_in(group.member(5).vector, 5) > 0
    assert group.member(5).vector.tobytes() == group.member(0).vector.tobytes()
    ends = [group.member(0).history.beginning(n + 1).entry.state[0] for n in range(CHANGES)]
    assert ends[0].digest not in held_of(group, 0)
    # Of all the models on its way it fetched one or two.
    caught_up = [it for it in group.watcher.events[5] if isinstance(it, events.CaughtUp)]
    assert 1 <= len(caught_up) <= 2


@pytest.mark.parametrize(
    ("kills", "is_late"),
    [
        (True, False),
        (False, False),
        (False, True),
        pytest.param(True, True, marks=pytest.mark.long),
    ],
)
def test_who_was_away_for_more_changes_than_ends_are_kept_is_one_of_them_again(
    kills: bool, is_late: bool
) -> None:
    """Its process may have run on or begin again, while others go on or after all their rounds."""
    begins = BeginsAsSaid()
    group = LedgerWorld(6, rounds=4, checkers=(begins,))
    epochs = {number: tuple(range(6)) for number in range(CHANGES + 2)}
    begins.start(group.watched(rounds=40, epochs=epochs))
    away, host = 5, group.hosts[5]
    charters: list[Charter] = []
    for place in range(CHANGES + 1):
        present = charters[-1].digest() if charters else group.epoch.digest
        rounds = 40 if place == CHANGES else 4 + place
        charters.append(make_charter(range(6), present=present, rounds=rounds))
    at = [
        (20.0 + 40.0 * place, partial(group.approve, charter, range(5)))
        for place, charter in enumerate(charters)
    ]
    back_s = at[-1][0] + (500.0 if is_late else 5.0)

    def come_back() -> None:
        group.world.bring_online(host, "back")
        if not kills:  # As the daemon tells it; a process that begins asks by itself.
            for other in group.hosts[:away]:
                host.queue.push(group.member(away).on_peer_up(group.queue.now_s, other.peer_id))

    behind = 0

    def look() -> None:
        """What it has of the record can be read at any moment."""
        nonlocal behind
        member = group.member(away)
        behind += not member.history.is_abreast
        assert (member.state is State.CATCHING_UP) or member.history.is_abreast
        read_record(write_record(member.history))

    group.start()
    group.run(
        back_s + 900.0,
        at=[
            (12.0, lambda: group.world.take_offline(host, "away", kills=kills)),
            *at,
            (back_s, come_back),
            *((back_s + place / 4, look) for place in range(160)),
            # Who has not signed what the others changed gives nothing.
            (back_s + 40.0, partial(group.approve, charters[-1], range(6))),
        ],
    )
    assert group.are_finished()
    history = group.member(0).history
    assert behind
    assert group.member(away).epoch.number == len(charters)
    assert group.member(away).history.head.head == history.head.head
    assert group.member(away).vector.tobytes() == group.member(0).vector.tobytes()
    gave = [
        step
        for step in steps_of(history)
        if away in (history.epochs[step.entry.epoch].unpack(step.entry.members) or ())
    ]
    assert any(step.head.place > history.begun.place for step in gave) == (not is_late)


def test_a_newcomer_to_another_model_is_told_of_no_round_before_it() -> None:
    """It begins the epoch by its proof, and is raised to the entry that it began with later."""
    wider = np.linspace(3, 4, 96, dtype=np.float32)
    wider.flags.writeable = False
    group = LedgerWorld(5, hosts=6, rounds=8)
    charter = make_charter(
        range(6),
        present=group.epoch.digest,
        rounds=3,
        start=NEW_STATE,
        state=(digest_state("model", wider).item,),
    )

    def change() -> None:
        for index in range(5):
            actions = group.member(index).give_model(group.queue.now_s, wider)
            group.hosts[index].queue.push(actions)
        group.approve(charter, range(5))

    group.start()
    group.run(300.0, at=[(6.1, change)])
    assert group.are_finished()
    (closing,) = group.member(0).history.closings(0)
    assert closing.certificate.entry.kind == Kind.SUM  # Else there would be no round to tell of.
    told = group.watcher.events[5]
    assert [it.round for it in told if isinstance(it, events.RoundEnded)][-3:] == [0, 1, 2]
    begun = next(n for n, it in enumerate(told) if isinstance(it, events.EpochBegun) and it.is_anew)
    rounds = [it.round for it in told[begun:] if isinstance(it, events.RoundEnded)]
    assert rounds == [0, 1, 2]
    assert not any(isinstance(it, events.CaughtUp) for it in told[begun:])


def test_who_is_expelled_gets_its_last_model_though_its_links_broke_while_it_came() -> None:
    """It asks whoever is there again, and who shows the end of its epoch anew is asked for it."""
    group = LedgerWorld(6, rounds=8, entries=200_000)
    out, host = 5, group.hosts[5]
    charter = make_charter(range(5), entries=200_000, present=group.epoch.digest, rounds=20)
    is_broken = False

    def look() -> None:
        """Break its links in the middle of the fetch, for a while, once it knows of its end."""
        nonlocal is_broken
        life = group.member(out)._started
        if is_broken or life.parts.heads.fetch is None or life.succession._shown is None:
            return
        is_broken = True
        for other in group.hosts[:out]:
            group.world.cut(host, other)

    def come_back() -> None:
        for other in group.hosts[:out]:
            group.world.mend(host, other)
            host.queue.push(group.member(out).on_peer_up(group.queue.now_s, other.peer_id))

    group.start()
    group.run(
        300.0,
        at=[
            (4.0, lambda: group.world.take_offline(host, "away")),
            (30.0, partial(group.approve, charter, range(5))),
            (100.0, lambda: group.world.bring_online(host, "back")),
            *((100.0 + place / 100, look) for place in range(1000)),
            (150.0, come_back),
        ],
    )
    assert is_broken
    assert group.member(out).state is State.LEFT
    (ended,) = group.member(0).history.closings(0)
    assert group.member(out).history.head.entry == ended.certificate.entry
