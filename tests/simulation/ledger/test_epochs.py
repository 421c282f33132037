"""Charters that change members: one history of epochs, nothing for who is no member any more."""

import contextlib
from collections.abc import Callable, Sequence

import pytest
from ledger_world import LedgerWorld, identity_of, make_charter, parcel_of
from sampled import sampled

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip import events
from p2pfl_gossip.actions import Action, RemoteProtocolError, Send
from p2pfl_gossip.ledger import parcels
from p2pfl_gossip.ledger.charter import Charter, RefusedCharter
from p2pfl_gossip.ledger.entries import Kind
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import Closing, EntrySignature, HeldParcel, ParcelsHeld
from p2pfl_gossip.ledger.state_messages import StateRequest
from p2pfl_gossip.masked_sum.messages import ChunkHeader
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import Message
from p2pfl_simulations.checkers.base import Violation
from p2pfl_simulations.checkers.write_ahead import WriteAhead


def approve(group: LedgerWorld, charter: Charter, members: Sequence[int]) -> Callable[[], None]:
    """Return what has members' hosts let an approved charter come; the first hands it in."""
    return lambda: group.approve(charter, members)


def successor(group: LedgerWorld, members: Sequence[int], **changes: object) -> Charter:
    return make_charter(members, present=group.epoch.digest, **changes)  # type: ignore[arg-type]


def require_epoch(group: LedgerWorld, members: Sequence[int], digest: bytes) -> None:
    """All of these are in the epoch of a charter, with one head and one model."""
    assert {group.member(index).epoch.digest for index in members} == {digest}
    assert len({group.member(index).history.head.head for index in members}) == 1
    assert len({group.member(index).vector.tobytes() for index in members}) == 1


@pytest.mark.parametrize(
    "at_s", sampled([12.0, 90.0, 0.5], every=2), ids=["running", "finished", "at the start"]
)
def test_a_member_is_swapped(at_s: float) -> None:
    group = LedgerWorld(7, hosts=8, rounds=6)
    charter = successor(group, [0, 1, 2, 3, 4, 5, 7], rounds=10)
    group.start()
    group.run(500.0, at=[(at_s, approve(group, charter, range(7)))])
    staying = [0, 1, 2, 3, 4, 5, 7]
    require_epoch(group, staying, charter.digest())
    assert group.are_finished(staying)
    assert group.member(0).round == 10
    assert group.member(6).state is State.LEFT
    # Height goes on: the model is the same, and the newcomer is in models since.
    history = group.member(0).history
    last = history.head.entry
    while last.kind == Kind.EMPTY:
        step = history.step(last.base)
        assert step is not None
        last = step.entry
    assert history.epochs[1].unpack(last.members) == tuple(range(7))


def test_a_group_rests_again_after_a_charter_that_adds_no_rounds() -> None:
    """Its head carries that charter for good, and nothing more is to come of it."""
    group = LedgerWorld(5, rounds=2)
    charter = successor(group, range(5), rounds=2, patience_s=30.0)
    group.start()
    group.run(200.0, at=[(60.0, approve(group, charter, range(5)))])
    require_epoch(group, range(5), charter.digest())
    assert group.are_finished()
    sent = group.world.frames_sent
    group.run(400.0)
    assert group.world.frames_sent == sent


def test_who_was_expelled_gets_nothing_of_the_new_epoch() -> None:
    group = LedgerWorld(6, rounds=4)
    charter = successor(group, [0, 1, 2, 3, 4], rounds=8)
    group.start()
    group.run(400.0, at=[(9.0, approve(group, charter, [0, 1, 2, 3, 4]))])
    require_epoch(group, [0, 1, 2, 3, 4], charter.digest())
    assert group.member(0).round == 8
    expelled = group.member(5)
    # It may see the end of its own epoch, and no entry above it.
    assert expelled.history.head.entry.epoch == 0
    assert expelled.state is State.LEFT


def test_a_signature_of_the_last_epoch_may_come_late_from_who_has_another_rank_now() -> None:
    """One before it was expelled, so all behind have moved up: nobody is refused for that."""
    group = LedgerWorld(6, rounds=4)
    staying = [0, 1, 3, 4, 5]
    charter = successor(group, staying, rounds=8)
    group.start()
    group.run(400.0, at=[(9.0, approve(group, charter, staying))])
    require_epoch(group, staying, charter.digest())
    late = EntrySignature(0, 3, member=5, entry=bytes(32), signature=bytes(64))
    now_s, sender = group.queue.now_s, identity_of(5).peer_id
    assert group.member(0).epoch.rank_of(sender) == 4
    assert group.member(0).on_message(now_s, sender, late) == []


