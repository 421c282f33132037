"""Proposals: charters that are to follow, and who has approved them; passed on from peer to peer.

A charter travels as a parcel: its bytes, the texts that its digests name, and what keys said of it.
Members tell each other which parcels they hold, and with which approvals; who lacks one, or some of
these, asks. So whatever one member's operator hands in is with all members soon, and what was lost
is told again.

Nothing here is believed: a charter must be one that can follow, each approval its key's, each text
the one of its digest. A proposal is taken only with an approval of a member, whose it is then; each
member may have a few open. What we hold is in the journal before we name it.

Dates, and whether to let a charter come, are the host's (`HostWord`): this machine has no clock.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import PeerId
from p2pfl_gossip import events
from p2pfl_gossip.actions import RemoteProtocolError, Vector
from p2pfl_gossip.askings import Askings
from p2pfl_gossip.ledger.approvals import (
    APPROVALS_MAX,
    Approval,
    RefusedApproval,
    Says,
    encode_approvals,
    in_order,
)
from p2pfl_gossip.ledger.approving import (
    ApprovalStanding,
    approvers,
    check_amendment,
    consents_among,
    has_signed,
    kind_of_change,
)
from p2pfl_gossip.ledger.charter import (
    Charter,
    Epoch,
    RefusedCharter,
    charter_digest,
    encode_charter,
    read_charter,
    running_digest,
    terms_digest,
)
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.messages import (
    PARCELS_MAX,
    HeldParcel,
    Parcel,
    ParcelRequest,
    ParcelsHeld,
    Rest,
)
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.records import Codec, MalformedFrame, Record

PARCEL_PREFIX = "ledger/parcel/"

PROPOSALS_OF_ONE_MAX = 2
"""Open at a time, of one member: one, and one that is better."""

PARCELS_GIVEN_MAX = 8
"""To one member in one relay time; a parcel may have 200 KiB."""

ASKED_MAX = 16
"""Parcels asked of one member at once; the others follow when it tells again."""

TOLD_EVERY_RELAYS = 10
"""Relay times after which members tell again what they hold, for what was lost."""

PAST_MAX = 16
"""Charters of epochs that are over whose texts are given to members that were away."""

EARLY_OF_ONE_MAX = 4
"""Objections of one key that are kept before what they object to is a proposal: to as many as two
members may have open."""

VOID_MAX = 64
"""Proposals remembered that our host gave up: they are not taken again."""

_PARCEL_BYTES_MAX = 256 * 1024

_CODEC = Codec(Parcel | None, frame_bytes_max=_PARCEL_BYTES_MAX)


SaidOf = Callable[[int], Sequence[Approval]]
"""What was said of the charter of an epoch, by its number."""


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


@dataclass(frozen=True)
class CharterProposal:
    """A charter, its texts, and what was said of it.

    Attributes:
        charter: the charter.
        digest: its digest.
        terms, running: the texts; empty while they are not here.
        approvals: in order, each checked.
        standing: what they come to; None of the charter in force.
        backer: name of the member whose proposal it is.
    """

    charter: Charter
    digest: bytes
    terms: bytes
    running: bytes
    approvals: tuple[Approval, ...]
    standing: ApprovalStanding | None
    backer: str = ""
    said: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        has_texts = bytes([bool(self.terms), bool(self.running)])
        said = hash_parts(b"p2pfl/parcel", has_texts, encode_approvals(self.approvals))
        object.__setattr__(self, "said", said)

    @property
    def parcel(self) -> Parcel:
        """The parcel that it travels in."""
        return Parcel(encode_charter(self.charter), self.terms, self.running, self.approvals)


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
    """

    def __init__(self, seat: Seat, history: History) -> None:
        self._seat, self._history = seat, history
        self._open: dict[bytes, CharterProposal] = {}
        self._void: dict[bytes, None] = {}
        self._past: dict[bytes, CharterProposal] = {}
        # Objections to what nobody has approved here yet: by key, those to each charter.
        self._early: dict[bytes, dict[bytes, Approval]] = {}
        self._asked: dict[int, list[bytes]] = {}  # By member: what it is to give.
        self._askings = Askings(seat.epoch.charter.relay_s, PARCELS_GIVEN_MAX)
        self._told_at_s: float | None = None
        self._signed: bool | None = None
        self.named: dict[bytes, Charter] = {}
        self.word = HostWord()
        self.holds_model: Callable[[bytes], bool] = lambda _digest: True
        self.departures: Callable[[], Sequence[Approval]] = tuple
        self._present = self._parcel_of_present()

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
        """Why we give no update, as our own keys and our host have it.

        A charter that peers may change by themselves needs no word of our keys.
        """
        if self._signed is None:
            self._signed = consents(
                self._history.epochs, self._seat.identity.peer_id, self._said_of
            )
        return self.word.rest if self._signed else Rest.UNSIGNED

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

    # --- what peers say ---------------------------------------------------------------------

    def on_held(self, rank: int, message: ParcelsHeld) -> None:
        """Ask a member for what it holds and we lack."""
        if message.epoch != self._seat.epoch.number:
            return
        wanted = []
        for held in message.held:
            own = self._find(held.charter)
            if held.charter not in self._void and (own is None or own.said != held.said):
                wanted.append(held.charter)
        self._asked[rank] = wanted[:ASKED_MAX]
        for charter in self._asked[rank]:
            self._seat.send(rank, ParcelRequest(charter))

    def on_request(self, rank: int, message: ParcelRequest) -> None:
        """Give a member a parcel that it asks for."""
        own = self._find(message.charter) or self._past.get(message.charter)
        if own is not None and self._askings.may_answer(self._seat.now_s, rank):
            self._seat.send(rank, own.parcel)

    def on_parcel(self, rank: int, parcel: Parcel) -> None:
        """Take a parcel that we asked for, or raise RemoteProtocolError."""
        digest = charter_digest(parcel.charter)
        asked = self._asked.get(rank, [])
        if digest not in asked or digest in self._void:
            return  # Not asked for, or the answer comes late: nobody has us check what it likes.
        try:
            if digest in self._earlier:
                self._take_past(digest, parcel)
                asked.remove(digest)
                return
            charter = read_charter(parcel.charter)
            epoch = self._seat.epoch
            if epoch.digest not in (digest, charter.present):
                return  # Another charter came meanwhile.
            if digest != epoch.digest:
                epoch.followed_by(charter)
            self._merge(charter, parcel)
        except (MalformedFrame, RefusedCharter):
            raise RemoteProtocolError("bad_charter") from None
        except RefusedApproval:
            raise RemoteProtocolError("bad_approval") from None
        asked.remove(digest)

    def ask(self, charters: Sequence[bytes]) -> None:
        """Ask all for the parcels of the charter in force, or of earlier ones, for their texts."""
        wanted = [it for it in charters if it == self._present.digest or it in self._earlier]
        for rank in self._seat.others:
            asked = self._asked.setdefault(rank, [])
            for charter in wanted[:ASKED_MAX]:
                if charter not in asked:
                    asked.append(charter)
                self._seat.send(rank, ParcelRequest(charter))

    def _find(self, digest: bytes) -> CharterProposal | None:
        return self._present if digest == self._present.digest else self._open.get(digest)

    # --- what is held -----------------------------------------------------------------------

    def _merge(self, charter: Charter, parcel: Parcel) -> None:
        """Take what is new of a parcel; check first."""
        _require_texts(charter, parcel)
        known, early = self._find(charter.digest()), self._early_on(charter.digest())
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
                self._hold_objections(present, said)
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
        self._seat.keep({_key(taken.digest): _CODEC.encode(taken.parcel)})
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
        self._tell_soon()

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

    def _early_on(self, charter: bytes) -> list[Approval]:
        return [of[charter] for of in self._early.values() if charter in of]

    def _hold_objections(self, present: Charter, said: Iterable[Approval]) -> None:
        """Keep what members' keys say against a charter that is no proposal yet: it may become one.

        An objection may come before what it objects to, and counts all the same.
        """
        keys = {key for member in present.members for key in member.governance.keys}
        for approval in said:
            if approval.says == Says.OBJECT and approval.key in keys:
                of = self._early.setdefault(approval.key, {})
                of.pop(approval.charter, None)
                of[approval.charter] = approval
                if len(of) > EARLY_OF_ONE_MAX:
                    del of[next(iter(of))]

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
        self._seat.keep({_key(digest): None})

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
        _require_texts(charter, parcel)
        if parcel.terms and parcel.running:
            held = CharterProposal(charter, digest, parcel.terms, parcel.running, (), None)
            self._remember(held)
            self._seat.keep({_key(digest): _CODEC.encode(held.parcel)})

    def _remember(self, held: CharterProposal) -> None:
        if held.terms and held.running:
            self._past[held.digest] = held
        while len(self._past) > PAST_MAX:
            del self._past[next(iter(self._past))]

    # --- telling ----------------------------------------------------------------------------

    def _tell_soon(self) -> None:
        """Tell the others before long, with what else changes meanwhile."""
        seat = self._seat
        at_s = seat.now_s + seat.epoch.charter.relay_s / 4
        if self._told_at_s is None or at_s < self._told_at_s:
            self._told_at_s = at_s
            seat.set_timer("parcels", at_s, self._tell)

    def _tell(self) -> None:
        """Tell the others what we hold; and again later, as long as something is open."""
        seat, self._told_at_s = self._seat, None
        if not seat.is_member:
            return
        held = [self._present, *self.open][:PARCELS_MAX]
        told = tuple(HeldParcel(proposal.digest, proposal.said) for proposal in held)
        seat.broadcast(ParcelsHeld(seat.epoch.number, told))
        if self._open:
            self._told_at_s = seat.now_s + TOLD_EVERY_RELAYS * seat.epoch.charter.relay_s
            seat.set_timer("parcels", self._told_at_s, self._tell)

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
            stored = records[key]
            parcel = _CODEC.decode_untrusted(stored) if isinstance(stored, bytes) else None
            if not isinstance(parcel, Parcel):
                raise MalformedFrame("a record of a charter's parcel is none")
            charter = read_charter(parcel.charter)
            if charter.digest() in self._earlier:
                self._remember(
                    CharterProposal(
                        charter, charter.digest(), parcel.terms, parcel.running, (), None
                    )
                )
            elif epoch.digest in (charter.digest(), charter.present):
                try:
                    self._merge(charter, parcel)
                except (RefusedCharter, RefusedApproval) as error:
                    raise MalformedFrame(f"a kept parcel is not in order: {error}") from None

    def begin_epoch(self) -> None:
        """Begin another epoch: its charter's parcel stays, of the others nothing is left."""
        seat = self._seat
        winner = self._open.pop(seat.epoch.digest, None)
        for digest in list(self._open):
            self._drop(digest)
        self._void.clear()
        self._early.clear()
        self._asked.clear()
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
        seat.keep({_key(self._present.digest): _CODEC.encode(self._present.parcel)})
        self._tell_soon()


