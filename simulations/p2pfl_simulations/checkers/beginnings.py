"""Where epochs of a group begin."""

from p2pfl_gossip import wire
from p2pfl_gossip.actions import Action, Persist, Send
from p2pfl_gossip.ledger.charter import Charter, read_charter
from p2pfl_gossip.ledger.entries import Entry, Kind
from p2pfl_gossip.ledger.history import CLOSING_PREFIX, ENTRY_PREFIX
from p2pfl_gossip.ledger.messages import (
    Closing,
    EntryCertificate,
    EntrySignature,
    GroupAdvert,
    GroupList,
    Progress,
)
from p2pfl_gossip.ledger.standing import STANDING_RECORD, read_standing
from p2pfl_gossip.records import Message
from p2pfl_simulations.checkers.base import Checker, Violation


class BeginsAsSaid(Checker):
    """An epoch begins with the entry that ended the one before, and nobody says anything below it.

    No advert, list or signature of an entry, nor that it works. Where its charter names a state, it
    begins with that state, and heights begin again.
    """

    actions = (Persist, Send)

    def __init__(self) -> None:
        self._charters: dict[int, Charter] = {}
        self._begun: dict[tuple[int, int], tuple[int, int]] = {}  # By host and epoch.
        self._heads: dict[int, tuple[int, int]] = {}  # By host: epoch and round.
        self.checked = 0

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Note the charters of epochs, and look at what honest members keep and say."""
        if not self.watched.is_honest(host):
            return
        if isinstance(action, Send):
            self._check_said(host, action.message)
        elif isinstance(action, Persist):
            self._look_at(host, action)

    def _look_at(self, host: int, action: Persist) -> None:
        for key, value in action.records.items():
            if not isinstance(value, bytes):
                continue
            if key == STANDING_RECORD:
                head = read_standing(value).head
                self._heads[host] = (0, 0) if head is None else head.place
            elif key.startswith(CLOSING_PREFIX):
                closing = wire.decode_untrusted(value)
                assert isinstance(closing, Closing)
                number = int(key.removeprefix(CLOSING_PREFIX), 16) + 1
                self._charters.setdefault(number, read_charter(closing.charter))
                entry = closing.certificate.entry
                self._begun[host, number] = (entry.epoch, entry.round)
            elif key.startswith(ENTRY_PREFIX):
                certificate = wire.decode_untrusted(value)
                assert isinstance(certificate, EntryCertificate)
                self._check(host, certificate.entry)

    def _check_said(self, host: int, said: Message) -> None:
        head = self._heads.get(host, (0, 0))
        match said:
            case GroupAdvert() | EntrySignature():
                if not self.watched.is_own(host, said.epoch, said.member):
                    return  # Passed on.
                head = said.head.place if isinstance(said, GroupAdvert) else head
            case GroupList() | Progress():
                pass  # A list is passed on by those that follow it.
            case _:
                return
        begun = self._begun.get((host, said.epoch))
        if begun is not None and head < begun:
            raise Violation(
                f"peer {host} says {type(said).__name__} in round {said.round} of epoch"
                f" {said.epoch} on a head below its beginning: {head}, not {begun} or above"
            )

    def _check(self, host: int, entry: Entry) -> None:
        charter = self._charters.get(entry.epoch)
        if charter is None or charter.start is None or entry.base.epoch == entry.epoch:
            return
        self.checked += 1
        is_sum = entry.kind == Kind.SUM
        if entry.height != is_sum or not (is_sum or entry.state == charter.state):
            raise Violation(
                f"peer {host} holds an entry of round {entry.round} at height {entry.height} that"
                f" does not begin with the state which the charter of epoch {entry.epoch} names"
            )
