"""Who is named for a lie in an audited group, and what follows from it."""

from p2pfl_gossip.actions import Action, Persist, Send
from p2pfl_gossip.ledger.evidence_book import EVIDENCE_PREFIX, read_evidence
from p2pfl_gossip.ledger.messages import (
    FalseProof,
    FalseScalar,
    GroupAdvert,
    GroupList,
    TwoSeen,
    TwoStatements,
    TwoSums,
)
from p2pfl_gossip.masked_sum.cohort import liars_max_of
from p2pfl_gossip.masked_sum.messages import Accused, FalseShares, OutvotedSum
from p2pfl_simulations.checkers.base import Checker, Violation

OF_AUDITS = (Accused, FalseProof, FalseScalar, FalseShares, OutvotedSum, TwoSeen)
"""Evidence that only audits lead to. There, who is named is in no list."""

OF_SUMS = (*OF_AUDITS, TwoStatements, TwoSums)
"""Evidence of what members say in masked sums. Of adverts, heads and entries an honest member may
say two, if an older backup of it was restored; in a sum it says nothing, if it has begun it."""


class OnlyLiarsNamed(Checker):
    """No honest member is named for a lie in a masked sum; who is named is out.

    Nobody honest keeps evidence against an honest member, and no honest member sends a list with
    one whom m + 1 of its honest members named in the adverts that it is of.
    """

    actions = (Persist, Send)

    def __init__(self) -> None:
        self.proven: dict[tuple[int, int], None] = {}  # By epoch and rank.
        self._named: dict[tuple[int, int, int], tuple[int, ...]] = {}  # By epoch, round and rank.

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Note who is named, and look at the lists."""
        if not self.watched.is_group or not self.watched.is_honest(host):
            return
        if isinstance(action, Persist):
            for key, stored in action.records.items():
                if key.startswith(EVIDENCE_PREFIX) and isinstance(stored, bytes):
                    self._note(host, stored)
            return
        message = action.message if isinstance(action, Send) else None
        if isinstance(message, GroupAdvert):
            if self.watched.is_own(host, message.epoch, message.member):
                place = (message.epoch, message.round, message.member)
                self._named[place] = tuple(named.member for named in message.named)
        elif isinstance(message, GroupList) and self.proven:
            self._check(host, message)

    def _note(self, host: int, stored: bytes) -> None:
        evidence = read_evidence(stored)
        if not isinstance(evidence.proof, OF_SUMS):
            return
        member = self.watched.epochs[evidence.epoch][evidence.member]
        if self.watched.is_honest(member):
            kind = type(evidence.proof).__name__
            raise Violation(f"peer {host} holds evidence ({kind}) against the honest peer {member}")
        if isinstance(evidence.proof, OF_AUDITS):
            self.proven[evidence.epoch, evidence.member] = None

    def _check(self, host: int, said: GroupList) -> None:
        members = self.watched.epochs.get(said.epoch, ())
        listed = [rank for rank in range(len(members)) if said.members[rank // 8] >> rank % 8 & 1]
        for epoch, member in self.proven:
            if epoch != said.epoch or member not in listed:
                continue
            count = sum(
                member in self._named.get((epoch, said.round, rank), ())
                for rank in listed
                if self.watched.is_honest(members[rank])
            )
            if count > liars_max_of(len(members)):
                raise Violation(
                    f"peer {host} sends a list with peer {members[member]}, whom {count} honest"
                    " members of it name"
                )
