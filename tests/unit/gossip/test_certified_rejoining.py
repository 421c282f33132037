"""A peer of masked cohorts moves by certificates alone, and gives nothing away without one."""

from random import Random
from typing import Any

import numpy as np
import pytest
from one_masked_peer import NotedSums

from p2pfl_gossip import events
from p2pfl_gossip.actions import (
    Action,
    CancelTimer,
    Disconnect,
    PeerId,
    Persist,
    RemoteProtocolError,
    Send,
    SendBulk,
    SetTimer,
    Vector,
)
from p2pfl_gossip.averaging.base import Outcome
from p2pfl_gossip.catch_up import (
    FETCH_DEADLINES,
    SEEK_FANOUT,
    ModelHeader,
    ModelRequest,
    Status,
    Wait,
)
from p2pfl_gossip.certified_rejoining import CertifiedRejoining
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.masked_sum.certificate import Certificate, to_record
from p2pfl_gossip.peer_state import Position, State
from p2pfl_gossip.records import MalformedFrame
from p2pfl_gossip.rejoining import Resumed
from p2pfl_gossip.roster import Roster

DEADLINE_S = 2.0
PEERS, US, LOST = 12, 4, 5
COHORT = (4, 1, 3, 6, 8, 9, 10)  # Ours of the lost round.
MEMBERS = b"\x3f"  # Six of the seven: what the certificate says.
ROSTER = Roster(PeerId(f"peer-{index}") for index in range(PEERS))
OURS, THEIRS = (np.full(4, value, np.float32) for value in (1, 2))


def _certificate(round_: int = LOST, cohort: int = 8) -> Certificate:
    return Certificate(round_, cohort, MEMBERS, bytes(32), b"\x1f", bytes(5 * 64))


CERTIFICATE = _certificate()


class Rejoiner:
    """Peer 4, in the round after the one that it lost, and what it asks and says."""

    def __init__(self, *, lasted_s: float = 0.0) -> None:
        self.now_s = 100.0
        self.position = Position(OURS, State.CATCHING_UP, LOST + 1)
        self.position.exchange_began_s = self.now_s - lasted_s
        self.sums = NotedSums(
            lambda round_: COHORT[1:] if round_ == LOST else (0, 2),
            lambda round_: 2 if round_ == LOST else 0,
        )
        self.desk = Desk()
        self.timers: dict[int, float] = {}
        self.asked: list[tuple[int, int]] = []
        self.said: list[tuple[int, Any]] = []
        self.others: list[Action] = []
        self.machine = CertifiedRejoining(
            index=US,
            roster=ROSTER,
            position=self.position,
            averaging=self.sums,
            deadline_s=DEADLINE_S,
            desk=self.desk,
        )
        self.machine.start(Random("test"))

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(receiver, ModelRequest(round_)):
                    self.asked.append((ROSTER.index_untrusted(receiver), round_))
                case Send(receiver, message):
                    self.said.append((ROSTER.index_untrusted(receiver), message))
                case SendBulk(receiver, header):
                    assert action.size_bytes == action.parts[0].nbytes  # type: ignore[index]
                    self.said.append((ROSTER.index_untrusted(receiver), (header, action.parts[0])))  # type: ignore[index]
                case SetTimer(ticket, at_s):
                    self.timers[ticket] = at_s
                case CancelTimer(ticket):
                    del self.timers[ticket]
                case _:
                    self.others.append(action)

    def deadline(self) -> None:
        ((ticket, at_s),) = self.timers.items()
        del self.timers[ticket]
        self.now_s = at_s
        self.do(self.desk.on_timer(at_s, ticket))

    def lose(self, outcome: Outcome) -> "Rejoiner":
        self.do(self.machine.search_lost(self.now_s, outcome))
        return self

    def seek(self) -> "Rejoiner":
        self.do(self.machine.seek(self.now_s))
        return self

    @property
    def members_asked(self) -> list[int]:
        return [member for member, _ in self.asked]

    def give(self, sender: int, certificate: Certificate | None, round_: int = LOST + 1) -> None:
        """Have a member give a model, as the peer passes it on."""
        header = ModelHeader(round_, certificate)
        if self.machine.wants_model(sender, header):
            self.machine.begin_model(sender)
            self.do(self.machine.on_model(self.now_s, sender, header, THEIRS))

    def ask(self, sender: int, their_round: int) -> Any:
        """Have a member ask for a model; return what it is told at once."""
        before = len(self.said)
        self.do(self.machine.on_request(self.now_s, sender, their_round))
        (told,) = self.said[before:]
        assert told[0] == sender
        return told[1]


