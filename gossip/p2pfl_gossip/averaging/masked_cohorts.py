"""Averaging in disjoint cohorts by masked sums: nobody sees a single model.

Each round's cohort runs one session of a masked sum (masked_sum/machine.py); its mean is the
outcome. A session that aborts costs its members the round's exchange: they keep their own models,
unless others of the cohort have a certified mean, and the next round draws other cohorts.

Soon after the outcome `certificate` is set, if the mean is whole and t members signed it: the peer
takes it and sets it back to None.

A session that has ended for us lingers for a few rounds, or until all its members are known to be
past it: they may still ask for what they lack. Messages of a session that we have not begun wait
until we have trained. Who begins a session that has ended for others is told so, and gives it up
once too few are left for it.
"""

from collections.abc import Callable, Iterable
from typing import ClassVar

from p2pfl_crypto.encoding import NotFinite
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import (
    Action,
    LocalProtocolError,
    PeerId,
    Persist,
    RemoteProtocolError,
    Report,
    Vector,
)
from p2pfl_gossip.averaging.base import (
    LOOKAHEAD_ROUNDS,
    UNKNOWN_ROUND,
    CertifiedAveraging,
    Outcome,
)
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.events import MaskedSumEnded, MemberBlamed
from p2pfl_gossip.masked_sum.certificate import Certificate, digest_of, require_certified
from p2pfl_gossip.masked_sum.cohort import Cohort, Patience
from p2pfl_gossip.masked_sum.core import Entropy
from p2pfl_gossip.masked_sum.machine import Aborted, MaskedSum, Summed
from p2pfl_gossip.masked_sum.messages import (
    Advert,
    Fetch,
    Held,
    SessionMessage,
    Share,
    Wanted,
)
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.records import Message
from p2pfl_gossip.roster import Roster

LINGERING_SESSIONS = 2
"""Ended sessions that still answer: of a member that is more rounds behind, the cohort is gone."""

EARLY_MESSAGES_MAX = 32
"""Kept from one member for a session that we have not begun; as the session itself keeps."""


