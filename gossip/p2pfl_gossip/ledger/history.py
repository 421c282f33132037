"""The history that a member holds: its head, the entries below, and the ends of epochs.

What it holds is checked once, when it comes, and kept for good: each entry with its certificate,
each charter with the proof by which its epoch began.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import TypeVar

from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.actions import RemoteProtocolError, Vector
from p2pfl_gossip.ledger.approvals import Approval
from p2pfl_gossip.ledger.approving import ApprovalStanding, check_succession
from p2pfl_gossip.ledger.certificates import require_certificate, require_closing, require_final
from p2pfl_gossip.ledger.charter import (
    NEW_STATE,
    Charter,
    Epoch,
    RefusedCharter,
    encode_charter,
)
from p2pfl_gossip.ledger.entries import (
    EntryStep,
    Head,
    Kind,
    begins_anew,
    first_entry,
    height_from,
)
from p2pfl_gossip.ledger.messages import Closing, EntryCertificate, Finality
from p2pfl_gossip.records import Codec, MalformedFrame

ENTRY_PREFIX = "ledger/entry/"
CLOSING_PREFIX = "ledger/closing/"
FINAL_RECORD = "ledger/final"
FOUNDING_RECORD = "ledger/charter"

_RECORD_BYTES_MAX = 512 * 1024  # A certificate, a charter and a proof, each of 128 members.

_CODEC = Codec(EntryCertificate | Closing | Finality, frame_bytes_max=_RECORD_BYTES_MAX)

_Kind = TypeVar("_Kind", EntryCertificate, Closing, Finality)


class History:
    """What is certified, as far as a member knows.

    Attributes:
        epochs: all epochs that have begun, ascending.
        head: the highest certified entry whose model we hold.
        final: the latest proof that an entry is final; None before the first.
    """

    def __init__(self, founding: Epoch) -> None:
        self.epochs = [founding]
        first = EntryStep(first_entry(founding))
        self.head = self._first = first
        self.final: Finality | None = None
        self._steps: dict[Head, EntryStep] = {first.head: first}
        self._certificates: dict[Head, EntryCertificate] = {}
        self._closings: dict[int, Closing] = {}
        # Rounds of private sums by (epoch, rank), ascending: what members have certainly spent.
        self._given: dict[tuple[int, int], list[int]] = {}

    @property
    def epoch(self) -> Epoch:
        """The epoch that has begun last."""
        return self.epochs[-1]

    @property
    def begins_anew(self) -> bool:
        """Whether the present epoch starts from its charter's state, and our head is before it."""
        return begins_anew(self.epoch, self.head.entry)

    @property
    def begun(self) -> Head:
        """The entry that the present epoch began with."""
        return self.beginning(self.epoch.number).head

    @property
    def is_abreast(self) -> bool:
        """Whether our head is the entry that the present epoch began with, or one above it.

        An epoch begins by its proof. Who has not the state of the entry that it began with says
        nothing in it: an entry on an older head would stand beside what is final. What is certified
        above a final entry descends from it.
        """
        return self.head.head.place >= self.begun.place

    @property
    def height(self) -> int:
        """Sums up to our head, as the present epoch counts them."""
        return height_from(self.epoch, self.head.entry)

    @property
    def first(self) -> EntryStep:
        """The entry of height 0."""
        return self._first

    def step(self, head: Head) -> EntryStep | None:
        """Return an entry that we hold."""
        return self._steps.get(head)

    def certificate(self, head: Head) -> EntryCertificate | None:
        """Return the certificate of an entry that we hold; there is none of the first."""
        return self._certificates.get(head)

    def closings(self, since: int) -> list[Closing]:
        """Return the ends of epochs from a number on, as far as they have ended."""
        return [self._closings[number] for number in range(since, self.epoch.number)]

    def beginning(self, number: int) -> EntryStep:
        """Return the entry that an epoch began with; raises KeyError if it has not begun."""
        return EntryStep(self._closings[number - 1].certificate.entry) if number else self.first

    def approvals_of(self, number: int) -> list[Approval]:
        """Return what was said of an epoch's charter, as its beginning has it."""
        ends = self.closings(number - 1)[:1] if number else []
        return [approval for closing in ends for approval in closing.approvals]

    def given(self, rank: int, before: int) -> int:
        """Count the private updates of a member in certified sums of rounds before one.

        Under the present charter, as far as entries are here: it has spent at least so many.
        """
        return bisect_left(self._given.get((self.epoch.number, rank), []), before)

    def is_final(self, head: Head) -> bool:
        """Whether we hold the proof that an entry is final, by itself or by what follows it."""
        return head == self._first.head or (
            self.final is not None and self.descends(self.final.head, head)
        )

    def descends(self, later: Head, earlier: Head) -> bool:
        """Whether an entry is, or descends from, another; False where a gap hides it."""
        step = self._steps.get(later)
        while step is not None and step.head.round > earlier.round:
            step = self._steps.get(step.entry.base)
        return step is not None and step.head == earlier

    def gap(self) -> Head | None:
        """Return the highest entry below our head that we lack, if any."""
        step: EntryStep | None = self.head
        while step is not None and step.entry.round:
            below = step.entry.base
            step = self._steps.get(below)
            if step is None:
                return below
        return None

    # --- what comes -------------------------------------------------------------------------

    def check(self, certificate: EntryCertificate) -> EntryStep:
        """Check a certificate from anybody, of an epoch that has begun here.

        Raises:
            RemoteProtocolError: it is none; ``"unknown_epoch"``: its epoch has not begun here.
        """
        number = certificate.entry.epoch
        if number >= len(self.epochs):
            raise RemoteProtocolError("unknown_epoch")
        require_certificate(self.epochs[number], certificate)
        return EntryStep(certificate.entry)

    def add(self, step: EntryStep, certificate: EntryCertificate) -> dict[str, bytes]:
        """Hold an entry that was checked; return what is to be kept."""
        if step.head in self._certificates:
            return {}
        self._steps[step.head] = step
        self._certificates[step.head] = certificate
        entry = step.entry
        if entry.kind == Kind.SUM and self.epochs[entry.epoch].charter.privacy is not None:
            for rank in self.epochs[entry.epoch].unpack(entry.members) or ():
                insort(self._given.setdefault((entry.epoch, rank), []), entry.round)
        return {entry_key(step.head): _CODEC.encode(certificate)}

    def add_final(self, proof: Finality) -> dict[str, bytes]:
        """Check and hold a proof that an entry is final, if it is later than the one we have.

        One of an epoch that is over says nothing new, and one of a later epoch cannot be checked
        yet: both are passed over.

        Raises:
            RemoteProtocolError: t members of the epoch have not signed it.
        """
        if self.final is not None and proof.head.place <= self.final.head.place:
            return {}
        if proof.head.epoch != self.epoch.number:
            return {}
        require_final(self.epoch, proof)
        self.final = proof
        return {FINAL_RECORD: _CODEC.encode(proof)}

    def ended_with(self, peer: PeerId, digest: bytes) -> bool:
        """Whether an epoch that a peer was a member of ended with a state of which this is a part.

        It is that member's, too, and without it the end of its last epoch is none for it.
        """
        return any(
            item.digest == digest
            for number, closing in self._closings.items()
            if self.epochs[number].rank_of(peer) is not None
            for item in closing.certificate.entry.state
        )

    def check_closing(self, closing: Closing) -> Epoch:
        """Check the end of the present epoch, or raise RemoteProtocolError; return the next one."""
        following = require_closing(self.epoch, closing)
        self.require_start(following.charter)
        return following

    def require_start(self, charter: Charter) -> None:
        """Check that a charter goes back, if at all, to the state at an end of an epoch.

        Which entry ended an epoch members may know by different proofs, of entries that repeat each
        other and have one state: so the epoch counts and the state, and not the entry's name.

        Raises:
            RemoteProtocolError: it does not.
        """
        start, first = charter.start, self._first
        if start in (None, NEW_STATE):
            return
        assert start is not None
        ended = self._closings.get(start.epoch)
        ends = [] if ended is None else [ended.certificate.entry.state]
        if start == first.head:
            ends.append(first.entry.state)
        if charter.state not in ends:
            raise RemoteProtocolError("bad_start")

    def close_epoch(self, closing: Closing) -> dict[str, bytes]:
        """Check the end of the present epoch, and begin the next; return what is to be kept."""
        following = self.check_closing(closing)
        step = EntryStep(closing.certificate.entry)
        kept = self.add(step, closing.certificate)
        self._closings[self.epoch.number] = closing
        kept[f"{CLOSING_PREFIX}{self.epoch.number:08x}"] = _CODEC.encode(closing)
        self.epochs.append(following)
        # The proof that ends an epoch makes its last entry final, whoever showed it.
        self.final = Finality(step.head, closing.signers, closing.signatures)
        kept[FINAL_RECORD] = _CODEC.encode(self.final)
        return kept

    def check_successor(self, charter: Charter, approvals: Sequence[Approval]) -> ApprovalStanding:
        """Say how far the founding of a group is that succeeds this one, which lost too many.

        Args:
            charter: the founding one of the new group.
            approvals: of it.

        Raises:
            RefusedCharter: it does not begin with a state that this group has certified.
            RefusedApproval: an approval is not what it must be.
        """
        succeeds = charter.succeeds
        if succeeds is None or succeeds.group != self.epoch.group:
            raise RefusedCharter("the charter succeeds another group, or none")
        standing = check_succession(self.epoch.charter, charter, approvals)
        step = self.step(succeeds.head)
        if step is None:
            raise RefusedCharter("the record does not hold the entry that the charter begins with")
        if charter.state != step.entry.state:
            raise RefusedCharter("the charter names another state than that of its entry")
        return standing

    # --- what is kept -----------------------------------------------------------------------

    @classmethod
    def restored(
        cls, founding: Epoch, records: dict[str, bytes | Vector], head: Head | None
    ) -> "History":
        """Take what earlier incarnations kept.

        Raises:
            MalformedFrame: a record is none of ours, or does not hold what it must.
        """
        history = cls(founding)
        kept = records.get(FOUNDING_RECORD)
        if kept is not None and kept != founding_record(founding)[FOUNDING_RECORD]:
            raise MalformedFrame("the kept history is of a group with another founding charter")
        try:
            for key in sorted(records):
                if key.startswith(CLOSING_PREFIX):
                    history.close_epoch(_read(records[key], Closing))
            for key in sorted(records):
                if key.startswith(ENTRY_PREFIX):
                    certificate = _read(records[key], EntryCertificate)
                    if certificate.entry.epoch > history.epoch.number:
                        raise MalformedFrame(
                            f"the kept history lacks the end of epoch {certificate.entry.epoch - 1}"
                        )
                    # Checked when it came, and guarded by the journal's digests since.
                    history.add(EntryStep(certificate.entry), certificate)
            if FINAL_RECORD in records:
                history.final = _read(records[FINAL_RECORD], Finality)
        except RemoteProtocolError as error:
            raise MalformedFrame(f"the kept history is not in order: {error.reason}") from None
        if head is not None:
            step = history.step(head)
            if step is None:
                raise MalformedFrame("the kept history lacks its head")
            history.head = step
        return history