def _outcome(contributors: int = 0, *, unreachable: int = 0, complete: bool = False) -> Outcome:
    return Outcome(OURS, len(COHORT), contributors, complete, unreachable=unreachable)


# --- a lost round -------------------------------------------------------------------------------


@pytest.mark.parametrize(("contributors", "is_lost"), [(0, True), (1, True), (2, False)])
def test_a_round_with_nobody_elses_model_is_lost(contributors: int, is_lost: bool) -> None:
    assert Rejoiner().machine.is_lost(_outcome(contributors)) is is_lost


def test_who_lost_its_round_asks_its_cohort_what_the_round_gave() -> None:
    peer = Rejoiner().lose(_outcome())
    assert set(peer.members_asked) <= set(COHORT[1:])
    assert len(peer.asked) == 2 + 1 + SEEK_FANOUT  # More than the liars, and a few.
    assert {round_ for _, round_ in peer.asked} == {LOST}


@pytest.mark.parametrize("reachable", [0, 1])
def test_who_reached_nobody_of_its_cohort_asks_anybody(reachable: int) -> None:
    unreachable = len(COHORT) - 1 - reachable
    asked = Rejoiner().lose(_outcome(unreachable=unreachable)).members_asked
    assert len(asked) == (SEEK_FANOUT if not reachable else 2 + 1 + SEEK_FANOUT)


def test_it_is_asked_for_as_long_as_its_exchange_and_a_sum_that_waits() -> None:
    peer = Rejoiner().lose(_outcome())
    for _ in range(FETCH_DEADLINES - 1):
        peer.deadline()
        assert peer.machine.take_resumed() is None
    peer.deadline()
    assert peer.machine.take_resumed() == Resumed(LOST + 1, outcome=_outcome())
    late = Rejoiner(lasted_s=FETCH_DEADLINES * DEADLINE_S).lose(_outcome())
    late.deadline()
    assert late.machine.take_resumed() == Resumed(LOST + 1, outcome=_outcome())


def test_who_finds_nothing_goes_on_with_its_own_model_and_says_so_once() -> None:
    lost = Rejoiner().lose(_outcome())
    for member in lost.members_asked:
        lost.do(lost.machine.on_status(lost.now_s, member, LOST + 1))
    assert lost.machine.take_resumed() == Resumed(LOST + 1, outcome=_outcome())
    assert lost.machine.take_resumed() is None
    assert lost.timers == {}
    sought = Rejoiner().seek()
    assert {round_ for _, round_ in sought.asked} == {LOST + 1}
    for member in sought.members_asked:
        sought.do(sought.machine.on_status(sought.now_s, member, LOST + 1))
    assert sought.machine.take_resumed() == Resumed(LOST + 1), "no round was lost"


def test_the_certified_mean_of_our_own_cohort_is_our_rounds_end() -> None:
    peer = Rejoiner().lose(_outcome())
    assert 8 in COHORT
    peer.give(peer.members_asked[0], CERTIFICATE)
    ended = Outcome(THEIRS, len(COHORT), 6, complete=True)
    assert peer.machine.take_resumed() == Resumed(LOST + 1, THEIRS, ended)
    assert peer.machine.take_resumed() is None
    # What others certified is theirs to have.
    assert peer.ask(0, LOST) == (ModelHeader(LOST + 1, CERTIFICATE), THEIRS)


