"""How a peer asks others for their round and model where their word counts: whom, and what then."""

from random import Random

import numpy as np
import pytest

from p2pfl_gossip import events
from p2pfl_gossip.actions import Action, CancelTimer, PeerId, Send, SendBulk, SetTimer
from p2pfl_gossip.catch_up import (
    FETCH_DEADLINES,
    SEEK_FANOUT,
    CatchUp,
    Found,
    ModelHeader,
    ModelRequest,
    Status,
    StatusRequest,
)
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.other_rounds import OtherRounds
from p2pfl_gossip.peer_state import Position, State
from p2pfl_gossip.plain_rejoining import PlainRejoining
from p2pfl_gossip.rejoining import Resumed
from p2pfl_gossip.roster import Roster

DEADLINE_S, OURS = 2.0, 5
OWN, THEIRS = (np.full(4, value, np.float32) for value in (1, 2))


class Search:
    """Peer 0 of a few; round 5 is its own."""

    def __init__(self, peers: int = 4) -> None:
        self.roster = Roster(PeerId(f"peer-{index}") for index in range(peers))
        self.desk, self.now_s = Desk(), 100.0
        self.timers: dict[int, float] = {}
        self.sent: list[tuple[int, object]] = []
        self.position = Position(OWN, State.CATCHING_UP, OURS)
        self.machine = PlainRejoining(
            index=0,
            roster=self.roster,
            position=self.position,
            others=OtherRounds(self.roster),
            deadline_s=DEADLINE_S,
            desk=self.desk,
        )
        self.machine.start(Random("test"))
        self.catch_up: CatchUp = self.machine._search

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(receiver, message):
                    self.sent.append((self.roster.index_untrusted(receiver), message))
                case SendBulk(receiver, header, (part,)):
                    self.sent.append((self.roster.index_untrusted(receiver), (header, part)))
                case SetTimer(ticket, at_s):
                    self.timers[ticket] = at_s
                case CancelTimer(ticket):
                    del self.timers[ticket]
                case _:
                    raise AssertionError(action)

    def told(self) -> list[tuple[int, object]]:
        sent, self.sent = self.sent, []
        return sent

    def asked(self) -> list[int]:
        told = self.told()
        assert {message for _, message in told} <= {StatusRequest()}
        return [member for member, _ in told]

    def deadline(self) -> float:
        """Let the timer be due; return how long it was."""
        ((ticket, at_s),) = self.timers.items()
        del self.timers[ticket]
        lasted_s, self.now_s = at_s - self.now_s, at_s
        self.do(self.desk.on_timer(at_s, ticket))
        return lasted_s

    def status(self, member: int, round_: int) -> None:
        self.do(self.machine.on_status(self.now_s, member, round_))


def test_a_few_others_are_asked_and_never_oneself() -> None:
    for peers in (2, 4, 9):
        search = Search(peers)
        search.do(search.machine.seek(search.now_s))
        asked = search.asked()
        assert len(set(asked)) == len(asked) == min(SEEK_FANOUT, peers - 1)
        assert 0 not in asked
        assert search.deadline() == DEADLINE_S


def test_who_has_failed_us_is_not_asked_unless_there_is_no_other() -> None:
    for _ in range(2):
        search = Search(3)
        search.do(search.catch_up.seek(search.now_s, OURS, avoid=1))
        assert search.asked() == [2]
    search = Search(2)
    search.do(search.catch_up.seek(search.now_s, OURS, avoid=1))
    assert search.asked() == [1]


def test_with_no_answer_some_are_asked_again() -> None:
    search = Search()
    search.do(search.machine.seek(search.now_s))
    for _ in range(3):
        assert sorted(search.asked()) == [1, 2, 3]
        assert search.machine.take_resumed() is None
        search.deadline()


def test_nobody_ahead_sends_us_on_with_our_own() -> None:
    search = Search()
    search.do(search.machine.seek(search.now_s))
    for member, round_ in ((1, OURS), (2, OURS - 1)):
        search.status(member, round_)
        assert search.machine.take_resumed() is None
    search.status(3, 0)
    assert search.timers == {}
    assert search.catch_up.found == Found(OURS, None)
    assert search.machine.take_resumed() == Resumed(OURS)
    assert search.machine.take_resumed() is None


def test_the_furthest_is_asked_for_its_model_and_the_first_of_equals() -> None:
    search = Search()
    search.do(search.machine.seek(search.now_s))
    search.told()
    for member, round_ in ((3, OURS + 2), (2, OURS + 2), (1, OURS + 1)):
        search.status(member, round_)
    assert search.told() == [(2, ModelRequest(OURS))]
    assert search.deadline() == FETCH_DEADLINES * DEADLINE_S
    assert sorted(search.asked()) == [1, 3], "it has failed us"


