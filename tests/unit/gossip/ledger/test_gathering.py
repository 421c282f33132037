"""The list of a round: turns of leaders, who is waited for, and which lists are followed."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
from ledger_group import PATIENCE_S, PROGRESS_S, RELAY_S, Bench, LedgerGroup

from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.ledger.adverts import Adverts
from p2pfl_gossip.ledger.backoff import SilenceBackoff
from p2pfl_gossip.ledger.certificates import gather, require_final, require_list
from p2pfl_gossip.ledger.charter import NONE
from p2pfl_gossip.ledger.entries import EntryStep, Head, Kind
from p2pfl_gossip.ledger.gathering import (
    SILENT_SHARE,
    Gathering,
    Listed,
    finality_of,
    next_charter_of,
)
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.messages import AdvertRequest, Finality, GroupAdvert, GroupList, Rest
from p2pfl_gossip.ledger.patience import MemberPatience

GROUP = LedgerGroup(7)  # t = 5, m = 2: three turns.
ROUND = 6
LEADERS = GROUP.epoch.leaders(ROUND)
FIRST, SECOND, THIRD, *REST_OF_THEM = LEADERS
FOLLOWER = LEADERS[-1]
HISTORY_ROUNDS = (1, 3)


class GatheringMember(Bench):
    """A member in a round whose head is the entry of round 3."""

    def __init__(self, rank: int, *, history: History | None = None) -> None:
        super().__init__(GROUP, rank)
        self.history = history or GROUP.history(*HISTORY_ROUNDS)
        self.head = self.history.head.head
        self.adverts = Adverts(self.seat)
        self.patience = MemberPatience(self.seat)
        self.backoff = SilenceBackoff(self.seat)
        self.adopted: list[Listed] = []
        self.gathering = Gathering(
            self.seat,
            ROUND,
            b"s" * 32,
            self.adverts,
            self.history,
            self.patience,
            self.backoff,
            self.adopted.append,
        )
        self.began_s = self.now_s

    def advert(self, rank: int, **fields: Any) -> GroupAdvert:
        """A member's advert of this round, by default with our head."""
        return GROUP.advert(rank, ROUND, **{"head": self.head} | fields)

    def hear(self, *ranks: int, **fields: Any) -> None:
        """Have adverts of members arrive."""
        for rank in ranks:
            self.take(self.advert(rank, **fields))

    def take(self, *adverts: GroupAdvert) -> None:
        """Have these adverts arrive."""
        for advert in adverts:
            self.adverts.take(advert, advert.digest(GROUP.epoch))
        self.do(self.gathering.look)

    def listed(self, leader: int, ranks: Iterable[int], **fields: Any) -> GroupList:
        """A leader's list of these members' adverts, as `hear` takes them."""
        return GROUP.listed(leader, [self.advert(rank) for rank in ranks], **fields)

    def get(self, message: GroupList, sender: int | None = None) -> None:
        """Have a list arrive, from its leader."""
        sender = LEADERS[message.turn] if sender is None else sender
        self.do(partial(self.gathering.on_list, sender, message))

    def pass_s(self, seconds: float) -> None:
        """Let time pass since the round's t-th advert."""
        self.pass_until(self.began_s + seconds)

    def lists(self) -> list[GroupList]:
        """Lists that were sent; each went to all others."""
        sent = self.take_sent(GroupList)
        assert [rank for rank, _ in sent] == [
            rank for _ in range(len(sent) // 6) for rank in range(7) if rank != self.rank
        ]
        return [message for _, message in sent[::6]]


def others(*without: int) -> list[int]:
    """All ranks but these."""
    return [rank for rank in range(7) if rank not in without]


# --- leading ------------------------------------------------------------------------------------


def test_the_leader_closes_the_list_once_all_are_there() -> None:
    """At once, and follows it itself; the list is in order for everybody."""
    leader = GatheringMember(FIRST)
    leader.hear(*others(FIRST))
    assert leader.lists() == []
    leader.hear(FIRST)
    (message,) = leader.lists()
    assert require_list(GROUP.epoch, FIRST, message) == tuple(range(7))
    assert (message.turn, message.kind) == (0, Kind.SUM)
    (listed,) = leader.adopted
    assert listed.base.head == leader.head
    assert list(listed.adverts) == list(range(7))
    assert listed.next_charter == NONE
    assert not leader.timers


def test_who_lacks_what_the_epoch_began_with_leads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has gone through by the proof alone, and says nothing yet."""
    monkeypatch.setattr(History, "is_abreast", False)
    leader = GatheringMember(FIRST)
    leader.hear(*others(FIRST))
    leader.pass_s(RELAY_S + 2 * PATIENCE_S)
    assert leader.lists() == []


def test_a_leader_that_still_works_waits_for_itself() -> None:
    """With the charter's patience, as the others wait for it; then it leads without itself."""
    leader = GatheringMember(FIRST)
    leader.hear(*others(FIRST))
    leader.pass_s(RELAY_S + PATIENCE_S - 0.01)
    assert leader.lists() == []
    leader.pass_s(RELAY_S + PATIENCE_S + PROGRESS_S)
    (message,) = leader.lists()
    assert GROUP.epoch.unpack(message.members) == tuple(others(FIRST))


def test_fewer_than_t_begin_nothing() -> None:
    """However long it takes."""
    leader = GatheringMember(FIRST)
    leader.hear(FIRST, *others(FIRST)[:3])
    leader.pass_s(1000)
    assert leader.lists() == []
    assert leader.gathering.began_s is None
    assert not leader.timers


def test_the_silent_are_waited_for_as_long_as_an_answer_takes() -> None:
    """Then the list is closed without them; patience with them is not touched."""
    leader = GatheringMember(FIRST)
    leader.hear(*others(SECOND))
    leader.pass_s(RELAY_S - 0.01)
    assert leader.lists() == []
    leader.pass_s(RELAY_S + PROGRESS_S)
    (message,) = leader.lists()
    assert GROUP.epoch.unpack(message.members) == tuple(others(SECOND))
    assert leader.patience.of(SECOND) == PATIENCE_S


def work_until(member: GatheringMember, rank: int, seconds: float) -> None:
    """Have a member say that it works until so long after the begin."""
    while member.now_s < member.began_s + seconds:
        member.do(partial(member.patience.on_progress, rank))
        member.pass_until(min(member.now_s + PROGRESS_S, member.began_s + seconds))


def test_who_works_is_waited_for_with_patience_and_then_less() -> None:
    """Each wait in vain halves it, for that member alone."""
    leader = GatheringMember(FIRST)
    leader.hear(*others(SECOND))
    work_until(leader, SECOND, RELAY_S + PATIENCE_S - 0.1)
    assert leader.lists() == []
    work_until(leader, SECOND, RELAY_S + PATIENCE_S + PROGRESS_S)
    assert len(leader.lists()) == 1
    assert leader.patience.of(SECOND) == PATIENCE_S / 2
    assert leader.patience.of(THIRD) == PATIENCE_S


def test_who_stops_working_is_not_waited_for() -> None:
    """Three intervals of silence are enough."""
    leader = GatheringMember(FIRST)
    leader.hear(*others(SECOND))
    work_until(leader, SECOND, 5.0)
    leader.pass_s(5.0 + 3 * PROGRESS_S)
    assert len(leader.lists()) == 1


def test_whose_link_is_closed_is_not_waited_for() -> None:
    """At all."""
    leader = GatheringMember(FIRST)
    leader.seat.gone[SECOND] = None
    leader.hear(*others(SECOND))
    assert len(leader.lists()) == 1


def test_who_rests_is_not_in_a_sum() -> None:
    """Though it is there."""
    leader = GatheringMember(FIRST)
    leader.hear(SECOND, rest=Rest.SPENT)
    leader.hear(*others(SECOND))
    (message,) = leader.lists()
    assert GROUP.epoch.unpack(message.members) == tuple(others(SECOND))


def test_who_is_out_leads_nothing_and_is_not_listed_nor_waited_for() -> None:
    """By the head that we hold."""
    history = GROUP.history(1)
    GROUP.extend(history, GROUP.sum_entry(history.head, 3, out=GROUP.epoch.pack([FIRST])))
    leader = GatheringMember(SECOND, history=history)
    assert leader.gathering.leaders == LEADERS[1:]
    leader.hear(*others(FIRST, SECOND))
    leader.hear(SECOND)
    (message,) = leader.lists()
    assert GROUP.epoch.unpack(message.members) == tuple(others(FIRST))
    # A list with it, by whoever leads, is followed by nobody.
    follower = GatheringMember(FOLLOWER, history=history)
    follower.hear(FIRST, *others(FIRST))
    with_it = follower.listed(SECOND, range(7))
    follower.do(partial(follower.gathering.on_list, SECOND, with_it))
    assert follower.adopted == []


def test_who_leads_changes_with_the_head() -> None:
    """A certificate may come in the round, before we have advertised for it."""
    history = GROUP.history(1)
    member = GatheringMember(SECOND, history=history)
    assert member.gathering.leaders == LEADERS
    GROUP.extend(history, GROUP.sum_entry(history.head, 3, out=GROUP.epoch.pack([FIRST])))
    member.gathering.follow_head()
    assert member.gathering.leaders == LEADERS[1:]


def test_a_list_led_by_another_head_is_passed_over() -> None:
    """Who has not heard yet that the first leader is out does not blame who leads in its place."""
    follower = GatheringMember(FOLLOWER)
    follower.hear(*range(7))
    follower.get(follower.listed(SECOND, range(7)), SECOND)
    assert follower.adopted == []
    with pytest.raises(RemoteProtocolError, match="bad_signature"):
        follower.get(follower.listed(REST_OF_THEM[0], range(7)), REST_OF_THEM[0])
    follower.get(follower.listed(FIRST, range(7)))
    assert len(follower.adopted) == 1


def test_a_list_has_one_head() -> None:
    """The highest that t name and whose entry the leader holds; nothing of it is mixed."""
    leader = GatheringMember(FIRST)
    lower = leader.history.head.entry.base
    leader.hear(SECOND, THIRD, head=lower)
    leader.hear(*others(SECOND, THIRD))
    (message,) = leader.lists()
    assert GROUP.epoch.unpack(message.members) == tuple(others(SECOND, THIRD))
    few = GatheringMember(FIRST)
    few.hear(SECOND, THIRD, REST_OF_THEM[0], head=lower)
    few.hear(*others(SECOND, THIRD, REST_OF_THEM[0]))
    assert few.lists() == []
    assert not few.gathering.can_list()


def test_t_that_name_a_lower_head_are_listed_on_it() -> None:
    """The leader itself is not, nor is its higher head."""
    leader = GatheringMember(FIRST)
    lower = leader.history.head.entry.base
    leader.hear(*others(FIRST), head=lower)
    leader.hear(FIRST)
    (message,) = leader.lists()
    assert GROUP.epoch.unpack(message.members) == tuple(others(FIRST))
    assert leader.adopted[0].base.head == lower


def test_a_head_whose_entry_is_not_here_leads_to_no_list() -> None:
    """It cannot be worked from here; who has the entry may lead, so the round is not lost."""
    leader = GatheringMember(FIRST)
    leader.hear(*range(7), head=Head(0, 5, b"x" * 32))
    assert leader.lists() == []
    assert leader.gathering.can_list()


# --- turns --------------------------------------------------------------------------------------


def test_a_leader_that_cannot_be_reached_is_passed_over_at_once() -> None:
    """By each one's own view."""
    second = GatheringMember(SECOND)
    second.seat.gone[FIRST] = None
    second.hear(*others(FIRST))
    (message,) = second.lists()
    assert message.turn == 1


def test_a_leader_that_has_said_nothing_is_passed_over_soon() -> None:
    """Before what was lost would be asked for a second time."""
    second = GatheringMember(SECOND)
    second.hear(*others(FIRST))
    second.pass_s(SILENT_SHARE * RELAY_S - 0.01)
    assert second.lists() == []
    second.pass_s(RELAY_S + PROGRESS_S)
    (message,) = second.lists()
    assert message.turn == 1


@pytest.mark.parametrize("works", [True, False])
def test_a_leader_that_is_there_has_its_turn(works: bool) -> None:
    """Who works may yet lead; who advertised waits for those that work, and has time for it."""
    second = GatheringMember(SECOND)
    second.hear(*others(FIRST))
    if works:
        work_until(second, FIRST, PATIENCE_S + 2 * RELAY_S - 0.1)
    else:
        second.hear(FIRST)
        second.pass_s(PATIENCE_S + 2 * RELAY_S - 0.1)
    assert second.lists() == []
    second.pass_s(PATIENCE_S + 2 * RELAY_S + 2 * PROGRESS_S)
    (message,) = second.lists()
    assert message.turn == 1


def test_turns_end_with_the_last_of_m_plus_1_leaders() -> None:
    """One of whom is honest; the fourth in the order leads nothing."""
    fourth = GatheringMember(LEADERS[3])
    fourth.seat.gone.update(dict.fromkeys((FIRST, SECOND, THIRD)))
    fourth.hear(*others(FIRST, SECOND))
    fourth.pass_s(1000)
    assert fourth.lists() == []
    third = GatheringMember(THIRD)
    third.seat.gone.update(dict.fromkeys((FIRST, SECOND)))
    third.hear(*others(FIRST, SECOND))
    (message,) = third.lists()
    assert message.turn == 2
    assert third.gathering.time_s == PATIENCE_S + RELAY_S + 2 * 2 * RELAY_S


# --- following ----------------------------------------------------------------------------------


def test_a_list_is_followed_once_its_adverts_are_here() -> None:
    """What is missing is asked for: of who sent the list, and of its authors."""
    member = GatheringMember(FOLLOWER)
    lacking = REST_OF_THEM[0]
    member.hear(*others(lacking))
    message = member.listed(FIRST, range(7))
    member.get(message)
    assert member.adopted == []
    request = AdvertRequest(0, ROUND, GROUP.epoch.pack([lacking]))
    assert member.take_sent(AdvertRequest) == [(FIRST, request), (lacking, request)]
    member.get(message, sender=SECOND)  # Who passes it on has its adverts too.
    assert member.take_sent(AdvertRequest) == [(SECOND, request), (lacking, request)]
    member.hear(lacking)
    (listed,) = member.adopted
    assert listed.message == message
    member.get(message)
    assert len(member.adopted) == 1


def test_what_is_lost_is_asked_for_again() -> None:
    """While the round goes on."""
    member = GatheringMember(FOLLOWER)
    member.hear(*others(FIRST))
    member.get(member.listed(FIRST, range(7)))
    member.take_sent(AdvertRequest)
    member.pass_s(RELAY_S)
    assert {rank for rank, _ in member.take_sent(AdvertRequest)} == {FIRST}


def test_one_list_a_round_is_followed() -> None:
    """Another one of the turn, or of a later turn, changes nothing."""
    member = GatheringMember(FOLLOWER)
    member.hear(*range(7))
    member.get(member.listed(FIRST, others(SECOND)))
    member.get(member.listed(FIRST, range(7)))
    member.get(member.listed(SECOND, range(7), turn=1))
    member.pass_s(1000)
    assert len(member.adopted) == 1
    assert list(member.adopted[0].adverts) == others(SECOND)


def test_a_later_leaders_list_waits_for_its_turn() -> None:
    """Else a liar late in the order would lead each round."""
    member = GatheringMember(FOLLOWER)
    member.hear(*range(7))
    member.get(member.listed(SECOND, range(7), turn=1))
    member.pass_s(PATIENCE_S + 2 * RELAY_S - 0.1)
    assert member.adopted == []
    member.pass_s(PATIENCE_S + 2 * RELAY_S + PROGRESS_S)
    assert member.adopted[0].message.turn == 1


def test_of_a_turn_the_first_list_counts() -> None:
    """If its adverts never come, the turn is lost, and the next leader leads."""
    member = GatheringMember(FOLLOWER)
    member.hear(*range(7))
    nobody = [GROUP.advert(rank, ROUND, member.head, key=b"k" * 32) for rank in range(7)]
    member.get(GROUP.listed(FIRST, nobody))
    member.get(member.listed(FIRST, range(7)))
    member.get(member.listed(SECOND, range(7), turn=1))
    assert member.adopted == []
    member.pass_s(PATIENCE_S + 2 * RELAY_S + PROGRESS_S)
    assert member.adopted[0].message.turn == 1


def test_lists_of_turns_that_there_are_not_and_of_others_are_refused() -> None:
    """By name."""
    member = GatheringMember(FOLLOWER)
    member.hear(*range(7))
    with pytest.raises(RemoteProtocolError, match="no_such_turn"):
        member.gathering.on_list(FIRST, member.listed(LEADERS[3], range(7), turn=3))
    with pytest.raises(RemoteProtocolError, match="bad_signature"):
        member.gathering.on_list(FIRST, member.listed(LEADERS[3], range(7)))
    with pytest.raises(RemoteProtocolError, match="too_few_adverts"):
        member.gathering.on_list(FIRST, member.listed(FIRST, range(4)))
    assert member.adopted == []


def charter_named_by(member: GatheringMember, count: int, charter: bytes = b"c" * 32) -> None:
    """Have all advertise, so many of them with a charter."""
    member.hear(*range(count), charter=charter)
    member.hear(*range(count, 7))


def follows(member: GatheringMember, kind: int, adverts: Iterable[GroupAdvert]) -> bool:
    """Whether a member follows such a list of the first leader."""
    member.get(GROUP.listed(FIRST, adverts, kind=kind))
    return bool(member.adopted)


@pytest.mark.parametrize("kind", Kind)
def test_a_list_of_two_heads_is_not_followed(kind: int) -> None:
    """Deltas from two models would be summed: the sum is the delta of whoever is alone."""
    member = GatheringMember(FOLLOWER)
    lower = member.history.head.entry.base
    adverts = [member.advert(rank) for rank in range(6)] + [member.advert(6, head=lower)]
    member.take(*adverts)
    assert not follows(member, kind, adverts)


@pytest.mark.parametrize("kind", Kind)
def test_a_list_on_an_unknown_head_is_not_followed(kind: int) -> None:
    """Until its certificate is here."""
    member = GatheringMember(FOLLOWER)
    adverts = [member.advert(rank, head=Head(0, 5, b"x" * 32)) for rank in range(7)]
    member.take(*adverts)
    assert not follows(member, kind, adverts)


def test_a_sum_of_somebody_that_rests_is_not_followed() -> None:
    """It has nothing to give."""
    member = GatheringMember(FOLLOWER)
    adverts = [member.advert(rank) for rank in range(6)] + [member.advert(6, rest=Rest.PAUSED)]
    member.take(*adverts)
    assert not follows(member, Kind.SUM, adverts)


def test_an_empty_list_needs_a_reason() -> None:
    """t that do not rest, and no charter: a leader that would have no sum made is not followed."""
    member = GatheringMember(FOLLOWER)
    member.hear(*range(7))
    assert not follows(member, Kind.EMPTY, [member.advert(rank) for rank in range(7)])


@pytest.mark.parametrize(("count", "is_followed"), [(2, False), (3, True), (7, True)])
def test_m_plus_1_that_name_a_charter_have_it_carried(count: int, is_followed: bool) -> None:
    """By an empty list or by a sum; m name nothing."""
    for kind in Kind:
        member = GatheringMember(FOLLOWER)
        charter_named_by(member, count)
        adverts = list(member.adverts.of_round(ROUND).values())
        assert follows(member, kind, adverts) == (is_followed or kind == Kind.SUM)
        if member.adopted:
            assert member.adopted[0].next_charter == (b"c" * 32 if is_followed else NONE)


def carrying() -> History:
    """A history whose head carries a charter."""
    history = GROUP.history(1)
    GROUP.extend(history, GROUP.empty_entry(history.head, 3, b"n" * 32))
    return history


def test_on_a_head_with_a_charter_only_empty_lists_are_made_and_repeat_it() -> None:
    """Until it is final; whatever else is named."""
    leader = GatheringMember(FIRST, history=carrying())
    charter_named_by(leader, 7)
    (message,) = leader.lists()
    assert message.kind == Kind.EMPTY
    assert leader.adopted[0].next_charter == b"n" * 32
    member = GatheringMember(FOLLOWER, history=carrying())
    member.hear(*range(7))
    assert not follows(member, Kind.SUM, [member.advert(rank) for rank in range(7)])


def resting(member: GatheringMember, count: int) -> list[GroupAdvert]:
    """Adverts of all, so many of whom rest."""
    rests = [Rest.FINISHED] * count + [Rest.NONE] * (7 - count)
    return [member.advert(rank, rest=rest) for rank, rest in enumerate(rests)]


@pytest.mark.parametrize(("count", "is_made"), [(2, False), (3, True), (7, True)])
def test_who_rests_closes_what_is_not_final(count: int, is_made: bool) -> None:
    """Fewer than t give updates: an empty entry makes the last sum final, and no sum is made."""
    leader = GatheringMember(FIRST)
    leader.take(*resting(leader, count))
    (message,) = leader.lists()
    assert message.kind == (Kind.EMPTY if is_made else Kind.SUM)
    member = GatheringMember(FOLLOWER)
    adverts = resting(member, count)
    member.take(*adverts)
    assert follows(member, Kind.EMPTY, adverts) == is_made


def test_a_final_head_of_a_group_that_rests_needs_no_more_lists() -> None:
    """Rounds do not run on."""
    leader = GatheringMember(FIRST)
    leader.history.add_final(GROUP.finality(leader.head))
    leader.take(*resting(leader, 7))
    assert leader.lists() == []
    assert not leader.gathering.can_list()
    member = GatheringMember(FOLLOWER, history=leader.history)
    adverts = resting(member, 7)
    member.take(*adverts)
    assert not follows(member, Kind.EMPTY, adverts)


def test_in_the_round_after_an_entry_the_adverts_are_the_proof() -> None:
    """No list is needed to close it."""
    history = GROUP.history(1, ROUND - 1)
    leader = GatheringMember(FIRST, history=history)
    leader.take(*resting(leader, 7))
    assert leader.lists() == []
    signatures = finality_of(GROUP.epoch, leader.head, leader.adverts.of_round(ROUND))
    assert signatures is not None
    require_final(GROUP.epoch, Finality(leader.head, *gather(GROUP.epoch, signatures)))


def test_finality_takes_t_that_name_the_head() -> None:
    """Fewer, or others, prove nothing."""
    member = GatheringMember(FOLLOWER)
    lower = member.history.head.entry.base
    adverts = {rank: member.advert(rank) for rank in range(4)}
    adverts |= {rank: member.advert(rank, head=lower) for rank in (4, 5, 6)}
    assert finality_of(GROUP.epoch, member.head, adverts) is None
    adverts[4] = member.advert(4)
    found = finality_of(GROUP.epoch, member.head, adverts)
    assert found is not None
    assert list(found) == [0, 1, 2, 3, 4]


def test_a_charter_of_an_earlier_epoch_is_done() -> None:
    """In the new one its last entry carries nothing."""
    base = EntryStep(GROUP.empty_entry(GROUP.first, 3, b"n" * 32))
    following = GROUP.following(GROUP.next_charter(rounds=30))
    adverts = {rank: following.advert(rank, ROUND, base.head) for rank in range(7)}
    assert next_charter_of(GROUP.epoch, base, adverts) == b"n" * 32
    assert next_charter_of(following.epoch, base, adverts) == NONE


# --- answering ----------------------------------------------------------------------------------


def test_adverts_are_given_and_the_list_that_is_followed() -> None:
    """To whoever asks; of a list's members the versions that it names."""
    member = GatheringMember(FOLLOWER)
    lied = member.advert(SECOND, key=b"k" * 32)
    member.take(member.advert(SECOND), lied)
    member.hear(*others(SECOND))
    chosen = [lied if rank == SECOND else member.advert(rank) for rank in range(7)]
    asked = AdvertRequest(0, ROUND, GROUP.epoch.pack([SECOND]))
    member.do(partial(member.gathering.answer, THIRD, asked))
    assert member.take_sent(GroupAdvert) == [(THIRD, member.advert(SECOND))]
    assert member.take_sent(GroupList) == []
    message = GROUP.listed(FIRST, chosen)
    member.get(message)
    member.do(partial(member.gathering.answer, THIRD, asked))
    assert member.take_sent(GroupAdvert) == [(THIRD, lied)]
    assert member.take_sent(GroupList) == [(THIRD, message)]


def test_what_is_not_here_is_not_answered() -> None:
    """The asker asks others."""
    member = GatheringMember(FOLLOWER)
    member.hear(FIRST)
    asked = AdvertRequest(0, ROUND, GROUP.epoch.pack([SECOND, FIRST]))
    member.do(partial(member.gathering.answer, THIRD, asked))
    assert member.sent == [(THIRD, member.advert(FIRST))]


def test_who_sits_out_after_its_start_is_in_no_list_and_makes_nothing_final() -> None:
    """Its journal may be older than what it said: its head may be lower than one it named."""
    leader = GatheringMember(FIRST)
    adverts = resting(leader, 7)
    sits_out = [leader.advert(rank, rest=Rest.START) for rank in range(3)]
    leader.take(*sits_out, *adverts[3:])
    assert leader.lists() == []
    assert not leader.gathering.can_list()
    of_round = {advert.member: advert for advert in (*sits_out, *adverts[3:])}
    head = adverts[3].head
    assert finality_of(GROUP.epoch, head, of_round) is None
    everybody = {advert.member: advert for advert in adverts}
    assert finality_of(GROUP.epoch, head, everybody) is not None
