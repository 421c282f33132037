"""A member of a modelled group that hears what all others say at once (board.py)."""

from collections.abc import Callable
from typing import TypeVar

from p2pfl_gossip.actions import Action
from p2pfl_gossip.ledger.certificates import require_advert, require_entry_signature
from p2pfl_gossip.ledger.charter import Epoch
from p2pfl_gossip.ledger.entries import Head
from p2pfl_gossip.ledger.member import GroupMember
from p2pfl_gossip.ledger.messages import EntrySignature, GroupAdvert, Progress
from p2pfl_simulations.board import Said, Wave

Read = TypeVar("Read")


class WholeMember(GroupMember):
    """Does with all messages of a wave what its base does with one after the other.

    Where more may follow from a single one than from their number, it hears them one by one.
    """

    def on_wave(self, now_s: float, wave: Wave) -> list[Action] | None:
        """Hear what peers say, of one kind and round."""
        seat = self._begin(now_s)
        if self._has_left:
            return []
        by_rank = _read(wave, seat.epoch, by_rank_of)
        if by_rank is None:
            return None
        first = next(iter(by_rank.values()))
        match first:
            case Progress():
                for rank in by_rank:
                    if rank != seat.rank:
                        self._started.parts.patience.on_progress(rank)
                is_taken = True
            case GroupAdvert():
                is_taken = self._take_adverts(wave, first)
            case EntrySignature():
                is_taken = self._take_signatures(wave, first)
        if not is_taken:
            return None
        for rank in [rank for rank in seat.gone if rank in by_rank]:
            del seat.gone[rank]
        if not isinstance(first, Progress):
            self._hearing.go_on()
        return seat.take()

    def _take_adverts(self, wave: Wave, first: GroupAdvert) -> bool:
        parts = self._started.parts
        if first.head.place != parts.history.head.head.place or not parts.course.is_active:
            return False
        adverts = _read(wave, parts.seat.epoch, adverts_of)
        return adverts is not None and parts.adverts.take_all(first.round, adverts)

    def _take_signatures(self, wave: Wave, first: EntrySignature) -> bool:
        parts = self._started.parts
        own = parts.standing.signed(first.round)
        if own is not None and own.said.entry != first.entry:
            return False
        signatures = _read(wave, parts.seat.epoch, signatures_of)
        head = Head(first.epoch, first.round, first.entry)
        return signatures is not None and parts.signing.on_signatures(head, signatures)


def _read(wave: Wave, epoch: Epoch, read: Callable[[Wave, Epoch], Read]) -> Read:
    """Read a wave in an epoch, once for all that hear it."""
    key = (read, epoch.digest)
    if key not in wave.known:
        wave.known[key] = read(wave, epoch)
    known: Read = wave.known[key]  # type: ignore[assignment]  # What `read` gave.
    return known


def by_rank_of(wave: Wave, epoch: Epoch) -> dict[int, Said] | None:
    """Return what members say, by rank; None if somebody else speaks, or of another epoch."""
    found: dict[int, Said] = {}
    for peer, message in (wave.said or {}).items():
        rank = epoch.rank_of(peer)
        if rank is None or message.epoch != epoch.number:
            return None
        found[rank] = message
    return found


def adverts_of(wave: Wave, epoch: Epoch) -> dict[int, tuple[bytes, GroupAdvert]] | None:
    """Return adverts and their digests, checked; None if more may follow from one of them."""
    found = {}
    for rank, advert in (_read(wave, epoch, by_rank_of) or {}).items():
        if not isinstance(advert, GroupAdvert) or advert.member != rank or advert.named:
            return None
        require_advert(epoch, advert)
        found[rank] = (advert.digest(epoch), advert)
    return found


def signatures_of(wave: Wave, epoch: Epoch) -> list[EntrySignature] | None:
    """Return signatures of an entry, checked."""
    found = []
    for rank, signature in (_read(wave, epoch, by_rank_of) or {}).items():
        if not isinstance(signature, EntrySignature) or signature.member != rank:
            return None
        require_entry_signature(epoch, signature)
        found.append(signature)
    return found
