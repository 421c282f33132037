"""Where epochs of a group begin."""

from p2pfl_gossip import wire
from p2pfl_gossip.actions import Action, Persist, Send
from p2pfl_gossip.ledger.charter import Charter, read_charter
from p2pfl_gossip.ledger.entries import Entry, Kind
from p2pfl_gossip.ledger.history import CLOSING_PREFIX, ENTRY_PREFIX
from p2pfl_gossip.ledger.messages import Closing, EntryCertificate, GroupAdvert
from p2pfl_simulations.checkers.base import Checker, Violation


class BeginsAsSaid(Checker):
    """An epoch begins with the entry that ended the one before, and nobody goes on below it.

    Where its charter names a state, it begins with that state, and heights begin again.
    """

    actions = (Persist, Send)

    def __init__(self) -> None:
        self._charters: dict[int, Charter] = {}
        self._begun: dict[tuple[int, int], tuple[int, int]] = {}  # By host and epoch.
        self.checked = 0

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Note the charters of epochs, and look at what honest members keep and advertise."""
        if not self.watched.is_honest(host):
            return
        if isinstance(action, Send) and isinstance(action.message, GroupAdvert):
            self._check_advert(host, action.message)
        elif isinstance(action, Persist):
            self._look_at(host, action)

    def _look_at(self, host: int, action: Persist) -> None:
        for key, value in action.records.items():
            if not isinstance(value, bytes):
                continue
            if key.startswith(CLOSING_PREFIX):
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

    def _check_advert(self, host: int, advert: GroupAdvert) -> None:
        if not self.watched.is_own(host, advert.epoch, advert.member):
            return
        begun = self._begun.get((host, advert.epoch))
        if begun is not None and advert.head.place < begun:
            raise Violation(
                f"peer {host} advertises round {advert.round} of epoch {advert.epoch} on a head"
                f" below its beginning: {advert.head.place}, not {begun} or above"
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
