"""Real sessions of masked sums, stopped where one message is about to reach one member."""

from collections.abc import Callable
from typing import Any

import msgspec
from group_driver import GroupDriver, make_epoch
from session_driver import CODEC, SessionDriver, make_cohort

from p2pfl_crypto.statements import sign_statement
from p2pfl_crypto.transcripts import tau1_of
from p2pfl_gossip.actions import SendBulk
from p2pfl_gossip.masked_sum.messages import (
    Accusation,
    Ack,
    Advert,
    AdvertList,
    AuditProof,
    Ballot,
    ChunkHeader,
    DisputeStatement,
    Header,
    Manifest,
    MeanSignature,
    Proposal,
    Receipt,
    SessionMessage,
    Share,
    SumDigest,
    SumHeader,
    SumsSeen,
    Vote,
)
from p2pfl_gossip.masked_sum.phases import Phase

SEED = 1
SIZE = 5
ENTRIES = 12
EVERYBODY = b"\x1f"
RECEIVER = 0
"""Never the leader: of round 3 that is member 3, then 4."""

Statement = tuple[bytes, tuple[bytes, ...]]


def le32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def le64(number: int) -> bytes:
    return number.to_bytes(8, "little")


def _of_list(it: AdvertList) -> Statement:
    digests = [it.digests[at : at + 32] for at in range(0, len(it.digests), 32)]
    return b"adverts", (le32(it.turn), tau1_of(it.session, it.members, digests))


STATEMENTS: dict[type[SessionMessage], Callable[[Any], Statement]] = {
    Advert: lambda it: (b"advert", (it.digest(),)),
    AdvertList: _of_list,
    Header: lambda it: (b"header", (it.digest(),)),
    Proposal: lambda it: (b"proposal", (le32(it.turn), it.tau2())),
    Ack: lambda it: (b"ack", (it.tau2,)),
    ChunkHeader: lambda it: (b"chunk", (it.tau2, le64(it.chunk), it.digest)),
    Manifest: lambda it: (b"manifest", (it.digest(),)),
    Receipt: lambda it: (b"receipt", (it.tau2, it.bitmaps)),
    Ballot: lambda it: (b"ballot", (le32(it.turn), it.digest())),
    Vote: lambda it: (b"vote", (it.ballot,)),
    SumHeader: lambda it: (b"sum", (it.ballot, le64(it.chunk), it.digest)),
    SumDigest: lambda it: (b"sum", (it.ballot, le64(it.chunk), it.digest)),
    MeanSignature: lambda it: (b"mean", (EVERYBODY, it.digest)),
    SumsSeen: lambda it: (b"seen", (it.ballot, it.sums)),
    AuditProof: lambda it: (b"proof", (it.digest(),)),
    DisputeStatement: lambda it: (b"statement", (it.digest(),)),
    Accusation: lambda it: (b"accuse", (le32(it.member),)),
}
"""What a member signs of each message, said a second time: the machines' own word is not taken."""


class Reached(Exception):
    """The message is about to arrive."""


class Stage(SessionDriver):
    """A session that stops at a message.

    Attributes:
        kind: of that message, or any.
        wanted_phase: of the member that it is about to reach, or any.
        receiver: that member.
        message: the message.
        sender: from whom.
        body: what follows it, for a header.
    """

    kind: type[SessionMessage] | None = None
    wanted_phase: Phase | None = None
    receiver = RECEIVER
    message: Any = None
    sender, body = -1, None
    is_stopped = False

    def stop_at(self, absent: tuple[int, ...] = ()) -> Any:
        try:
            self.run(absent)
        except Reached:
            self.is_stopped = True
        assert self.is_stopped, f"no {self.kind} came"
        return self

    @property
    def machine(self) -> Any:
        return self.machines[self.receiver]

    def arrive(self, sender: int, receiver: int, frame: bytes) -> None:
        self._look(sender, receiver, CODEC.decode_untrusted(frame), None)
        super().arrive(sender, receiver, frame)

    def deliver_body(self, sender: int, action: SendBulk, later: Callable[..., None]) -> None:
        receiver = self.cohort.rank_of(action.receiver)
        assert receiver is not None
        (body,) = action.parts
        self.at(0.01, lambda: self._look(sender, receiver, action.header, body))
        super().deliver_body(sender, action, later)

    def _look(self, sender: int, receiver: int, message: Any, body: Any) -> None:
        if self.is_stopped or receiver != self.receiver or receiver not in self.machines:
            return
        if self.kind is not None and type(message) is not self.kind:
            return
        if self.wanted_phase is not None and self.machine.phase != self.wanted_phase:
            return
        self.message, self.sender, self.body = message, sender, body
        raise Reached

    def signed(self, message: Any, rank: int) -> Any:
        """Sign a message as member `rank` would; inside a share, its header."""
        if isinstance(message, Share):
            return msgspec.structs.replace(message, header=self.signed(message.header, rank))
        kind, body = STATEMENTS[type(message)](message)
        signature = sign_statement(self.people[rank], kind, rank, self.cohort.session, *body)
        return msgspec.structs.replace(message, signature=signature)

    def go_on(self, is_there: Callable[[], bool]) -> None:
        """Let the session go on until something is so, or until it has ended."""
        while self._events and not is_there():
            self.run_rest(until_s=self._events[0][0])


class SessionStage(Stage):
    """A cohort's session."""

    def __init__(
        self,
        kind: type[SessionMessage] | None,
        phase: Phase | None = None,
        receiver: int = RECEIVER,
        **options: Any,
    ) -> None:
        cohort, people = make_cohort(SIZE, ENTRIES)
        super().__init__(cohort, people, SEED, **options)
        self.kind, self.wanted_phase, self.receiver = kind, phase, receiver


class GroupStage(Stage, GroupDriver):
    """A group's session, led like the cohort's."""

    def __init__(
        self,
        kind: type[SessionMessage] | None,
        phase: Phase | None = None,
        receiver: int = RECEIVER,
        *,
        audit: bool = False,
        names: bool = False,
        **options: Any,
    ) -> None:
        cohort, people = make_epoch(
            SIZE, ENTRIES, leaders=(3, 4, 0, 1, 2), audit=audit, names=names
        )
        GroupDriver.__init__(self, cohort, people, SEED, **options)
        self.kind, self.wanted_phase, self.receiver = kind, phase, receiver
