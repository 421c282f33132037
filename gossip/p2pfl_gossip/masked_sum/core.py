"""What the parts of one session's machine share: place, phase, time, and the actions to return."""

from collections.abc import Callable, Mapping, Sized
from typing import TypeVar

from p2pfl_crypto.identity import Identity, InvalidIdentity
from p2pfl_crypto.key_agreement import agreement_secret_of, public_key_of
from p2pfl_crypto.masks import Masked
from p2pfl_crypto.sealing import BrokenSeal, open_sealed
from p2pfl_crypto.statements import sign_statement, verify_statement
from p2pfl_crypto.transcripts import share_digest
from p2pfl_gossip.actions import (
    Action,
    Disconnect,
    Job,
    LocalProtocolError,
    PeerId,
    RemoteProtocolError,
    Send,
)
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.masked_sum import phases
from p2pfl_gossip.masked_sum.cohort import SessionMembers
from p2pfl_gossip.masked_sum.jobs import Entropy, Secrets
from p2pfl_gossip.masked_sum.messages import Ballot, Fetch, Proposal, SessionMessage, Wanted
from p2pfl_gossip.masked_sum.phases import TRANSITIONS, Phase
from p2pfl_gossip.records import Message, Record

Led = TypeVar("Led", Proposal, Ballot)
"""What the leader of a turn says for others to back."""

__all__ = ["EARLIER_SHARE", "SESSION_TIMER", "Blame", "Core", "Entropy", "turn_bytes"]


class Blame(Record, frozen=True):
    """A member that broke the protocol, and what shows it.

    Attributes:
        member: whom.
        fault: a short word: ``"two_lists"``, ``"bad_keys"``, ``"bad_dealing"``, ...
        evidence: messages that it signed and that contradict each other or the protocol. Whoever
            has them can check them; empty where only we saw the fault.
    """

    member: PeerId
    fault: str
    evidence: tuple[Message, ...] = ()


