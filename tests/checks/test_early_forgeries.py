"""A forged message that comes before its phase: nothing at first, and the link ends once it counts.

A member that is ahead may speak early, so what it says is kept. What is kept is looked at when its
phase begins; by then nobody waits for an error, so the machine itself asks for the link's end.
"""

from typing import Any

import msgspec
import pytest
from session_forgeries import pristine
from session_stage import RECEIVER, SIZE, SessionStage

from p2pfl_gossip.actions import Action, Disconnect
from p2pfl_gossip.masked_sum.machine import Summed
from p2pfl_gossip.masked_sum.messages import Ballot, SessionMessage, SumDigest
from p2pfl_gossip.masked_sum.phases import Phase


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        # Others' signatures are looked at where somebody rests on them: test_first_hand.py.
        (Ballot, "bad_signature"),
        (SumDigest, "bad_signature"),
    ],
)
def test_a_forged_message_that_came_early_ends_its_link(
    kind: type[SessionMessage], reason: str
) -> None:
    ended: list[tuple[int, Any, str]] = []

    def note(_driver: Any, rank: int, action: Action) -> bool:
        if isinstance(action, Disconnect):
            ended.append((rank, action.peer, action.reason))
        return False

    said = pristine(kind)
    signature = said.message.signature
    forged = msgspec.structs.replace(
        said.message, signature=bytes([signature[0] ^ 1, *signature[1:]])
    )
    stage = SessionStage(None, Phase.ADVERTISE, after=note).stop_at()
    peers = stage.cohort.members
    author = peers[said.sender]
    at_first = stage.machine.on_message(stage.now_s, author, forged)
    assert not any(isinstance(action, Disconnect) for action in at_first)
    stage.go_on(lambda: stage.machine.outcome is not None)
    assert ended == [(RECEIVER, author, reason)]
    outcome = stage.machine.outcome
    assert isinstance(outcome, Summed), "what its author said rightly counts all the same"
    assert len(outcome.members) == SIZE