def invitation_of(charter: bytes, model: bytes) -> bytes:
    """Name what a newcomer is invited to: H("p2pfl/invitation", charter, model).

    Of the head that the epoch before ended with it is the model: members may hold proofs of that
    end by several entries, which repeat each other, and all have one model.

    Args:
        charter: digest of the first charter that names the newcomer.
        model: digest of the model that the epoch before ended with.
    """
    return hash_parts(b"p2pfl/invitation", charter, model)


def joined_at(history: History, peer: PeerId) -> bytes | None:
    """Return by which invitation a peer is a member; None of a founder, and of who is none."""
    for epoch in history.epochs:
        if epoch.rank_of(peer) is None:
            continue
        if not epoch.number:
            return None
        began_with = history.beginning(epoch.number).entry.state[0]
        return invitation_of(epoch.digest, began_with.digest)
    return None


def founding_record(founding: Epoch) -> dict[str, bytes]:
    """Return what is to be kept of a group's founding: its charter, from which all else follows."""
    return {FOUNDING_RECORD: encode_charter(founding.charter)}


def entry_key(head: Head) -> str:
    """Name the record of an entry's certificate; names ascend with the history."""
    return f"{ENTRY_PREFIX}{head.epoch:08x}/{head.round:016x}"


def _read(stored: bytes | Vector, kind: type[_Kind]) -> _Kind:
    if not isinstance(stored, bytes):
        raise MalformedFrame("a record of the history is bytes")
    message = _CODEC.decode_untrusted(stored)
    if not isinstance(message, kind):
        raise MalformedFrame("a record of the history is of another kind")
    return message
