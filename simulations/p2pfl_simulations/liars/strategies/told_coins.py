"""Tells one member other sums than the others, and the sum of all coins once it knows it."""

from collections.abc import Sequence

from p2pfl_crypto.masks import Masked
from p2pfl_crypto.transcripts import sum_digest
from p2pfl_gossip.actions import Action, Job, Send, SendBulk
from p2pfl_gossip.masked_sum.audit_jobs import Tossed
from p2pfl_gossip.masked_sum.jobs import ChunkSum, Unmask
from p2pfl_gossip.masked_sum.messages import AuditProof, CoinSum, SumDigest, SumHeader, SumsSeen
from p2pfl_gossip.records import Message, Record
from p2pfl_simulations.liars.forging import replaced
from p2pfl_simulations.liars.liar import Liar


class ToldCoins(Liar):
    """Tells one member other sums than the others, and the sum of all coins in place of a proof.

    Where liars own a chunk together, that member has two signatures under the false sum. Were it to
    take the coin for a sign that the sums are fixed, it and all others would take each other for
    liars.
    """

    in_groups = True
    in_audits = True

    def __init__(self) -> None:
        self._ballot, self._coin, self._seen = b"", b"", b""
        self._false: dict[int, tuple[Masked, bytes]] = {}  # By chunk.

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Note the sum of all coins, and work out a false sum of each chunk that it owns."""
        if isinstance(result, Tossed):
            self._coin = result.coin
        if isinstance(job, Unmask) and isinstance(result, ChunkSum):
            if job.ballot != self._ballot:
                self._ballot, self._coin, self._seen = job.ballot, b"", b""
                self._false.clear()
            body = result.body.copy()
            body[0] += 1
            body.flags.writeable = False
            digest = sum_digest(job.ballot, job.chunk, body.tobytes())
            self._false[job.chunk] = (body, digest)
        return result

    def hear(self, now_s: float, sender: int, message: Message) -> Message | None:
        """Note which sums that member has."""
        if isinstance(message, SumsSeen) and (sender, message.ballot) == (
            self._victim,
            self._ballot,
        ):
            self._seen = message.sums
        return message

    def say(self, now_s: float, action: Action) -> Sequence[Action]:
        """Tell that member other sums, and the coin."""
        if not isinstance(action, Send | SendBulk):
            return (action,)
        if self.me.index_of(action.receiver) != self._victim:
            return (action,)
        said = action.message if isinstance(action, Send) else action.header
        if isinstance(said, AuditProof):
            is_known = self._coin and self._seen
            coin = CoinSum(said.session, self._seen, self._coin)
            return (Send(action.receiver, coin),) if is_known else ()
        if not isinstance(said, SumHeader | SumDigest) or said.member != self.me.rank:
            return (action,)
        if said.ballot != self._ballot or said.chunk not in self._false:
            return (action,)
        body, digest = self._false[said.chunk]
        other = self.me.signed(replaced(said, digest=digest))
        if isinstance(action, Send):
            return (replaced(action, message=other),)
        return (replaced(action, header=other, parts=(body,)),)

    @property
    def _victim(self) -> int:
        """Return an honest member, another one each round."""
        honest = [index for index in self.me.others if index not in self.me.colluders]
        return honest[self.me.round % len(honest)]