def test_who_was_expelled_has_no_say_in_the_new_epoch() -> None:
    """It knows of that epoch, and speaks of it: nothing follows, and its link is not dropped."""
    group = LedgerWorld(6, rounds=4)
    charter = successor(group, range(5), rounds=8)
    group.start()
    group.run(400.0, at=[(9.0, approve(group, charter, range(5)))])
    require_epoch(group, range(5), charter.digest())
    now_s, expelled, unknown = group.queue.now_s, identity_of(5).peer_id, bytes([7]) * 32
    asks = ParcelsHeld(1, (HeldParcel(unknown, unknown),))
    assert group.member(0).on_message(now_s, expelled, asks) == []
    # Of a member it is asked for that.
    assert group.member(0).on_message(now_s, identity_of(4).peer_id, asks) != []
    # Bodies of a sum of the last epoch were under way: they are not wanted, and nobody is refused.
    header = ChunkHeader(unknown, unknown, 5, 0, unknown, bytes(64))
    assert group.member(0).on_bulk_begin(now_s, expelled, 1, header) == (False, [])


def test_who_was_away_when_it_was_expelled_learns_so_when_it_is_back() -> None:
    """For that it needs the last model of its own epoch, and gets that and no later one."""
    group = LedgerWorld(6, rounds=4)
    charter = successor(group, [0, 1, 2, 3, 4], rounds=8)
    world, host = group.world, group.hosts[5]
    group.start()
    group.run(
        600.0,
        at=[
            (2.0, lambda: world.take_offline(host, "killed", kills=True)),
            (9.0, approve(group, charter, [0, 1, 2, 3, 4])),
            (400.0, lambda: world.bring_online(host, "started")),
        ],
    )
    require_epoch(group, [0, 1, 2, 3, 4], charter.digest())
    expelled = group.member(5)
    assert expelled.state is State.LEFT
    assert expelled.history.head.entry.epoch == 0


def test_a_group_grows() -> None:
    group = LedgerWorld(5, hosts=8, rounds=4)
    charter = successor(group, range(8), rounds=8)
    group.start()
    group.run(400.0, at=[(9.0, approve(group, charter, range(5)))])
    require_epoch(group, range(8), charter.digest())
    assert group.are_finished()


@pytest.mark.parametrize("count", sampled([3, 2], every=2))
def test_of_charters_at_once_one_comes_and_the_others_are_void(count: int) -> None:
    group = LedgerWorld(7, rounds=6)
    charters = [successor(group, range(7), rounds=9, nonce=bytes([n]) * 32) for n in range(count)]
    group.start()
    # Each reaches some of the members first, and all of them a little later.
    at = [
        (8.0, approve(group, charter, [index for index in range(7) if index % count == place]))
        for place, charter in enumerate(charters)
    ]

    def give_all() -> None:
        for index in range(7):
            due = tuple(charter.digest() for charter in charters)
            group.hear(index, due=due)

    group.run(400.0, at=[*at, (14.0, give_all)])
    digests = {group.member(index).epoch.digest for index in range(7)}
    assert len(digests) == 1
    assert digests < {charter.digest() for charter in charters}
    require_epoch(group, range(7), digests.pop())


def test_a_charter_of_too_few_comes_to_nothing_and_stops_nobody() -> None:
    group = LedgerWorld(7, rounds=4)
    charter = successor(group, range(7), rounds=9)
    group.start()
    group.run(300.0, at=[(5.0, approve(group, charter, [0, 1]))])
    assert [group.member(index).round for index in range(7)] == [4] * 7
    assert {group.member(index).epoch.number for index in range(7)} == {0}


def test_the_settings_of_a_new_charter_hold() -> None:
    group = LedgerWorld(5, rounds=2)
    charter = successor(group, range(5), rounds=4, weights=[1.0, 1.0, 1.0, 1.0, 4.0])
    group.start()
    group.run(300.0, at=[(50.0, approve(group, charter, range(5)))])
    history = group.member(0).history
    assert history.head.entry.height == 4
    step = history.head
    while step.entry.kind == Kind.EMPTY:
        below = history.step(step.entry.base)
        assert below is not None
        step = below
    assert step.entry.weight == 8.0


