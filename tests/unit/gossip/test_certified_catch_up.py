"""How a peer of masked cohorts asks for what others have: how long, whom, and when it gives up."""

from random import Random
from typing import Any

import numpy as np
import pytest

from p2pfl_gossip.actions import Action, CancelTimer, PeerId, Send, SendBulk, SetTimer
from p2pfl_gossip.catch_up import (
    FETCH_DEADLINES,
    MODELS_SERVED_MAX,
    SEEK_FANOUT,
    Found,
    ModelHeader,
    ModelRequest,
    Status,
    Wait,
)
from p2pfl_gossip.certified_catch_up import AWAIT_DEADLINES_MAX, CertifiedCatchUp
from p2pfl_gossip.certified_models import WAITING_MAX, CertifiedModel, CertifiedModels
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.masked_sum.certificate import RECORD_BYTES_MAX, Certificate, to_record
from p2pfl_gossip.masked_sum.cohort import COHORT_SIZE_MAX
from p2pfl_gossip.roster import Roster

DEADLINE_S = 2.0
PEERS, LIARS_MAX, LOST = 8, 2, 5
ROSTER = Roster(PeerId(f"peer-{index}") for index in range(PEERS))
MODEL = np.zeros(4, np.float32)
CERTIFICATE = Certificate(LOST, 0, b"\xff", bytes(32), b"\x3f", bytes(6 * 64))