def test_a_model_that_was_asked_for_is_gone_on_with() -> None:
    search = Search()
    search.do(search.machine.fetch(search.now_s, 2))
    header = ModelHeader(OURS + 2)
    assert not search.machine.wants_model(1, header)
    assert search.machine.on_model(search.now_s, 1, header, THEIRS) == []
    assert search.machine.wants_model(2, header)
    search.do(search.machine.on_model(search.now_s, 2, header, THEIRS))
    told = (events.CaughtUp(OURS, OURS + 2),)
    assert search.machine.take_resumed() == Resumed(OURS + 2, THEIRS, events=told)
    assert search.machine.take_resumed() is None
    assert search.timers == {}
    assert not search.machine.wants_model(2, header)


@pytest.mark.parametrize("round_", [OURS - 1, OURS])
def test_a_model_of_no_later_round_leaves_us_our_own(round_: int) -> None:
    search = Search()
    search.do(search.machine.fetch(search.now_s, 2))
    search.do(search.machine.on_model(search.now_s, 2, ModelHeader(round_), THEIRS))
    assert search.machine.take_resumed() == Resumed(OURS)


def test_the_status_of_who_was_to_give_its_model_ends_the_search_unless_it_is_ahead() -> None:
    search = Search()
    search.do(search.machine.fetch(search.now_s, 2))
    search.status(1, OURS)
    search.status(2, OURS + 1)
    assert search.machine.take_resumed() is None
    search.status(2, OURS)
    assert search.machine.take_resumed() == Resumed(OURS)


def test_who_goes_down_is_done_without() -> None:
    search = Search()
    search.do(search.machine.seek(search.now_s))
    for member in (1, 2):
        search.status(member, OURS)
    search.do(search.machine.on_peer_down(search.now_s, 1))  # It has answered.
    assert search.machine.take_resumed() is None
    search.do(search.machine.on_peer_down(search.now_s, 3))
    assert search.machine.take_resumed() == Resumed(OURS)


def test_all_being_down_does_not_make_us_spin() -> None:
    search = Search()
    search.do(search.machine.seek(search.now_s))
    search.told()
    for member in (1, 2, 3):
        search.do(search.machine.on_peer_down(search.now_s, member))
    assert search.told() == []
    assert search.machine.take_resumed() is None
    search.deadline()
    assert sorted(search.asked()) == [1, 2, 3]


def test_a_target_that_goes_down_sends_us_to_others() -> None:
    search = Search()
    search.do(search.machine.fetch(search.now_s, 2))
    search.told()
    search.do(search.machine.on_peer_down(search.now_s, 1))
    assert search.told() == []
    search.do(search.machine.on_peer_down(search.now_s, 2))
    assert sorted(search.asked()) == [1, 3]
    assert not search.machine.wants_model(2, ModelHeader(OURS + 1))
    assert search.deadline() == DEADLINE_S


def test_who_leaves_searches_no_more() -> None:
    search = Search()
    search.do(search.machine.seek(search.now_s))
    search.do(search.machine.stop())
    assert search.timers == {}
    search.status(1, OURS + 1)
    assert search.machine.take_resumed() is None


def test_who_waits_while_we_search_gets_the_model_found_and_never_our_trained_one() -> None:
    for found in (None, THEIRS):
        search = Search()
        search.position.is_trained = True
        search.do(search.machine.on_request(search.now_s, 3, OURS - 1))
        assert search.told() == []
        resumed = Resumed(OURS if found is None else OURS + 2, found)
        search.do(search.machine.on_resumed(resumed))
        assert search.told() == ([] if found is None else [(3, (ModelHeader(OURS + 2), THEIRS))])


@pytest.mark.parametrize(
    ("state", "trained_s", "is_trained", "is_given"),
    [
        (State.TRAINING, DEADLINE_S, False, True),
        (State.TRAINING, DEADLINE_S + 0.1, False, False),
        (State.AVERAGING, 0.0, False, False),
        (State.CATCHING_UP, 9.0, False, True),
        (State.CATCHING_UP, 9.0, True, False),
    ],
)
def test_only_the_model_that_our_round_began_with_is_given(
    state: State, trained_s: float, is_trained: bool, is_given: bool
) -> None:
    search = Search()
    search.position.state, search.position.is_trained = state, is_trained
    search.position.round_began_s = search.now_s - trained_s
    search.do(search.machine.on_request(search.now_s, 3, OURS - 1))
    assert search.told() == ([(3, (ModelHeader(OURS), OWN))] if is_given else [])
    search.do(search.machine.on_request(search.now_s, 2, OURS))
    assert search.told() == [(2, Status(OURS))]
