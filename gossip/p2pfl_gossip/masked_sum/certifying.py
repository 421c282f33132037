"""After SUM: sign the mean, once, and come to t signatures of it.

Only a whole mean is signed. One in which a chunk is void, or has our own values, is nobody's but
ours: there is no certificate of it, so it is given to nobody.

One member gathers: the leader of the turn. It passes t signatures on as one message, which costs
each member one message in place of n. Nobody has to believe it: whoever gets the message checks
each signature, and asks all members itself if none comes in time.
"""

from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.masked_sum.certificate import require_signed
from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.journal import SessionJournal, Step
from p2pfl_gossip.masked_sum.mean_summing import MeanSumming
from p2pfl_gossip.masked_sum.messages import (
    Fetch,
    MeanSignature,
    MeanSignatures,
    SessionMessage,
    Wanted,
)
from p2pfl_gossip.records import Record

ASKED_MAX = 3
"""Times that missing signatures are asked for: the first time the gatherer may have failed, and of
two lost messages the second comes of one."""


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
        self._gatherer = core.rank
        self._signatures: dict[int, bytes] = {}
        self._asked = 0
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
        self._gatherer = core.cohort.leader(core.turn)
        if self._gatherer in core.gone:
            self._ask()
            return
        if self._gatherer != core.rank:
            core.send(self._gatherer, self._own)
        core.set_timer("signatures", core.cohort.patience.gather_s, self._ask)

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
            self._end(dict(sorted(self._signatures.items())))

    def on_signatures(self, _sender: int, message: MeanSignatures) -> None:
        """Take the signatures that somebody gathered of the mean that we have."""
        core, own = self._core, self._own
        if own is None or self.signed is not None or message.digest != own.digest:
            return
        signers, signatures = message.signers, message.signatures
        self._end(
            require_signed(
                core.cohort, self._members, own.digest, signers, signatures, core.verify_of
            )
        )

    def _end(self, signatures: dict[int, bytes]) -> None:
        core, own = self._core, self._own
        assert own is not None
        self.signed = Signed(self._members, own.digest, signatures)
        core.cancel_timer("signatures")
        if self._gatherer == core.rank:
            signers, joined = core.cohort.pack(signatures), b"".join(signatures.values())
            core.broadcast(MeanSignatures(core.cohort.session, own.digest, signers, joined))

    def on_gone(self) -> None:
        """Ask all at once where the gatherer cannot be reached; it may have told nobody."""
        is_waiting = self._own is not None and self.signed is None
        if is_waiting and not self._asked and self._gatherer in self._core.gone:
            self._ask()

    def _ask(self) -> None:
        """Ask each member whose signature we lack for its own."""
        core = self._core
        self._asked += 1
        for rank in core.others:
            if rank not in self._signatures:
                core.fetch(rank, Wanted.SIGNATURE)
        if self._asked < ASKED_MAX:
            core.set_timer("signatures", core.cohort.patience.sums_s, self._ask)

    def answer(self, fetch: Fetch) -> SessionMessage | None:
        """Find our signature, for a member that asks for it."""
        return self._own if fetch.what == Wanted.SIGNATURE else None
