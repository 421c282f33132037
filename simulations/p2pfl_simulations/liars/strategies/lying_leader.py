"""Leads falsely whenever it is its turn."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Send
from p2pfl_gossip.ledger.messages import GroupList
from p2pfl_gossip.masked_sum.messages import AdvertList, Ballot, Proposal
from p2pfl_gossip.records import Message
from p2pfl_simulations.liars.forging import replaced
from p2pfl_simulations.liars.liar import Liar

LIES: dict[str, tuple[type[Message], str]] = {
    "few_adverts": (AdvertList, "digests"),
    "short_list": (GroupList, "digests"),
    "another_u2": (Proposal, "header_digests"),
    "two_ballots": (Ballot, "manifest_digests"),
}


class LyingLeader(Liar):
    """Leads falsely whenever it is its turn: some members get another list, without one member.

    Args:
        lie: ``"few_adverts"`` or, in a group, ``"short_list"``; ``"another_u2"`` or
            ``"two_ballots"``: what is different.
        share: of the members, who get it; 1 for all.
    """

    def __init__(self, lie: str = "two_ballots", share: float = 0.5) -> None:
        if lie not in LIES:
            raise ValueError(f"lie is one of {', '.join(LIES)}")
        (self._kind, self._field), self._share = LIES[lie], share
        self._versions: tuple[Message | None, Message | None] = (None, None)

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Give the other list to some."""
        message, place = send.message, self.me.index_of(send.receiver)
        if not isinstance(message, self._kind) or place >= self._share * len(self.me.peers):
            return (send,)
        if self._versions[0] is not message:
            self._versions = (message, self._without_one(message))
        return (replaced(send, message=self._versions[1]),)

    def _without_one(self, message: Message) -> Message:
        bitmap: bytes = getattr(message, "members")  # noqa: B009  # Each of them has it.
        digests: bytes = getattr(message, self._field)
        bits = int.from_bytes(bitmap, "little")
        ranks = [rank for rank in range(8 * len(bitmap)) if bits >> rank & 1]
        out = self.me.rng.randrange(len(ranks))
        fewer = (bits & ~(1 << ranks[out])).to_bytes(len(bitmap), "little")
        left = digests[: 32 * out] + digests[32 * out + 32 :]
        forged = replaced(message, members=fewer, **{self._field: left})
        return self.me.signed(forged)
