"""What a member does with each message of the ledger: whose it is, of which epoch and round."""

from collections.abc import Callable
from typing import Any, TypeAlias

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.askings import Askings
from p2pfl_gossip.ledger.certificates import require_advert
from p2pfl_gossip.ledger.charter import NONE
from p2pfl_gossip.ledger.course import Stage
from p2pfl_gossip.ledger.entries import out_of
from p2pfl_gossip.ledger.evidence import evidence_of_adverts, evidence_of_heads
from p2pfl_gossip.ledger.life import Life
from p2pfl_gossip.ledger.messages import (
    AdvertRequest,
    CertificateRequest,
    Closing,
    EntryCertificate,
    EntrySignature,
    Evidence,
    EvidenceRequest,
    Finality,
    GroupAdvert,
    GroupList,
    HeldOfAsker,
    HeldRequest,
    LedgerMessage,
    Parcel,
    ParcelRequest,
    ParcelsHeld,
    Progress,
)
from p2pfl_gossip.ledger.states import Head

LISTS_AHEAD_MAX = 2
"""Lists kept from one member for rounds that we have not reached."""

ASKINGS_MAX = 8
"""Answers to one member in one relay time, of each kind: who asks for what it lacks asks once in
that time, and has a few leaders to ask."""

CERTIFICATES_MAX = 64
"""The same for certificates: who fills a gap in its history asks for one after another."""


Heard: TypeAlias = bool | None
"""What a message leads to: False where it can have made nothing possible."""


