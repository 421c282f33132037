"""Heads: how a member comes to a higher one, and shows others the way.

Only a certificate moves a member. It is checked, its model is had (worked out ourselves, or fetched
by chunks from several members), both are in the journal, and then it is the head. A certificate
whose model nobody gives raises nobody's head; what was fetched of it stays.
"""

from bisect import bisect
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from p2pfl_crypto.identity import PeerId
from p2pfl_gossip.actions import Action, Vector
from p2pfl_gossip.ledger.entries import EntryStep, Head, Kind
from p2pfl_gossip.ledger.fetching import StateFetch
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.messages import (
    CertificateRequest,
    EntryCertificate,
    Finality,
    GroupAdvert,
)
from p2pfl_gossip.ledger.privacy import MOMENTUM, still
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.ledger.shelf import Shelf
from p2pfl_gossip.ledger.standing import Standing
from p2pfl_gossip.ledger.states import StateItem
from p2pfl_gossip.own_state import OwnState


class Raised(Protocol):
    """Is called when our head is a higher one, with its model."""

    def __call__(self, step: EntryStep, vector: Vector, height_before: int) -> None:
        """Go on from it."""


@dataclass
class _Coming:
    """A head whose state is being fetched, item by item.

    Attributes:
        step: the entry.
        certificate: of it.
        item: what is being fetched.
        fetch: of that.
    """

    step: EntryStep
    certificate: EntryCertificate
    item: StateItem
    fetch: StateFetch


