"""After SUM: sign the mean, once, and gather t signatures of it.

Only a whole mean is signed. One in which a chunk is void, or has our own values, is nobody's but
ours: there is no certificate of it, so it is given to nobody.
"""

from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.journal import SessionJournal, Step
from p2pfl_gossip.masked_sum.mean_summing import MeanSumming
from p2pfl_gossip.masked_sum.messages import Fetch, MeanSignature, SessionMessage, Wanted
from p2pfl_gossip.records import Record

ASKED_AGAIN_MAX = 2
"""Times that missing signatures are asked for: of two lost messages the second comes of one."""


class Signed(Record, frozen=True):
    """A mean that t members signed.

    Attributes:
        members: U3, as a bitmap.
        digest: of the mean.
        signatures: exactly t good ones, by rank, ascending.
    """

    members: bytes
    digest: bytes
    signatures: dict[int, bytes]


class Certifying:
    """What follows the last phase. `signed` is set once t signatures are held."""

    def __init__(self, core: Core, journal: SessionJournal, summing: MeanSumming) -> None:
        self._core, self._journal, self._summing = core, journal, summing
        self._members = b""
        self._own: MeanSignature | None = None
        self._signatures: dict[int, bytes] = {}
        self._asked_again = 0
        self.signed: Signed | None = None

    def start(self) -> None:
        """Sign our mean, if it is whole; note that we did before anybody hears of it."""
        core, digest = self._core, self._summing.digest
        if digest is None:
            return
        self._members = core.cohort.pack(self._summing.members)
        core.actions.append(self._journal.advance(Step.SIGNED, digest))
        signature = core.sign(b"mean", self._members, digest)
        self._own = MeanSignature(core.cohort.session, core.rank, digest, signature)
        self._signatures[core.rank] = signature
        core.broadcast(self._own)
        core.set_timer("signatures", core.cohort.patience.sums_s, self._ask_again)

    def on_signature(self, sender: int, message: MeanSignature) -> None:
        """Take a member's signature of the mean that we have; of another one it is no use."""
        core = self._core
        if message.member != sender:
            raise RemoteProtocolError("not_your_signature")
        own = self._own
        if own is None or self.signed is not None or sender in self._signatures:
            return
        if message.digest != own.digest:
            return
        core.verify(sender, b"mean", message.signature, self._members, message.digest)
        self._signatures[sender] = message.signature
        if len(self._signatures) == core.cohort.threshold:
            ordered = dict(sorted(self._signatures.items()))
            self.signed = Signed(self._members, own.digest, ordered)
            core.cancel_timer("signatures")

    def _ask_again(self) -> None:
        core = self._core
        self._asked_again += 1
        for rank in core.others:
            if rank not in self._signatures:
                core.fetch(rank, Wanted.SIGNATURE)
        if self._asked_again < ASKED_AGAIN_MAX:
            core.set_timer("signatures", core.cohort.patience.sums_s, self._ask_again)

    def answer(self, fetch: Fetch) -> SessionMessage | None:
        """Find our signature, for a member that asks for it."""
        return self._own if fetch.what == Wanted.SIGNATURE else None