class Hearing:
    """Takes messages, for one member's `Life`."""

    def __init__(self, life: Life) -> None:
        self._life, self._parts, self._seat = life, life.parts, life.parts.seat
        self._lists_ahead: dict[int, dict[int, GroupList]] = {}
        self._answered_s: dict[int, float] = {}
        self._false_accusers: dict[tuple[int, int], None] = {}  # By epoch and rank.
        relay_s = self._seat.epoch.charter.relay_s
        self._certificates = Askings(relay_s, CERTIFICATES_MAX)
        self._starts, self._adverts, self._proofs = (
            Askings(relay_s, ASKINGS_MAX) for _ in range(3)
        )
        # From anybody who is or was a member: they may be behind, or ahead.
        self._from_all: dict[type[LedgerMessage], Callable[[PeerId, int | None, Any], Heard]] = {
            EntryCertificate: self._on_certificate,
            Closing: self._on_closing,
            CertificateRequest: self._on_request,
            GroupAdvert: self._on_advert,
            HeldRequest: self._on_held_request,
            ParcelsHeld: self._on_parcels_held,
        }
        # From members of the present epoch alone.
        self._from_members: dict[type[LedgerMessage], Callable[[int, Any], Heard]] = {
            GroupList: self._on_list,
            AdvertRequest: self._on_advert_request,
            Progress: self._on_progress,
            EntrySignature: self._on_entry_signature,
            HeldOfAsker: self._on_held,
            Finality: self._on_final,
            EvidenceRequest: self._on_evidence_request,
            Evidence: self._on_evidence,
            ParcelRequest: self._life.succession.proposals.exchange.on_request,
            Parcel: self._life.succession.proposals.exchange.on_parcel,
        }

    def on_message(self, sender: PeerId, rank: int | None, message: LedgerMessage) -> None:
        """Take a message of a member; `rank` is None for one of another epoch."""
        is_of_note: bool | None = None
        from_all = self._from_all.get(type(message))
        if from_all is not None:
            is_of_note = from_all(sender, rank, message)
        elif type(message) not in self._from_members:
            raise RemoteProtocolError("unexpected_message")
        elif rank is not None:  # Who was a member has no say in this epoch.
            is_of_note = self._from_members[type(message)](rank, message)
        if is_of_note is not False:
            self.go_on()

    def go_on(self) -> None:
        """Do what messages have made possible."""
        self._life.progress()
        if self._lists_ahead:
            self._take_lists_ahead()

    # --- the way to a higher head -----------------------------------------------------------

    def _on_certificate(self, sender: PeerId, _rank: int | None, message: EntryCertificate) -> None:
        self._parts.heads.on_certificate(sender, message)

    def _on_closing(self, sender: PeerId, _rank: int | None, message: Closing) -> None:
        self._life.succession.on_closing(message)
        # Whoever shows it gives its model, also if we know the end, and others gave that in vain.
        self._parts.heads.on_certificate(sender, message.certificate)

    def _on_request(self, sender: PeerId, _rank: int | None, message: CertificateRequest) -> None:
        heads = self._parts.heads
        if not self._certificates.may_answer(self._seat.now_s, sender):
            return
        if message.head.place > self._parts.history.head.head.place:
            heads.ask_way(sender)  # It is ahead, and may be the only one that we can reach.
        else:
            heads.on_request(sender, message)

    def _on_final(self, _rank: int, message: Finality) -> None:
        if self._parts.heads.on_final(message):
            # Whoever signed this head and advertised another one has lied.
            adverts = self._parts.adverts.of_round(message.head.round + 1)
            for evidence in evidence_of_heads(self._seat.epoch, message, adverts):
                self._life.accuse(evidence)

    def _on_parcels_held(self, sender: PeerId, rank: int | None, message: ParcelsHeld) -> None:
        """Ask for charters that we lack, or show the way to whoever still talks of an older one.

        Once its charter has lapsed it says nothing else, and hears of no other if it is out of it.
        """
        if message.epoch < self._seat.epoch.number or rank is None:
            self._parts.heads.show(sender, Head(message.epoch, 0, NONE))
        else:
            self._life.succession.proposals.exchange.on_held(rank, message)

    # --- starts -----------------------------------------------------------------------------

    def _on_held_request(self, sender: PeerId, rank: int | None, message: HeldRequest) -> None:
        """Tell a member that starts what we hold of its own, in our epoch."""
        seat, parts = self._seat, self._parts
        if not self._starts.may_answer(seat.now_s, sender):
            return
        if message.epoch > seat.epoch.number:
            self._parts.heads.ask_way(sender)
            return
        if message.epoch == seat.epoch.number and rank is not None:
            own = parts.adverts.latest(rank), parts.signing.latest(rank)
            seat.send(rank, HeldOfAsker(seat.epoch.number, *own))
        # It trains from our head at once, in place of from what it had.
        parts.heads.show(sender, message.head)

    def _on_held(self, rank: int, message: HeldOfAsker) -> None:
        self._life.on_held(rank, message)

    # --- rounds -----------------------------------------------------------------------------

    def _on_advert(self, sender: PeerId, rank: int | None, advert: GroupAdvert) -> bool:
        epoch, heads, is_of_note = self._seat.epoch, self._parts.heads, True
        if advert.epoch > epoch.number:
            self._parts.heads.ask_way(sender)
            return True
        if advert.epoch < epoch.number or rank is None:
            heads.show(sender, advert.head)
            return True
        digest, adverts = advert.digest(epoch), self._parts.adverts
        if not adverts.holds(advert.round, advert.member, digest):
            require_advert(epoch, advert)
            other = adverts.take(advert, digest)
            if other is not None:
                self._life.accuse(evidence_of_adverts(epoch, other, advert))
            is_of_note = self._is_advert_of_note(advert)
        if rank == advert.member:
            if advert.named:
                head = self._parts.history.head.entry
                self._parts.evidence.on_advert(advert, out_of(epoch, head))
            heads.compare(rank, advert)
            self._answer(rank, advert)
        return is_of_note

    def _is_advert_of_note(self, advert: GroupAdvert) -> bool:
        """Whether anything follows from a new advert: of those of a round, few make a difference.

        Those are the one that makes t, those behind it until our head is final, those from which on
        all are here, and with a list or as the leader each. What was passed over is seen at the
        next message, or by the clock.
        """
        adverts, course, epoch = self._parts.adverts, self._parts.course, self._seat.epoch
        gathering, history = course.gathering, self._parts.history
        if gathering is None or advert.round != course.round or not course.has_advertised:
            return True
        count = adverts.count_of(advert.round)
        if count in (epoch.threshold, epoch.least) or adverts.reached(advert.round) != count:
            return True
        is_final = history.final is not None and history.final.head == history.head.head
        if count > epoch.threshold and not is_final:
            return True
        return count + len(self._seat.gone) >= epoch.size or gathering.needs_each

    def _answer(self, rank: int, advert: GroupAdvert) -> None:
        """Help a member on that is active where we are not any more."""
        history, seat = self._parts.history, self._seat
        if self._parts.course.is_active or advert.head != history.head.head:
            return
        answered_s = self._answered_s.get(rank)
        if answered_s is not None and seat.now_s - answered_s < seat.epoch.charter.relay_s / 2:
            return
        if history.final is not None and history.is_final(advert.head):
            self._answered_s[rank] = seat.now_s
            seat.send(rank, history.final)

    def _on_list(self, rank: int, message: GroupList) -> None:
        course = self._parts.course
        if message.epoch != self._seat.epoch.number:
            return
        if course.gathering is not None and message.round == course.gathering.round:
            course.gathering.on_list(rank, message)
        elif message.round > course.round:
            ahead = self._lists_ahead.setdefault(message.round, {})
            count = sum(rank in lists for lists in self._lists_ahead.values())
            if rank not in ahead and count < LISTS_AHEAD_MAX:
                ahead[rank] = message

    def _take_lists_ahead(self) -> None:
        seat, course = self._seat, self._parts.course
        if course.stage is Stage.LEFT:
            return
        for round_ in [key for key in self._lists_ahead if key <= course.round]:
            for rank, message in self._lists_ahead.pop(round_).items():
                gathering = course.gathering
                if gathering is None or message.round != gathering.round:
                    continue
                if message.epoch != seat.epoch.number:
                    continue
                try:
                    gathering.on_list(rank, message)
                except RemoteProtocolError as error:
                    seat.disconnect(seat.epoch.members[rank], error.reason)

    def _on_advert_request(self, rank: int, message: AdvertRequest) -> None:
        gathering = self._parts.course.gathering
        if message.epoch != self._seat.epoch.number or gathering is None:
            return
        if self._seat.epoch.unpack(message.members) is None:
            raise RemoteProtocolError("bad_bitmap")
        if gathering.round == message.round and self._adverts.may_answer(self._seat.now_s, rank):
            gathering.answer(rank, message)

    def _on_progress(self, rank: int, message: Progress) -> bool:
        if message.epoch == self._seat.epoch.number:
            self._parts.patience.on_progress(rank)
        return False  # It can only have us wait longer.

    def _on_entry_signature(self, rank: int, message: EntrySignature) -> bool:
        if message.epoch != self._seat.epoch.number:
            return False  # In another one its sender may have had another rank.
        if message.member != rank:
            raise RemoteProtocolError("not_your_signature")
        is_of_note = self._parts.signing.on_signature(message)
        own = self._parts.standing.signed(message.round)
        if own is not None and own.said.entry != message.entry:
            # One of us has false sums: whoever signed both of a chunk is named by that.
            self._parts.sessions.compare(message.round, rank)
        return is_of_note

    # --- evidence ---------------------------------------------------------------------------

    def _on_evidence_request(self, rank: int, message: EvidenceRequest) -> None:
        if self._proofs.may_answer(self._seat.now_s, rank):
            self._parts.evidence.on_request(rank, message)

    def _on_evidence(self, rank: int, message: Evidence) -> None:
        """Take a proof, unless its sender has shown us one before that proves nothing.

        Who follows the rules checks what it gives. To check an audit proof takes a tenth of a
        second, and liars have as many that hold as they like.
        """
        accuser = (self._seat.epoch.number, rank)
        if accuser in self._false_accusers:
            return
        try:
            is_first = self._parts.evidence.on_evidence(message)
        except RemoteProtocolError as error:
            if error.reason != "no_contradiction":
                raise
            self._false_accusers[accuser] = None
            self._seat.disconnect(self._seat.epoch.members[rank], error.reason)
            return
        if is_first:
            self._life.tell_of(message)