class Search:
    """A search of peer 0, and whom it asks."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.now_s = 100.0
        self.timers: dict[int, float] = {}
        self.asked: list[int] = []
        self.machine = CertifiedCatchUp(
            index=0, roster=ROSTER, deadline_s=DEADLINE_S, desk=self.desk, rng=Random("test")
        )

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(receiver, ModelRequest()):
                    self.asked.append(ROSTER.index_untrusted(receiver))
                case SetTimer(ticket, at_s):
                    self.timers[ticket] = at_s
                case CancelTimer(ticket):
                    del self.timers[ticket]
                case _:
                    raise AssertionError(action)

    def awaiting(self, *, lasted_s: float = 0.0) -> "Search":
        cohort, since_s = range(1, PEERS), self.now_s - lasted_s
        self.do(self.machine.await_result(self.now_s, since_s, LOST, cohort, LIARS_MAX))
        return self

    def seeking(self) -> "Search":
        self.do(self.machine.seek(self.now_s, LOST))
        return self

    def deadline(self) -> None:
        self.asked.clear()
        ((ticket, at_s),) = self.timers.items()
        del self.timers[ticket]
        self.now_s = at_s
        self.do(self.desk.on_timer(at_s, ticket))

    def status(self, *members: int, round_: int = LOST + 1) -> None:
        for member in members:
            self.do(self.machine.on_status(self.now_s, member, round_))

    def wait(self, *members: int, round_: int = LOST) -> None:
        for member in members:
            self.do(self.machine.on_wait(self.now_s, member, round_))

    @property
    def has_given_up(self) -> bool:
        return self.machine.found == Found(LOST, None)


def test_as_many_are_asked_as_prove_that_somebody_honest_is_past() -> None:
    search = Search().awaiting()
    assert len(set(search.asked)) == len(search.asked) == LIARS_MAX + 1 + SEEK_FANOUT


def test_a_lost_round_is_left_once_more_than_liars_say_so() -> None:
    search = Search().awaiting()
    first, *rest = search.asked
    search.status(first, rest[0])
    assert not search.has_given_up, "both may lie"
    search.status(rest[1])
    assert search.has_given_up
    assert search.timers == {}


def test_a_lost_round_is_not_left_while_others_are_in_it() -> None:
    search = Search().awaiting()
    there = search.asked[:3]
    search.wait(*there)
    search.status(*search.asked[3:])
    for _ in range(3 * FETCH_DEADLINES):
        search.deadline()
        assert not search.machine.found
        search.wait(there[0])
        search.status(*there[1:], round_=LOST)  # It trains, and has nothing to say yet.
    search.deadline()
    search.wait(*there[:2])  # No more than may lie.
    search.deadline()
    assert search.has_given_up


def test_it_is_left_in_the_end_whoever_is_in_it() -> None:
    search = Search().awaiting()
    for _ in range(AWAIT_DEADLINES_MAX - 1):
        search.deadline()
        search.wait(*search.asked)
    assert not search.machine.found
    search.deadline()
    assert search.has_given_up


def test_silence_lasts_as_long_as_a_sum_that_waits() -> None:
    search = Search().awaiting()
    for _ in range(FETCH_DEADLINES - 1):
        search.deadline()
        assert not search.machine.found
    search.deadline()
    assert search.has_given_up
    # The exchange itself has lasted that long: it is enough to ask.
    late = Search().awaiting(lasted_s=FETCH_DEADLINES * DEADLINE_S)
    late.deadline()
    assert late.has_given_up


def test_who_answers_later_is_waited_for_a_while() -> None:
    search = Search().awaiting()
    search.wait(search.asked[0], round_=LOST + 1)
    search.status(*search.asked[1:])
    assert not search.machine.found
    late = Search().awaiting(lasted_s=FETCH_DEADLINES * DEADLINE_S)
    late.wait(late.asked[0], round_=LOST + 1)
    late.status(*late.asked[1:])
    assert late.has_given_up


def test_one_model_is_taken_of_who_was_asked_and_only_of_a_later_round() -> None:
    search = Search().awaiting()
    one, other = search.asked[:2]
    stranger = next(peer for peer in range(1, PEERS) if peer not in search.asked)
    machine = search.machine
    assert machine.wants(one, LOST + 1)
    assert not machine.wants(one, LOST)
    assert not machine.wants(stranger, LOST + 1)
    machine.begin_model(one)
    assert not machine.wants(other, LOST + 2)
    found = Found(LOST + 1, MODEL, CERTIFICATE)
    search.do(machine.on_model(other, found))
    assert machine.found is None
    search.do(machine.on_model(one, found))
    assert machine.found == found
    assert not machine.wants(other, LOST + 2)


def test_a_model_under_way_is_waited_for_and_its_loss_lets_others_give() -> None:
    search = Search().awaiting()
    one, other = search.asked[:2]
    search.machine.begin_model(one)
    for _ in range(2 * FETCH_DEADLINES):
        search.deadline()
        assert not search.machine.found
    search.do(search.machine.lose_model(search.now_s, one))
    assert search.machine.wants(other, LOST + 1)
    search.machine.begin_model(other)
    search.do(search.machine.on_peer_down(search.now_s, other))
    assert search.machine.wants(one, LOST + 1)


def test_a_search_asks_a_few_and_goes_on_when_none_has_more() -> None:
    search = Search().seeking()
    assert len(search.asked) == SEEK_FANOUT
    search.status(*search.asked[:-1])
    assert not search.machine.found
    search.status(search.asked[-1], round_=LOST)
    assert search.has_given_up


def test_a_search_waits_for_who_answers_later_but_not_for_ever() -> None:
    search = Search().seeking()
    asked = list(search.asked)
    search.status(*asked[1:])
    search.wait(asked[0])
    for _ in range(FETCH_DEADLINES - 1):
        search.deadline()
        assert (search.machine.found, search.asked) == (None, [])
    search.deadline()
    assert search.has_given_up


def test_in_silence_a_search_asks_others_and_never_spins() -> None:
    search = Search().seeking()
    asked = set(search.asked)
    for member in list(search.asked):
        search.do(search.machine.on_peer_down(search.now_s, member))
    assert search.asked == [*asked] or len(search.asked) == SEEK_FANOUT, "asked at once"
    for _ in range(8):
        search.deadline()
        assert len(search.asked) == SEEK_FANOUT
        asked |= set(search.asked)
    assert asked == set(range(1, PEERS))


# --- the answering side -----------------------------------------------------------------------


class Server:
    def __init__(self, peers: int = PEERS) -> None:
        self.roster = Roster(PeerId(f"peer-{index}") for index in range(peers))
        self.desk = Desk()
        self.models = CertifiedModels(self.roster, self.desk, DEADLINE_S)
        assert self.models.expect(0.0, LOST, MODEL) == []
        assert self.models.on_certificate(CERTIFICATE)

    def ask(self, sender: int, their_round: int = LOST, *, is_ending: bool = False) -> Any:
        (answer,) = self.models.on_request(sender, their_round, LOST + 1, is_ending=is_ending)
        return answer


def test_a_certified_model_is_given_with_its_certificate() -> None:
    answer = Server().ask(1)
    assert isinstance(answer, SendBulk)
    assert answer.header == ModelHeader(LOST + 1, CERTIFICATE)
    assert answer.parts == (MODEL,)


@pytest.mark.parametrize("their_round", [LOST + 1, LOST + 2])
def test_who_is_not_behind_is_told_our_round(their_round: int) -> None:
    assert Server().ask(1, their_round).message == Status(LOST + 1)


def test_without_its_certificate_no_model_is_given() -> None:
    server = Server()
    server.models.expect(0.0, LOST + 1, MODEL)
    assert server.models.is_near(0.0)
    assert server.ask(1, LOST + 1).message == Status(LOST + 1)
    other = Certificate(LOST, 0, b"\xff", bytes(32), b"\x3f", bytes(6 * 64))
    assert not server.models.on_certificate(other), "of another round than the one expected"
    assert server.models.record_of(LOST + 2) is None
    assert server.models.record_of(LOST + 1) == to_record(CERTIFICATE)


def test_who_waits_is_answered_at_the_end() -> None:
    server = Server()
    assert server.ask(1, is_ending=True).message == Wait(LOST + 1)
    assert server.ask(2, LOST + 1, is_ending=True).message == Wait(LOST + 1)
    gives, tells = server.models.answer_waiting(LOST + 2)
    assert isinstance(gives, SendBulk)
    assert isinstance(tells, Send)
    assert tells.message == Status(LOST + 2)
    assert server.models.answer_waiting(LOST + 2) == []


def test_nobody_waits_for_ever_for_the_certificate_of_one_mean() -> None:
    server, since_s, lasts_s = Server(), 50.0, FETCH_DEADLINES * DEADLINE_S
    assert not server.models.is_near(since_s), "it has come"
    server.models.expect(since_s, LOST + 1, MODEL)
    assert server.models.is_near(since_s + lasts_s - 0.1)
    assert not server.models.is_near(since_s + lasts_s)
    late = Certificate(LOST + 1, 0, b"\xff", bytes(32), b"\x3f", bytes(6 * 64))
    assert server.models.on_certificate(late), "late, and as good"
    assert server.ask(1).header == ModelHeader(LOST + 2, late)


def test_nobody_waits_for_ever_for_the_certificates_of_many_means() -> None:
    server = Server()
    for mean in range(FETCH_DEADLINES):
        assert server.models.expect(mean * DEADLINE_S, LOST + 1 + mean, MODEL) == []
        assert server.ask(1, LOST + 1, is_ending=True).message == Wait(LOST + 1)
    over_s, last = FETCH_DEADLINES * DEADLINE_S, LOST + 1 + FETCH_DEADLINES
    (told,) = server.models.expect(over_s, last, MODEL)
    assert isinstance(told, Send)
    assert told.message == Status(last + 1)
    assert not server.models.is_near(over_s)
    certificate = Certificate(last, 0, b"\xff", bytes(32), b"\x3f", bytes(6 * 64))
    assert server.models.on_certificate(certificate)
    server.models.expect(over_s, last + 1, MODEL)
    assert server.models.is_near(over_s), "they come again"


def test_who_has_its_answer_waits_no_longer() -> None:
    server = Server()
    assert server.ask(1, is_ending=True).message == Wait(LOST + 1)
    assert isinstance(server.ask(1), SendBulk)
    assert server.models.answer_waiting(LOST + 2) == []


def test_so_many_models_are_given_at_once_and_so_many_wait() -> None:
    server = Server(peers=WAITING_MAX + 10)
    given = [server.ask(sender) for sender in range(1, MODELS_SERVED_MAX + 2)]
    assert [type(answer) for answer in given] == [SendBulk] * MODELS_SERVED_MAX + [Send]
    server.desk.on_sent(0.0, given[0].ticket, False)
    assert isinstance(server.ask(1), SendBulk)
    told = [server.ask(sender, is_ending=True).message for sender in range(1, WAITING_MAX + 2)]
    assert told == [Wait(LOST + 1)] * WAITING_MAX + [Status(LOST + 1)]


def test_an_older_model_takes_no_newer_ones_place() -> None:
    server = Server()
    server.models.take(CertifiedModel(LOST, MODEL, CERTIFICATE))
    assert server.models.latest is not None
    assert server.models.latest.round == LOST + 1


def test_the_largest_certificate_can_be_kept() -> None:
    full = bytes([255]) * (COHORT_SIZE_MAX // 8)
    largest = Certificate(2**32 - 1, 2**32 - 1, full, bytes(32), full, bytes(64 * COHORT_SIZE_MAX))
    assert len(to_record(largest)) <= RECORD_BYTES_MAX