def test_a_charter_that_replaces_another_one_is_refused() -> None:
    group = LedgerWorld(5, rounds=2)
    group.start()
    group.run(5.0)
    charter = make_charter(range(5), present=bytes([7]) * 32)
    with pytest.raises(RefusedCharter, match="replaces another one"):
        group.member(0).propose(5.0, parcel_of(charter, range(5)))


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "not kept"])
def test_a_charter_is_kept_before_it_is_named(
    monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    """Whoever names it must still have it after a crash: perhaps nobody else does."""
    if not is_kept:
        monkeypatch.setattr(parcels, "parcel_key", lambda _digest: "elsewhere")
    checker = WriteAhead()
    group = LedgerWorld(5, rounds=3, checkers=(checker,))
    charter = successor(group, range(5), rounds=4)
    checker.start(group.watched(rounds=4))
    group.start()
    if is_kept:
        group.run(100.0, at=[(4.0, approve(group, charter, range(5)))])
        require_epoch(group, range(5), charter.digest())
        return
    with pytest.raises(Violation, match="sends GroupAdvert before it has recorded the charter"):
        group.run(100.0, at=[(4.0, approve(group, charter, range(5)))])


@pytest.mark.parametrize("seed", sampled(range(4), every=4))
def test_epochs_come_under_kills_and_partitions(seed: int) -> None:
    group = LedgerWorld(7, hosts=8, rounds=6, seed=seed)
    world, hosts = group.world, group.hosts
    charter = successor(group, [0, 1, 2, 3, 4, 5, 7], rounds=9)
    group.start()

    def give() -> None:
        alive = [index for index in range(7) if hosts[index].machine is not None]
        approve(group, charter, alive)()

    victim = seed % 6
    group.run(
        900.0,
        at=[
            (6.0, give),
            (7.0 + 2 * seed, lambda: world.take_offline(hosts[victim], "killed", kills=True)),
            (12.0, lambda: world.split([0, 0, 0, 0, 1, 1, 1, 1])),
            (40.0, lambda: world.bring_online(hosts[victim], "started")),
            (60.0, lambda: world.split(None)),
            (70.0, lambda: None),
        ],
    )
    staying = [0, 1, 2, 3, 4, 5, 7]
    require_epoch(group, staying, charter.digest())
    assert group.are_finished(staying)
    begun = [
        event
        for index in staying
        for event in group.watcher.events[index]
        if isinstance(event, events.EpochBegun)
    ]
    assert {event.epoch for event in begun} == {1}


def test_who_was_expelled_hears_of_no_later_epoch_and_moves_nobody_by_all_that_it_has_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It goes on against its will: whatever it ever signed is shown to the others again."""
    group = LedgerWorld(6, rounds=4)
    said: list[Message] = []
    heard: list[tuple[Message, bytes]] = []
    own = identity_of(5).peer_id
    hear = GroupMember.on_message

    def spy(it: GroupMember, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        if sender == own:
            said.append(message)
        if it is group.member(5):
            heard.append((message, it.epoch.digest))
        return hear(it, now_s, sender, message)

    monkeypatch.setattr(GroupMember, "on_message", spy)
    charter = successor(group, [0, 1, 2, 3, 4], rounds=8)
    group.start()
    group.run(400.0, at=[(9.0, approve(group, charter, [0, 1, 2, 3, 4]))])
    require_epoch(group, [0, 1, 2, 3, 4], charter.digest())
    assert len(said) > 20
    # Until it stopped, nothing of the new epoch came: no advert, entry or signature of it.
    assert {getattr(message, "epoch", 0) for message, _ in heard} == {0}
    before = [group.member(index).history.head.head for index in range(5)]
    answers: list[Action] = []
    for index in range(5):
        for message in said:
            with contextlib.suppress(RemoteProtocolError):
                answers += hear(group.member(index), 401.0, own, message)
    assert [group.member(index).history.head.head for index in range(5)] == before
    # It is shown the end of its own epoch, if it asks; a daemon closes the link before that.
    shown = [it.message for it in answers if isinstance(it, Send) and it.receiver == own]
    ends = [message for message in shown if isinstance(message, Closing)]
    assert len(ends) == len(shown)
    assert {message.certificate.entry.epoch for message in ends} == {0}
    # Nor does it get the model of the new epoch, whose digest it may have from elsewhere.
    head = group.member(0).history.head.entry.state[0].digest
    assert hear(group.member(0), 402.0, own, StateRequest(head, 0)) == []
    assert hear(group.member(0), 402.0, identity_of(1).peer_id, StateRequest(head, 0))


def test_an_approved_charter_is_in_force_within_three_rounds() -> None:
    """Its approvals are handed to one member while all train."""
    group = LedgerWorld(5, rounds=30)
    charter = successor(group, range(5), rounds=30, retries=9)
    tried: list[int] = []

    def amend() -> None:
        tried.extend(group.member(index).history.head.head.round for index in range(5))
        group.approve(charter, range(5))

    group.start()
    group.run(60.0, at=[(12.0, amend)])
    require_epoch(group, range(5), charter.digest())
    (closing,) = group.member(0).history.closings(0)[:1]
    assert min(tried) > 0
    assert closing.certificate.entry.round <= max(tried) + 3
