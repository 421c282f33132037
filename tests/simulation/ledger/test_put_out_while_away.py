"""Whom a charter put out while it was away, long ago: it stops once its last model is gone."""

from functools import partial

from changed_actions import ChangedActions
from ledger_world import LedgerWorld, make_charter, parcel_of

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.ledger.charter import Charter
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.standing import KEPT_MAX
from p2pfl_gossip.ledger.state_messages import StateChunkDigests, StateRefusal
from p2pfl_gossip.peer_state import State

SIZE = 7
LIARS = 2
"""As many as may lie."""
OUT = 6


class Refuses(ChangedActions):
    """A liar that gives nobody any model."""

    def changed(self, actions: list[Action]) -> list[Action]:
        return [self._refused(action) for action in actions]

    @staticmethod
    def _refused(action: Action) -> Action:
        if isinstance(action, Send) and isinstance(action.message, StateChunkDigests):
            return Send(action.receiver, StateRefusal(action.message.digest))
        return action


class Return:
    """Member 6 is put out while it is away, some charters follow, and it comes back.

    Args:
        follow: how many charters.
        liars: members that refuse all models; the first ones.
        entries: of the model.

    Attributes:
        group: the group, until the member is back.
        back_s: when that is.
    """

    def __init__(self, *, follow: int, liars: int = 0, entries: int = 64) -> None:
        def wrap(index: int, member: GroupMember) -> GroupMember | Refuses:
            return Refuses(member) if index < liars else member

        self.group = group = LedgerWorld(SIZE, rounds=4, entries=entries, wrap=wrap)
        self.host, charters = group.hosts[OUT], [group.charter]
        for place in range(1 + follow):
            present = charters[-1].digest()
            following = make_charter(range(OUT), entries=entries, present=present, rounds=5 + place)
            charters.append(following)
        self.back_s = 40.0 * len(charters) + 60.0
        group.start()
        group.run(
            self.back_s,
            at=[
                (2.0, lambda: group.world.take_offline(self.host, "away", kills=True)),
                *(
                    (40.0 * place, partial(self._approve, charter))
                    for place, charter in enumerate(charters)
                    if place
                ),
            ],
        )
        assert group.member(0).epoch.digest == charters[-1].digest()

    def _approve(self, charter: Charter) -> None:
        """Have all others approve a charter, and let it come."""
        self.group.propose(LIARS, parcel_of(charter, range(OUT), range(OUT)))
        for index in range(OUT):
            self.group.hear(index, due=(charter.digest(),))

    def come_back(self, run_s: float = 100.0) -> None:
        """Begin anew, and go on for a while."""
        self.group.world.bring_online(self.host, "back")
        self.group.run(self.group.queue.now_s + run_s)

    @property
    def member(self) -> GroupMember:
        return self.group.member(OUT)

    @property
    def has_left(self) -> bool:
        return self.member.state is State.LEFT

    @property
    def has_last_model(self) -> bool:
        (ended, *_) = self.group.member(0).history.closings(0)
        return self.member.history.head.entry == ended.certificate.entry


def test_it_stops_once_nobody_has_its_last_model_any_more() -> None:
    back = Return(follow=KEPT_MAX)
    back.come_back()
    assert back.has_left
    assert not back.member.history.is_abreast
    sent = back.group.world.frames_sent
    back.group.run(back.group.queue.now_s + 200.0)
    assert back.group.world.frames_sent == sent


def test_liars_that_refuse_its_last_model_do_not_have_it_stop_without() -> None:
    """There are as many as may lie, and nobody else is in reach for a while."""
    back = Return(follow=1, liars=LIARS)
    world, honest = back.group.world, back.group.hosts[LIARS:OUT]
    for host in honest:
        world.cut(host, back.host)
    back.come_back()
    assert not back.has_left
    for host in honest:
        world.mend(host, back.host)
        back.host.queue.push(back.member.on_peer_up(back.group.queue.now_s, host.peer_id))
    back.group.run(back.group.queue.now_s + 100.0)
    assert back.has_left
    assert back.has_last_model


def test_one_more_member_that_refuses_it_says_that_it_is_gone() -> None:
    """An honest one is among them; those that are out of reach may have it still."""
    back = Return(follow=1, liars=LIARS + 1)
    for host in back.group.hosts[LIARS + 1 : OUT]:
        back.group.world.cut(host, back.host)
    back.come_back()
    assert back.has_left
    assert not back.has_last_model


def test_who_is_refused_by_many_takes_it_from_the_others() -> None:
    """They are heard first: a refusal is short, and a model is long."""
    back = Return(follow=1, liars=LIARS + 1, entries=200_000)
    back.come_back()
    assert back.has_left
    assert back.has_last_model