class Core:
    """One member's place in one session.

    Attributes:
        cohort: the members and what they agreed on.
        rank: our place.
        phase: where we stand.
        turn: which leader's turn it is, as far as we know; it only grows.
        turns_ended: turns that were waited out; those passed over are not.
        has_passed_over: whether there are any of these.
        gone: members that we wait for no longer; what they still say counts.
        absent: those of them that said themselves that they take no part.
        blames: who broke the protocol, in the order found.
        reason: why the session was aborted, or empty.
        aborted_in: the phase in which it was, if it was.
    """

    def __init__(
        self, cohort: SessionMembers, identity: Identity, entropy: Entropy, desk: Desk
    ) -> None:
        rank = cohort.rank_of(identity.peer_id)
        if rank is None:
            raise LocalProtocolError("our identity is none of the cohort's")
        self.cohort, self.rank, self.identity = cohort, rank, identity
        self.entropy, self._desk = entropy, desk
        self.phase, self.turn, self.reason = phases.IDLE, 0, ""
        self.turns_ended = 0
        self.has_passed_over = False
        self.aborted_in = phases.IDLE
        self.now_s = self._turn_ends_s = 0.0
        self.actions: list[Action] = []
        self.gone: dict[int, None] = {}
        self.absent: dict[int, None] = {}
        self.blames: list[Blame] = []

    @property
    def others(self) -> list[int]:
        """Ranks of all other members."""
        return [rank for rank in range(self.cohort.size) if rank != self.rank]

    @property
    def is_leader(self) -> bool:
        """Whether it is our turn to lead."""
        return self.cohort.leader(self.turn) == self.rank

    def may_follow(self, turn: int, *, backers: int) -> bool:
        """Whether we may back what a turn's leader says; one of a later turn must wait.

        Unless more than m members back it: one of them is honest, and its earlier leaders have had
        their time.
        """
        return turn <= self.turn or backers > self.cohort.liars_max

    def followable(
        self, said: Mapping[bytes, Led], backers: Mapping[bytes, Sized]
    ) -> dict[bytes, Led]:
        """Return what leaders said that may be backed by now, whoever can check it.

        Not what is said for turns to come: else a liar would lead before its turn.

        Args:
            said: proposals, or ballots, by digest.
            backers: those who acknowledged, or voted for, each; by digest.
        """
        return {
            digest: word
            for digest, word in said.items()
            if self.may_follow(word.turn, backers=len(backers.get(digest, ())))
        }

    def set_turn(self, delay_s: float, due: Callable[[], None]) -> None:
        """Give a leader its time, and have `due` called then."""
        self._turn_ends_s = self.now_s + delay_s
        self.set_timer("turn", delay_s, due)

    def is_in_time(self, turn: int) -> bool:
        """Whether others still hear in a leader's turn what we say of its word."""
        margin_s = self.cohort.patience.takeover_s * HEARD_SHARE
        return turn == self.turn and self.now_s <= self._turn_ends_s - margin_s

    def lead(self, phase: Phase, said: Mapping[int, Led], propose: Callable[[], None]) -> None:
        """Have the leader of the turn propose, or look again soon, if it heard too little.

        Again only as long as all hear of it before the next leader speaks.

        Args:
            phase: in which it leads.
            said: what we have proposed, by turn.
            propose: says it, if enough is here.
        """
        if not self.is_leader or self.phase != phase:
            return
        propose()
        if self.turn not in said and self.is_in_time(self.turn):
            again_s = self.cohort.patience.gather_s * AGAIN_SHARE
            self.set_timer("lead", again_s, lambda: self.lead(phase, said, propose))

    def end_turn(self) -> bool:
        """Look to the next leader, where one has had its time; tell whether there is one.

        Among m + 1 that had theirs one is honest.
        """
        self.turns_ended += 1
        is_last = self.turn + 1 >= self.cohort.leader_turns_max
        if is_last or self.turns_ended > self.cohort.liars_max:
            return False
        self.turn += 1
        return True

    def pass_over(self, is_away: Callable[[int], bool]) -> bool:
        """Look to the next leader that is not away, at no time; tell whether it is another one."""
        turn, last = self.turn, self.cohort.leader_turns_max - 1
        while self.turn < last and is_away(self.cohort.leader(self.turn)):
            self.turn += 1
        self.has_passed_over |= self.turn != turn
        return self.turn != turn

    def wait_for_others(self, wait_s: float, due: Callable[[], None]) -> bool:
        """Wait once more after the last turn, if we passed over leaders; tell whether we do.

        Others may have waited for a leader that we knew to be away, and be a turn behind.
        """
        if self.has_passed_over:
            self.has_passed_over = False
            self.set_turn(wait_s, due)
            return True
        return False

    def begin(self, now_s: float) -> None:
        """Take the time of an input, and begin to gather its actions."""
        self.now_s, self.actions = now_s, []

    # What goes out.

    def send(self, rank: int, message: Message) -> None:
        """Send a message to a member."""
        self.actions.append(Send(self.cohort.members[rank], message))

    def broadcast(self, message: Message) -> None:
        """Send a message to all other members."""
        for rank in self.others:
            self.send(rank, message)

    def fetch(self, rank: int, what: Wanted, first: int = 0, second: int = 0) -> None:
        """Ask another member for something."""
        if rank != self.rank:
            self.send(rank, Fetch(self.cohort.session, what, first, second))

    def send_body(
        self,
        rank: int,
        header: SessionMessage,
        body: Masked,
        size: int,
        done: Callable[[bool], None],
    ) -> None:
        """Send a body after its header; `done` is told whether it left."""
        member = self.cohort.members[rank]
        sent = self._following(done)
        self.actions.append(self._desk.send_bulk(member, header, (body,), size, sent))

    def work(self, job: Job, done: Callable[..., None], *, or_abort: str = "job_failed") -> None:
        """Have a job done; `done` takes its result. If it fails, the session is over."""
        failed = self._following(lambda _reason: self.abort(or_abort))
        self.actions.append(self._desk.work(job, self._following(done), failed))

    def set_timer(self, name: str, delay_s: float, due: Callable[[], None]) -> None:
        """Have `due` called after a delay; an earlier timer of the name is forgotten."""
        at_s = self.now_s + delay_s
        self.actions += self._desk.set_timer(name, at_s, self._following(due))

    def cancel_timer(self, name: str) -> None:
        """Forget a timer, if it is set."""
        self.actions += self._desk.cancel_timer(name)

    def disconnect(self, rank: int, reason: str) -> None:
        """Have a member's link ended for what it sent, where that was not seen at once."""
        self.actions.append(Disconnect(self.cohort.members[rank], reason))

    def _following(self, act: Callable[..., None]) -> Callable[..., list[Action]]:
        """Make a part's method a continuation: it is not told the time, and returns no actions."""

        def follow(now_s: float, *answer: object) -> list[Action]:
            self.begin(now_s)
            act(*answer)
            return self.actions

        return follow

    # What is said, and how it is protected: all the cryptography beside the jobs.

    @classmethod
    def public_keys(cls, secrets: Secrets) -> tuple[bytes, bytes]:
        """Return the X25519 keys to advertise: for sealed shares, and for pair masks."""
        return cls.public_key(secrets.share_scalar), cls.public_key(secrets.mask_scalar)

    @staticmethod
    def public_key(scalar: bytes) -> bytes:
        """Return the X25519 key of a secret scalar."""
        return public_key_of(agreement_secret_of(scalar))

    def open_shares(self, key: bytes, nonce: bytes, sealed: bytes) -> bytes:
        """Open the shares that a dealer sealed to us, or raise RemoteProtocolError."""
        try:
            return open_sealed(key, nonce, sealed)
        except BrokenSeal:
            raise RemoteProtocolError("broken_seal") from None

    def share_digest(
        self, tau1: bytes, kind: bytes, dealer: int, holder: int, share: bytes
    ) -> bytes:
        """Digest a share as its dealer's header has it."""
        return share_digest(tau1, kind, dealer, holder, share)

    def sign(self, kind: bytes, *body: bytes) -> bytes:
        """Sign a statement of this session from our place.

        The session is part of what is signed: an ACK of an older session would otherwise prove,
        beside one of this, that its honest author acknowledged twice.
        """
        return sign_statement(self.identity, kind, self.rank, self.cohort.session, *body)

    def verify(self, rank: int, kind: bytes, signature: bytes, *body: bytes) -> None:
        """Check a member's signature, or raise RemoteProtocolError."""
        self.verify_of(self.cohort, rank, kind, signature, *body)

    def verify_passed_on(
        self,
        sender: int,
        rank: int,
        kind: bytes,
        signature: bytes,
        body: Callable[[], tuple[bytes, ...]],
    ) -> None:
        """Check a signature as `verify` does, unless its author sent the message itself.

        Then the link proves who says it, and what a member tells us counts for us. Its signature is
        for others: it is checked (`is_proven`) before the message is passed on, before others are
        to rest on it, and before it is evidence. `body` gives what it covers.
        """
        if sender != rank:
            self.verify(rank, kind, signature, *body())

    def is_proven(self, rank: int, kind: bytes, signature: bytes, *body: bytes) -> bool:
        """Whether a message that we hold proves to anybody that its author said it."""
        if rank == self.rank:
            return True
        try:
            self.verify(rank, kind, signature, *body)
        except RemoteProtocolError:
            return False
        return True

    def require_proof(self, rank: int, is_proven: Callable[[int], bool]) -> bool:
        """Tell whether a member's statement is proven; end its link if not: it signed falsely."""
        if not is_proven(rank):
            self.disconnect(rank, "bad_signature")
            return False
        return True

    def blame_two(
        self, rank: int, fault: str, kind: bytes, *said: tuple[Message, bytes, tuple[bytes, ...]]
    ) -> bool:
        """Name who said two things, if both are proven; else end its link, for a false signature.

        Return whether the second is proven: others may go by it.

        Args:
            rank: who.
            fault: as for `blame`.
            kind: of the statements.
            said: each message, its signature and what that covers; checked, or from the author.
        """
        proven = [self.is_proven(rank, kind, signature, *body) for _, signature, body in said]
        if all(proven):
            self.blame(rank, fault, *(message for message, _, _ in said))
        else:
            self.disconnect(rank, "bad_signature")
        return proven[1]

    @staticmethod
    def verify_of(
        cohort: SessionMembers, rank: int, kind: bytes, signature: bytes, *body: bytes
    ) -> None:
        """Check a signature of any cohort's member, or raise RemoteProtocolError."""
        try:
            verify_statement(cohort.public_keys[rank], kind, rank, signature, cohort.session, *body)
        except InvalidIdentity:
            raise RemoteProtocolError("bad_signature") from None

    def require_member(self, rank: int) -> None:
        """Refuse a rank outside the cohort."""
        if rank >= self.cohort.size:
            raise RemoteProtocolError("no_such_member")

    def unpack(self, bitmap: bytes) -> tuple[int, ...]:
        """Read a bitmap, or raise RemoteProtocolError."""
        ranks = self.cohort.unpack(bitmap)
        if ranks is None:
            raise RemoteProtocolError("bad_bitmap")
        return ranks

    def blame(self, rank: int, fault: str, *evidence: Message) -> None:
        """Note who broke the protocol; each fault of a member once."""
        member = self.cohort.members[rank]
        if not any(blame.member == member and blame.fault == fault for blame in self.blames):
            self.blames.append(Blame(member, fault, evidence))

    # Where we stand.

    def advance(self, phase: Phase) -> None:
        """Enter a phase, as the table of transitions allows; the old phase's timers end."""
        if phase not in TRANSITIONS[self.phase]:
            raise LocalProtocolError(f"no way leads from {self.phase.name} to {phase.name}")
        self.phase = phase
        self.actions += self._desk.cancel_timers(but=SESSION_TIMER)

    def abort(self, reason: str) -> None:
        """End the session without a result; nothing more is sent."""
        if self.phase in (phases.DONE, phases.ABORTED):
            return
        self.aborted_in, self.reason = self.phase, reason
        self.advance(phases.ABORTED)
        self.stop()

    def stop(self) -> None:
        """Wait for nothing more: neither for time nor for jobs."""
        self.actions += self._desk.close()


EARLIER_SHARE = 0.25
"""Of the time to gather: how long the next leader waits for what one that is gone may have said to
others just before. If it spoke at once, members would be split between the two."""

AGAIN_SHARE = 0.25
"""Of the time to gather: how soon a leader that had heard too little looks again."""

HEARD_SHARE = 0.5
"""Of the time in which a leader takes over: how long before the end of a turn all hear of its
leader's word from whoever backs it, and get what it rests on. Honest leaders speak a whole one
before."""

SESSION_TIMER = "session"
"""The one timer that outlives a phase."""


def turn_bytes(turn: int) -> bytes:
    """Write a leader's turn as it is signed: LE32."""
    return turn.to_bytes(4, "little")


def chunk_bytes(chunk: int) -> bytes:
    """Write a chunk's number as it is signed: LE64."""
    return chunk.to_bytes(8, "little")


def is_known(said: Mapping[bytes, Led], digest: bytes, turn: int) -> bool:
    """Whether something was said for this turn, or an earlier one: the earliest counts.

    Its content names no leader, so liars foretell, for later turns, what honest leaders will say.
    """
    return digest in said and said[digest].turn <= turn