def test_no_more_count_than_were_to_contribute() -> None:
    """A bitmap of a cohort that we reckon smaller does not count more models than it has."""
    peer = Rejoiner()
    peer.lose(Outcome(OURS, 4, 0, complete=False))
    peer.give(peer.members_asked[0], CERTIFICATE)
    ended = Outcome(THEIRS, 4, 4, complete=True)
    assert peer.machine.take_resumed() == Resumed(LOST + 1, THEIRS, ended)


def test_we_are_of_our_own_cohort() -> None:
    peer = Rejoiner().lose(_outcome())
    peer.give(peer.members_asked[0], _certificate(cohort=US))
    resumed = peer.machine.take_resumed()
    assert resumed is not None
    assert resumed.outcome is not None


@pytest.mark.parametrize(
    ("round_", "cohort"), [(LOST, 2), (LOST + 1, 8)], ids=["another cohort", "a later round"]
)
def test_anothers_mean_is_taken_and_our_round_is_lost(round_: int, cohort: int) -> None:
    peer = Rejoiner().lose(_outcome())
    peer.give(peer.members_asked[0], _certificate(round_, cohort), round_ + 1)
    told = (events.RoundLost(LOST, "behind"), events.CaughtUp(LOST + 1, round_ + 1))
    assert peer.machine.take_resumed() == Resumed(round_ + 1, THEIRS, events=told)


def test_who_was_away_is_told_of_the_model_that_it_goes_on_with() -> None:
    peer = Rejoiner().seek()
    peer.give(peer.members_asked[0], _certificate(LOST + 3), LOST + 4)
    told = (events.CaughtUp(LOST + 1, LOST + 4),)
    assert peer.machine.take_resumed() == Resumed(LOST + 4, THEIRS, events=told)


def test_a_lost_round_is_not_told_of_again_after_the_next_search() -> None:
    peer = Rejoiner().lose(_outcome())
    for member in peer.members_asked:
        peer.do(peer.machine.on_status(peer.now_s, member, LOST + 1))
    assert peer.machine.take_resumed() is not None
    peer.asked.clear()
    peer.seek()
    for member in peer.members_asked:
        peer.do(peer.machine.on_status(peer.now_s, member, LOST + 1))
    assert peer.machine.take_resumed() == Resumed(LOST + 1)


# --- what is taken, and from whom -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("certificate", "round_", "reason"),
    [
        (None, LOST + 1, "no_certificate"),
        (_certificate(LOST + 1), LOST + 1, "other_round"),
        (_certificate(LOST), LOST + 2, "other_round"),
    ],
)
def test_a_model_without_the_certificate_of_its_round_is_a_fault(
    certificate: Certificate | None, round_: int, reason: str
) -> None:
    peer = Rejoiner().lose(_outcome())
    with pytest.raises(RemoteProtocolError, match=f"^{reason}$"):
        peer.give(peer.members_asked[0], certificate, round_)
    assert peer.sums.checked == []


def test_a_bad_certificate_is_a_fault_before_a_byte_of_the_model_is_read() -> None:
    peer = Rejoiner().lose(_outcome())
    peer.sums.refuses = "bad_signature"
    with pytest.raises(RemoteProtocolError, match=r"^bad_signature$"):
        peer.machine.wants_model(peer.members_asked[0], ModelHeader(LOST + 1, CERTIFICATE))
    assert peer.sums.checked == [(CERTIFICATE,)]


