"""Proposals: charters that are to follow the one in force, and who has approved them.

parcel_exchange.py passes them from peer to peer. Nothing here is believed: a charter must be one
that can follow, each approval its key's, each text the one of its digest. A proposal is taken only
with an approval of a member, whose it is then; each member may have a few open. What we hold is in
the journal before we name it.

Dates, and whether to let a charter come, are the host's (`HostWord`): this machine has no clock.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from p2pfl_gossip import events
from p2pfl_gossip.actions import RemoteProtocolError, Vector
from p2pfl_gossip.ledger.approvals import (
    APPROVALS_MAX,
    Approval,
    RefusedApproval,
    in_order,
)
from p2pfl_gossip.ledger.approving import approvers, check_amendment, consents_among
from p2pfl_gossip.ledger.charter import Charter, RefusedCharter, read_charter
from p2pfl_gossip.ledger.consent import consents
from p2pfl_gossip.ledger.early_objections import EarlyObjections
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.messages import HeldParcel, Parcel, Rest
from p2pfl_gossip.ledger.parcel_exchange import ParcelExchange
from p2pfl_gossip.ledger.parcels import (
    PARCEL_PREFIX,
    CharterProposal,
    parcel_key,
    past_proposal,
    read_parcel,
    require_texts,
)
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.records import MalformedFrame, Record

PROPOSALS_OF_ONE_MAX = 2
"""Open at a time, of one member: one, and one that is better."""

PAST_MAX = 16
"""Charters of epochs that are over whose texts are given to members that were away."""

VOID_MAX = 64
"""Proposals remembered that our host gave up: they are not taken again."""


class HostWord(Record, frozen=True):
    """What only the host knows: the calendar, and what its operator wants.

    Attributes:
        rest: why no update is to be given now: TASK or LAPSED; NONE if none of these.
        due: digests of proposals that may come, once they are approved: their time is there,
            notice is over, and the host wants to name them.
        void: digests of proposals that lapsed: they are dropped.
    """

    rest: Rest = Rest.NONE
    due: tuple[bytes, ...] = ()
    void: tuple[bytes, ...] = ()


class Proposals:
    """What is to follow the present charter, and the present charter's own parcel.

    Args:
        seat: our place.
        history: what is certified.

    Attributes:
        named: charters that our adverts may name, by digest: approved, and let come by our host.
        word: what our host said last.
        holds_model: whether we keep a model that a charter may start from.
        departures: gives what members' own keys said of leaving the present epoch.
        exchange: passes parcels on, and takes those of others.
    """

    def __init__(self, seat: Seat, history: History) -> None:
        self._seat, self._history = seat, history
        self._open: dict[bytes, CharterProposal] = {}
        self._void: dict[bytes, None] = {}
        self._past: dict[bytes, CharterProposal] = {}
        self._early = EarlyObjections()
        self._signed: bool | None = None
        self.named: dict[bytes, Charter] = {}
        self.word = HostWord()
        self.holds_model: Callable[[bytes], bool] = lambda _digest: True
        self.departures: Callable[[], Sequence[Approval]] = tuple
        self._present = self._parcel_of_present()
        self.exchange = ParcelExchange(seat, self)

    # --- what stands ------------------------------------------------------------------------

    @property
    def open(self) -> list[CharterProposal]:
        """What may follow, by digest."""
        return [self._open[digest] for digest in sorted(self._open)]

    @property
    def present(self) -> CharterProposal:
        """The charter in force, with what is here of its texts and approvals."""
        return self._present

    def approved(self, charter: bytes) -> CharterProposal | None:
        """Return a proposal that has all its approvals, whether we name it or not."""
        proposal = self._open.get(charter)
        if proposal is None or proposal.standing is None or not proposal.standing.is_enough:
            return None
        return proposal

    @property
    def rest(self) -> Rest:
        """Why we give no update, as our own keys and our host have it."""
        return Rest.UNSIGNED if self.awaits_word else self.word.rest

    @property
    def awaits_word(self) -> bool:
        """Whether our own keys have not signed what holds, as far as we know.

        A charter that peers may change by themselves needs no word of theirs.
        """
        if self._signed is None:
            self._signed = consents(
                self._history.epochs, self._seat.identity.peer_id, self._said_of
            )
        return not self._signed

    def _said_of(self, number: int) -> Sequence[Approval]:
        """What was said of the charter of an epoch."""
        said = self._history.approvals_of(number)
        if number == self._seat.epoch.number:
            said += self._present.approvals
        return said

    def _parcel_of_present(self) -> CharterProposal:
        epoch = self._seat.epoch
        said = self._history.approvals_of(epoch.number)
        consenting = in_order(consents_among(epoch.charter, said))
        return CharterProposal(epoch.charter, epoch.digest, b"", b"", consenting, None)

    # --- what our host says -----------------------------------------------------------------

    def hear(self, word: HostWord) -> None:
        """Take what our host says."""
        self.word = word
        for digest in word.void:
            if digest in self._open:
                self._drop(digest)
            self._void[digest] = None
        while len(self._void) > VOID_MAX:
            del self._void[next(iter(self._void))]
        self._name()

    def propose(self, parcel: Parcel) -> None:
        """Take what our host hands in.

        Raises:
            MalformedFrame: it is no charter.
            RefusedCharter, RefusedApproval: it is nothing that could follow; says why.
        """
        charter = read_charter(parcel.charter)
        if charter.digest() != self._seat.epoch.digest:
            self._seat.epoch.followed_by(charter)
        self._void.pop(charter.digest(), None)
        self._merge(charter, parcel)

    # --- what peers may have, and what is wanted of theirs ----------------------------------

    def given(self, charter: bytes) -> CharterProposal | None:
        """Return what others may have of a charter, open, in force or over."""
        return self._find(charter) or self._past.get(charter)

    def lacks(self, held: HeldParcel) -> bool:
        """Whether another member's parcel says what ours does not, and is wanted."""
        own = self._find(held.charter)
        return held.charter not in self._void and (own is None or own.said != held.said)

    def take(self, digest: bytes, parcel: Parcel) -> bool:
        """Take a parcel that was asked for; return whether it is of any use now.

        Raises:
            MalformedFrame, RefusedCharter, RefusedApproval: it is nothing that could follow.
        """
        if digest in self._void:
            return False
        if digest in self._earlier:
            self._take_past(digest, parcel)
            return True
        charter, epoch = read_charter(parcel.charter), self._seat.epoch
        if epoch.digest not in (digest, charter.present):
            return False  # Another charter came meanwhile.
        if digest != epoch.digest:
            epoch.followed_by(charter)
        self._merge(charter, parcel)
        return True

    def ask(self, charters: Sequence[bytes]) -> None:
        """Ask all for the parcels of the charter in force, or of earlier ones, for their texts."""
        self.exchange.ask(
            [it for it in charters if it == self._present.digest or it in self._earlier]
        )

    def _find(self, digest: bytes) -> CharterProposal | None:
        return self._present if digest == self._present.digest else self._open.get(digest)

    # --- what is held -----------------------------------------------------------------------

    def _merge(self, charter: Charter, parcel: Parcel) -> None:
        """Take what is new of a parcel; check first."""
        require_texts(charter, parcel)
        known, early = self._find(charter.digest()), self._early.to(charter.digest())
        said = in_order((*(known.approvals if known else ()), *early, *parcel.approvals))
        with_departures = in_order((*said, *self._departures_by(charter)))
        if len(with_departures) <= APPROVALS_MAX:
            said = with_departures
        if len(said) > APPROVALS_MAX:
            raise RefusedApproval(f"more than {APPROVALS_MAX} approvals of one charter")
        present = self._seat.epoch.charter
        standing, backer = None, ""
        if known is self._present:
            said = in_order(consents_among(present, said))
        else:
            try:
                self._history.require_start(charter)
            except RemoteProtocolError:
                raise RefusedCharter(
                    "the charter goes back to an entry that is no end of an epoch, or names another"
                    " state than that entry's"
                ) from None
            standing = check_amendment(present, charter, said)
            backer = known.backer if known else self._backer(present, said)
            if not backer:
                self._early.hold(present, said)
                return
        terms, running = parcel.terms, parcel.running
        if known is not None:
            terms, running = known.terms or terms, known.running or running
        taken = CharterProposal(charter, charter.digest(), terms, running, said, standing, backer)
        if known is not None and known.said == taken.said:
            return
        if known is self._present:
            self._present, self._signed = taken, None
        else:
            self._open[taken.digest] = taken
        self._seat.keep(taken.record)
        if standing is not None:
            self._seat.report(
                events.CharterProposed(
                    taken.digest,
                    standing.kind,
                    approved=len(standing.approved),
                    missing=len(standing.missing),
                )
            )
        self._name()
        self.exchange.tell_soon()

    def _departures_by(self, following: Charter) -> list[Approval]:
        """Return the own words of members without which a charter goes on: it throws none out."""
        names = {member.name for member in following.members}
        gone = [it for it in self._seat.epoch.charter.members if it.name not in names]
        keys = {key for member in gone for key in member.governance.keys}
        return [word for word in self.departures() if word.key in keys]

    def take_departures(self) -> None:
        """See again how far proposals are: a member has left by its own word."""
        for proposal in self.open:
            self._merge(proposal.charter, proposal.parcel)

    def _backer(self, present: Charter, said: Iterable[Approval]) -> str:
        """Name the member whose proposal it is; empty if nobody's, or of members with too many."""
        counts = dict.fromkeys(approvers(present, said), 0)
        for proposal in self._open.values():
            if proposal.backer in counts:
                counts[proposal.backer] += 1
        free = [name for name in counts if counts[name] < PROPOSALS_OF_ONE_MAX]
        return min(free, key=lambda name: counts[name], default="")

    def _drop(self, digest: bytes) -> None:
        del self._open[digest]
        self._seat.keep({parcel_key(digest): None})

    def review(self) -> None:
        """See again what our adverts may name: a model has come."""
        self._name()

    def _name(self) -> None:
        self.named.clear()
        for digest, proposal in self._open.items():
            standing, charter = proposal.standing, proposal.charter
            if digest not in self.word.due or standing is None or not standing.is_enough:
                continue
            # Of the m + 1 that name it one is honest: so somebody can give the model to all.
            if charter.start is None or self.holds_model(charter.state[0].digest):
                self.named[digest] = charter

    # --- earlier charters -------------------------------------------------------------------

    @property
    def past(self) -> Mapping[bytes, CharterProposal]:
        """Charters of epochs that are over, whose texts are here."""
        return self._past

    @property
    def _earlier(self) -> dict[bytes, Charter]:
        """Charters of the last epochs that are over."""
        epochs = self._history.epochs[-1 - PAST_MAX : -1]
        return {epoch.digest: epoch.charter for epoch in epochs}

    def _take_past(self, digest: bytes, parcel: Parcel) -> None:
        """Take the texts of a charter that held once; who approved it, the ledger says."""
        charter = self._earlier[digest]
        require_texts(charter, parcel)
        if parcel.terms and parcel.running:
            held = past_proposal(charter, parcel)
            self._remember(held)
            self._seat.keep(held.record)

    def _remember(self, held: CharterProposal) -> None:
        if held.terms and held.running:
            self._past[held.digest] = held
        while len(self._past) > PAST_MAX:
            del self._past[next(iter(self._past))]

    # --- lives and epochs -------------------------------------------------------------------

    def restore(self, records: dict[str, bytes | Vector]) -> None:
        """Take what earlier incarnations kept of the present epoch.

        Raises:
            MalformedFrame: a record is no parcel.
        """
        epoch = self._seat.epoch
        for key in sorted(records):
            if not key.startswith(PARCEL_PREFIX):
                continue
            parcel = read_parcel(records[key])
            charter = read_charter(parcel.charter)
            if charter.digest() in self._earlier:
                self._remember(past_proposal(charter, parcel))
            elif epoch.digest in (charter.digest(), charter.present):
                try:
                    self._merge(charter, parcel)
                except (RefusedCharter, RefusedApproval) as error:
                    raise MalformedFrame(f"a kept parcel is not in order: {error}") from None
        if self.awaits_word:
            self.exchange.tell_soon()

    def begin_epoch(self) -> None:
        """Begin another epoch: its charter's parcel stays, of the others nothing is left."""
        seat = self._seat
        winner = self._open.pop(seat.epoch.digest, None)
        for digest in list(self._open):
            self._drop(digest)
        self._void.clear()
        self._early.clear()
        self.exchange.clear()
        self.named.clear()
        self._signed = None
        self._remember(self._present)
        self._present = present = self._parcel_of_present()
        if winner is not None:
            said = consents_among(winner.charter, winner.approvals)
            self._present = CharterProposal(
                winner.charter,
                winner.digest,
                winner.terms,
                winner.running,
                in_order((*present.approvals, *said)),
                None,
            )
        seat.keep(self._present.record)
        self.exchange.tell_soon()
