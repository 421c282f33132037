"""The list of a round: whose updates are to be summed, from which model.

The leader of a turn closes it. It waits for those that say that they work, up to its patience with
each; the others give it the charter's patience. Who made a round void by its silence it leaves out
for a while (backoff.py). A member follows one list a round, ever, the first
whose turn has come, whose adverts it holds and which is in order. Whom it cannot reach, and who has
said nothing, leads nothing.
"""

from collections.abc import Callable

from p2pfl_crypto.transcripts import tau1_of
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.ledger.adverts import Adverts, by_head, charter_named, ready
from p2pfl_gossip.ledger.backoff import SilenceBackoff
from p2pfl_gossip.ledger.certificates import require_list
from p2pfl_gossip.ledger.charter import NONE, Epoch
from p2pfl_gossip.ledger.entries import EntryStep, Head, Kind, out_of
from p2pfl_gossip.ledger.exclusion import without_named
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.messages import (
    AdvertRequest,
    GroupAdvert,
    GroupList,
    Rest,
    list_statement,
)
from p2pfl_gossip.ledger.patience import MemberPatience
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.records import Record

SILENT_SHARE = 0.75
"""Of a relay time: how long a leader that has said nothing is waited for. It is past the time at
which what was lost is asked for again, so that all think alike by then."""


class Listed(Record, frozen=True):
    """A list that was adopted.

    Attributes:
        message: as its leader said it.
        base: the entry that all its adverts name as their head.
        adverts: by rank, ascending: U1.
        next_charter: what its entry says of that.
        tau1: names the list in the session that sums it.
    """

    message: GroupList
    base: EntryStep
    adverts: dict[int, GroupAdvert]
    next_charter: bytes
    tau1: bytes


