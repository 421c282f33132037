"""What must hold in a group that keeps a ledger: one history, and no honest one says two things."""

from dataclasses import dataclass, field
from typing import Any

from p2pfl_gossip import wire
from p2pfl_gossip.actions import Action, Persist, Report, Send, Vector
from p2pfl_gossip.events import EpochBegun, Finished, Left, RoundEnded
from p2pfl_gossip.ledger.entries import Entry, EntryStep, Head
from p2pfl_gossip.ledger.history import ENTRY_PREFIX
from p2pfl_gossip.ledger.messages import EntryCertificate, EntrySignature, GroupAdvert, Rest
from p2pfl_gossip.ledger.privacy import MOMENTUM
from p2pfl_gossip.ledger.standing import MODEL_PREFIX, STANDING_RECORD, read_standing
from p2pfl_gossip.ledger.states import digest_state
from p2pfl_gossip.masked_sum.cohort import threshold_of
from p2pfl_gossip.records import Message
from p2pfl_simulations.checkers.base import Checker, Stalled, Violation, Watched, fingerprint


@dataclass(frozen=True, slots=True)
class _Advertised:
    """An advert.

    Attributes:
        frame: the bytes.
        head: the place of the highest head that it and those before it name.
    """

    frame: bytes
    head: tuple[int, int]


@dataclass(slots=True)
class _Said:
    """What one member has said, over all its lives.

    Attributes:
        adverts: by (epoch, round), in the order in which they were said.
        signed: by (epoch, round), the entry that it signed.
        lacking: what it said in earlier lives that the journal of this one lacks.
    """

    adverts: dict[tuple[int, int], _Advertised] = field(default_factory=dict)
    signed: dict[tuple[int, int], bytes] = field(default_factory=dict)
    lacking: dict[tuple[int, int, type], None] = field(default_factory=dict)

    @property
    def last(self) -> tuple[int, int]:
        """Epoch and round of the latest advert."""
        return next(reversed(self.adverts), (0, 0))

    @property
    def round(self) -> int:
        """The latest advert's round; 0 before the first."""
        return self.last[1]

    @property
    def head(self) -> tuple[int, int]:
        """The place of the highest head that was named."""
        return self.adverts[self.last].head if self.adverts else (0, 0)


class SaysOnce(Checker):
    """An honest member advertises once a round, and signs one entry a round.

    Its rounds grow, and its heads never fall: over all its lives. Nothing is demanded of what an
    older copy of its journal lacks, and so few others hold that those it asks may have missed it.
    """

    actions = (Send,)

    def start(self, watched: Watched) -> None:
        """Begin with nobody having said anything."""
        super().start(watched)
        self._said = [_Said() for _ in watched.peers]
        self._last: dict[int, Message] = {}
        # Who holds a statement, by rank, epoch, round and kind; and whose journal lacks which.
        self._holders: dict[tuple[int, int, int, type], dict[int, None]] = {}

    def on_input(self, now_s: float, host: int, name: str, arguments: tuple[Any, ...]) -> None:
        """Note who hears what, and what a journal lacks that a member starts with."""
        if name == "on_message":
            message = arguments[1]
            if isinstance(message, GroupAdvert | EntrySignature):
                place = (message.member, message.epoch, message.round, type(message))
                self._holders.setdefault(place, {})[host] = None
        elif name == "on_start":
            stored = arguments[0].get(STANDING_RECORD)
            advert = read_standing(stored).advert if isinstance(stored, bytes) else None
            known, said = 0 if advert is None else advert.round, self._said[host]
            said.lacking = {
                (*place, kind): None
                for kind, places in ((GroupAdvert, said.adverts), (EntrySignature, said.signed))
                for place in places
                if place[1] > known
            }

    def on_crash(self, now_s: float, host: int) -> None:
        """What was heard is forgotten."""
        for holders in self._holders.values():
            holders.pop(host, None)

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Look at a member's own statements."""
        if not isinstance(action, Send) or not self.watched.is_honest(host):
            return
        message = action.message
        if self._last.get(host) is message:
            return  # The same, to the next member.
        self._last[host] = message
        if not isinstance(message, GroupAdvert | EntrySignature):
            return
        if not self.watched.is_own(host, message.epoch, message.member):
            return
        if isinstance(message, GroupAdvert):
            self._advertised(host, message)
        else:
            self._signed(host, message)

    def _is_unknown(self, host: int, place: tuple[int, int], kind: type) -> bool:
        """Whether a member's journal lacks what it said, and those whom it asks may as well.

        That is so once: the next time it is said in this life.
        """
        lacking = self._said[host].lacking
        rank, size = self.watched.rank_of(host, place[0]), len(self.watched.epochs[place[0]])
        holders = self._holders.get((rank, *place, kind), ())
        if (*place, kind) not in lacking or len(holders) > size - threshold_of(size):
            return False
        del lacking[*place, kind]
        return True

    def _advertised(self, host: int, advert: GroupAdvert) -> None:
        said, frame = self._said[host], wire.encode(advert)
        place = (advert.epoch, advert.round)
        known = said.adverts.get(place)
        if known is not None and known.frame == frame:
            return
        while advert.round <= said.round and self._is_unknown(host, said.last, GroupAdvert):
            del said.adverts[said.last]
        known = said.adverts.get(place)
        if known is not None:
            raise Violation(f"peer {host} advertises twice for round {advert.round}")
        if advert.round <= said.round:
            raise Violation(f"peer {host} advertises for round {advert.round} after {said.round}")
        # Who has an older copy of its journal says so, until it has come to what it lacks.
        if advert.head.place < said.head and advert.rest != Rest.START:
            raise Violation(
                f"peer {host} names the head of round {advert.head.round} after that of round"
                f" {said.head[1]}"
            )
        said.adverts[place] = _Advertised(frame, max(said.head, advert.head.place))

    def _signed(self, host: int, message: EntrySignature) -> None:
        place, signed = (message.epoch, message.round), self._said[host].signed
        if signed.setdefault(place, message.entry) == message.entry:
            return
        if not self._is_unknown(host, place, EntrySignature):
            raise Violation(f"peer {host} signs two entries of round {message.round}")
        signed[place] = message.entry