def test_what_nobody_asked_for_is_not_wanted_and_not_looked_at() -> None:
    peer = Rejoiner().lose(_outcome())
    stranger = next(it for it in range(PEERS) if it not in (US, *peer.members_asked))
    for sender, round_ in ((stranger, LOST + 1), (peer.members_asked[0], LOST)):
        header = ModelHeader(round_, None)
        assert peer.machine.wants_model(sender, header) is False
        assert peer.machine.on_model(peer.now_s, sender, header, THEIRS) == []
    assert peer.machine.wants_model(peer.members_asked[0], ModelHeader(LOST + 1, CERTIFICATE))


def test_who_gives_another_model_than_its_certificate_says_loses_its_link() -> None:
    peer = Rejoiner().lose(_outcome())
    liar, *rest = peer.members_asked
    header = ModelHeader(LOST + 1, CERTIFICATE)
    assert peer.machine.wants_model(liar, header)
    peer.machine.begin_model(liar)
    assert not peer.machine.wants_model(rest[0], header), "one at a time"
    peer.sums.refuses = "other_mean"
    peer.do(peer.machine.on_model(peer.now_s, liar, header, OURS))
    assert peer.others == [Disconnect(ROSTER.peers[liar], "other_mean")]
    assert peer.sums.checked[-1] == (CERTIFICATE, OURS)
    assert peer.machine.take_resumed() is None
    peer.sums.refuses = None
    assert peer.machine.wants_model(rest[0], header), "and the next one may give"
    # It was asked, and has nothing: with two more, as many as cannot all lie.
    for member in rest[:2]:
        peer.do(peer.machine.on_status(peer.now_s, member, LOST + 1))
    assert peer.machine.take_resumed() == Resumed(LOST + 1, outcome=_outcome())


def test_a_model_that_is_lost_on_its_way_lets_others_give() -> None:
    peer = Rejoiner().lose(_outcome())
    one, other = peer.members_asked[:2]
    header = ModelHeader(LOST + 1, CERTIFICATE)
    peer.machine.begin_model(one)
    peer.do(peer.machine.lose_model(peer.now_s, one))
    assert peer.machine.wants_model(other, header)
    peer.machine.begin_model(other)
    peer.do(peer.machine.on_peer_down(peer.now_s, other))
    assert peer.machine.wants_model(one, header)


def test_members_that_answer_when_their_round_ends_are_waited_for() -> None:
    peer = Rejoiner().lose(_outcome())
    for member in peer.members_asked:
        peer.do(peer.machine.on_wait(peer.now_s, member, LOST))
    for _ in range(FETCH_DEADLINES + 1):
        peer.deadline()
        for member in peer.members_asked:
            peer.do(peer.machine.on_wait(peer.now_s, member, LOST))
    assert peer.machine.take_resumed() is None


def test_who_leaves_searches_no_more() -> None:
    peer = Rejoiner().lose(_outcome())
    peer.do(peer.machine.stop())
    assert peer.timers == {}
    assert not peer.machine.wants_model(peer.members_asked[0], ModelHeader(LOST + 1, CERTIFICATE))


# --- what is kept ---------------------------------------------------------------------------------


def test_the_certificate_of_the_rounds_model_is_kept_and_taken_again() -> None:
    peer = Rejoiner()
    peer.machine.restore({"certificate": to_record(CERTIFICATE)})
    assert peer.machine.proof() == {"certificate": to_record(CERTIFICATE)}
    assert peer.ask(0, LOST) == (ModelHeader(LOST + 1, CERTIFICATE), OURS)


@pytest.mark.parametrize("records", [{}, {"certificate": to_record(_certificate(LOST - 1))}])
def test_without_the_certificate_of_the_rounds_model_nothing_is_given(
    records: dict[str, bytes | Vector],
) -> None:
    peer = Rejoiner()
    peer.machine.restore(records)
    assert peer.machine.proof() == {"certificate": None}
    assert peer.ask(0, LOST - 2) == Status(LOST + 1)


def test_a_broken_record_is_not_passed_over() -> None:
    with pytest.raises(MalformedFrame):
        Rejoiner().machine.restore({"certificate": b"\xc1"})