class MaskedCohorts(CertifiedAveraging):
    """One member's side of the masked sums of its cohorts, round after round.

    Args:
        index: this peer's index in the roster.
        roster: all members.
        identity: ours; signs what we say in a session.
        group: bytes that name the group.
        length: entries of a model, d; models are float32.
        cohort_of: the cohort of a member in a round: ascending indices, with its own; at least 5.
        clip: largest absolute value of a parameter; larger ones count as that.
        weight_max: largest weight of a model; a larger one counts as that.
        patience: how long to wait for others.
        entropy: gives secret bytes, never the same twice, not after a restart either.
        desk: of this machine alone; each session has a sub-desk.
    """

    message_types = (SessionMessage,)

    session_type: ClassVar[type[MaskedSum]] = MaskedSum
    """A simulation has another one, see p2pfl_simulations."""

    def __init__(
        self,
        *,
        index: int,
        roster: Roster,
        identity: Identity,
        group: bytes,
        length: int,
        cohort_of: Callable[[int, int], tuple[int, ...]],
        clip: float,
        weight_max: float,
        patience: Patience,
        entropy: Entropy,
        desk: Desk,
    ) -> None:
        self.outcome: Outcome | None = None
        self.certificate: Certificate | None = None
        self._index, self._roster, self._identity = index, roster, identity
        self._group, self._length, self._cohort_of = group, length, cohort_of
        self._clip, self._weight_max = clip, weight_max
        self._patience, self._entropy = patience, entropy
        self._desk = desk.sub(lambda _now_s, actions: self._keep(actions) + self._take_outcome())
        self._records: dict[str, bytes | Vector] = {}
        self._now_s = 0.0  # Of the last input that told it.
        self._round = -1
        self._vector: Vector | None = None  # Our trained model, while its session is under way.
        self._past: list[int] = []
        self._unreachable = 0
        self._away: dict[int, None] = {}  # Who could not be reached, and has not spoken since.
        self._is_weight_capped = False
        self._sessions: dict[int, MaskedSum] = {}  # By round: the one under way and lingering ones.
        self._cohorts: dict[int, Cohort] = {}  # Of rounds that others may be in.
        self._rounds: dict[bytes, int] = {}  # Session id -> round, of the same.
        self._certified: dict[int, None] = {}  # Rounds whose certificate was told of.
        self._early: dict[int, dict[int, list[Message]]] = {}  # By round and sender.
        # Ended sessions, and their members of whom nothing of a later round has come.
        self._lingering: dict[int, dict[int, None]] = {}

    def restore(self, records: dict[str, bytes | Vector]) -> None:
        """Take what earlier incarnations persisted: the journals of their sessions."""
        self._records = dict(records)

    def _members_of(self, round_: int) -> tuple[int, ...]:
        return self._cohort_of(round_, self._index)

    def partners(self, round_: int) -> tuple[int, ...]:
        """Return the other members of the cohort."""
        return tuple(member for member in self._members_of(round_) if member != self._index)

    def round_of(self, message: Message, round_: int) -> int | None:
        """Return the round of a message's session."""
        if not isinstance(message, SessionMessage):
            raise RemoteProtocolError("unexpected_message")
        if message.session not in self._rounds:
            for ahead in range(round_, round_ + LOOKAHEAD_ROUNDS + 1):
                self._cohort(ahead)
        return self._rounds.get(message.session, UNKNOWN_ROUND)

    def lingers(self, round_: int, message: Message) -> bool:
        """Tell whether an ended session still answers: one with a sum, to whom has part in it."""
        session = self._sessions.get(round_)
        if session is None or not isinstance(session.outcome, Summed):
            return False
        # Whoever says or asks for this has not come to masking: it is too late to be in the sum.
        is_late = isinstance(message, (Advert, Share, Held)) or (
            isinstance(message, Fetch) and message.what <= Wanted.HEADER
        )
        return not is_late

    def begin(self, now_s: float, round_: int, vector: Vector, weight: float) -> list[Action]:
        """Start the session of a round with our trained model."""
        forgotten = self._forget_before(round_)
        self._now_s = now_s
        self._round, self._vector, self._past, self._unreachable = round_, vector, [], 0
        self._is_weight_capped = weight > self._weight_max
        cohort = self._cohort(round_)
        try:
            session = self.session_type(
                cohort,
                self._identity,
                vector,
                min(weight, self._weight_max),
                entropy=self._entropy,
                records=self._records,
                desk=self._desk,
            )
        except NotFinite as error:
            raise LocalProtocolError(f"a trained model is finite, but {error}") from None
        self._sessions[round_] = session
        actions = forgotten + self._keep(session.on_start(now_s, self._peers(self._away)))
        early = self._early.pop(round_, {})
        for sender in sorted(early):
            for message in early[sender]:
                try:
                    answer = session.on_message(now_s, self._roster.peers[sender], message)
                except RemoteProtocolError:
                    continue  # It lost its chance to be refused at its link.
                actions += self._keep(answer)
        return actions + self._take_outcome()

    def begin_without_update(self, now_s: float, round_: int, vector: Vector) -> list[Action]:
        """Never: a peer without an update takes part in no masked sum."""
        raise LocalProtocolError("a masked sum without a vector")

    def abandon(self) -> list[Action]:
        """Give up the session under way."""
        if self._vector is None:
            return []
        self._vector = None
        session = self._sessions.pop(self._round)
        return session.abandon(self._now_s)

    def close(self) -> list[Action]:
        """End all sessions: the peer leaves."""
        actions = self.abandon()
        for session in self._sessions.values():
            actions += session.abandon(self._now_s)
        self._sessions.clear()
        self._lingering.clear()
        return actions

    def body_bytes(self, sender: int, header: Message) -> int | None:
        """Take a chunk or a sum of a session that is open."""
        session = self._session_of(header)
        if session is None:
            return None
        return session.body_bytes(self._now_s, self._roster.peers[sender], header)

    def on_header(self, now_s: float, sender: int, header: Message) -> list[Action]:
        """Act on what a sum's header says: with others' it may be enough to decide a chunk."""
        session = self._session_of(header)
        return (
            [] if session is None else self._keep(session.on_header(now_s)) + self._take_outcome()
        )

    def on_body(self, now_s: float, sender: int, header: Message, body: Vector) -> list[Action]:
        """Take a whole body, of whatever type it came as: it is uint32."""
        session = self._session_of(header)
        if session is None:
            return []
        peer = self._roster.peers[sender]
        answer = session.on_body(now_s, peer, header, body.view("<u4"))
        return self._keep(answer) + self._take_outcome()

    def on_message(self, now_s: float, sender: int, message: Message) -> list[Action]:
        """Take a message of a session that is open; keep one of a session that is to come."""
        round_ = self._round_of_session(message)
        self._away.pop(sender, None)
        return self._left_behind(sender, round_) + self._take(now_s, sender, round_, message)

    def _take(self, now_s: float, sender: int, round_: int, message: Message) -> list[Action]:
        session = self._sessions.get(round_)
        if session is None:
            if round_ >= self._round and sender in self._members_of(round_):
                early = self._early.setdefault(round_, {}).setdefault(sender, [])
                # Said again, since we have not answered, it takes no room.
                if message not in early and len(early) < EARLY_MESSAGES_MAX:
                    early.append(message)
            return []
        answer = session.on_message(now_s, self._roster.peers[sender], message)
        return self._keep(answer) + self._take_outcome()

    def on_past(self, now_s: float, partner: int) -> list[Action]:
        """Wait no longer for a member that has left our round."""
        return self._on_gone(now_s, partner, is_past=True)

    def on_no_update(self, now_s: float, partner: int) -> list[Action]:
        """Wait no longer for a member that takes no part: it has nothing to put in."""
        return self._on_gone(now_s, partner, is_past=True)

    def on_peer_up(self, partner: int) -> None:
        """Wait for a member again, in sessions to come."""
        self._away.pop(partner, None)

    def on_peer_down(self, now_s: float, partner: int) -> list[Action]:
        """Wait no longer for a member that cannot be reached, in later sessions either."""
        self._away[partner] = None
        actions: list[Action] = []
        for round_ in self._lingering:  # It may be who gathers the signatures of a mean.
            actions += self._sessions[round_].on_peer_down(now_s, self._roster.peers[partner])
        return self._keep(actions) + self._on_gone(now_s, partner, is_past=False)

    def _on_gone(self, now_s: float, partner: int, *, is_past: bool) -> list[Action]:
        if self._vector is None or partner not in self._members_of(self._round):
            return []
        if is_past and partner not in self._past:
            self._past.append(partner)
        elif not is_past:
            self._unreachable += 1
        session, cohort = self._sessions[self._round], self._cohort(self._round)
        peer = self._roster.peers[partner]
        tell = session.on_absent if is_past else session.on_peer_down
        actions = tell(now_s, peer)
        if session.phase <= Phase.AGREE and len(self._past) > cohort.size - cohort.threshold:
            # It would wait for all leaders' turns, and make its members as late for the next.
            actions += session.abandon(now_s)
        return self._keep(actions) + self._take_outcome()

    def _peers(self, members: Iterable[int]) -> list[PeerId]:
        return [self._roster.peers[member] for member in members]

    def _take_outcome(self) -> list[Action]:
        """Take the outcome of the session under way, and certificates of those that lingered."""
        self._take_certificate()
        if self._vector is None:
            return []
        round_ = self._round
        ended = self._sessions[round_].outcome
        if ended is None:
            return []
        members = self._members_of(round_)
        self._lingering[round_] = dict.fromkeys(self.partners(round_))
        vector, self._vector = self._vector, None
        name = self._cohort(round_).session
        blames = [Report(MemberBlamed(round_, name, it.member, it.fault)) for it in ended.blames]
        report = Report(
            MaskedSumEnded(
                round=round_,
                session=name,
                result="summed" if isinstance(ended, Summed) else f"aborted: {_reason(ended)}",
                members=len(members),
                contributors=len(ended.members) if isinstance(ended, Summed) else 0,
                kept=len(ended.kept) if isinstance(ended, Summed) else 0,
                clipped=ended.clipped if isinstance(ended, Summed) else 0,
                is_weight_capped=self._is_weight_capped,
                vector=vector if isinstance(ended, Summed) and ended.clipped else None,
            )
        )
        match ended:
            case Summed():
                self.outcome = Outcome(
                    vector=ended.mean,
                    expected=len(members),
                    contributors=len(ended.members),
                    complete=not ended.kept,
                    past=tuple(self._past),
                    unreachable=self._unreachable,
                )
            case Aborted():
                self.outcome = Outcome(
                    vector=vector,
                    expected=len(members),
                    contributors=1,
                    complete=False,
                    past=tuple(self._past),
                    unreachable=self._unreachable,
                )
        return [report, *blames]

    def _cohort(self, round_: int) -> Cohort:
        cohort = self._cohorts.get(round_)
        if cohort is None:
            cohort = self._cohorts[round_] = self._make_cohort(round_, self._index)
            self._rounds[cohort.session] = round_
        return cohort

    def _make_cohort(self, round_: int, member: int) -> Cohort:
        return Cohort(
            group=self._group,
            round=round_,
            attempt=0,
            members=tuple(self._roster.peers[each] for each in self._cohort_of(round_, member)),
            vector_entries=self._length,
            clip=self._clip,
            weight_max=self._weight_max,
            patience=self._patience,
        )

    # --- certificates -----------------------------------------------------------------------

    def liars_max(self, round_: int) -> int:
        """Return how many members of our cohort of a round may lie."""
        return self._cohort(round_).liars_max

    def require_certified(self, certificate: Certificate) -> None:
        """Check that the cohort that the draw gives for its round signed, or raise.

        Raises:
            RemoteProtocolError: it is none, or of another cohort.
        """
        if certificate.cohort >= len(self._roster):
            raise RemoteProtocolError("no_such_member")
        cohort = self._make_cohort(certificate.round, certificate.cohort)
        require_certified(cohort, certificate, self.session_type.core_type.verify_of)

    def require_mean_of(self, certificate: Certificate, vector: Vector) -> None:
        """Check that a certificate, which is in order, is of this vector, or raise.

        Raises:
            RemoteProtocolError: it is of another.
        """
        cohort = self._make_cohort(certificate.round, certificate.cohort)
        if digest_of(cohort, vector) != certificate.digest:
            raise RemoteProtocolError("other_model")

    def _take_certificate(self) -> None:
        """Set `certificate` once a session has one that was not told of."""
        for round_, session in self._sessions.items():
            signed = session.signed
            if signed is None or round_ in self._certified:
                continue
            self._certified[round_] = None
            self.certificate = Certificate(
                round=round_,
                cohort=self._members_of(round_)[0],
                members=signed.members,
                digest=signed.digest,
                signers=self._cohort(round_).pack(signed.signatures),
                signatures=b"".join(signed.signatures.values()),
            )

    def _forget_before(self, round_: int) -> list[Action]:
        """Drop what belongs to rounds that nobody may ask for any more."""
        actions: list[Action] = []
        for old in [key for key in self._cohorts if key < round_ - LINGERING_SESSIONS]:
            del self._rounds[self._cohorts.pop(old).session]
            self._certified.pop(old, None)
            actions += self._drop(old)
        for old in [key for key in self._early if key < round_]:
            del self._early[old]
        return actions

    def _left_behind(self, sender: int, round_: int) -> list[Action]:
        """Drop the sessions that all their members are past: nobody asks for their bodies."""
        actions: list[Action] = []
        for old in [key for key in self._lingering if key < round_]:
            waited_for = self._lingering[old]
            waited_for.pop(sender, None)
            if not waited_for:
                actions += self._drop(old)
        return actions

    def _drop(self, round_: int) -> list[Action]:
        self._lingering.pop(round_, None)
        session = self._sessions.pop(round_, None)
        if session is None:
            return []
        return session.abandon(self._now_s)

    def _round_of_session(self, message: Message) -> int:
        if not isinstance(message, SessionMessage):
            raise RemoteProtocolError("unexpected_message")
        return self._rounds.get(message.session, UNKNOWN_ROUND)

    def _session_of(self, message: Message) -> MaskedSum | None:
        return self._sessions.get(self._round_of_session(message))

    def _keep(self, actions: list[Action]) -> list[Action]:
        """Note what a session has persisted: the next one is made of it."""
        for action in actions:
            if isinstance(action, Persist):
                self._records.update(
                    (key, value) for key, value in action.records.items() if value is not None
                )
        return actions


def _reason(ended: Aborted) -> str:
    """Say why a session was aborted: one that we gave up, we gave up for being late."""
    return "behind" if ended.reason == "abandoned" else ended.reason
