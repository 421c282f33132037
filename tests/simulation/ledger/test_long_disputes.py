"""A dispute that lasts longer than the rounds after it: what it finds is evidence all the same."""

import pytest
from changed_actions import ChangedActions
from ledger_world import LedgerWorld, ToyWorker
from test_audits import proving, told

from p2pfl_gossip.actions import Action, Job, Send
from p2pfl_gossip.ledger.charter import AUDIT_NAME
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import GroupAdvert
from p2pfl_gossip.masked_sum import disputing
from p2pfl_gossip.masked_sum.messages import DisputeStatement
from p2pfl_gossip.records import Record

N, LIAR = 7, 2
HONEST = [index for index in range(N) if index != LIAR]
LIE = proving(lambda job, own, sketch: told(job, own, sketch, blinding=7))


class LyingWorker(ToyWorker):
    """Has the liar commit with another blinding."""

    def _do(self, index: int, job: Job) -> Record:
        result = super()._do(index, job)
        return LIE(job, result) if index == LIAR else result


class LyingWorld(LedgerWorld):
    def make_worker(self) -> ToyWorker:
        return LyingWorker()


class Silent(ChangedActions):
    """Says nothing of later rounds: its own machine would name itself. Nor what else is `kept`."""

    def __init__(self, inner: GroupMember, kept: tuple[type, ...]) -> None:
        super().__init__(inner)
        self.kept = kept

    def changed(self, actions: list[Action]) -> list[Action]:
        return [action for action in actions if self.says(action)]

    def says(self, action: Action) -> bool:
        said = action.message if isinstance(action, Send) else None
        is_later = isinstance(said, GroupAdvert) and said.round > 1
        return not is_later and not isinstance(said, self.kept)


def long_dispute(kept: tuple[type, ...] = ()) -> LyingWorld:
    """One that ends some 20 s after the next round begins; these take a second or two."""
    return LyingWorld(
        N,
        rounds=4,
        audit=AUDIT_NAME,
        wrap=lambda index, member: Silent(member, kept) if index == LIAR else member,
    )


def test_who_is_silent_in_a_long_dispute_is_left_out_once_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(disputing, "WAITS", 35)
    world = long_dispute((DisputeStatement,))
    world.start()
    world.run(200.0)
    for index in HONEST:
        parts = world.member(index)._started.parts
        assert not parts.evidence.holds(LIAR)
        assert parts.course.round > 2
        assert parts.backoff.leaves_out(LIAR, parts.course.round)


def test_a_dispute_goes_on_while_later_rounds_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with long statements of many members, and a liar that has others wait in all phases."""
    monkeypatch.setattr(disputing, "WAITS", 35)
    world = long_dispute()
    world.start()
    still_heard: list[bool] = []

    def look() -> None:
        for index in HONEST:
            sessions = world.member(index)._started.parts.sessions
            still_heard.append(sessions.name_of(1) in sessions._names)

    world.run(200.0, at=[(130.0, look)])
    assert world.are_finished(HONEST)
    assert still_heard == [True] * len(HONEST)
    for index in HONEST:
        parts = world.member(index)._started.parts
        assert parts.evidence.holds(LIAR)
        parts.sessions.enter(parts.course.round + 1)
        assert 1 not in parts.sessions._sessions  # Its dispute is over.