# --- answering ------------------------------------------------------------------------------------


def test_a_whole_mean_is_given_once_it_is_certified_and_not_before() -> None:
    peer = Rejoiner()
    assert peer.machine.on_outcome(peer.now_s, _outcome(7, complete=True)) == []
    assert peer.ask(0, LOST) == Wait(LOST + 1)
    assert peer.machine.on_settled(LOST + 1) == []
    peer.sums.certificate = CERTIFICATE
    peer.do(peer.machine.on_settled(LOST + 1))
    assert peer.sums.certificate is None
    assert peer.said[-1] == (0, (ModelHeader(LOST + 1, CERTIFICATE), OURS))
    assert peer.others == [Persist({"certificate": to_record(CERTIFICATE)})]
    assert peer.machine.on_settled(LOST + 1) == []


@pytest.mark.parametrize("kept_round", [LOST, LOST + 2])
def test_a_certificate_is_kept_beside_its_own_model_only(kept_round: int) -> None:
    peer = Rejoiner()
    peer.machine.on_outcome(peer.now_s, _outcome(7, complete=True))
    peer.sums.certificate = CERTIFICATE
    peer.do(peer.machine.on_settled(kept_round))
    assert peer.others == []
    assert peer.machine.proof() == {"certificate": to_record(CERTIFICATE)}


def test_the_certificate_of_another_mean_than_ours_is_not_taken() -> None:
    peer = Rejoiner()
    peer.machine.on_outcome(peer.now_s, _outcome(7, complete=True))
    peer.ask(0, LOST)
    peer.sums.certificate = _certificate(LOST - 1)
    peer.do(peer.machine.on_settled(LOST + 1))
    assert peer.sums.certificate is None
    assert peer.others == []
    assert peer.said == [(0, Wait(LOST + 1))]


def test_a_mean_with_values_of_our_own_is_never_given() -> None:
    peer = Rejoiner()
    peer.machine.on_outcome(peer.now_s, _outcome(7, complete=True))
    assert peer.ask(0, LOST) == Wait(LOST + 1)
    peer.position.round += 1
    peer.do(peer.machine.on_outcome(peer.now_s, _outcome(7)))
    assert peer.said[-1] == (0, Status(LOST + 2)), "who waits is told"
    assert peer.ask(2, LOST) == Status(LOST + 2), "no certificate is expected any more"


def test_who_waits_is_answered_when_we_lose_our_round_and_when_we_go_on() -> None:
    peer = Rejoiner()
    peer.position.state = State.AVERAGING
    assert peer.ask(0, LOST + 1) == Wait(LOST + 1)
    peer.lose(_outcome())
    assert peer.said[-1] == (0, Status(LOST + 1))
    cut_off = Rejoiner()
    cut_off.position.state = State.AVERAGING
    cut_off.ask(0, LOST + 1)
    cut_off.lose(_outcome(unreachable=len(COHORT) - 1))
    assert cut_off.said[-1] == (0, Status(LOST + 1))
    resumed = Rejoiner()
    resumed.position.state = State.AVERAGING
    resumed.ask(0, LOST + 1)
    resumed.do(resumed.machine.on_resumed(Resumed(LOST + 1)))
    assert resumed.said[-1] == (0, Status(LOST + 1))


@pytest.mark.parametrize(
    ("state", "trained_s", "waits"),
    [
        (State.AVERAGING, 0.0, True),
        (State.TRAINING, DEADLINE_S, False),
        (State.TRAINING, DEADLINE_S + 0.1, True),
        (State.CATCHING_UP, 100.0, False),
    ],
)
def test_who_asks_late_in_our_round_waits_for_its_end(
    state: State, trained_s: float, waits: bool
) -> None:
    peer = Rejoiner()
    peer.position.state, peer.position.round_began_s = state, peer.now_s - trained_s
    assert peer.ask(0, LOST) == (Wait if waits else Status)(LOST + 1)
