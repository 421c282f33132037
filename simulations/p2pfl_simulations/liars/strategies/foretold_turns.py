"""Says what an honest leader is about to say, for a later turn of its own."""

from collections.abc import Sequence
from typing import Any

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.ledger.entries import out_of
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import GroupList
from p2pfl_gossip.masked_sum.messages import Ballot, Header, Manifest, Proposal, Share
from p2pfl_gossip.records import Message
from p2pfl_simulations.liars.liar import Liar

WAITS = 0.3
"""Of the time in which an answer may come: until all others have said what a leader goes by."""
AHEAD = 0.1
"""Of it: how long before its own word, the last one, it foretells what then follows."""


class ForetoldTurns(Liar):
    """Says what an honest leader is about to say, for a later turn of its own.

    A proposal and a ballot name nobody, and where all is there anybody can tell what they will be.
    So it gives its own share, or manifest, last, and says before what they will lead to. Most
    turns never come: what is known as a word of one of them nobody could follow.

    Args:
        word: ``"proposal"`` or ``"ballot"``.
        short: whether it leaves out the honest member with the lowest rank.
    """

    in_groups = True

    def __init__(self, word: str = "ballot", *, short: bool = False) -> None:
        if word not in ("proposal", "ballot"):
            raise ValueError(f"'word' is 'proposal' or 'ballot', not {word!r}")
        self._kind = Share if word == "proposal" else Manifest
        self._short = short
        self._round = -1  # Of the last list.
        self._session = b""
        self._known: dict[int, Header | Manifest] = {}  # By rank.
        self._held: dict[tuple[bytes, int], None] = {}  # Whom it is about to give its own.
        self._foretold: Proposal | Ballot | None = None  # The same to all: two would name it.

    def hear(self, now_s: float, sender: int, message: Message) -> Message | None:
        """Note what a leader goes by."""
        if isinstance(message, GroupList):
            self._round = max(self._round, message.round)
        if isinstance(message, self._kind):
            rank, said = _author(message)
            if rank < len(self.me.cohort) and self.me.cohort[rank] == sender:
                self._note(rank, said)
        return message

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Wait with its own word, and foretell what follows from it."""
        message, told = send.message, self._foretold
        if isinstance(message, GroupList):
            self._round = max(self._round, message.round)
        if type(message) is type(told) and getattr(message, "turn", -1) == told.turn:
            return ()
        if not isinstance(message, self._kind):
            return (send,)
        rank, said = _author(message)
        receiver, relay_s = self.me.index_of(send.receiver), self._relay_s
        if rank != self.me.rank:
            return (send,)
        if (said.session, receiver) not in self._held:
            self._note(rank, said)
            self._held[said.session, receiver] = None
            self.me.ask_again(WAITS * relay_s, send)
            return ()
        if said.session != self._session:
            return (send,)  # The next one has begun meanwhile.
        if told is None:
            told = self._foretold = self._foretell()
        if told is None:
            return (send,)
        self.me.later(AHEAD * relay_s, [send])
        return (self.me.send(receiver, told),)

    def _note(self, rank: int, said: Header | Manifest) -> None:
        if self._session != said.session:
            self._held = {it: None for it in self._held if it[0] == self._session}
            self._session, self._foretold = said.session, None
            self._known.clear()
        self._known.setdefault(rank, said)
        if rank == self.me.rank:
            self.me.shared[said.session, self._kind, rank] = said

    @property
    def _relay_s(self) -> float:
        assert self.me.epoch is not None
        return self.me.epoch.charter.relay_s

    def _foretell(self) -> Proposal | Ballot | None:
        epoch, peer = self.me.epoch, self.me.peer
        assert epoch is not None
        assert isinstance(peer, GroupMember)
        leaders = epoch.leaders(self._round, out_of(epoch, peer.history.head.entry))
        if self.me.rank not in leaders[1:]:
            return None  # Its own is the first turn, or it is out.
        turn = leaders.index(self.me.rank)
        for rank in range(epoch.size):  # Those of the colluders, who hold theirs back as well.
            said = self.me.shared.get((self._session, self._kind, rank))
            if said is not None:
                self._known.setdefault(rank, said)
        ranks = sorted(self._known)
        honest = [rank for rank in ranks if self.me.cohort[rank] not in self.me.colluders]
        if self._short and honest:
            ranks.remove(honest[0])
        members = sum(1 << rank for rank in ranks).to_bytes((epoch.size + 7) // 8, "little")
        digests = b"".join(self._known[rank].digest() for rank in ranks)
        match self._known[self.me.rank]:
            case Header() as own:
                word: Any = Proposal(own.session, turn, own.tau1, members, digests, bytes(64))
            case Manifest() as own:
                owners = bytes([3]) * (len(own.chunk_digests) // 32)
                word = Ballot(own.session, turn, own.tau2, members, owners, digests, bytes(64))
        signed: Proposal | Ballot = self.me.signed(word)
        return signed


def _author(message: Any) -> tuple[int, Header | Manifest]:
    """Return whose share or manifest it is, and what is signed of it."""
    if isinstance(message, Share):
        return message.header.dealer, message.header
    return message.member, message