class OneHistory(Checker):
    """The heads of honest members are one history.

    - A round has one certified entry.
    - What is certified above a final entry descends from it. An entry is final once t members
      named it in adverts of the round after it.
    - An entry has one model, and that is the one which its digest names.
    - Whoever finishes does so with the same model as all others.
    """

    actions = (Persist, Report, Send)

    def start(self, watched: Watched) -> None:
        """Begin with the first entry, which no member keeps."""
        super().start(watched)
        self._entries: dict[Head, Entry] = {}
        self._heads: dict[tuple[int, int], tuple[Head, int]] = {}  # By place: and who has it.
        self._head_of: dict[int, Head] = {}
        self._named: dict[Head, dict[int, None]] = {}
        self._final: Head | None = None
        self._models: dict[Head, bytes] = {}
        self._checked: dict[bytes, bytes] = {}
        self._end: tuple[Head, int] | None = None
        self._last: dict[int, Message] = {}

    @property
    def final(self) -> Head | None:
        """The latest final entry; None before the first."""
        return self._final

    def head_of(self, host: int) -> Head | None:
        """Return an honest member's head; None for the first entry."""
        return self._head_of.get(host)

    def on_input(self, now_s: float, host: int, name: str, arguments: tuple[Any, ...]) -> None:
        """A new life goes on from its disk, which may be an older copy."""
        if name != "on_start":
            return
        stored = arguments[0].get(STANDING_RECORD)
        head = read_standing(stored).head if isinstance(stored, bytes) else None
        if head is None:
            self._head_of.pop(host, None)
        else:
            self._head_of[host] = head

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Note what is kept and said."""
        if not self.watched.is_group:
            return
        if isinstance(action, Send):
            message = action.message
            if self._last.get(host) is not message:
                self._last[host] = message
                if isinstance(message, GroupAdvert):
                    self._name(host, message)
        elif not self.watched.is_honest(host):
            return
        elif isinstance(action, Persist):
            self._keep(host, action.records)
        elif isinstance(action, Report):
            if isinstance(action.event, RoundEnded):
                self._look_at_model(host, action.event.vector)
            elif isinstance(action.event, Finished):
                self._finish(host)

    def _keep(self, host: int, records: dict[str, bytes | Vector | None]) -> None:
        for key, value in records.items():
            if key.startswith(ENTRY_PREFIX) and isinstance(value, bytes):
                certificate = wire.decode_untrusted(value)
                assert isinstance(certificate, EntryCertificate)
                self._know(certificate.entry)
            elif key.startswith(MODEL_PREFIX) and value is not None:
                assert not isinstance(value, bytes)
                self._check_digest(host, bytes.fromhex(key.removeprefix(MODEL_PREFIX)), value)
        stored = records.get(STANDING_RECORD)
        if not isinstance(stored, bytes):
            return
        standing = read_standing(stored)
        for signed in standing.signed:
            self._know(signed.entry)
        if standing.head is not None and standing.head != self._head_of.get(host):
            self._raise(host, standing.head)

    def _know(self, entry: Entry) -> None:
        self._entries[EntryStep(entry).head] = entry

    def _raise(self, host: int, head: Head) -> None:
        before = self._head_of.get(host)
        if before is not None and head.place < before.place:
            raise Violation(f"peer {host} goes back from round {before.round} to {head.round}")
        self._head_of[host] = head
        other, who = self._heads.setdefault(head.place, (head, host))
        if other != head:
            raise Violation(
                f"peers {who} and {host} hold two certified entries of round {head.round}"
            )
        if self._final is not None and head.place > self._final.place:
            self._require_descent(head, self._final)

    def _name(self, host: int, advert: GroupAdvert) -> None:
        head = advert.head
        if advert.round != head.round + 1 or advert.epoch != head.epoch or not head.round:
            return
        if not self.watched.is_own(host, advert.epoch, advert.member):
            return
        named = self._named.setdefault(head, {})
        named[host] = None
        needed = threshold_of(len(self.watched.epochs[advert.epoch]))
        if len(named) < needed or self._final == head:
            return
        before = self._final
        if before is not None and before.place >= head.place:
            if head != before:
                self._require_descent(before, head)
            return
        if before is not None:
            self._require_descent(head, before)
        self._final = head
        for place, (other, _) in self._heads.items():
            if place > head.place:
                self._require_descent(other, head)

    def _require_descent(self, later: Head, earlier: Head) -> None:
        """Raise Violation where an entry does not descend from one that is final."""
        head = later
        while head.place > earlier.place:
            entry = self._entries.get(head)
            if entry is None:
                return  # Of which no honest member keeps the bytes: nobody has it as its head.
            head = entry.base
        if head != earlier:
            raise Violation(
                f"the entry of round {later.round} does not descend from the final one of round"
                f" {earlier.round}"
            )

    def _check_digest(self, host: int, digest: bytes, model: Vector) -> None:
        print_ = fingerprint(model)
        if self._checked.get(digest) == print_:
            return
        # A private group's momentum is kept beside its model, by the digest of its own name.
        if digest not in [digest_state(it, model).item.digest for it in ("model", MOMENTUM)]:
            raise Violation(f"peer {host} keeps a model under another's digest")
        self._checked[digest] = print_

    def _look_at_model(self, host: int, model: Vector) -> None:
        head = self._head_of.get(host)
        if head is None:
            raise Violation(f"peer {host} ends a round without a certified entry")
        print_ = fingerprint(model)
        if self._models.setdefault(head, print_) != print_:
            raise Violation(f"two models under the certificate of round {head.round}")
        entry = self._entries.get(head)
        if entry is not None and self._checked.get(entry.state[0].digest, print_) != print_:
            raise Violation(f"peer {host} ends round {head.round} with a model not certified")

    def _finish(self, host: int) -> None:
        head = self._head_of.get(host)
        if head is None:
            raise Violation(f"peer {host} finishes without a certified entry")
        # An empty entry above the last sum may have made it final for some.
        other, _ = self._end = self._end or (head, host)
        earlier, later = sorted((head, other))
        self._require_descent(later, earlier)


class Certifies(Checker):
    """Once nothing goes wrong any more, a model is certified within a bounded number of rounds.

    Args:
        rounds_max: that may pass without one.
    """

    actions = (Persist, Report, Send)

    def __init__(self, rounds_max: int) -> None:
        self._rounds_max = rounds_max
        self._is_calm = False

    def start(self, watched: Watched) -> None:
        """Begin at round 0."""
        super().start(watched)
        self._round = self._certified = 0
        self._finished: dict[int, None] = {}

    def begin(self) -> None:
        """Count from here on: faults have ended."""
        self._is_calm, self._certified = True, self._round

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Compare the rounds that members try with those that are certified."""
        if not self.watched.is_honest(host):
            return
        if isinstance(action, Send):
            message = action.message
            if isinstance(message, GroupAdvert) and self.watched.is_own(
                host, message.epoch, message.member
            ):
                self._round = max(self._round, message.round)
                is_over = len(self._finished) == len(self.watched.peers) - len(self.watched.liars)
                if (
                    self._is_calm
                    and not is_over
                    and self._round > self._certified + self._rounds_max
                ):
                    raise Stalled(
                        f"at {now_s:.1f} s nothing is certified after round {self._certified}, and"
                        f" peer {host} tries round {self._round}"
                    )
        elif isinstance(action, Persist):
            stored = action.records.get(STANDING_RECORD)
            if isinstance(stored, bytes):
                head = read_standing(stored).head
                if head is not None:
                    self._certified = max(self._certified, head.round)
        elif isinstance(action, Report):
            if isinstance(action.event, Finished | Left):
                self._finished[host] = None
            elif isinstance(action.event, EpochBegun):
                self._finished.pop(host, None)  # There may be more to do.

    def on_lost(self, now_s: float, host: int) -> None:
        """Nothing more is to come of a peer that is gone."""
        self._finished[host] = None


def ledger_checkers() -> tuple[Checker, ...]:
    """Make those that hold in every run of a group."""
    return (SaysOnce(), OneHistory())


__all__ = ["Certifies", "OneHistory", "SaysOnce", "ledger_checkers"]
