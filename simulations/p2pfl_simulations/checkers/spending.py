"""How many updates leave a member from one model."""

from typing import Any

from p2pfl_gossip import wire
from p2pfl_gossip.actions import Action, Persist, Send, SendBulk
from p2pfl_gossip.ledger.charter import Charter, read_charter
from p2pfl_gossip.ledger.entries import Entry, EntryStep, Head
from p2pfl_gossip.ledger.history import CLOSING_PREFIX, ENTRY_PREFIX, FOUNDING_RECORD
from p2pfl_gossip.ledger.messages import Closing, EntryCertificate, GroupAdvert
from p2pfl_gossip.ledger.standing import STANDING_RECORD, StandingRecord, read_standing
from p2pfl_gossip.masked_sum.messages import ChunkHeader
from p2pfl_simulations.checkers.base import Checker, Violation, Watched


class SpendsFew(Checker):
    """An honest member gives at most 1 + `retries` updates from one model, over all its lives.

    One more for each time that its operator says so once all are given. Nothing is demanded of what
    an older copy of its journal lacks; nor of private updates, which a budget pays for.

    Attributes:
        most: the most updates that one member has given from one model.
    """

    actions = (Persist, Send, SendBulk)

    def start(self, watched: Watched) -> None:
        """Begin with nothing given."""
        super().start(watched)
        self._charters: dict[int, Charter] = {}
        self._models: dict[Head, bytes] = {}  # By entry, the digest of the model that it leads to.
        self._said: dict[int, GroupAdvert] = {}  # The last advert, by peer.
        # By peer, of the model of its last update: which, sessions, and what its operator added.
        self._given: dict[int, tuple[tuple[int, bytes], dict[bytes, None], int]] = {}
        # By peer: whose operator has just said so; what the journal says was given.
        self._allowed: dict[int, None] = {}
        self._spends: dict[int, tuple[bytes, int]] = {}
        self.most = 0

    def on_input(self, now_s: float, host: int, name: str, arguments: tuple[Any, ...]) -> None:
        """Note what an operator allows, and a life that begins with an older journal."""
        if name == "allow_one_more":
            self._allowed[host] = None
        elif name == "on_start" and host in self._said:
            stored = arguments[0].get(STANDING_RECORD)
            advert = read_standing(stored).advert if isinstance(stored, bytes) else None
            if advert is None or advert.round < self._said[host].round:
                self._given.pop(host, None)

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Note charters, entries and adverts; count what leaves."""
        if not self.watched.is_group or not self.watched.is_honest(host):
            return
        if isinstance(action, Persist):
            for key, value in action.records.items():
                if key == STANDING_RECORD and isinstance(value, bytes):
                    self._count(host, read_standing(value))
                elif isinstance(value, bytes):
                    self._keep(key, value)
        elif isinstance(action, Send):
            said = action.message
            if isinstance(said, GroupAdvert) and self.watched.is_own(host, said.epoch, said.member):
                self._said[host] = said
        elif isinstance(action, SendBulk) and isinstance(action.header, ChunkHeader):
            last, header = self._said.get(host), action.header
            if last is not None and header.member == last.member:
                self._give(host, last, header.session)

    def _count(self, host: int, record: StandingRecord) -> None:
        """Note that one update more may be given, where an operator said so, with an effect."""
        spends = (record.spent_from, record.spends)
        before, self._spends[host] = self._spends.get(host, (b"", 0)), spends
        if host in self._allowed and spends[0] == before[0] and spends[1] < before[1]:
            del self._allowed[host]
            model, sessions, more = self._given.get(host, ((0, b""), {}, 0))
            self._given[host] = model, sessions, more + 1

    def _keep(self, key: str, value: bytes) -> None:
        if key == FOUNDING_RECORD:
            self._charters[0] = read_charter(value)
        elif key.startswith(CLOSING_PREFIX):
            closing = wire.decode_untrusted(value)
            assert isinstance(closing, Closing)
            number = int(key.removeprefix(CLOSING_PREFIX), 16) + 1
            self._charters[number] = read_charter(closing.charter)
            self._know(closing.certificate.entry)
        elif key.startswith(ENTRY_PREFIX):
            certificate = wire.decode_untrusted(value)
            assert isinstance(certificate, EntryCertificate)
            self._know(certificate.entry)

    def _know(self, entry: Entry) -> None:
        self._models[EntryStep(entry).head] = entry.state[0].digest

    def _give(self, host: int, said: GroupAdvert, session: bytes) -> None:
        charter = self._charters[said.epoch]
        if charter.privacy is not None:
            return
        begins_anew = said.epoch > said.head.epoch and charter.start is not None
        if begins_anew or not said.head.round:
            digest = charter.state[0].digest
        else:
            digest = self._models[said.head]
        model = (said.epoch, digest)
        if host not in self._given or self._given[host][0] != model:
            self._given[host] = model, {}, 0
        _, sessions, more = self._given[host]
        sessions[session] = None
        self.most = max(self.most, len(sessions))
        if len(sessions) > 1 + charter.retries + more:
            raise Violation(
                f"peer {host} gives {len(sessions)} updates from one model, by its advert of round"
                f" {said.round}; {1 + charter.retries + more} may be given"
            )
