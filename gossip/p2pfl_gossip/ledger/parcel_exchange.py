"""How parcels pass from peer to peer: members tell what they hold, and ask for what they lack.

Whatever one member's operator hands in is with all members soon, and what was lost is told again.
Who lacks its own keys' word tells what it holds: that word may have been handed to others while it
was away, and who holds more says so.
Nobody has us check what it likes: a parcel is taken only if we asked its sender for it.
"""

from collections.abc import Sequence
from typing import Protocol

from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.askings import Askings
from p2pfl_gossip.ledger.approvals import RefusedApproval
from p2pfl_gossip.ledger.charter import RefusedCharter, charter_digest
from p2pfl_gossip.ledger.messages import (
    PARCELS_MAX,
    HeldParcel,
    Parcel,
    ParcelRequest,
    ParcelsHeld,
)
from p2pfl_gossip.ledger.parcels import CharterProposal
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.records import MalformedFrame

PARCELS_GIVEN_MAX = 8
"""To one member in one relay time; a parcel may have 200 KiB."""

ASKED_MAX = 16
"""Parcels asked of one member at once; the others follow when it tells again."""

TOLD_EVERY_RELAYS = 10
"""Relay times after which members tell again what they hold, for what was lost."""


class HeldCharters(Protocol):
    """Whose parcels are exchanged."""

    @property
    def present(self) -> CharterProposal:
        """The charter in force."""

    @property
    def open(self) -> list[CharterProposal]:
        """What may follow."""

    @property
    def awaits_word(self) -> bool:
        """Whether our own keys have not signed what holds, as far as we know."""

    def given(self, charter: bytes) -> CharterProposal | None:
        """Return what others may have of a charter, open, in force or over."""

    def lacks(self, held: HeldParcel) -> bool:
        """Whether another member's parcel says what ours does not, and is wanted."""

    def take(self, digest: bytes, parcel: Parcel) -> bool:
        """Take a parcel that was asked for; return whether it is of any use now.

        Raises:
            MalformedFrame, RefusedCharter, RefusedApproval: it is nothing that could follow.
        """


class ParcelExchange:
    """Tells, asks, gives and takes.

    Args:
        seat: our place.
        charters: what we hold.
    """

    def __init__(self, seat: Seat, charters: HeldCharters) -> None:
        self._seat, self._charters = seat, charters
        self._asked: dict[int, list[bytes]] = {}  # By member: what it is to give.
        self._askings = Askings(seat.epoch.charter.relay_s, PARCELS_GIVEN_MAX)
        self._told_at_s: float | None = None

    def clear(self) -> None:
        """Forget what was asked: ranks are others in another epoch."""
        self._asked.clear()

    # --- what peers say ---------------------------------------------------------------------

    def on_held(self, rank: int, message: ParcelsHeld) -> None:
        """Ask a member for what it holds and we lack."""
        if message.epoch != self._seat.epoch.number:
            return
        wanted = [held.charter for held in message.held if self._charters.lacks(held)]
        self._asked[rank] = wanted[:ASKED_MAX]
        for charter in self._asked[rank]:
            self._seat.send(rank, ParcelRequest(charter))

    def on_request(self, rank: int, message: ParcelRequest) -> None:
        """Give a member a parcel that it asks for."""
        own = self._charters.given(message.charter)
        if own is not None and self._askings.may_answer(self._seat.now_s, rank):
            self._seat.send(rank, own.parcel)

    def on_parcel(self, rank: int, parcel: Parcel) -> None:
        """Take a parcel that we asked for, or raise RemoteProtocolError."""
        digest = charter_digest(parcel.charter)
        asked = self._asked.get(rank, [])
        if digest not in asked:
            return  # Not asked for, or the answer comes late.
        try:
            if not self._charters.take(digest, parcel):
                return
        except (MalformedFrame, RefusedCharter):
            raise RemoteProtocolError("bad_charter") from None
        except RefusedApproval:
            raise RemoteProtocolError("bad_approval") from None
        asked.remove(digest)
        own = self._charters.present
        if digest == own.digest and parcel != own.parcel and self._told_at_s is None:
            self._seat.send(rank, self._held())

    # --- what we say ------------------------------------------------------------------------

    def ask(self, charters: Sequence[bytes]) -> None:
        """Ask all for parcels."""
        for rank in self._seat.others:
            asked = self._asked.setdefault(rank, [])
            for charter in charters[:ASKED_MAX]:
                if charter not in asked:
                    asked.append(charter)
                self._seat.send(rank, ParcelRequest(charter))

    def tell_soon(self) -> None:
        """Tell the others before long, with what else changes meanwhile."""
        seat = self._seat
        at_s = seat.now_s + seat.epoch.charter.relay_s / 4
        if self._told_at_s is None or at_s < self._told_at_s:
            self._told_at_s = at_s
            seat.set_timer("parcels", at_s, self._tell)

    def _held(self) -> ParcelsHeld:
        held = [self._charters.present, *self._charters.open][:PARCELS_MAX]
        told = tuple(HeldParcel(proposal.digest, proposal.said) for proposal in held)
        return ParcelsHeld(self._seat.epoch.number, told)

    def _tell(self) -> None:
        """Tell the others what we hold; and again later, as long as something may come of it."""
        seat, self._told_at_s = self._seat, None
        if not seat.is_member:
            return
        seat.broadcast(self._held())
        if self._charters.open or self._charters.awaits_word:
            self._told_at_s = seat.now_s + TOLD_EVERY_RELAYS * seat.epoch.charter.relay_s
            seat.set_timer("parcels", self._told_at_s, self._tell)
