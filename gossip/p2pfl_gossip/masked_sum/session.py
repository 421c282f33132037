"""One member's side of one session, without IO: what all masked sums have in common.

A driver (here: the peer) makes a machine for each session, passes on what arrives, carries out the
actions, and looks at `outcome` after each input. How timers, jobs and sendings end is told to the
desk. The machine never hangs: each wait has a timer, and the session a time to live.

Where its keys come from, what its sums are for, and what is said after them is for the two kinds of
sessions to say: machine.py has those of cohorts, group_sum.py those of groups.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from p2pfl_crypto.encoding import require_finite
from p2pfl_crypto.masks import Masked
from p2pfl_crypto.private_encoding import WordsAsTheyAre
from p2pfl_gossip.actions import (
    Action,
    Job,
    LocalProtocolError,
    PeerId,
    RemoteProtocolError,
    Vector,
)
from p2pfl_gossip.masked_sum import phases
from p2pfl_gossip.masked_sum.agreement import Agreement
from p2pfl_gossip.masked_sum.core import SESSION_TIMER, Blame, Core
from p2pfl_gossip.masked_sum.exchange import Exchange
from p2pfl_gossip.masked_sum.journal import Refused, SessionJournal
from p2pfl_gossip.masked_sum.keys import SessionKeys
from p2pfl_gossip.masked_sum.masking import Masking
from p2pfl_gossip.masked_sum.messages import (
    Ack,
    Ballot,
    ChunkHeader,
    Fetch,
    Header,
    Held,
    Manifest,
    Proposal,
    Receipt,
    Reveal,
    SessionMessage,
    Share,
    SumDigest,
    SumHeader,
    Vote,
)
from p2pfl_gossip.masked_sum.phases import Phase, Windows
from p2pfl_gossip.masked_sum.revealing import Revealing
from p2pfl_gossip.masked_sum.sharing import Sharing
from p2pfl_gossip.masked_sum.summing import Summing
from p2pfl_gossip.masked_sum.voting import Voting
from p2pfl_gossip.records import Message, Record

_BODY_HEADERS: tuple[type, ...] = (ChunkHeader, SumHeader)

EARLY_MESSAGES_MAX = 32
"""Kept from one member for a phase that we have not reached, and the digest of a sum for each
chunk; others are passed over. Who lacks something asks again, and what may have been lost is said
again and again: who does so does nothing wrong, and we may be late ourselves."""


class Aborted(Record, frozen=True):
    """The end of a session without a sum.

    Attributes:
        reason: one word.
        phase: where it ended.
        is_spent: our vector was sent; it must not be in another session.
        blames: who broke the protocol.
        absent: ranks of members without whose word it could not go on, as far as that is known.
    """

    reason: str
    phase: str
    is_spent: bool
    blames: tuple[Blame, ...]
    absent: tuple[int, ...] = ()


LastPhase = TypeVar("LastPhase", bound=Summing)


class Session(ABC, Generic[LastPhase]):
    """One member's side of one session.

    Args:
        core: our place in it; its desk is a sub-desk whose `settle` is `on_answer`.
        journal: of the group.
        keys: where the fresh keys of all members come from.
        vector: float32[d], finite, or uint32[d] where the encoding takes words; read-only from now
            on; None if we have nothing to put in.
        weight: ours, 0 < w <= W.
        make_summing: makes the last phase of the parts before it.
        attempt: which try of this round, where there are several.
        spend: asked before the vector's first chunk is masked; it leaves by `Granted` alone.

    Raises:
        NotFinite: the vector holds a NaN or an infinity; names the first.
        ValueError: the vector is of another form.
    """

    core_type: ClassVar[type[Core]] = Core
    """Holds the cryptography beside the jobs; a simulation that only models it has another."""

    windows: Windows
    """First and last phase in which a message is taken, of all that belong to the session."""

    def __init__(
        self,
        core: Core,
        journal: SessionJournal,
        keys: SessionKeys,
        vector: Vector | Masked | None,
        weight: float,
        *,
        make_summing: Callable[[Core, Revealing, Exchange, Voting], LastPhase],
        attempt: int = 0,
        spend: Job | None = None,
    ) -> None:
        if vector is not None:
            entries = core.cohort.vector_entries
            if vector.shape != (entries,):
                raise ValueError(f"a vector has {entries} entries, not {vector.shape}")
            if not isinstance(core.cohort.encoding, WordsAsTheyAre):
                require_finite(vector)  # type: ignore[arg-type]  # Refuses all but float32.
            elif vector.dtype != np.uint32:
                raise ValueError(f"words are uint32, not {vector.dtype}")
        self._core, self._journal, self._keys = core, journal, keys
        self._attempt = attempt
        self._sharing = Sharing(core, keys)
        self._agreement = Agreement(core, journal, self._sharing)
        self._masking = Masking(core, keys.secrets, self._sharing, self._agreement, vector, weight)
        self._exchange = Exchange(core, journal, self._agreement, self._masking, spend)
        self._voting = Voting(core, journal, self._exchange)
        self._revealing = Revealing(core, keys, self._sharing)
        self._summing = make_summing(core, self._revealing, self._exchange, self._voting)
        self._handlers: dict[type[SessionMessage], Callable[[int, Any], None]] = {
            Share: self._sharing.on_share,
            Header: self._sharing.on_header,
            Held: self._agreement.on_held,
            Proposal: self._agreement.on_proposal,
            Ack: self._agreement.on_ack,
            Manifest: self._exchange.on_manifest,
            Receipt: self._exchange.on_receipt,
            Ballot: self._voting.on_ballot,
            Vote: self._voting.on_vote,
            Reveal: self._revealing.on_reveal,
            SumDigest: self._summing.on_digest,
            Fetch: self._on_fetch,
        }
        self._early: dict[int, list[SessionMessage]] = {}
        self._fetches: dict[int, int] = {}
        self._is_over = False
        self._owed: list[Action] = []
        self._entered = phases.IDLE

    @property
    def phase(self) -> Phase:
        """Where the session stands."""
        return self._core.phase

    @property
    def is_spent(self) -> bool:
        """Whether our vector may have been sent; it must not be in another session."""
        return self._exchange.is_spent

    @property
    def blames(self) -> tuple[Blame, ...]:
        """Who broke the protocol, as far as we know by now; after the outcome it may grow."""
        return tuple(self._core.blames)

    # What the two kinds of sessions do in ways of their own

    @abstractmethod
    def _is_ended(self) -> bool:
        """Whether the outcome is set."""

    @abstractmethod
    def _set_outcome(self) -> None:
        """Set the outcome of a session that has its sums: it is DONE."""

    @abstractmethod
    def _set_aborted(self, aborted: Aborted) -> None:
        """Set the outcome of a session that ended without its sums."""

    @abstractmethod
    def _on_done(self) -> None:
        """Do what follows the sums."""

    def _answer(self, _asker: int, _fetch: Fetch) -> SessionMessage | None:
        """Find what a member asks for, if it is of this kind of session alone."""
        return None

    def _absent(self) -> tuple[int, ...]:
        """Return the members without whose word an aborted session could not go on."""
        return ()

    def _begin_audit(self) -> None:
        """Begin the audit of the sums, where there is one."""

    @abstractmethod
    def _on_gone_late(self) -> None:
        """Take a member's absence in REVEAL or later."""

    def on_start(self, now_s: float, away: Iterable[PeerId] = ()) -> list[Action]:
        """Begin, unless the journal says that this session, or this vector, was begun before.

        Args:
            now_s: the time.
            away: members that could not be reached lately: nobody waits for their adverts.
        """
        core = self._begin(now_s)
        if core.phase != phases.IDLE:
            raise LocalProtocolError("a session starts once")
        try:
            persist = self._journal.begin(core.cohort.round, self._attempt)
        except Refused as refusal:
            core.abort(refusal.reason)
            return self._end()
        core.actions.append(persist)
        for member in away:
            rank = core.cohort.rank_of(member)
            if rank is not None and rank != core.rank:
                core.gone[rank] = None
        core.set_timer(SESSION_TIMER, core.cohort.patience.session_s, self._on_session_over)
        self._keys.start()
        return self._end()

    def on_message(self, now_s: float, sender: PeerId, message: Message) -> list[Action]:
        """Take a message, or raise RemoteProtocolError and change nothing."""
        core = self._begin(now_s)
        rank = self._rank_of(sender)
        kind, phase = type(message), core.phase
        window = self.windows.get(kind)  # type: ignore[arg-type]  # Any kind may come.
        if window is None:
            raise RemoteProtocolError("unexpected_message")
        if kind in _BODY_HEADERS:
            raise RemoteProtocolError("body_missing")
        assert isinstance(message, SessionMessage)  # As all that have a window.
        if message.session != core.cohort.session:
            raise RemoteProtocolError("wrong_session")
        first, last = window
        if self._is_over or phase > last or phase == phases.IDLE:
            return self._end()
        if phase < first:
            early = self._early.setdefault(rank, [])
            if len(early) < EARLY_MESSAGES_MAX + core.cohort.chunk_count:
                early.append(message)
            if phase == phases.ADVERTISE:
                self._keys.on_ahead(rank)
            return self._end()
        self._dispatch(rank, message)
        return self._end()

    def body_bytes(self, now_s: float, sender: PeerId, header: Message) -> int | None:
        """Return the size of the body behind a header, or None if it is not wanted (any more).

        Raises:
            RemoteProtocolError: the sender may not send this.
        """
        core = self._begin(now_s)
        rank = self._rank_of(sender)
        if not isinstance(header, (ChunkHeader, SumHeader)):
            raise RemoteProtocolError("unexpected_message")
        if header.session != core.cohort.session:
            raise RemoteProtocolError("wrong_session")
        last = phases.AUDIT if isinstance(header, ChunkHeader) else phases.REVEAL
        if not phases.AGREE <= core.phase <= last:  # In an audit, chunks are of a dispute.
            return None
        if isinstance(header, ChunkHeader):
            return self._exchange.body_bytes(rank, header)
        size = self._summing.body_bytes(rank, header)
        self._owed += core.actions
        return size

    def on_header(self, now_s: float) -> list[Action]:
        """Do what a header leads to, whose body `body_bytes` was asked for."""
        self._begin(now_s)
        return self._end()

    def on_body(self, now_s: float, sender: PeerId, header: Message, body: Masked) -> list[Action]:
        """Take a whole body: little-endian uint32, of the size that `body_bytes` told."""
        core = self._begin(now_s)
        rank = self._rank_of(sender)
        if core.phase > phases.AUDIT:
            return self._end()
        if isinstance(header, ChunkHeader):
            self._exchange.on_body(rank, header, body)
        elif isinstance(header, SumHeader) and core.phase < phases.AUDIT:
            self._summing.on_body(rank, header, body)
        return self._end()

    def on_peer_down(self, now_s: float, peer: PeerId) -> list[Action]:
        """Wait no longer for a member whose link broke; what it still says counts."""
        core = self._begin(now_s)
        rank = core.cohort.rank_of(peer)
        if rank is None or rank == core.rank or rank in core.gone:
            return []
        core.gone[rank] = None
        self._on_gone()
        return self._end()

    def on_absent(self, now_s: float, peer: PeerId) -> list[Action]:
        """Wait no longer for a member that says that it takes no part, nor for its turn to lead."""
        core = self._begin(now_s)
        rank = core.cohort.rank_of(peer)
        if rank is None or rank == core.rank or rank in core.absent:
            return []
        core.gone[rank] = core.absent[rank] = None
        self._on_gone()
        return self._end()

    def _on_gone(self) -> None:
        core = self._core
        if core.phase == phases.ADVERTISE:
            self._keys.on_gone()
        elif core.phase == phases.AGREE:
            self._agreement.on_gone()
        elif core.phase == phases.CHUNK:
            self._exchange.on_gone()
        elif core.phase == phases.VOTE:
            self._voting.on_gone()
        else:
            self._on_gone_late()

    def abandon(self, now_s: float) -> list[Action]:
        """End the session at our own wish, before or after its outcome; say nothing more."""
        core = self._begin(now_s)
        core.abort("abandoned")
        core.stop()
        self._close()
        return self._end()

    def _begin(self, now_s: float) -> Core:
        self._core.begin(now_s)
        return self._core

    def on_answer(self, _now_s: float, _actions: list[Action]) -> list[Action]:
        """Go on after a timer, a job or a sending; its actions are the core's, as all are."""
        return self._end()

    def _end(self) -> list[Action]:
        core = self._core
        if self._entered != core.phase:
            self._enter_phases()
        phase = core.phase
        if phase < phases.DONE or self._is_ended():
            pass
        elif phase == phases.DONE:
            self._set_outcome()
        else:
            self._set_aborted(
                Aborted(
                    reason=core.reason,
                    phase=core.aborted_in.name,
                    is_spent=self.is_spent,
                    blames=tuple(core.blames),
                    absent=self._absent(),
                )
            )
            self._close()
        actions, core.actions = core.actions, []
        if self._owed:
            actions, self._owed = self._owed + actions, []
        return actions

    def _enter_phases(self) -> None:
        """Start the part of a phase that was entered, and take what came early for it."""
        core = self._core
        while self._entered != core.phase and core.phase != phases.ABORTED:
            self._entered = core.phase
            match core.phase:
                case phases.DEAL:
                    self._begin_dealing()
                case phases.AGREE:
                    self._agreement.start()
                case phases.CHUNK:
                    self._exchange.start()
                case phases.VOTE:
                    self._voting.start()
                case phases.REVEAL:
                    self._summing.start()
                case phases.AUDIT:
                    self._begin_audit()
                case phases.DONE:
                    self._on_done()
            self._take_early()

    def _begin_dealing(self) -> None:
        """Have our shares dealt: all keys of U1 are here. A simulation may know a shorter way."""
        self._sharing.start()

    def _take_early(self) -> None:
        core = self._core
        early, self._early = self._early, {}
        for rank, messages in early.items():
            for message in messages:
                first, last = self.windows[type(message)]
                # What one message leads to may be a phase whose part is not started yet.
                if self._entered < first:
                    self._early.setdefault(rank, []).append(message)
                elif core.phase <= last:
                    try:
                        self._dispatch(rank, message)
                    except RemoteProtocolError as error:
                        core.disconnect(rank, error.reason)

    def _dispatch(self, rank: int, message: SessionMessage) -> None:
        kind = type(message)
        self._handlers[kind](rank, message)
        if kind is Manifest or kind is Receipt:
            self._voting.progress()

    def _on_fetch(self, asker: int, message: Fetch) -> None:
        core = self._core
        # Each of some twelve things, of each member and of each chunk, and again after a loss.
        limit = 32 * (core.cohort.size + core.cohort.chunk_count)
        asked = self._fetches.get(asker, 0)
        if asked >= limit:
            raise RemoteProtocolError("too_many_fetches")
        self._fetches[asker] = asked + 1
        answer = (
            self._keys.answer(message)
            or self._sharing.answer(asker, message)
            or self._agreement.answer(message)
            or self._exchange.answer(asker, message)
            or self._voting.answer(asker, message)
            or self._revealing.answer(message)
            or self._summing.answer(asker, message)
            or self._answer(asker, message)
        )
        if answer is not None:
            core.send(asker, answer)

    def _rank_of(self, sender: PeerId) -> int:
        rank = self._core.cohort.rank_of(sender)
        if rank is None or rank == self._core.rank:
            raise RemoteProtocolError("not_in_cohort")
        return rank

    def _on_session_over(self) -> None:
        self._core.abort("session_over")
        self._core.stop()
        self._close()

    def _release(self) -> None:
        """Drop all bodies: those for whom they were kept have ended."""
        self._exchange.release()
        self._summing.release()

    def _close(self) -> None:
        """Drop all keys, shares and bodies; whatever comes now is dropped too."""
        self._is_over = True
        self._handlers.clear()  # One is ours: so nothing refers to us once we are let go.
        self._release()
        self._keys.forget()
        self._sharing.forget()
