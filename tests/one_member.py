"""One member of a group that keeps a ledger, and a test in the place of everybody else.

It trains for an update of ones; its other jobs are done at once. Rank 0 of five, which does not
lead round 1.
"""

from typing import Any

import numpy as np
from ledger_group import LENGTH, LedgerGroup, model_of
from one_peer import OnePeer

from p2pfl_gossip.actions import Machine
from p2pfl_gossip.learning import Evaluate, Train, Trained
from p2pfl_gossip.ledger.entries import EntryStep
from p2pfl_gossip.ledger.jobs import perform
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import HeldOfAsker
from p2pfl_gossip.peer_state import PeerSettings
from p2pfl_gossip.roster import Roster

PEERS = 5
GROUP = next(
    group
    for nonce in range(256)
    if (group := LedgerGroup(PEERS, nonce=bytes([nonce]) * 32)).epoch.leaders(1)[0] != 0
)
LEADER = GROUP.epoch.leaders(1)[0]


class OneMember(OnePeer):
    """Member 0, before its start."""

    def __init__(self, **settings: Any) -> None:
        self.group = GROUP
        super().__init__(peers=PEERS, rounds=GROUP.epoch.charter.rounds, length=LENGTH, **settings)
        self.roster = Roster(GROUP.epoch.members)

    def make_machine(self) -> Machine:
        initial = model_of(0.0)
        initial.flags.writeable = False
        self.drawn = 0
        self.member = GroupMember(
            founding=GROUP.epoch,
            identity=GROUP.identities[0],
            initial=initial,
            settings=PeerSettings(rounds=self.rounds, deadline_s=2.0),
            seed="test",
            entropy=self.draw,
        )
        return self.member

    def draw(self, count: int) -> bytes:
        """Give bytes that are not the same twice."""
        self.drawn += 1
        return self.drawn.to_bytes(count, "little")

    def do(self, actions: list[Any]) -> None:
        super().do(actions)
        for ticket in [key for key, job in self.work.items() if not isinstance(job, Train)]:
            job = self.work.pop(ticket, None)
            if job is None or isinstance(job, Evaluate):
                continue
            self.do(self.machine.on_work_done(self.now_s, ticket, perform(job)))

    # --- how far it is ----------------------------------------------------------------------

    def begun(self) -> "OneMember":
        """Started, and all others hold nothing of its own: it trains for round 1."""
        self.start()
        for other in range(1, PEERS):
            self.message(other, HeldOfAsker(0, None, None))
        return self

    def advertised(self, *others: int) -> "OneMember":
        """Trained, and ready for round 1, as these others are."""
        self.begun()
        self.done(Train, Trained(np.full(LENGTH, 1.0, np.float32), 1, 0.5))
        for other in others:
            self.message(other, GROUP.advert(other, 1))
        return self

    def raised(self) -> "OneMember":
        """On an entry without a sum, of round 1, which others have certified."""
        self.advertised()
        self.message(1, GROUP.certificate(EMPTY.entry))
        return self


EMPTY = EntryStep(GROUP.empty_entry(GROUP.first, 1))
