"""From one epoch to the next: charters that were approved, and the proof that opens an epoch.

An epoch ends where an entry that carries the next charter is final: t members named it as their
head in adverts of the round after it. The next one begins for whoever holds that proof and has that
entry, or one that descends from it, as its head. Who lacks the entry's model goes through by the
proof alone if it is no member of that epoch, or if nobody gives that model any more: members keep
the last few ends' only, and a charter may be the hundredth. It says nothing in an epoch until its
head is where that began, or above (`History.is_abreast`). Whom a charter puts out goes on asking
for that model until more members refuse it than may lie.
"""

from collections.abc import Callable

from p2pfl_gossip.ledger.certificates import gather
from p2pfl_gossip.ledger.charter import NONE, Epoch, encode_charter
from p2pfl_gossip.ledger.entries import EntryStep, Head
from p2pfl_gossip.ledger.gathering import finality_of
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.messages import Closing, Finality, GroupAdvert
from p2pfl_gossip.ledger.proposals import Proposals
from p2pfl_gossip.ledger.seat import Seat


class Succession:
    """What follows the present epoch.

    Attributes:
        proposals: charters that may follow.
    """

    def __init__(self, seat: Seat, history: History) -> None:
        self._seat, self._history = seat, history
        self._shown: Closing | None = None
        self._following: Epoch | None = None  # What that opens.
        self.proposals = Proposals(seat, history)

    def on_closing(self, closing: Closing) -> bool:
        """Take the end of the present epoch; return whether it is new to us.

        That of a later epoch comes again: who shows us the way shows all of it, and may be ahead of
        the model that we are fetching.

        Raises:
            RemoteProtocolError: it is none.
        """
        number = closing.certificate.entry.epoch
        if number != self._seat.epoch.number or self._shown is not None:
            return False
        self._following = self._history.check_closing(closing)
        self._shown = closing
        return True

    def note_final(self, adverts: dict[int, GroupAdvert]) -> None:
        """Take the proof that our head is final from the adverts of the round after it."""
        head, epoch, final = self._history.head.head, self._seat.epoch, self._history.final
        if head.epoch != epoch.number or (final is not None and final.head == head):
            return
        signatures = finality_of(epoch, head, adverts)
        if signatures is not None:
            proof = Finality(head, *gather(epoch, signatures))
            self._seat.keep(self._history.add_final(proof))

    def next(
        self, is_withheld: Callable[[Head], bool], is_refused: Callable[[Head], bool]
    ) -> Closing | None:
        """Return the proof that opens the next epoch, if we hold it and may go through.

        Args:
            is_withheld: says whether nobody gives the state of an entry.
            is_refused: says whether more members refuse it than may lie, too.
        """
        closing = self._shown or self._own()
        if closing is None:
            return None
        head = EntryStep(closing.certificate.entry).head
        if self._history.descends(self._history.head.head, head):
            return closing
        if not self._seat.is_member:
            return closing
        # Whom it puts out has a claim to the model that it ends with. That it is out, the proof
        # says alone: refusals only have it ask for that model no more.
        following = self._following
        keeps_us = (
            following is not None and following.rank_of(self._seat.identity.peer_id) is not None
        )
        is_gone = is_withheld if keeps_us else is_refused
        return closing if is_gone(head) else None

    def begin(self, closing: Closing) -> None:
        """Begin the epoch that a proof opens, and take our place in it."""
        self._shown = self._following = None
        self._seat.keep(self._history.close_epoch(closing))
        self._seat.enter(self._history.epoch)
        self.proposals.begin_epoch()

    def _own(self) -> Closing | None:
        """Make the proof of a charter that we hold ourselves, and of a final entry of ours."""
        history, final = self._history, self._history.final
        if final is None or final.head.epoch != self._seat.epoch.number:
            return None
        step, certificate = history.step(final.head), history.certificate(final.head)
        if step is None or certificate is None or step.entry.next_charter == NONE:
            return None
        proposal = self.proposals.approved(step.entry.next_charter)
        if proposal is None:
            return None
        return Closing(
            certificate,
            encode_charter(proposal.charter),
            proposal.approvals,
            final.head.round + 1,
            final.signers,
            final.signatures,
        )