class Heads:
    """Certificates, and the models that they fix.

    Args:
        seat: our place.
        standing: what we said.
        history: what we hold; its head is raised here.
        shelf: gives models to others.
        vector: float32[d], the head's model.
        others: what its state has beside the model.
        own: what we keep of our own; it is kept with each model that a sum gave.
        raised: is called with each higher head.

    Attributes:
        vector: float32[d], read-only: the head's model.
        others: float32[d] each, read-only: what its state has beside the model.
    """

    def __init__(
        self,
        seat: Seat,
        standing: Standing,
        history: History,
        shelf: Shelf,
        vector: Vector,
        others: tuple[Vector, ...],
        own: OwnState,
        raised: Raised,
    ) -> None:
        self._seat, self._standing, self._history = seat, standing, history
        self._shelf, self._raised = shelf, raised
        self.vector, self.others, self._own = vector, others, own
        self._coming: _Coming | None = None
        # Items of the state that is coming, by digest: an honest holder gives them one by one.
        self._arrived: dict[bytes, Vector] = {}
        self._later: tuple[EntryStep, EntryCertificate, PeerId | None] | None = None
        self._asked_s: dict[int, float] = {}
        self._shown: dict[PeerId, tuple[Head, float]] = {}

    @property
    def is_coming(self) -> bool:
        """Whether the model of a higher head is on its way: somebody not known to lie gives it."""
        return self._coming is not None and not self._coming.fetch.is_stalled

    def is_withheld(self, head: Head) -> bool:
        """Whether the state of an entry was asked for, and nobody who was asked gives it now."""
        coming = self._coming
        return coming is not None and coming.step.head == head and coming.fetch.is_stalled

    def is_refused(self, head: Head) -> bool:
        """Whether the same, and more members refuse it than may lie: an honest one has it no more.

        Of those that may lie there are as many as a quorum of that entry's epoch does without.
        """
        coming, epoch = self._coming, self._history.epochs[head.epoch]
        if coming is None or not self.is_withheld(head):
            return False
        return coming.fetch.refusal_count > epoch.size - epoch.threshold

    # --- certificates that come -------------------------------------------------------------

    def on_certificate(self, sender: PeerId | None, certificate: EntryCertificate) -> None:
        """Take a certificate: our own making, or shown by a member, who holds its model."""
        history, head = self._history, self._history.head.head
        entry = certificate.entry
        place = (entry.epoch, entry.round)
        coming = self._coming
        if coming is not None and coming.certificate.entry == entry:
            if self._lacked(coming.step) is None:  # We have worked it out since.
                self._go_to(coming.step, certificate, sender)
            elif sender is not None:
                self._seat.actions += coming.fetch.add_holder(self._seat.now_s, sender)
            return
        if place <= head.place:
            self._fill(certificate)
            return
        if place < history.begun.place:
            return  # Its epoch is over, and the state that the present one began with is another.
        if entry.epoch > history.epoch.number:
            return  # It cannot be checked yet, and is shown again once we are in that epoch.
        step = history.check(certificate)
        if coming is not None and place <= coming.step.head.place:
            return
        if self._later is not None and place <= self._later[0].head.place:
            self.settle()
            return
        lacked = self._lacked(step)
        if coming is None or coming.fetch.is_stalled or lacked in (None, coming.item):
            self._later = None
            self._go_to(step, certificate, sender)
        else:  # What is on its way may be here sooner than any later model would be.
            self._later = (step, certificate, sender)

    def _go_to(self, step: EntryStep, certificate: EntryCertificate, sender: PeerId | None) -> None:
        """Raise our head to a certified entry: at once if we have what it leads to, or fetch it.

        What we lacked when the certificate came we may have worked out since.
        """
        lacked, coming = self._lacked(step), self._coming
        if lacked is None:
            self._drop_fetch()
            self._raise(step, certificate)
        elif coming is not None and coming.item == lacked and not coming.fetch.is_stalled:
            # An entry that repeats the state of the one before: what was asked for is still wanted.
            self._coming = _Coming(step, certificate, lacked, coming.fetch)
            if sender is not None:
                self._seat.actions += coming.fetch.add_holder(self._seat.now_s, sender)
        else:
            self._begin_fetch(step, certificate, sender)

    def on_certified(self, certificate: EntryCertificate) -> None:
        """Take a certificate that t signatures, each of which was checked, have made."""
        self.on_certificate(None, certificate)

    def _fill(self, certificate: EntryCertificate) -> None:
        """Take an entry below our head, whose bytes an entry above names."""
        history = self._history
        gap = history.gap()
        step = EntryStep(certificate.entry)
        if gap is None or step.head != gap:
            return
        history.check(certificate)
        self._seat.keep(history.add(step, certificate))
        self.fill_gap()

    def _lacked(self, step: EntryStep) -> StateItem | None:
        """Return the first item of an entry's state that we do not have; None if we have all."""
        return next((item for item in step.entry.state if self._find(item) is None), None)

    def _find(self, item: StateItem) -> Vector | None:
        """Return an item, if we have it: worked out ourselves, our head's, or fetched."""
        own = zip(self._history.head.entry.state, (self.vector, *self.others), strict=True)
        for held, vector in own:
            if held == item:
                return vector
        known = self._standing.models.get(item.digest)
        if known is None:
            known = self._arrived.get(item.digest)
        if known is None and item.name == MOMENTUM and item == still(item.length):
            known = np.zeros(item.length, np.float32)
            known.flags.writeable = False
        return known

    def _raise(self, step: EntryStep, certificate: EntryCertificate) -> None:
        history = self._history
        found = [self._find(item) for item in step.entry.state]
        vector, *others = [vector for vector in found if vector is not None]
        self._arrived.clear()
        kept, height_before = history.add(step, certificate), history.height
        history.head, self.vector, self.others = step, vector, tuple(others)
        is_sum = step.entry.kind == Kind.SUM
        kept_with_it = {**kept, **(self._own.records() if is_sum else {})}
        self._seat.actions.append(self._standing.certify(step, vector, kept_with_it, self.others))
        record = self._standing.record
        entries = [step.entry, *(signed.entry for signed in record.signed)]
        on_shelf = [item.digest for entry in entries for item in entry.state]
        self._shelf.keep_only([*on_shelf, *record.kept])
        self._raised(step, vector, height_before)

    def hold(self, item: StateItem, vector: Vector, chunk_digests: bytes) -> None:
        """Give a model from now on to whoever asks for it by its digest."""
        self._shelf.hold(item, vector, chunk_digests)

    # --- models that are fetched ------------------------------------------------------------

    def begin_epoch(self) -> None:
        """Fetch nothing any more that lies below the entry that the present epoch began with."""
        begun = self._history.begun
        if self._later is not None and self._later[0].head.place < begun.place:
            self._later = None
        if self._coming is not None and self._coming.step.head.place < begun.place:
            self._drop_fetch()

    def _begin_fetch(
        self, step: EntryStep, certificate: EntryCertificate, sender: PeerId | None
    ) -> None:
        seat, epoch = self._seat, self._history.epochs[step.entry.epoch]
        self._drop_fetch()
        own = seat.identity.peer_id
        # Who shows the certificate has its model. Of the signers each asks others first: all that
        # come back at one time must not ask the same few.
        signers = epoch.unpack(certificate.signers) or ()
        first = bisect(signers, seat.rank)
        holders = [epoch.members[rank] for rank in signers[first:] + signers[:first]]
        if sender is not None:
            holders = [sender, *(peer for peer in holders if peer != sender)]
        desk = seat.desk.sub(self._on_answer)
        item = self._lacked(step)
        assert item is not None
        relay_s = seat.epoch.charter.relay_s
        fetch = StateFetch(item, desk=desk, deadline_s=relay_s, asked=seat.asked)
        self._coming = _Coming(step, certificate, item, fetch)
        seat.actions += fetch.start(seat.now_s, [peer for peer in holders if peer != own])
        self.settle()

    def _drop_fetch(self) -> None:
        if self._coming is not None:
            self._seat.actions += self._coming.fetch.close()
            self._coming = None

    @property
    def fetch(self) -> StateFetch | None:
        """What is being fetched; for what arrives for it."""
        return self._coming.fetch if self._coming else None

    @property
    def fetched_digest(self) -> bytes:
        """Names what is being fetched; empty if nothing is."""
        return self._coming.item.digest if self._coming else b""

    def _on_answer(self, now_s: float, actions: list[Action]) -> list[Action]:
        self._seat.begin(now_s)
        self._seat.actions += actions
        self.settle()
        return self._seat.take()

    def settle(self) -> None:
        """Raise our head if its model is whole; go on to a later one if it is not to be had."""
        coming = self._coming
        outcome = None if coming is None else coming.fetch.outcome
        if coming is None or outcome is None:
            if not self.is_coming and self._later is not None:
                later, self._later = self._later, None
                self._go_to(*later)
            return
        step, certificate = coming.step, coming.certificate
        self._drop_fetch()
        self.hold(coming.item, outcome.vector, outcome.chunk_digests)
        self._arrived[coming.item.digest] = outcome.vector
        if self._lacked(step) is not None:
            self._begin_fetch(step, certificate, None)
            return
        following, self._later = self._later, None
        self._raise(step, certificate)
        if following is not None and following[0].head.place > self._history.head.head.place:
            self._go_to(*following)

    def on_peer_down(self, peer: PeerId) -> None:
        """Ask nothing more of a holder that cannot be reached."""
        if self._coming is not None:
            self._seat.actions += self._coming.fetch.on_peer_down(self._seat.now_s, peer)

    # --- asking and showing -----------------------------------------------------------------

    def ask_way(self, *peers: PeerId) -> None:
        """Ask peers for what is above our head; all other members, if none is named."""
        request, seat = CertificateRequest(self._history.head.head), self._seat
        if peers:
            seat.send_to(peers, request)
        else:
            seat.broadcast(request)

    def on_lacking(self, head: Head, signers: tuple[int, ...]) -> None:
        """Ask for the certificate of an entry that t members signed and we did not."""
        for signer in signers:
            if signer != self._seat.rank and self._may_ask(signer):
                self._seat.send(signer, CertificateRequest(self._history.head.head))
                return

    def compare(self, sender: int, advert: GroupAdvert) -> None:
        """Ask a member with a higher head for its certificate, show one with a lower ours."""
        head = self._history.head.head
        if advert.head.place > head.place:
            if self._may_ask(sender):
                self._seat.send(sender, CertificateRequest(head))
        elif advert.head.place < head.place:
            self.show(self._seat.epoch.members[sender], advert.head)

    def _may_ask(self, member: int) -> bool:
        now_s, last_s = self._seat.now_s, self._asked_s.get(member)
        if last_s is not None and now_s - last_s < self._seat.epoch.charter.relay_s:
            return False
        self._asked_s[member] = now_s
        return True

    def show(self, peer: PeerId, head: Head) -> None:
        """Show a member the certificate of our head, with the ends of epochs since its own.

        Who is no member any more sees the ends of its own epochs, and nothing that came later.
        """
        seat, history = self._seat, self._history
        ours = history.head.head
        if head.place >= ours.place and head.epoch >= history.epoch.number:
            return
        shown = self._shown.get(peer)
        relay_s = seat.epoch.charter.relay_s
        if shown is not None and shown[0] == ours and seat.now_s - shown[1] < relay_s:
            return
        self._shown[peer] = (ours, seat.now_s)
        for closing in history.closings(min(head.epoch, history.epoch.number)):
            if self._was_in(peer, closing.certificate.entry.epoch):
                seat.send_to((peer,), closing)
        certificate = history.certificate(ours)
        if not self._was_in(peer, ours.epoch):
            return
        if certificate is not None and ours.place > head.place:
            seat.send_to((peer,), certificate)
            if history.final is not None and history.final.head == ours:
                seat.send_to((peer,), history.final)  # Nobody may say more of it by itself.

    def on_request(self, sender: PeerId, message: CertificateRequest) -> None:
        """Give the certificate of the entry that is asked for, or what is above a head."""
        seat, history = self._seat, self._history
        if message.head.place > history.head.head.place:
            return
        asked = history.certificate(message.head)
        # Whoever has our head may still lack the ends of epochs that came since.
        self.show(sender, message.head)
        if not self._was_in(sender, message.head.epoch):
            return
        if asked is not None:
            seat.send_to((sender,), asked)
        final = history.final
        is_shown = final is not None and self._was_in(sender, final.head.epoch)
        if final is not None and is_shown and history.is_final(message.head):
            seat.send_to((sender,), final)

    def _was_in(self, peer: PeerId, epoch: int) -> bool:
        """Whether a peer is a member now, or was one in an epoch."""
        epochs = self._history.epochs
        return (
            self._seat.epoch.rank_of(peer) is not None
            or epochs[min(epoch, len(epochs) - 1)].rank_of(peer) is not None
        )

    def fill_gap(self) -> None:
        """Ask for the highest entry below our head that we lack, of anybody who is there."""
        gap, seat = self._history.gap(), self._seat
        if gap is None:
            return
        there = [rank for rank in seat.others if rank not in seat.gone]
        if there:
            place = (gap.round + int(seat.now_s)) % len(there)
            seat.send(there[place], CertificateRequest(gap))

    def on_final(self, message: Finality) -> bool:
        """Take a proof that an entry is final, or raise RemoteProtocolError; tell if it is new."""
        kept = self._history.add_final(message)
        self._seat.keep(kept)
        return bool(kept)
