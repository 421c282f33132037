"""Where epochs of a group begin whose charters go back, or name another model."""

from p2pfl_gossip import wire
from p2pfl_gossip.actions import Action, Persist
from p2pfl_gossip.ledger.charter import Charter, read_charter
from p2pfl_gossip.ledger.entries import Entry, Kind
from p2pfl_gossip.ledger.history import CLOSING_PREFIX, ENTRY_PREFIX
from p2pfl_gossip.ledger.messages import Closing, EntryCertificate
from p2pfl_simulations.checkers.base import Checker, Violation


class BeginsAsSaid(Checker):
    """An epoch whose charter names a state begins with that state, and heights begin again."""

    actions = (Persist,)

    def __init__(self) -> None:
        self._charters: dict[int, Charter] = {}
        self.checked = 0

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Note the charters of epochs, and look at the entries that honest members keep."""
        if not isinstance(action, Persist) or not self.watched.is_honest(host):
            return
        for key, value in action.records.items():
            if not isinstance(value, bytes):
                continue
            if key.startswith(CLOSING_PREFIX):
                closing = wire.decode_untrusted(value)
                assert isinstance(closing, Closing)
                number = int(key.removeprefix(CLOSING_PREFIX), 16) + 1
                self._charters.setdefault(number, read_charter(closing.charter))
            elif key.startswith(ENTRY_PREFIX):
                certificate = wire.decode_untrusted(value)
                assert isinstance(certificate, EntryCertificate)
                self._check(host, certificate.entry)

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
