# mypy: disable-error-code="arg-type, assignment, comparison-overlap"
# mypy: disable-error-code="func-returns-value, no-untyped-call"
"""The opening of a network: one member, and a test in the place of everybody else."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from one_opening import OURS, SAYS_BEGUN, SEED, OneOpening, ready_message

from p2pfl_gossip import events, wire
from p2pfl_gossip.actions import Command, LocalProtocolError, PeerId, RemoteProtocolError
from p2pfl_gossip.averaging.cohort_averaging import PartHeader
from p2pfl_gossip.catch_up import Status, StatusRequest
from p2pfl_gossip.comparison import DescriptionRequest, Present
from p2pfl_gossip.description import DESCRIPTION_RECORD, encode_page
from p2pfl_gossip.learning import Train
from p2pfl_gossip.opening import (
    ASKED_MAX,
    NEXT_STAGES,
    OPENING_MESSAGES,
    WAITS_NAMED_MAX,
    OpeningStage,
)
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import Message

PRESENT = Present(OURS.digest)


def ready(**options: Any) -> OneOpening:
    """A member that has started, and knows that all others have what it has."""
    one = OneOpening(**options)
    one.start()
    for other in range(1, one.peers):
        one.message(other, PRESENT)
    one.told()
    return one


def opened(**options: Any) -> OneOpening:
    one = ready(**options)
    for other in range(1, one.peers):
        one.message(other, ready_message(asks=False))
    one.told()
    return one


def stage(one: OneOpening) -> OpeningStage:
    return one.machine._stage


# --- in order -----------------------------------------------------------------------------------


def test_a_member_says_that_it_is_there_and_begins_once_all_have_said_so() -> None:
    one = OneOpening()
    one.start()
    assert one.told() == [(other, ready_message(asks=True)) for other in (1, 2, 3)]
    assert one.machine.state == "opening: waits for 3 of 4 members"
    one.message(1, ready_message(asks=False))
    one.message(2, ready_message(asks=False))
    assert one.machine.state == "opening: waits for 1 of 4 members"
    one.timer()
    assert one.told() == [(3, ready_message(asks=True))]
    assert (one.machine.peer, one.work, one.records) == (None, {}, {})
    one.message(3, ready_message(asks=True))
    assert one.told() == [(3, SAYS_BEGUN)]
    assert one.machine.peer is one.peer
    assert one.machine.state is State.TRAINING
    assert one.seeds == [SEED]
    assert one.reported(events.Opened) == [events.Opened()]
    assert one.timers == {}


def test_it_asks_no_more_than_a_few_at_once() -> None:
    one = ready(peers=40, length=40)
    one.timer()
    asked = [receiver for receiver, message in one.told() if message == ready_message(asks=True)]
    assert len(set(asked)) == len(asked) == ASKED_MAX


def test_the_seed_is_kept_before_the_peer_begins() -> None:
    one = ready()
    one.message(1, ready_message(asks=False))
    one.message(2, ready_message(asks=False))
    one.do = lambda actions: names.extend(type(action).__name__ for action in actions)
    names: list[str] = []
    one.message(3, ready_message(asks=False))
    assert names.index("CancelTimer") < names.index("Persist") < names.index("Work")
    assert "Work" not in names[: names.index("Persist")]


def test_a_network_of_one_opens_at_once() -> None:
    one = OneOpening(peers=1)
    one.start()
    assert one.machine.state is State.TRAINING
    assert (one.sent, one.timers) == ([], {})


def test_an_answer_goes_to_who_asks() -> None:
    one = ready()
    one.message(1, ready_message(asks=False))
    assert one.told() == []
    one.message(1, ready_message(asks=True))
    assert one.told() == [(1, ready_message(asks=False))]


def test_a_link_that_comes_up_is_told_what_its_other_end_may_lack() -> None:
    one = OneOpening()
    one.up(1)
    assert one.told() == [(1, PRESENT)]  # Before it has started.
    one = ready()
    one.up(1)
    assert one.told() == [(1, ready_message(asks=True))]
    one.message(1, ready_message(asks=False))
    one.up(1)
    assert one.told() == [(1, ready_message(asks=False))]
    one = opened()
    one.up(1)
    assert one.told() == [(1, SAYS_BEGUN)]


def test_a_link_that_breaks_changes_nothing_before_the_peer_begins() -> None:
    one = ready()
    one.message(1, ready_message(asks=False))
    one.down(1)
    assert one.told() == []
    one.message(2, ready_message(asks=False))
    one.message(3, ready_message(asks=False))
    assert stage(one) is OpeningStage.OPEN
    one.train()
    one.down(1)
    one.down(2)
    one.down(3)
    assert one.peer.round == 1  # The peer was told.


# --- others have begun --------------------------------------------------------------------------

HAS_BEGUN: dict[str, Callable[[OneOpening], Any]] = {
    "it says so": lambda one: one.message(1, SAYS_BEGUN),
    "a frame": lambda one: one.message(1, Status(0)),
    "a body": lambda one: one.begin(1, PartHeader(0, 1.0)),
}


@pytest.mark.parametrize("hear", HAS_BEGUN.values(), ids=HAS_BEGUN)
def test_who_is_ready_begins_when_it_hears_of_one_that_has(
    hear: Callable[[OneOpening], Any],
) -> None:
    one = ready()
    hear(one)
    assert one.machine.state is State.TRAINING
    assert one.records["draw_seed"] == SEED
    assert one.records[DESCRIPTION_RECORD] == encode_page(OURS.page(0))
    assert len(one.work) == 1
    assert one.timers == {}


OPENS: dict[str, Callable[[OneOpening], Any]] = {
    "the last is ready": lambda one: one.message(3, ready_message(asks=False)),
    **HAS_BEGUN,
}


@pytest.mark.parametrize("hear", OPENS.values(), ids=OPENS)
def test_the_first_round_begins_when_the_group_opens(hear: Callable[[OneOpening], Any]) -> None:
    """Who asks a deadline later for a model waits for its end; who asks before that does not."""
    one = ready()
    one.message(1, ready_message(asks=False))
    one.message(2, ready_message(asks=False))
    one.now_s = 50.0
    hear(one)
    assert one.peer._position.round_began_s == 50.0


def test_a_body_that_comes_before_the_opening_is_not_lost() -> None:
    one = ready()
    bulk = one.begin(1, PartHeader(0, 1.0))
    assert bulk is not None
    one.chunk(1, bulk, b"\0\0\x80\x3f" * 2)
    one.end(1, bulk)
    one.part(2, 1.0)
    one.part(3, 1.0)
    one.train(1.0)
    assert len(one.bodies) == 6  # Three parts, and three means: every part was there.


def test_a_frame_that_comes_before_the_opening_is_passed_to_the_peer() -> None:
    one = ready()
    one.message(1, StatusRequest())
    assert one.told() == [(1, Status(0))]


@pytest.mark.parametrize("hear", HAS_BEGUN.values(), ids=HAS_BEGUN)
def test_who_hears_of_one_that_has_begun_and_does_not_know_what_it_has_asks_it(
    hear: Callable[[OneOpening], Any],
) -> None:
    """A frame does not say what its sender averages; its answer to `Ready` does."""
    one = OneOpening()
    one.start()
    one.told()
    hear(one)
    if stage(one) is OpeningStage.READY:
        hear(one)
        assert one.told() == [(1, ready_message(asks=True))]  # Once in each deadline.
        one.timer()
        one.told()
        hear(one)
        assert one.told() == [(1, ready_message(asks=True))]
        one.message(1, SAYS_BEGUN)
    assert one.machine.state is State.TRAINING


def test_many_that_have_begun_cost_few_requests() -> None:
    one = OneOpening(peers=40, length=40)
    one.start()
    one.told()
    for other in range(1, 40):
        one.message(other, Status(0))
    assert len(one.told()) == ASKED_MAX


def test_who_has_begun_goes_on_answering_those_who_have_not() -> None:
    one = opened()
    one.message(1, ready_message(asks=True))
    one.message(1, PRESENT)
    assert one.told() == [(1, SAYS_BEGUN), (1, SAYS_BEGUN)]
    one.message(1, SAYS_BEGUN)
    assert one.told() == []


def test_a_frame_that_its_peer_refuses_opens_the_group_and_ends_the_link() -> None:
    one = ready()
    one.message(1, Status(21))
    assert one.disconnected == [(1, "round_out_of_range")]
    assert len(one.work) == 1
    with pytest.raises(RemoteProtocolError, match=r"^round_out_of_range$"):
        one.message(1, Status(21))
    one = ready()
    assert one.begin(1, PartHeader(21, 1.0)) is None
    assert one.disconnected == [(1, "round_out_of_range")]
    assert len(one.work) == 1


# --- who is waited for --------------------------------------------------------------------------


def test_those_who_are_waited_for_are_named_whenever_they_change() -> None:
    one = ready()
    assert one.reported(events.OpeningWaits) == []  # Nobody had time to answer.
    one.timer()
    one.timer()
    one.message(1, ready_message(asks=False))
    one.timer()
    peers = one.roster.peers
    assert one.reported(events.OpeningWaits) == [
        events.OpeningWaits(3, peers[1:4]),
        events.OpeningWaits(2, peers[2:4]),
    ]


def test_a_report_names_the_first_few_of_many() -> None:
    one = ready(peers=40, length=40)
    one.timer()
    (event,) = one.reported(events.OpeningWaits)
    assert (event.count, event.members) == (39, one.roster.peers[1 : 1 + WAITS_NAMED_MAX])


# --- strangers --------------------------------------------------------------


@pytest.mark.parametrize("make", [ready, opened])
@pytest.mark.parametrize("message", [ready_message(asks=True), SAYS_BEGUN, Status(0)])
def test_strangers_are_refused(make: Callable[..., OneOpening], message: Message) -> None:
    one = make()
    before = one.machine.state
    with pytest.raises(RemoteProtocolError, match=r"^not_a_member$"):
        one.machine.on_message(0.0, PeerId("stranger"), message)
    with pytest.raises(RemoteProtocolError, match=r"^not_a_member$"):
        one.machine.on_bulk_begin(0.0, PeerId("stranger"), 1, message)
    assert one.machine.state == before


@pytest.mark.parametrize("make", [ready, opened])
@pytest.mark.parametrize("message", [PRESENT, ready_message(asks=True), SAYS_BEGUN])
def test_no_body_belongs_to_the_opening(make: Callable[..., OneOpening], message: Message) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^unexpected_message$"):
        make().begin(1, message)


def test_repeating_oneself_changes_nothing() -> None:
    one = ready()
    for _ in range(3):
        one.message(1, PRESENT)
        one.message(1, ready_message(asks=False))
    assert one.machine.state == "opening: waits for 2 of 4 members"
    assert one.told() == []


# --- restarts -----------------------------------------------------------------------------------


def test_who_restarts_before_the_opening_takes_part_again() -> None:
    one = ready()
    one.make()
    one.start()
    assert one.told() == [(other, ready_message(asks=True)) for other in (1, 2, 3)]
    one.message(1, SAYS_BEGUN)  # The others may have begun on the word of its earlier life.
    assert one.seeds == [SEED]


def test_who_restarts_after_the_opening_goes_straight_on() -> None:
    one = opened()
    one.do_round()
    one.make()
    one.start()
    assert one.seeds == [SEED] * 2
    assert one.machine.state is State.CATCHING_UP  # The peer has all that it persisted.
    assert (one.peer.round, one.reported(events.Opened)) == (1, [])
    assert one.asked(StatusRequest) != []


def test_records_of_another_network_are_refused() -> None:
    one = opened()
    one.records = {**one.records, "draw_seed": bytes(32)}
    one.make()
    with pytest.raises(LocalProtocolError, match="not of this network"):
        one.start()


def test_the_records_of_opening_and_peer_do_not_collide() -> None:
    one = opened()
    at_opening = set(one.records)
    assert at_opening == {"description", "draw_seed", "incarnation"}
    one.do_round()
    assert set(one.records) - at_opening == {"round", "model"}
    assert one.records["draw_seed"] == SEED


# --- commands -----------------------------------------------------------------------------------


def test_leaving_before_the_opening_is_silent() -> None:
    one = ready()
    one.command(Command.LEAVE)
    assert one.reported(events.Left) == [events.Left(0)]
    assert (one.timers, one.machine.state) == ({}, "left")
    one.message(1, ready_message(asks=True))
    one.message(1, DescriptionRequest(0))
    one.message(1, SAYS_BEGUN)
    one.message(1, Status(0))
    assert one.begin(1, PartHeader(0, 1.0)) is None
    one.up(1)
    one.down(1)
    one.command(Command.LEAVE)
    assert (one.told(), one.seeds, len(one.events)) == ([], [], 1)


def test_leaving_after_the_opening_is_silent() -> None:
    one = opened()
    one.command(Command.LEAVE)
    assert one.machine.state is State.LEFT
    one.message(1, ready_message(asks=True))
    one.message(1, DescriptionRequest(0))
    assert one.told() == []


def test_a_pause_before_the_opening_holds_from_the_first_round_on() -> None:
    one = ready()
    one.command(Command.PAUSE)
    one.message(1, SAYS_BEGUN)
    one.do_round()
    assert one.machine.state is State.PAUSED
    one.command(Command.RESUME)
    assert one.machine.state is State.CATCHING_UP


def test_a_pause_that_was_taken_back_is_none() -> None:
    one = ready()
    one.command(Command.PAUSE)
    one.command(Command.RESUME)
    one.message(1, SAYS_BEGUN)
    one.do_round()
    assert one.machine.state is State.TRAINING


# --- our own mistakes ---------------------------------------------------------------------------


def test_drivers_that_break_their_word_crash() -> None:
    one = OneOpening()
    with pytest.raises(LocalProtocolError, match="before the start"):
        one.command(Command.PAUSE)
    one.start()
    with pytest.raises(LocalProtocolError, match="twice"):
        one.start()
    peer = one.roster.peers[1]
    machine = one.machine
    for call in (
        lambda: machine.on_timer(0.0, 2),
        lambda: machine.on_sent(0.0, 2, True),
        lambda: machine.on_work_done(0.0, 2, Status(0)),
        lambda: machine.on_work_part(0.0, 2, Status(0)),
        lambda: machine.on_work_failed(0.0, 2, "no"),
    ):
        with pytest.raises(LocalProtocolError, match="never given"):
            call()
    for call in (
        lambda: machine.on_bulk_chunk(0.0, peer, 1, b""),
        lambda: machine.on_bulk_end(0.0, peer, 1, None),
        lambda: machine.on_bulk_lost(0.0, peer, 1),
    ):
        with pytest.raises(LocalProtocolError, match="none has begun"):
            call()


def test_its_tickets_are_none_of_its_peers() -> None:
    one = ready()
    for _ in range(3):
        one.timer()
    assert list(one.timers) == [4]
    one.message(1, SAYS_BEGUN)
    assert list(one.work) == [5]
    assert one.machine.on_timer(one.now_s, 4) == [], "cancelled, when the group opened"


# --- the table ----------------------------------------------------------------------------------


def test_every_transition_of_the_table_happens_and_no_other() -> None:
    """Every sequence of up to four inputs, from the start and from a restart after the opening."""
    inputs: list[Callable[[OneOpening], Any]] = [
        lambda one: one.message(1, PRESENT),
        lambda one: one.message(1, ready_message(asks=True)),
        lambda one: one.message(1, SAYS_BEGUN),
        lambda one: one.message(1, DescriptionRequest(0)),
        lambda one: one.message(1, StatusRequest()),
        lambda one: one.command(Command.LEAVE),
        lambda one: stage(one) is OpeningStage.READY and one.timer(),
    ]
    seen: set[tuple[OpeningStage, OpeningStage]] = set()

    def step(one: OneOpening, do: Callable[[OneOpening], Any]) -> None:
        enter = one.machine._enter

        def watched(after: OpeningStage) -> None:
            seen.add((stage(one), after))
            enter(after)

        one.machine._enter = watched
        do(one)
        one.machine._enter = enter
        is_waiting = stage(one) is OpeningStage.READY
        assert (
            (one.machine.peer is not None) == (stage(one) is OpeningStage.OPEN) == bool(one.seeds)
        )
        assert is_waiting <= bool(one.timers)
        assert bool([job for job in one.work.values() if isinstance(job, Train)]) == (
            one.machine.state is State.TRAINING
        )

    for sequence in itertools.product(inputs, repeat=4):
        one = OneOpening(peers=2)
        step(one, lambda one: one.start())
        for do in sequence:
            step(one, do)
    one = opened(peers=2)
    one.make()
    step(one, lambda one: one.start())
    table = {(before, after) for before, stages in NEXT_STAGES.items() for after in stages}
    assert seen == table


def test_all_messages_of_the_opening_are_on_the_wire() -> None:
    for message in (
        ready_message(asks=True),
        SAYS_BEGUN,
        PRESENT,
        DescriptionRequest(0),
        OURS.page(0),
    ):
        assert isinstance(message, OPENING_MESSAGES)
        assert wire.decode_untrusted(wire.encode(message)) == message
