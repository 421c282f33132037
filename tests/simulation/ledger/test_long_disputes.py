"""A dispute that lasts longer than the rounds after it: what it finds is evidence all the same."""

from typing import Any

import pytest
from ledger_world import LedgerWorld, ToyWorker
from test_audits import proving, told

from p2pfl_gossip.actions import Action, Job, Send
from p2pfl_gossip.ledger.charter import AUDIT_NAME
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import GroupAdvert
from p2pfl_gossip.masked_sum import disputing
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


class SilentAfterwards:
    """Says nothing of later rounds: its own machine would name itself."""

    def __init__(self, inner: GroupMember) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not name.startswith("on_"):
            return found

        def given(*arguments: Any) -> Any:
            answer = found(*arguments)
            if isinstance(answer, tuple):
                return answer[0], [action for action in answer[1] if not is_later(action)]
            return [action for action in answer if not is_later(action)]

        return given


def is_later(action: Action) -> bool:
    said = action.message if isinstance(action, Send) else None
    return isinstance(said, GroupAdvert) and said.round > 1


def test_a_dispute_goes_on_while_later_rounds_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with long statements of many members, and a liar that has others wait in all phases."""
    monkeypatch.setattr(disputing, "WAITS", 35)
    world = LyingWorld(
        N,
        rounds=4,
        audit=AUDIT_NAME,
        wrap=lambda index, member: SilentAfterwards(member) if index == LIAR else member,
    )
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