def consents(epochs: Sequence[Epoch], peer: PeerId, said_of: SaidOf) -> bool:
    """Whether a member's own governance keys have signed what holds.

    That is the last charter that changed what only such keys can, or one since. The founding is
    not asked for: nobody begins before all keys have signed it.

    Args:
        epochs: all that have begun.
        peer: the member's.
        said_of: what was said of the charter of an epoch, by its number.
    """
    for number in range(len(epochs) - 1, 0, -1):
        epoch = epochs[number]
        rank = epoch.rank_of(peer)
        if rank is None:
            return False
        governance = epoch.charter.members[rank].governance
        if not governance.keys or has_signed(governance, epoch.digest, said_of(number)):
            return True
        if kind_of_change(epochs[number - 1].charter, epoch.charter) == "founding":
            return False
    return True


def _require_texts(charter: Charter, parcel: Parcel) -> None:
    """Check that texts, where they are here, are those that a charter names."""
    for name, text, digest, wanted in (
        ("terms", parcel.terms, terms_digest(parcel.terms), charter.terms),
        ("running", parcel.running, running_digest(parcel.running), charter.running),
    ):
        if text and digest != wanted:
            raise RefusedCharter(f"the text of {name} is not the one that the charter names")


def _key(digest: bytes) -> str:
    """Name the record of a parcel."""
    return f"{PARCEL_PREFIX}{digest.hex()}"
