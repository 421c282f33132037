# mypy: disable-error-code="arg-type, assignment, comparison-overlap"
# mypy: disable-error-code="func-returns-value, no-untyped-call"
"""The opening of a group: one member, and a test in the place of everybody else."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from one_opening import (
    OURS,
    PUBLIC_SEED,
    SAYS_BEGUN,
    OneOpening,
    ready_message,
    reveal_of,
    reveals_of,
    secret_of,
    seed_of,
)

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
    REVEALS_PER_ANSWER,
    WAITS_NAMED_MAX,
    OpeningStage,
)
from p2pfl_gossip.peer_state import State
from p2pfl_gossip.records import Message
from p2pfl_gossip.reveals import MEMBERS_MAX, Revealed, RevealRequest, Reveals

PRESENT = Present(OURS.digest)


def gathering(**options: Any) -> OneOpening:
    one = OneOpening(**options)
    one.start()
    for other in range(1, one.peers):
        one.message(other, PRESENT)
    one.told()
    return one


def ready(**options: Any) -> OneOpening:
    """A member that knows the seed; with `is_public`, from the start."""
    one = gathering(**options)
    if not one.is_public:
        one.reveal(*range(1, one.peers))
        one.told()
    return one


def opened(**options: Any) -> OneOpening:
    one = ready(**options)
    for other in range(1, one.peers):
        one.message(other, ready_message(asks=False))
    one.told()
    return one


def bitmap(*members: int, size: int = 1) -> bytes:
    return sum(1 << member for member in members).to_bytes(size, "little")


def stage(one: OneOpening) -> OpeningStage:
    return one.machine._stage


# --- in order -----------------------------------------------------------------------------------


def test_a_member_reveals_its_secret_to_all_and_asks_for_theirs() -> None:
    one = OneOpening()
    one.start()
    sent = one.told()
    assert sent[:3] == [(other, reveal_of(0)) for other in (1, 2, 3)]
    assert sent[3:6] == [(other, PRESENT) for other in (1, 2, 3)]
    assert one.machine.state == "opening: waits for 3 of 4 members"
    assert one.machine.peer is None


def test_at_the_start_and_at_each_tick_it_asks_for_what_it_lacks() -> None:
    one = OneOpening()
    one.start()
    requests = [(other, RevealRequest(bitmap(1, 2, 3))) for other in (1, 2, 3)]
    assert sorted(one.told()[6:], key=lambda entry: entry[0]) == requests
    one.reveal(2)
    one.timer()
    requests = [(other, RevealRequest(bitmap(1, 3))) for other in (1, 2, 3)]
    assert sorted(one.told(), key=lambda entry: entry[0]) == requests


def test_it_asks_no_more_than_a_few_at_once() -> None:
    one = gathering(peers=40, length=40)
    one.timer()
    asked = [receiver for receiver, message in one.told() if isinstance(message, RevealRequest)]
    assert len(set(asked)) == len(asked) == ASKED_MAX
    one = ready(peers=40, length=40)
    one.timer()
    asked = [receiver for receiver, message in one.told() if message == ready_message(asks=True)]
    assert len(set(asked)) == len(asked) == ASKED_MAX


def test_who_knows_all_secrets_says_so_and_begins_once_all_have_said_so() -> None:
    one = gathering()
    one.reveal(1, 2)
    one.message(2, ready_message(asks=False))
    assert one.told() == []
    one.reveal(3)
    assert one.told() == [
        (1, ready_message(asks=True)),
        (2, ready_message(asks=False)),
        (3, ready_message(asks=True)),
    ]
    assert one.machine.state == "opening: waits for 2 of 4 members"
    one.message(1, ready_message(asks=False))
    assert (one.machine.peer, one.work, one.records) == (None, {}, {})
    one.message(3, ready_message(asks=False))
    assert one.machine.peer is one.peer
    assert one.machine.state is State.TRAINING
    assert one.seeds == [seed_of(4)]
    assert one.reported(events.Opened) == [events.Opened()]
    assert one.timers == {}


def test_the_seed_is_kept_before_the_peer_begins() -> None:
    one = ready()
    one.message(1, ready_message(asks=False))
    one.message(2, ready_message(asks=False))
    one.do = lambda actions: names.extend(type(action).__name__ for action in actions)
    names: list[str] = []
    one.message(3, ready_message(asks=False))
    assert names.index("CancelTimer") < names.index("Persist") < names.index("Work")
    assert "Work" not in names[: names.index("Persist")]


def test_with_a_public_seed_nothing_is_revealed_and_all_wait_for_each_other_all_the_same() -> None:
    one = OneOpening(is_public=True)
    one.start()
    assert one.told() == [(other, ready_message(asks=True)) for other in (1, 2, 3)]
    one.message(1, ready_message(asks=False))
    one.message(2, ready_message(asks=False))
    assert one.machine.state == "opening: waits for 1 of 4 members"
    one.timer()
    assert one.told() == [(3, ready_message(asks=True))]
    one.message(3, ready_message(asks=True))
    assert one.seeds == [PUBLIC_SEED]
    assert one.records["draw_seed"] == PUBLIC_SEED
    assert "draw_secrets" not in one.records


@pytest.mark.parametrize("is_public", [False, True])
def test_a_group_of_one_opens_at_once(is_public: bool) -> None:
    one = OneOpening(peers=1, is_public=is_public)
    one.start()
    assert one.machine.state is State.TRAINING
    assert (one.sent, one.timers) == ([], {})


def test_an_answer_goes_to_who_asks() -> None:
    one = ready()
    one.message(1, ready_message(asks=False))
    assert one.told() == []
    one.message(1, ready_message(asks=True))
    assert one.told() == [(1, ready_message(asks=False))]
    one.message(2, RevealRequest(bitmap(1, 3)))
    assert one.told() == [(2, reveal_of(1)), (2, reveal_of(3))]


def test_who_is_asked_for_what_it_lacks_tells_what_it_knows() -> None:
    one = gathering()
    one.reveal(2)
    one.message(1, RevealRequest(bitmap(0, 2, 3)))
    assert one.told() == [(1, reveal_of(0)), (1, reveal_of(2))]
    one.message(1, ready_message(asks=True))  # Before we are: it will hear of it when we are.
    assert one.told() == []


def test_anybody_may_pass_a_secret_on() -> None:
    one = gathering()
    for member in (1, 2, 3):
        one.message(2, reveal_of(member))
    assert stage(one) is OpeningStage.READY


def test_an_answer_has_a_bounded_number_of_secrets_and_not_always_the_same_ones() -> None:
    one = ready(peers=200, length=200)
    answers = []
    for _ in range(2):
        one.message(1, RevealRequest(bitmap(*range(200), size=25)))
        answers.append({message.member for _, message in one.told()})
    assert [len(answer) for answer in answers] == [REVEALS_PER_ANSWER] * 2
    assert answers[0] != answers[1]


def test_a_link_that_comes_up_is_told_what_its_other_end_may_lack() -> None:
    one = gathering()
    one.up(1)
    assert one.told() == [(1, reveal_of(0)), (1, PRESENT)]
    one = ready()
    one.up(1)
    assert one.told() == [(1, reveal_of(0)), (1, ready_message(asks=True))]
    one.message(1, ready_message(asks=False))
    one.up(1)
    assert one.told() == [(1, ready_message(asks=False))]
    one = ready(is_public=True)
    one.up(1)
    assert one.told() == [(1, ready_message(asks=True))]
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
@pytest.mark.parametrize("is_public", [False, True])
def test_who_is_ready_begins_when_it_hears_of_one_that_has(
    is_public: bool, hear: Callable[[OneOpening], Any]
) -> None:
    one = ready(is_public=is_public)
    hear(one)
    assert one.machine.state is State.TRAINING
    assert one.records["draw_seed"] == (PUBLIC_SEED if is_public else seed_of(4))
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
def test_who_lacks_secrets_asks_the_one_that_has_begun_and_begins_with_the_last(
    hear: Callable[[OneOpening], Any],
) -> None:
    one = gathering()
    one.reveal(2)
    hear(one)
    hear(one)
    assert one.told() == [(1, RevealRequest(bitmap(1, 3)))]  # Once in each deadline.
    assert stage(one) is OpeningStage.GATHERING
    one.timer()
    one.told()
    hear(one)
    assert one.told() == [(1, RevealRequest(bitmap(1, 3)))]
    one.message(1, reveal_of(1))
    one.message(1, reveal_of(3))
    assert one.machine.state is State.TRAINING
    assert one.told() == [(other, ready_message(asks=True)) for other in (1, 2, 3)] + [
        (1, SAYS_BEGUN)
    ]


def test_a_body_is_refused_while_secrets_are_missing() -> None:
    assert gathering().begin(1, PartHeader(0, 1.0)) is None


def test_many_that_have_begun_cost_few_requests() -> None:
    one = gathering(peers=40, length=40)
    for other in range(1, 40):
        one.message(other, SAYS_BEGUN)
    assert len(one.told()) == ASKED_MAX


def test_who_has_begun_goes_on_answering_those_who_have_not() -> None:
    one = opened()
    one.message(1, ready_message(asks=True))
    one.message(1, reveal_of(1))
    assert one.told() == [(1, SAYS_BEGUN), (1, SAYS_BEGUN)]
    one.message(1, RevealRequest(bitmap(0, 3)))
    assert one.told() == [(1, reveal_of(0)), (1, reveal_of(3)), (1, SAYS_BEGUN)]
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
    one = gathering()
    assert one.reported(events.OpeningWaits) == []  # Nobody had time to answer.
    one.timer()
    one.timer()
    one.reveal(1, 3)
    one.timer()
    one.reveal(2)
    one.timer()
    one.message(1, ready_message(asks=False))
    one.timer()
    peers = one.roster.peers
    assert one.reported(events.OpeningWaits) == [
        events.OpeningWaits("secret", 3, peers[1:4]),
        events.OpeningWaits("secret", 1, (peers[2],)),
        events.OpeningWaits("ready", 3, peers[1:4]),
        events.OpeningWaits("ready", 2, peers[2:4]),
    ]


def test_a_report_names_the_first_few_of_many() -> None:
    one = gathering(peers=40, length=40)
    one.timer()
    (event,) = one.reported(events.OpeningWaits)
    assert (event.count, event.members) == (39, one.roster.peers[1 : 1 + WAITS_NAMED_MAX])


def test_who_withholds_its_secret_holds_everybody_up_and_chooses_nothing() -> None:
    one = gathering()
    one.reveal(1, 2)
    for _ in range(5):
        one.timer()
        one.message(3, ready_message(asks=True))  # It knows the seed, and nobody else does.
    assert stage(one) is OpeningStage.GATHERING
    assert one.reported(events.OpeningWaits)[-1].members == (one.roster.peers[3],)
    with pytest.raises(RemoteProtocolError, match=r"^wrong_secret$"):
        one.message(3, Revealed(3, secret_of(99)))
    one.reveal(3)
    one.message(1, SAYS_BEGUN)
    assert one.seeds == [seed_of(4)]


# --- hostile members and strangers --------------------------------------------------------------

OFFENCES: dict[str, tuple[Message, str]] = {
    "a wrong secret": (Revealed(3, secret_of(1)), "wrong_secret"),
    "another secret for one that is known": (Revealed(1, secret_of(3)), "wrong_secret"),
    "our own, wrong": (Revealed(0, secret_of(1)), "wrong_secret"),
    "no member's": (Revealed(4, secret_of(4)), "member_out_of_range"),
    "far from any member": (Revealed(2**32 - 1, secret_of(4)), "member_out_of_range"),
    "a bitmap that is too long": (RevealRequest(b"\x01\x00"), "wrong_bitmap"),
    "a bitmap of others": (RevealRequest(b"\x10"), "wrong_bitmap"),
    "a bitmap of very many": (RevealRequest(b"\xff" * (MEMBERS_MAX // 8)), "wrong_bitmap"),
}


@pytest.mark.parametrize(("message", "reason"), OFFENCES.values(), ids=OFFENCES)
@pytest.mark.parametrize("make", [gathering, ready, opened])
def test_an_offence_is_named_and_changes_nothing(
    make: Callable[..., OneOpening], message: Message, reason: str
) -> None:
    one = make()
    if make is gathering:
        one.reveal(1)
    before = one.machine.state
    with pytest.raises(RemoteProtocolError, match=f"^{reason}$"):
        one.message(2, message)
    assert one.machine.state == before
    assert one.told() == []


@pytest.mark.parametrize("make", [ready, opened])
@pytest.mark.parametrize("message", [reveal_of(1), RevealRequest(b"\x02")])
def test_with_a_public_seed_there_is_nothing_to_reveal(
    make: Callable[..., OneOpening], message: Message
) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^unexpected_message$"):
        make(is_public=True).message(1, message)


@pytest.mark.parametrize("make", [gathering, ready, opened])
@pytest.mark.parametrize(
    "message",
    [reveal_of(1), RevealRequest(b"\x02"), ready_message(asks=True), SAYS_BEGUN, Status(0)],
)
def test_strangers_are_refused(make: Callable[..., OneOpening], message: Message) -> None:
    one = make()
    before = one.machine.state
    with pytest.raises(RemoteProtocolError, match=r"^not_a_member$"):
        one.machine.on_message(0.0, PeerId("stranger"), message)
    with pytest.raises(RemoteProtocolError, match=r"^not_a_member$"):
        one.machine.on_bulk_begin(0.0, PeerId("stranger"), 1, message)
    assert one.machine.state == before


@pytest.mark.parametrize("make", [gathering, ready, opened])
@pytest.mark.parametrize(
    "message", [reveal_of(1), RevealRequest(b"\x02"), ready_message(asks=True), SAYS_BEGUN]
)
def test_no_body_belongs_to_the_opening(make: Callable[..., OneOpening], message: Message) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^unexpected_message$"):
        make().begin(1, message)


def test_repeating_oneself_changes_nothing() -> None:
    one = gathering()
    for _ in range(3):
        one.reveal(1, 2)
        one.message(1, ready_message(asks=False))
    assert one.machine.state == "opening: waits for 1 of 4 members"
    assert one.told() == []


def test_a_bitmap_of_the_largest_group_fits_a_frame() -> None:
    assert wire.encode(RevealRequest(b"\xff" * (MEMBERS_MAX // 8)))


# --- restarts -----------------------------------------------------------------------------------


def test_who_restarts_before_the_opening_takes_part_again_with_the_same_secret() -> None:
    one = ready()
    one.make()
    one.start()
    assert one.told()[0] == (1, reveal_of(0))
    one.reveal(1, 2, 3)
    one.message(1, SAYS_BEGUN)  # The others may have begun on the word of its earlier life.
    assert one.seeds == [seed_of(4)]


@pytest.mark.parametrize("is_public", [False, True])
def test_who_restarts_after_the_opening_goes_straight_on(is_public: bool) -> None:
    one = opened(is_public=is_public)
    one.do_round()
    one.make()
    one.start()
    assert one.seeds == [PUBLIC_SEED if is_public else seed_of(4)] * 2
    assert one.machine.state is State.CATCHING_UP  # The peer has all that it persisted.
    assert (one.peer.round, one.reported(events.Opened)) == (1, [])
    assert one.asked(StatusRequest) != []


def test_who_restarts_after_the_opening_still_knows_all_secrets() -> None:
    one = opened()
    one.make()
    one.start()
    one.told()
    one.message(2, RevealRequest(bitmap(1, 3)))
    assert one.told() == [(2, reveal_of(1)), (2, reveal_of(3)), (2, SAYS_BEGUN)]


BAD_RECORDS: dict[str, dict[str, Any]] = {
    "another seed": {"draw_seed": PUBLIC_SEED},
    "no secrets": {"draw_secrets": None},
    "a secret less": {"draw_secrets": secret_of(0) + secret_of(1) + secret_of(2)},
    "a wrong secret": {"draw_secrets": b"".join(map(secret_of, (0, 1, 2, 4)))},
    "a byte more": {"draw_secrets": b"".join(map(secret_of, range(4))) + b"\0"},
}


@pytest.mark.parametrize("bad", BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_records_of_another_group_are_refused(bad: dict[str, Any]) -> None:
    one = opened()
    records = {**one.records, **bad}
    one.records = {key: value for key, value in records.items() if value is not None}
    one.make()
    with pytest.raises(LocalProtocolError, match="not of this group"):
        one.start()


def test_the_records_of_opening_and_peer_do_not_collide() -> None:
    one = opened()
    at_opening = set(one.records)
    assert at_opening == {"description", "draw_seed", "draw_secrets", "incarnation"}
    one.do_round()
    assert set(one.records) - at_opening == {"round", "model"}
    assert one.records["draw_seed"] == seed_of(4)


# --- commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [gathering, ready])
def test_leaving_before_the_opening_is_silent(make: Callable[..., OneOpening]) -> None:
    one = make()
    one.command(Command.LEAVE)
    assert one.reported(events.Left) == [events.Left(0)]
    assert (one.timers, one.machine.state) == ({}, "left")
    one.message(1, ready_message(asks=True))
    one.message(1, RevealRequest(bitmap(0)))
    one.reveal(1, 2, 3)
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
    one.message(1, RevealRequest(bitmap(0)))
    assert one.told() == []


@pytest.mark.parametrize("make", [gathering, ready])
def test_a_pause_before_the_opening_holds_from_the_first_round_on(
    make: Callable[..., OneOpening],
) -> None:
    one = make()
    one.command(Command.PAUSE)
    one.reveal(1, 2, 3)
    one.message(1, SAYS_BEGUN)
    one.do_round()
    assert one.machine.state is State.PAUSED
    one.command(Command.RESUME)
    assert one.machine.state is State.CATCHING_UP


def test_a_pause_that_was_taken_back_is_none() -> None:
    one = gathering()
    one.command(Command.PAUSE)
    one.command(Command.RESUME)
    one.reveal(1, 2, 3)
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


def test_a_secret_that_was_not_committed_to_is_refused() -> None:
    honest = reveals_of(0, 4)
    with pytest.raises(LocalProtocolError, match="not the one that we committed to"):
        Reveals(
            group_id=bytes(32),
            commitments=honest._commitments,
            index=1,
            secret=secret_of(0),
        )


def test_its_tickets_are_none_of_its_peers() -> None:
    one = gathering()
    for _ in range(3):
        one.timer()
    assert list(one.timers) == [4]
    one.reveal(1, 2, 3)
    one.message(1, SAYS_BEGUN)
    assert list(one.work) == [5]
    assert one.machine.on_timer(one.now_s, 4) == [], "cancelled, when the group opened"


# --- the table ----------------------------------------------------------------------------------


def test_every_transition_of_the_table_happens_and_no_other() -> None:
    """Every sequence of up to four inputs, from the start and from a restart after the opening."""
    inputs: list[Callable[[OneOpening], Any]] = [
        lambda one: one.reveal(1),
        lambda one: one.message(1, ready_message(asks=True)),
        lambda one: one.message(1, SAYS_BEGUN),
        lambda one: one.message(1, RevealRequest(b"\x01")),
        lambda one: one.message(1, StatusRequest()),
        lambda one: one.command(Command.LEAVE),
        lambda one: stage(one) in (OpeningStage.GATHERING, OpeningStage.READY) and one.timer(),
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
        is_waiting = stage(one) in (OpeningStage.GATHERING, OpeningStage.READY)
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
        reveal_of(1),
        RevealRequest(b"\x02"),
        ready_message(asks=True),
        SAYS_BEGUN,
        PRESENT,
        DescriptionRequest(0),
        OURS.page(0),
    ):
        assert isinstance(message, OPENING_MESSAGES)
        assert wire.decode_untrusted(wire.encode(message)) == message
