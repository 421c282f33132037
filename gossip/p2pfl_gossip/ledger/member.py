"""One whole member of a group that keeps a ledger.

Composes the parts of this package and is a machine (actions.py): a driver runs it over real links
or simulated ones. This module has the inputs.

- life.py holds the parts, and does all that whatever comes has made possible.
- hearing.py takes the messages: whose they are, of which epoch and round.
- starting.py asks others what they hold of our own, before anything new is said.
- course.py is the course of the rounds: train, advertise, sum, sign.
- spends.py counts the updates that we gave; evidence_book.py keeps proofs of others' lies.
- gathering.py closes the list of a round; sessions.py sums it; signing.py certifies its entry.
- heads.py brings us to higher heads, and shows others the way; history.py is what is certified.
- succession.py leads from one epoch to the next.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import (
    Action,
    Buffer,
    Command,
    LocalProtocolError,
    PeerId,
    RemoteProtocolError,
    Vector,
)
from p2pfl_gossip.desk import Desk, DeskMachine
from p2pfl_gossip.inbound import Inbound
from p2pfl_gossip.ledger.approvals import Approval
from p2pfl_gossip.ledger.charter import Epoch
from p2pfl_gossip.ledger.course import Stage
from p2pfl_gossip.ledger.entries import origin
from p2pfl_gossip.ledger.fetching import StateFetch
from p2pfl_gossip.ledger.hearing import Hearing
from p2pfl_gossip.ledger.history import History, founding_record
from p2pfl_gossip.ledger.life import Life
from p2pfl_gossip.ledger.messages import (
    CertificateRequest,
    Closing,
    GroupAdvert,
    LedgerMessage,
    Parcel,
    Rest,
)
from p2pfl_gossip.ledger.participation import RESTS, Cause
from p2pfl_gossip.ledger.proposals import HostWord, Proposals
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.ledger.sessions import last_spent_round
from p2pfl_gossip.ledger.standing import Standing
from p2pfl_gossip.ledger.state_messages import (
    ChunksCancel,
    ChunksRequest,
    StateChunks,
    StateMessage,
    StateRequest,
)
from p2pfl_gossip.masked_sum.core import Entropy
from p2pfl_gossip.masked_sum.group_sum import GroupSum
from p2pfl_gossip.masked_sum.messages import SessionMessage
from p2pfl_gossip.peer_state import PeerSettings, State
from p2pfl_gossip.records import Message

INCARNATION_RECORD = "incarnation"


class GroupMember(DeskMachine):
    """A member of a group.

    Args:
        founding: the first epoch of the group.
        identity: ours; signs what we say.
        initial: float32[d], the first state's model.
        settings: `evaluate_every` of it is our own habit; rounds are the charter's.
        seed: names our random streams, together with our incarnation.
        entropy: secret bytes for the next life.
        desk: where another machine is around this one, a desk for it alone.
        session_type: the machine of masked sums.
        invitation: `invitation_of` what a newcomer is invited to; None of a founder. In a history
            that leads elsewhere nothing is said.
    """

    def __init__(
        self,
        *,
        founding: Epoch,
        identity: Identity,
        initial: Vector,
        settings: PeerSettings,
        seed: str,
        entropy: Entropy,
        desk: Desk | None = None,
        session_type: type[GroupSum] = GroupSum,
        invitation: bytes | None = None,
    ) -> None:
        self._founding, self._identity, self._initial = founding, identity, initial
        self._settings, self._seed, self._entropy = settings, seed, entropy
        self._session_type, self._invitation = session_type, invitation
        self._desk = Desk() if desk is None else desk
        self._life: Life | None = None
        self._inbound = Inbound("<u4")
        self._fetching: dict[int, StateFetch] = {}  # By body under way.

    # --- what a driver may look at ----------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the member is, in the words that all kinds of peers share."""
        if self._life is None:
            return State.NEW
        course = self._life.parts.course
        if course.stage is Stage.LEFT:
            return State.LEFT
        if self._life.is_finished:
            return State.FINISHED
        if course.stage is Stage.STARTING or not self.history.is_abreast:
            return State.CATCHING_UP
        if course.stage is Stage.TRAINING:
            return State.TRAINING
        return State.PAUSED if course.is_paused else State.AVERAGING

    @property
    def round(self) -> int:
        """Heights done."""
        return self._life.parts.history.height if self._life else 0

    @property
    def vector(self) -> Vector:
        """The head's model, read-only."""
        return self._life.parts.heads.vector if self._life else self._initial

    @property
    def history(self) -> History:
        """What is certified, as far as we know."""
        return self._started.parts.history

    @property
    def epoch(self) -> Epoch:
        """The epoch that has begun last."""
        return self._life.parts.seat.epoch if self._life else self._founding

    @property
    def causes(self) -> Mapping[PeerId, Cause]:
        """Why members were not in the last sum that we worked out, as far as we can tell."""
        return self._life.parts.course.causes if self._life else {}

    @property
    def rest(self) -> Rest:
        """Why it gives no update now, or that it does."""
        return self._life.parts.course.rest() if self._life else Rest.NONE

    @property
    def may_be_allowed_more(self) -> bool:
        """Whether it rests only since it gave as many updates from one model as it may."""
        return self._life is not None and self._life.parts.course.may_be_allowed_more

    @property
    def resting(self) -> Mapping[PeerId, Cause]:
        """Who gives no update now, and why, as its latest advert says; ourselves as it is."""
        if self._life is None:
            return {}
        parts = self._life.parts
        said = {rank: parts.adverts.latest(rank) for rank in parts.seat.others}
        rests = {rank: advert.rest for rank, advert in said.items() if advert is not None}
        if parts.seat.is_member:
            rests[parts.seat.rank] = parts.course.rest()
        members = parts.seat.epoch.members
        return {
            members[rank]: RESTS.get(rest, Cause.RESTS)
            for rank, rest in sorted(rests.items())
            if rest != Rest.NONE
        }

    @property
    def private_spends(self) -> int:
        """Private updates that it gave under the present charter."""
        if self._life is None:
            return 0
        return self._life.parts.standing.charges(self._life.parts.seat.epoch.digest)

    @property
    def awaits_operator(self) -> bool:
        """Whether updates came to nothing in a row, and it gives none before `Command.RESUME`."""
        return self._life is not None and self._life.parts.course.spends.awaits_operator

    @property
    def gives_no_more(self) -> bool:
        """Whether it has spent all that the present charter pays for, to the end."""
        return self._life is not None and self._life.parts.course.spends.gives_no_more

    @property
    def is_spent_out(self) -> bool:
        """Whether so many have spent all that no sum can be made under the present charter."""
        return self._life is not None and self._life.parts.course.spends.is_spent_out

    @property
    def last_spent_round(self) -> int:
        """The last round in which it gave an update, by its journal; 0 before the first."""
        return self._life.parts.standing.record.spent_round if self._life else 0

    def patience_s(self, rank: int) -> float:
        """How long a member that works is waited for by us, in seconds."""
        return self._started.parts.patience.of(rank)

    def partners(self, _round: int) -> tuple[int, ...]:
        """Return the ranks of all others."""
        own = self.epoch.rank_of(self._identity.peer_id)
        return tuple(rank for rank in range(self.epoch.size) if rank != own)

    @property
    def _started(self) -> Life:
        if self._life is None:
            raise LocalProtocolError("the member has not been started")
        return self._life

    # --- start and commands -----------------------------------------------------------------

    def on_start(self, now_s: float, records: dict[str, bytes | Vector]) -> list[Action]:
        """Begin at the first state, or go on from what an earlier incarnation kept."""
        if self._life is not None:
            raise LocalProtocolError("started twice")
        kept = dict(records)
        incarnation = _number(kept.get(INCARNATION_RECORD)) + 1
        standing = Standing(kept)
        history = History.restored(self._founding, kept, standing.record.head)
        seat = Seat(history.epoch, self._identity, self._entropy, self._desk)
        seat.begin(now_s)
        seat.keep(
            {INCARNATION_RECORD: incarnation.to_bytes(8, "little")}
            | founding_record(self._founding)
        )
        # An update that left us just before an earlier life ended, and was not counted.
        advert, spent = standing.record.advert, last_spent_round(kept, self._founding.group)
        if advert is not None and spent == advert.round > standing.record.spent_round:
            step = history.step(advert.head) or history.head
            seat.actions.append(
                standing.spend(origin(history.epochs[advert.epoch], step.entry), spent)
            )
        self._life = Life(
            seat,
            standing,
            history,
            standing.models.get(standing.record.model, self._initial),
            kept,
            settings=self._settings,
            first=self._initial,
            streams=f"{self._seed}/{incarnation}",
            session_type=self._session_type,
            closed=self._close,
            invitation=self._invitation,
        )
        self._hearing = Hearing(self._life)
        self._life.start()
        return seat.take()

    def _close(self) -> None:
        self._started.parts.seat.actions += self._desk.close()

    def on_command(self, now_s: float, command: Command) -> list[Action]:
        """Leave at once; give no more updates, for a while; give them again."""
        life = self._started
        if life.parts.course.stage is Stage.LEFT:
            return []
        seat = self._begin(now_s)
        if command is Command.LEAVE:
            life.leave()
        else:
            life.pause(is_paused=command is Command.PAUSE)
        return seat.take()

    def allow_one_more(self, now_s: float) -> list[Action]:
        """Give one update more from a model of which we gave as many as we may (`Rest.SPENT`).

        At its own operator's word only. Where updates are left, nothing comes of it; nor where they
        are private: `Command.RESUME` gives those.
        """
        life = self._started
        if self._has_left:
            return []
        seat = self._begin(now_s)
        life.allow_one_more()
        return seat.take()

    def propose(self, now_s: float, parcel: Parcel) -> list[Action]:
        """Take a charter that is to follow, or what keys said of it or of the one in force.

        Others are told of it, and fetch it. It comes once it has enough approvals, and the hosts of
        m + 1 listed members have let it come (`hear_host`).

        Raises:
            MalformedFrame: it is no charter.
            RefusedCharter: it cannot follow the one in force.
            RefusedApproval: an approval is none.
        """
        life = self._started
        if self._has_left:
            return []
        seat = self._begin(now_s)
        life.propose(parcel)
        return seat.take()

    def depart(self, now_s: float, words: Sequence[Approval]) -> list[Action]:
        """Take a member's own word that it leaves, or that its peer's key is revoked.

        All are told. If it is of ourselves, we stop, for good. Who is told of others goes on: the
        next list names whoever departed out, and the next charter goes on without it.

        Args:
            now_s: the time.
            words: of its governance keys, LEAVE or REVOKE, of the charter in force.

        Raises:
            RefusedApproval: they do not say so.
        """
        life = self._started
        if self._has_left:
            return []
        seat = self._begin(now_s)
        life.depart(words)
        if not self._has_left:
            life.progress()
        return seat.take()

    def give_model(self, now_s: float, vector: Vector) -> list[Action]:
        """Take the model that a charter starts from; others fetch it of us, once that is in force.

        The last few are kept, with those that epochs ended with. A charter that starts from a model
        that we do not keep we do not name.

        Args:
            now_s: the time.
            vector: float32[d], read-only from now on.
        """
        life = self._started
        if self._has_left:
            return []
        seat = self._begin(now_s)
        life.give_model(vector)
        return seat.take()

    def ask_papers(self, now_s: float, charters: Sequence[bytes]) -> list[Action]:
        """Ask the others for texts: who was away is shown charters alone.

        Args:
            now_s: the time.
            charters: digests of the charter in force, or of the last earlier ones.
        """
        life = self._started
        if self._has_left:
            return []
        seat = self._begin(now_s)
        life.ask_papers(charters)
        return seat.take()

    def hear_host(self, now_s: float, word: HostWord) -> list[Action]:
        """Take what only the host knows: it is to say so again after each start."""
        life = self._started
        if self._has_left:
            return []
        seat = self._begin(now_s)
        life.hear_host(word)
        return seat.take()

    @property
    def departures(self) -> list[Approval]:
        """What members' own keys said of leaving the present epoch, or of their peers' keys."""
        return self._started.parts.evidence.departures

    @property
    def proposals(self) -> Proposals:
        """Charters that may follow, and the one in force, with what was said of them."""
        return self._started.succession.proposals

    def _begin(self, now_s: float) -> Seat:
        seat = self._started.parts.seat
        seat.begin(now_s)
        return seat

    @property
    def _has_left(self) -> bool:
        return self._started.parts.course.stage is Stage.LEFT

    # --- messages ---------------------------------------------------------------------------

    def on_message(self, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        """Take a message, or raise RemoteProtocolError and change nothing."""
        seat = self._begin(now_s)
        if self._has_left or self._is_strange(sender, message):
            return []
        rank = self._rank_of(sender)
        if isinstance(message, SessionMessage):
            if rank is not None and self._started.parts.sessions.on_message(sender, rank, message):
                self._started.progress()
        elif isinstance(message, LedgerMessage):
            self._hearing.on_message(sender, rank, message)
        elif isinstance(message, StateMessage):
            self._on_state_message(sender, rank, message)
        else:
            raise RemoteProtocolError("unexpected_message")
        return seat.take()

    def _rank_of(self, sender: PeerId) -> int | None:
        """Return a member's rank; None for one of another epoch, who is only shown the way."""
        seat = self._started.parts.seat
        rank = seat.epoch.rank_of(sender)
        if rank is not None:
            seat.gone.pop(rank, None)
        return rank

    def _is_strange(self, sender: PeerId, message: Message) -> bool:
        """Whether what comes is of nobody that we know, and does not show us the way by itself.

        It may be of a member of an epoch that has not begun here yet: nobody's fault.
        """
        parts = self._started.parts
        if any(epoch.rank_of(sender) is not None for epoch in parts.history.epochs):
            return False
        if isinstance(message, GroupAdvert):
            return message.epoch <= parts.seat.epoch.number
        if isinstance(message, CertificateRequest):
            return message.head.place <= parts.history.head.head.place
        return not isinstance(message, (Closing, StateMessage))

    def _on_state_message(self, sender: PeerId, rank: int | None, message: StateMessage) -> None:
        parts = self._started.parts
        seat, fetch = parts.seat, self._fetch_of(message.digest)
        if isinstance(message, (StateRequest, ChunksRequest, ChunksCancel)):
            if rank is None and not parts.history.ended_with(sender, message.digest):
                return  # Who is no member any more gets no model of a later epoch.
            seat.actions += parts.shelf.on_message(seat.now_s, sender, message)
        elif fetch is not None:
            seat.actions += fetch.on_message(seat.now_s, sender, message)
            self._started.progress()

    @property
    def _fetches(self) -> list[StateFetch | None]:
        """What is being fetched: the model of a head, the one that an epoch starts from."""
        parts = self._started.parts
        return [parts.heads.fetch, parts.beginnings.fetch]

    def _fetch_of(self, digest: bytes) -> StateFetch | None:
        """Return the fetch of a model, if it is under way."""
        parts = self._started.parts
        if parts.heads.fetch is not None and parts.heads.fetched_digest == digest:
            return parts.heads.fetch
        beginnings = parts.beginnings
        return beginnings.fetch if beginnings.item.digest == digest else None

    # --- bodies -----------------------------------------------------------------------------

    def on_bulk_begin(
        self, now_s: float, sender: PeerId, bulk: int, header: Message
    ) -> tuple[bool, list[Action]]:
        """Say whether a body is wanted, or raise RemoteProtocolError and change nothing."""
        seat = self._begin(now_s)
        if self._has_left or self._is_strange(sender, header):
            return False, []
        rank, sessions = self._rank_of(sender), self._started.parts.sessions
        if isinstance(header, StateChunks):
            return self._begin_chunks(sender, bulk, header)
        if not isinstance(header, SessionMessage):
            raise RemoteProtocolError("unexpected_message")
        if rank is None:
            return False, []  # Of an epoch that is over here, and may not be there.
        size = sessions.body_bytes(sender, header)
        if size is not None:
            self._inbound.begin(sender, bulk, header, size)
        sessions.on_header(header)
        return size is not None, seat.take()

    def _begin_chunks(
        self, sender: PeerId, bulk: int, header: StateChunks
    ) -> tuple[bool, list[Action]]:
        seat, fetch = self._started.parts.seat, self._fetch_of(header.digest)
        if fetch is None:
            return False, []  # Of a model that we need no more.
        is_wanted, actions = fetch.on_bulk_begin(seat.now_s, sender, bulk, header)
        if is_wanted:
            self._fetching[bulk] = fetch
        seat.actions += actions
        return is_wanted, seat.take()

    def on_bulk_chunk(self, now_s: float, sender: PeerId, bulk: int, chunk: Buffer) -> list[Action]:
        """Take the next bytes of a body."""
        fetch = self._fetching.get(bulk)
        if fetch is None:
            self._inbound.chunk(bulk, chunk)
            return []
        if fetch not in self._fetches:
            return []
        seat = self._begin(now_s)
        actions = fetch.on_bulk_chunk(now_s, sender, bulk, chunk)
        seat.actions += actions
        if actions:  # Most pieces end no chunk, and change nothing.
            self._started.progress()
        return seat.take()

    def on_bulk_end(
        self, now_s: float, sender: PeerId, bulk: int, trailer: Message | None
    ) -> list[Action]:
        """Take the end of a body."""
        seat, fetch = self._begin(now_s), self._fetching.pop(bulk, None)
        if fetch is not None:
            if fetch in self._fetches:
                seat.actions += fetch.on_bulk_end(now_s, sender, bulk)
        else:
            header, body = self._inbound.end(bulk)
            if not self._has_left and isinstance(header, SessionMessage):
                self._started.parts.sessions.on_body(sender, header, body.view(np.uint32))
        self._started.progress()
        return seat.take()

    def on_bulk_lost(self, now_s: float, sender: PeerId, bulk: int) -> list[Action]:
        """Forget a body whose stream broke; deadlines see to the rest."""
        fetch = self._fetching.pop(bulk, None)
        if fetch is None:
            self._inbound.lost(bulk)
            return []
        if fetch not in self._fetches:
            return []
        seat = self._begin(now_s)
        seat.actions += fetch.on_bulk_lost(now_s, sender, bulk)
        self._started.progress()
        return seat.take()

    # --- links ------------------------------------------------------------------------------

    def on_peer_up(self, now_s: float, peer: PeerId) -> list[Action]:
        """Note that a member is there again; where we rest, ask it what has come meanwhile.

        Nothing else would tell us: all may rest again.
        """
        seat, course = self._begin(now_s), self._started.parts.course
        rank = seat.epoch.rank_of(peer)
        if rank is None:
            return []
        seat.gone.pop(rank, None)
        if course.stage is Stage.RESTING and not course.is_active:
            self._started.parts.heads.ask_way(peer)
        return seat.take()

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        """Wait no longer for a member that cannot be reached."""
        seat, parts = self._begin(now_s), self._started.parts
        rank = seat.epoch.rank_of(peer)
        if rank is None or self._has_left:
            return []
        seat.gone[rank] = None
        parts.heads.on_peer_down(peer)
        if parts.beginnings.fetch is not None:
            seat.actions += parts.beginnings.fetch.on_peer_down(now_s, peer)
        parts.sessions.on_peer_down(peer)
        self._started.progress()
        return seat.take()


def _number(record: bytes | Vector | None) -> int:
    if record is None:
        return 0
    if not isinstance(record, bytes):
        raise LocalProtocolError("a persisted number is not bytes")
    return int.from_bytes(record, "little")
