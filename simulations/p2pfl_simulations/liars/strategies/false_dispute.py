"""Makes a total false, and lies in the dispute over it as well."""

from collections.abc import Sequence

from p2pfl_gossip.actions import Action, Job, Send
from p2pfl_gossip.masked_sum.audit_jobs import Sketched, SketchRound
from p2pfl_gossip.masked_sum.dispute_jobs import MakeStatement, StatementMade
from p2pfl_gossip.masked_sum.messages import (
    Accusation,
    AuditProof,
    DisputeStatement,
    PairShown,
)
from p2pfl_gossip.records import Record
from p2pfl_simulations.liars.liar import Liar
from p2pfl_simulations.liars.own_proofs import claiming, own_sketch
from p2pfl_simulations.liars.own_statements import hiding_in_pair, hiding_in_words

LIES = ("words", "pair", "two", "silent", "late", "late-proof", "accuse")


class FalseDispute(Liar):
    """Claims another sketch than its input's, and in the dispute says what would hide that.

    Args:
        lie: `words`: that its masked words are others, of a chunk at random. `pair`: that what it
            shares with a member at random is something else. `two`: that its words are others, to
            each member of another chunk. `silent`, `late`: nothing, or after a while.
            `late-proof`: nothing of it, but its proof comes after a while. `accuse`: that all
            others lied, and shows false points of them.
        after_s: how late.
        offset: of the first entry of its sketch, in encoded steps.
    """

    in_groups = True
    in_audits = True

    def __init__(self, lie: str = "words", after_s: float = 1.0, offset: int = 1000) -> None:
        if lie not in LIES:
            raise ValueError(f"lie is one of {', '.join(LIES)}, not {lie!r}")
        self._lie, self._after_s, self._offset = lie, after_s, offset
        self._jobs: dict[bytes, tuple[MakeStatement, DisputeStatement]] = {}  # By session.

    def learn(self, now_s: float, job: Job, result: Record) -> Record:
        """Claim another sketch, and say what fits it."""
        if isinstance(job, SketchRound) and job.own is not None and isinstance(result, Sketched):
            sketch = own_sketch(job, job.own)
            sketch[0] += self._offset
            return claiming(job, job.own, result, sketch)
        if isinstance(job, MakeStatement) and isinstance(result, StatementMade):
            return StatementMade(self._made(job, result.statement))
        return result

    def _made(self, job: MakeStatement, said: DisputeStatement) -> DisputeStatement:
        rng, by = self.me.rng, self._offset
        self._jobs[said.session] = (job, said)
        if self._lie in ("words", "two"):
            return hiding_in_words(job, said, by, rng.randrange(len(job.layout)))
        if self._lie == "pair":
            others = [rank for rank in job.members if rank != said.member]
            return hiding_in_pair(job, said, by, rng.choice(others))
        return said

    def tell(self, now_s: float, send: Send) -> Sequence[Action]:
        """Say its statement to each as it likes."""
        message = send.message
        if isinstance(message, AuditProof) and self._lie == "late-proof":
            self.me.later(self._after_s, [send])
            return ()
        if not isinstance(message, DisputeStatement) or message.member != self.me.rank:
            return (send,)
        match self._lie:
            case "silent":
                return ()
            case "late":
                self.me.later(self._after_s, [send])
                return ()
            case "two" if message.session in self._jobs:
                job, said = self._jobs[message.session]
                place = self.me.rng.randrange(len(job.layout))
                other = hiding_in_words(job, said, self._offset, place)
                return (Send(send.receiver, self.me.signed(other)),)
            case "accuse":
                return (send, *self._accusations(send, message))
        return (send,)

    def _accusations(self, send: Send, said: DisputeStatement) -> list[Action]:
        found: list[Action] = []
        for member in range(len(self.me.cohort)):
            if member != said.member:
                chunk = self.me.rng.randrange(2)
                word = Accusation(said.session, said.member, member, chunk, bytes(64))
                shown = PairShown(said.session, said.member, member, bytes(96))
                found += [Send(send.receiver, it) for it in (self.me.signed(word), shown)]
        return found