class Gathering:
    """Adverts and lists of one round.

    Args:
        seat: our place.
        round_: the round.
        session: name of the round's session.
        adverts: of all rounds.
        history: what we hold.
        patience: with each member.
        backoff: from members that were silent.
        adopted: is called with the list that we follow.

    Attributes:
        listed: the list that we follow; None before.
        began_s: when t members were there; None before.
        out: who was proven to lie, or left, as our head has it.
    """

    def __init__(
        self,
        seat: Seat,
        round_: int,
        session: bytes,
        adverts: Adverts,
        history: History,
        patience: MemberPatience,
        backoff: SilenceBackoff,
        adopted: Callable[[Listed], None],
    ) -> None:
        self._seat, self._round, self._session = seat, round_, session
        self._adverts, self._history, self._patience = adverts, history, patience
        self._backoff, self._adopted = backoff, adopted
        self.follow_head()
        self._turns_max = min(seat.epoch.liars_max + 1, len(self._leaders))
        self._turn = 0
        self._turn_began_s = 0.0
        self._lists: dict[int, GroupList] = {}
        self._asked: dict[int, None] = {}
        self.listed: Listed | None = None
        self.began_s: float | None = None

    @property
    def round(self) -> int:
        """The round."""
        return self._round

    @property
    def leaders(self) -> tuple[int, ...]:
        """Ranks, in the order in which they lead."""
        return self._leaders

    @property
    def needs_each(self) -> bool:
        """Whether any advert may be the one that we wait for: as leader, and to follow a list."""
        if self.listed is not None:
            return False
        return bool(self._lists) or self._leader(self._turn) == self._seat.rank

    @property
    def gather_s(self) -> float:
        """How long a turn is."""
        charter = self._seat.epoch.charter
        return charter.patience_s + charter.relay_s

    @property
    def time_s(self) -> float:
        """How long the list may take, from the t-th advert on."""
        return self.gather_s + (self._turns_max - 1) * self._seat.epoch.charter.relay_s * 2

    def _leader(self, turn: int) -> int:
        return self._leaders[turn]

    # --- inputs -----------------------------------------------------------------------------

    def follow_head(self) -> None:
        """Let those lead that our head lets: who is out in it leads nothing."""
        self.out = out_of(self._seat.epoch, self._history.head.entry)
        self._leaders = self._seat.epoch.leaders(self._round, self.out)

    def look(self) -> None:
        """Do whatever adverts, links or time have made possible."""
        if self.listed is not None:
            return
        seat, relay_s = self._seat, self._seat.epoch.charter.relay_s
        if self.began_s is None:
            if self._adverts.reached(self._round) < seat.epoch.threshold:
                return
            self.began_s = self._turn_began_s = seat.now_s
            # One's own clock looks again; nothing else may happen for long.
            seat.set_timer("turn", seat.now_s + SILENT_SHARE * relay_s, self._on_turn)
        self._pass_over()
        if self._leader(self._turn) == seat.rank and self._turn not in self._lists:
            self._lead()
        self._adopt()

    def _on_turn(self) -> None:
        if self.listed is not None or self.began_s is None:
            return
        seat, charter = self._seat, self._seat.epoch.charter
        self.repair()
        if self._turn + 1 < self._turns_max and seat.now_s >= self._turn_ends_s():
            self._next_turn()
        self.look()
        if self.listed is None:
            step_s = min(charter.progress_s, charter.relay_s / 2)
            seat.set_timer("turn", seat.now_s + step_s, self._on_turn)

    def _turn_ends_s(self) -> float:
        relay_s = self._seat.epoch.charter.relay_s
        # Whoever leads first waits for those that work. Later leaders have had that time.
        return self._turn_began_s + (self.gather_s + relay_s if self._turn == 0 else 2 * relay_s)

    def _next_turn(self) -> None:
        self._turn += 1
        self._turn_began_s = self._seat.now_s

    def _pass_over(self) -> None:
        """Let nobody lead that cannot be reached, nor who has said nothing for a while."""
        seat = self._seat
        assert self.began_s is not None
        wait_s = SILENT_SHARE * seat.epoch.charter.relay_s
        while self._turn + 1 < self._turns_max:
            leader = self._leader(self._turn)
            is_there = (
                leader == seat.rank
                or self._adverts.round_of(leader) >= self._round
                or self._patience.works(leader)
            )
            if is_there or not (leader in seat.gone or seat.now_s >= self._turn_began_s + wait_s):
                return
            self._turn += 1  # The time of the turn goes on: nobody has had any of it.

    # --- leading ----------------------------------------------------------------------------

    def _lead(self) -> None:
        """Close the list, unless somebody is to be waited for."""
        seat, began_s = self._seat, self.began_s
        assert began_s is not None
        if not self._history.is_abreast:
            return  # Who lacks the epoch's beginning says nothing in it.
        if any(self._is_awaited(member, began_s) for member in seat.others):
            return
        is_ready = self._adverts.round_of(seat.rank) >= self._round
        if not is_ready and seat.now_s - began_s < self.gather_s:
            return  # Others wait as long for a leader that works: it leaves nobody out, nor itself.
        chosen = self._choose()
        if chosen is None:
            return
        message = self._sign(*chosen)
        for member in seat.others:
            is_waited_for = not self._backoff.leaves_out(member, self._round)
            if member not in chosen[1] and is_waited_for and self._patience.works(member):
                self._patience.in_vain(member)
        seat.broadcast(message)
        self._lists[self._turn] = message

    def _is_awaited(self, member: int, began_s: float) -> bool:
        seat, relay_s = self._seat, self._seat.epoch.charter.relay_s
        if self._adverts.round_of(member) >= self._round or member not in self._leaders:
            return False
        if member in seat.gone or self._backoff.leaves_out(member, self._round):
            return False
        waited_s = seat.now_s - began_s
        if self._patience.works(member):
            return waited_s < relay_s + self._patience.of(member)
        return waited_s < relay_s

    def can_list(self) -> bool:
        """Whether a list can be made of the adverts that are here, by us or by who knows more."""
        found = by_head(self._adverts.of_round(self._round))
        return self._choose() is not None or any(
            self._history.step(head) is None and len(adverts) >= self._seat.epoch.threshold
            for head, adverts in found.items()
        )

    def _choose(self) -> tuple[Kind, dict[int, GroupAdvert]] | None:
        """Choose the best list that can be made of what we hold; None if none can."""
        epoch = self._seat.epoch
        found = by_head(self._adverts.of_round(self._round))
        for head in sorted(found, key=lambda head: head.place, reverse=True):
            base = self._history.step(head)
            if base is None:
                continue
            out = out_of(epoch, base.entry)
            named = {
                rank: advert
                for rank, advert in found[head].items()
                if rank not in out and advert.rest != Rest.START
            }
            named = without_named(epoch, base.entry, named)
            giving = {
                rank: advert
                for rank, advert in ready(named).items()
                if self._counts_its_spends(advert)
            }
            giving = self._backoff.choose(self._round, giving, epoch.least)
            for kind, chosen in ((Kind.SUM, giving), (Kind.EMPTY, named)):
                if self._may_be(kind, base, chosen):
                    return kind, chosen
        return None

    def _sign(self, kind: Kind, chosen: dict[int, GroupAdvert]) -> GroupList:
        seat, epoch = self._seat, self._seat.epoch
        unsigned = GroupList(
            epoch=epoch.number,
            round=self._round,
            turn=self._turn,
            kind=kind,
            members=epoch.pack(tuple(chosen)),
            digests=b"".join(advert.digest(epoch) for advert in chosen.values()),
            signature=bytes(64),
        )
        return unsigned.signed(seat.sign(b"list", list_statement(epoch, unsigned)))

    def _counts_its_spends(self, advert: GroupAdvert) -> bool:
        """Whether a member knows of all that certified sums hold of it.

        Else it is a copy, or goes on from an older budget: it would spend without end.
        """
        return advert.spends >= self._history.given(advert.member, self._round)

    def _may_be(self, kind: int, base: EntryStep, chosen: dict[int, GroupAdvert]) -> bool:
        """Whether a list of these adverts may be of this kind; the same for all that hold it.

        One for a sum takes as many as noise is counted on of, where sums are private.
        """
        epoch, entry = self._seat.epoch, base.entry
        # What an earlier epoch ended with is done: in this one it carries nothing.
        carried = entry.next_charter if entry.epoch == epoch.number else NONE
        if len(chosen) < (epoch.least if kind == Kind.SUM else epoch.threshold):
            return False
        if any(advert.rest == Rest.START for advert in chosen.values()):
            return False  # Its head may be lower than one that it named before.
        if kind == Kind.SUM:
            rests = any(
                advert.rest != Rest.NONE or not self._counts_its_spends(advert)
                for advert in chosen.values()
            )
            return carried == NONE and not rests
        if carried != NONE or charter_named(chosen, epoch.liars_max + 1) != NONE:
            return True
        if len(ready(chosen)) >= epoch.least:
            return False
        # To make final what is not. In the round after it, the list itself would be the proof.
        return self._round > entry.round + 1 and not self._history.is_final(base.head)

    # --- following --------------------------------------------------------------------------

    def on_list(self, sender: int, message: GroupList) -> None:
        """Keep the list of the leader of a turn, or raise RemoteProtocolError."""
        if message.turn >= self._turns_max:
            raise RemoteProtocolError("no_such_turn")
        known = self._lists.get(message.turn)
        if known == message:
            if self.listed is None and sender != self._leader(message.turn):
                self._ask(message, sender)  # It follows the list, so it has the adverts.
            return
        try:
            require_list(self._seat.epoch, self._leader(message.turn), message)
        except RemoteProtocolError:
            if self._is_led_by_another(message):
                return
            raise
        if known is not None:
            return
        self._lists[message.turn] = message
        self.look()
        if self.listed is None:
            self._ask(message, sender)

    def _is_led_by_another(self, message: GroupList) -> bool:
        """Whether who signed a list may lead by another head than ours, in which others are out.

        We do not follow it: nor is it a fault of whoever brings it.
        """
        epoch = self._seat.epoch
        for leader in epoch.leaders(self._round)[message.turn :][: epoch.liars_max + 1]:
            try:
                require_list(epoch, leader, message)
            except RemoteProtocolError:
                continue
            return True
        return False

    def _adopt(self) -> None:
        for turn in sorted(self._lists):
            if self.listed is not None or turn > self._turn:
                return
            listed = self._take(self._lists[turn])
            if listed is not None:
                self.listed = listed
                self._seat.cancel_timer("turn")
                self._adopted(listed)

    def _take(self, message: GroupList) -> Listed | None:
        """Return a list with its adverts, or None if one is missing, or it is not in order."""
        epoch = self._seat.epoch
        adverts: dict[int, GroupAdvert] = {}
        digests = []
        for place, rank in enumerate(epoch.unpack(message.members) or ()):
            digests.append(message.digests[32 * place : 32 * place + 32])
            advert = self._adverts.version(self._round, rank, digests[-1])
            if advert is None:
                return None
            adverts[rank] = advert
        heads = by_head(adverts)
        if len(heads) != 1:
            return None
        base = self._history.step(next(iter(heads)))
        if base is None or not self._may_be(message.kind, base, adverts):
            return None
        if not out_of(epoch, base.entry).isdisjoint(adverts):
            return None
        if len(without_named(epoch, base.entry, adverts)) < len(adverts):
            return None
        return Listed(
            message=message,
            base=base,
            adverts=adverts,
            next_charter=next_charter_of(epoch, base, adverts),
            tau1=tau1_of(self._session, message.members, digests),
        )

    # --- what was lost ----------------------------------------------------------------------

    def repair(self) -> None:
        """Ask the leaders' lists' holders for the adverts that we lack."""
        for message in self._lists.values():
            self._ask(message, self._leader(message.turn))

    def _ask(self, message: GroupList, holder: int) -> None:
        """Ask for the adverts of a list that we lack: who sent the list, and their authors."""
        seat, epoch = self._seat, self._seat.epoch
        lacking = [
            rank
            for place, rank in enumerate(epoch.unpack(message.members) or ())
            if not self._adverts.holds(
                self._round, rank, message.digests[32 * place : 32 * place + 32]
            )
        ]
        if not lacking:
            return
        if holder != seat.rank:
            seat.send(holder, AdvertRequest(epoch.number, self._round, epoch.pack(tuple(lacking))))
        for rank in lacking:
            if rank not in (seat.rank, holder):
                seat.send(rank, AdvertRequest(epoch.number, self._round, epoch.pack((rank,))))

    def answer(self, asker: int, message: AdvertRequest) -> None:
        """Give a member the adverts that it asks for, and the list that we follow."""
        seat = self._seat
        of_list = self.listed.adverts if self.listed else {}
        of_round = self._adverts.of_round(self._round)
        for rank in seat.epoch.unpack(message.members) or ():
            advert = of_list.get(rank) or of_round.get(rank)
            if advert is not None:
                seat.send(asker, advert)
        if self.listed is not None:
            seat.send(asker, self.listed.message)


def next_charter_of(epoch: Epoch, base: EntryStep, adverts: dict[int, GroupAdvert]) -> bytes:
    """Return what an entry says of the next charter: that of its base, or what m + 1 name."""
    entry = base.entry
    if entry.epoch == epoch.number and entry.next_charter != NONE:
        return entry.next_charter
    return charter_named(adverts, epoch.liars_max + 1)


def finality_of(
    epoch: Epoch, head: Head, adverts: dict[int, GroupAdvert]
) -> dict[int, bytes] | None:
    """Return t head signatures that make an entry final, of the adverts of the round after it.

    Who sits out after its start is in no list, and makes nothing final.
    """
    signatures = {
        rank: advert.head_signature
        for rank, advert in adverts.items()
        if advert.head == head and advert.rest != Rest.START
    }
    return signatures if len(signatures) >= epoch.threshold else None
