"""Entry signatures: ours, once a round, and those of others, until t make a certificate."""

from collections.abc import Callable, Collection

from p2pfl_gossip.actions import Vector
from p2pfl_gossip.ledger.certificates import gather, require_entry_signature
from p2pfl_gossip.ledger.entries import EntryStep, Head
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.messages import EntryCertificate, EntrySignature, entry_statement
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.ledger.standing import SignedEntry, Standing

ROUNDS_KEPT = 4
"""Of one member's signatures: as of its adverts."""

REPEATED_ROUNDS = 2
"""Rounds after its own in which a signature is said again, if it is not certified."""


class Signing:
    """Signatures of the entries that are not certified yet.

    Args:
        seat: our place.
        standing: notes what we sign.
        history: what is certified.
        certified: is called with a certificate of an entry that we signed.
        lacking: is called with the name of an entry that t members signed and we did not.
        contradicted: is called with two signatures of one member in one round.
    """

    def __init__(
        self,
        seat: Seat,
        standing: Standing,
        history: History,
        *,
        certified: Callable[[EntryCertificate], None],
        lacking: Callable[[Head, tuple[int, ...]], None],
        contradicted: Callable[[EntrySignature, EntrySignature], None],
    ) -> None:
        self._seat, self._standing, self._history = seat, standing, history
        self._certified, self._lacking, self._contradicted = certified, lacking, contradicted
        self._said: dict[int, dict[int, EntrySignature]] = {}  # By member, then by round.
        self._by_entry: dict[Head, dict[int, bytes]] = {}  # The same, by entry and member.

    def clear(self) -> None:
        """Forget all: another epoch has begun."""
        self._said.clear()
        self._by_entry.clear()

    def sign(self, step: EntryStep, *vectors: Vector) -> None:
        """Sign an entry that we have worked out, if we may, and say so to all."""
        seat, entry = self._seat, step.entry
        if not self._standing.may_sign(entry.round):
            return
        statement = entry_statement(seat.epoch, entry.round, step.head.entry)
        signature = seat.sign(b"entry", statement)
        said = EntrySignature(entry.epoch, entry.round, seat.rank, step.head.entry, signature)
        seat.actions.append(self._standing.sign(SignedEntry(entry, said), *vectors))
        self._keep(said)
        seat.broadcast(said)
        self._count(said)

    def on_signature(self, message: EntrySignature) -> bool:
        """Take a member's own signature, or raise RemoteProtocolError.

        Returns:
            Whether anything follows from it.
        """
        of_member = self._said.get(message.member, {})
        known = of_member.get(message.round)
        if known is not None and known.entry == message.entry:
            return False
        require_entry_signature(self._seat.epoch, message)
        if known is not None:
            self._contradicted(known, message)
            return True
        self._keep(message)
        return self._count(message)

    def on_signatures(self, head: Head, messages: Collection[EntrySignature]) -> bool:
        """Take members' own signatures of an entry, each of which was checked.

        Return False, and take none, if one contradicts an earlier one.
        """
        signatures, new = self._by_entry.setdefault(head, {}), []
        for message in messages:
            if message.member in signatures:
                continue
            if head.round in self._said.get(message.member, ()):
                return False
            new.append(message)
        for message in new:
            self._keep(message)
        if new:
            self._count(new[-1])
        return True

    def _keep(self, message: EntrySignature) -> None:
        of_member = self._said.setdefault(message.member, {})
        of_member[message.round] = message
        head = _entry_of(message)
        self._by_entry.setdefault(head, {})[message.member] = message.signature
        if len(of_member) > ROUNDS_KEPT:
            forgotten = of_member.pop(min(of_member))
            signatures = self._by_entry[_entry_of(forgotten)]
            del signatures[message.member]
            if not signatures:
                del self._by_entry[_entry_of(forgotten)]

    def _count(self, message: EntrySignature) -> bool:
        head = _entry_of(message)
        if head.place <= self._history.head.head.place:
            return False
        signatures = self._of(head)
        if len(signatures) < self._seat.epoch.threshold:
            return False
        own = self._standing.signed(head.round)
        if own is not None and own.said.entry == head.entry:
            self._certified(EntryCertificate(own.entry, *gather(self._seat.epoch, signatures)))
        else:
            self._lacking(head, tuple(sorted(signatures)))
        return True

    def _of(self, head: Head) -> dict[int, bytes]:
        return self._by_entry.get(head, {})

    def signers(self, head: Head) -> tuple[int, ...]:
        """Return who signed an entry, as far as we heard, ascending."""
        return tuple(sorted(self._of(head)))

    def latest(self, member: int) -> EntrySignature | None:
        """Return a member's signature of its latest round that we hold."""
        of_member = self._said.get(member)
        return of_member[max(of_member)] if of_member else None

    def repeat(self, round_: int) -> None:
        """Say our signatures again, of the rounds just before one, that are not certified."""
        for signed in self._standing.record.signed:
            entry = signed.entry
            head = Head(entry.epoch, entry.round, signed.said.entry)
            is_lately = round_ - REPEATED_ROUNDS <= entry.round <= round_
            if is_lately and self._history.certificate(head) is None:
                self._seat.broadcast(signed.said)


def _entry_of(message: EntrySignature) -> Head:
    """Name the entry that a signature is of."""
    return Head(message.epoch, message.round, message.entry)
