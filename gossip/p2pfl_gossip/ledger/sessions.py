"""The masked sums of a member: that of the round it is in, and the one before while it lingers.

A session is begun with the list of its round. What comes for it earlier is kept: others may have
adopted the list before us. Its name follows from the round alone, so we know what it is for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from p2pfl_crypto.encoding import DeltaEncoding
from p2pfl_crypto.identity import PeerId
from p2pfl_crypto.masks import Masked
from p2pfl_gossip.actions import Action, Persist, RemoteProtocolError, Vector
from p2pfl_gossip.events import MaskedSumEnded, MemberBlamed
from p2pfl_gossip.ledger.charter import AUDIT_NAME, AUDIT_OFF
from p2pfl_gossip.ledger.gathering import Listed
from p2pfl_gossip.ledger.messages import GroupAdvert
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.masked_sum.cohort import Patience
from p2pfl_gossip.masked_sum.core import Blame
from p2pfl_gossip.masked_sum.epoch_cohort import EpochCohort
from p2pfl_gossip.masked_sum.gathered import Gathered
from p2pfl_gossip.masked_sum.group_sum import Aborted, GroupSum, Sums
from p2pfl_gossip.masked_sum.jobs import Secrets, make_secrets
from p2pfl_gossip.masked_sum.journal import KEY_PREFIX, read_record
from p2pfl_gossip.masked_sum.messages import SessionMessage
from p2pfl_gossip.masked_sum.phases import Phase
from p2pfl_gossip.records import MalformedFrame, Record

EARLY_MESSAGES_MAX = 32
"""Kept from one member for a session that has not begun here, each once; others are passed over.
Who lacks something asks again and again: it does nothing wrong, and we may be late ourselves."""

SESSION_RELAYS = 20
"""A session's time to live, in relay times: twice what its waits come to if each takes a whole."""

LINGERING_MAX = 1
"""Rounds before ours whose sessions still give what others ask for; but for disputes."""


def last_spent_round(records: Mapping[str, bytes | Vector], group: bytes) -> int:
    """Return the last round in which an earlier incarnation gave an update; 0 before the first."""
    stored = records.get(KEY_PREFIX + group.hex())
    if stored is None:
        return 0
    if not isinstance(stored, bytes):
        raise MalformedFrame("a masked sum's record is bytes")
    return max(read_record(stored).spent_rounds - 1, 0)


NOT_GRANTED = "not_granted"
"""Why a session ends in which our host lets us give nothing."""


class SumEnded(Record, frozen=True):
    """The end of a session.

    Attributes:
        listed: what it was begun with.
        base: the vectors of the state that its updates are from, the model first.
        encoding: of the updates; None if they are words.
        slices: where each chunk lies in the model.
        sums: what it gave; None if it was aborted.
        blames: who broke the protocol.
        reason: why it was aborted, or empty.
        absent: without whose word it could not go on; of sums, who was late with its proof.
    """

    listed: Listed
    base: tuple[Vector, ...]
    encoding: DeltaEncoding | None
    slices: tuple[slice, ...]
    sums: Sums | None
    blames: tuple[Blame, ...]
    reason: str = ""
    absent: tuple[int, ...] = ()


@dataclass
class _Session:
    cohort: EpochCohort
    listed: Listed
    base: tuple[Vector, ...]
    machine: GroupSum
    is_spent: bool = False
    is_told: bool = False
    blamed: int = 0  # How many of its blames were told of.
    compared: tuple[int, ...] = ()


class Sessions:
    """Sessions by round.

    Args:
        seat: our place.
        records: what earlier incarnations persisted; each session's steps are noted in it.
        ended: is called with the end of each.
        spent: is called once the update of the session under way has left us.
        blamed: is called with the round, each blame that comes after the end of its session, and
            the adverts of the session's list.
        session_type: the machine of a session; a simulation that only models masks has another.
    """

    def __init__(
        self,
        seat: Seat,
        records: dict[str, bytes | Vector],
        *,
        ended: Callable[[SumEnded], None],
        spent: Callable[[], None],
        blamed: Callable[[int, Blame, Mapping[int, GroupAdvert]], None],
        session_type: type[GroupSum] = GroupSum,
    ) -> None:
        self._seat, self._records = seat, records
        self._ended, self._spent, self._blamed = ended, spent, blamed
        self._session_type = session_type
        self._round = 0
        self._secrets: tuple[int, Secrets] | None = None
        self._names: dict[bytes, int] = {}
        self._form: EpochCohort | None = None  # Of the epoch, by which its sessions are named.
        self._sessions: dict[int, _Session] = {}
        self._early: dict[int, dict[int, list[tuple[PeerId, SessionMessage]]]] = {}

    # --- keys, names, rounds ----------------------------------------------------------------

    @property
    def time_s(self) -> float:
        """How long a session may take."""
        return SESSION_RELAYS * self._seat.epoch.charter.relay_s

    def make_keys(self) -> tuple[Secrets, bytes, bytes]:
        """Return fresh secrets for a session, and the public keys to advertise for them."""
        secrets = make_secrets(self._seat.entropy)
        share_key, mask_key = self._session_type.core_type.public_keys(secrets)
        return secrets, share_key, mask_key

    def keep_secrets(self, round_: int, secrets: Secrets) -> None:
        """Keep the secrets that we advertised for; those of an earlier round are gone."""
        self._secrets = (round_, secrets)

    def name_of(self, round_: int) -> bytes:
        """Name the session of a round."""
        epoch = self._seat.epoch
        if self._form is None or self._form.epoch != epoch.number:
            self._form = self._cohort(0, tuple(range(epoch.size)))
        return self._form.name_of(round_)

    def _cohort(self, round_: int, leaders: tuple[int, ...]) -> EpochCohort:
        epoch = self._seat.epoch
        relay_s, privacy = epoch.charter.relay_s, epoch.charter.privacy
        return EpochCohort(
            group=epoch.group,
            epoch=epoch.number,
            charter=epoch.digest,
            round=round_,
            members=epoch.members,
            weights=epoch.weights,
            vector_entries=epoch.entries,
            clip=epoch.charter.clip,
            leaders=leaders,
            least=epoch.least,
            takes_words=privacy is not None and privacy.is_shared,
            is_private=privacy is not None,
            audit=epoch.charter.audit != AUDIT_OFF,
            names=epoch.charter.audit == AUDIT_NAME,
            patience=Patience(
                gather_s=relay_s,
                takeover_s=relay_s,
                chunks_s=2 * relay_s,
                sums_s=relay_s,
                session_s=SESSION_RELAYS * relay_s,
            ),
        )

    def enter(self, round_: int) -> None:
        """Go to a round: what is older than the one before ends, and so does what is undecided.

        But a dispute ends by itself, as late as it may: a liar could have it begin so late that the
        next round, in which it does nothing wrong, would be over before it is found out.
        """
        self._round = round_
        for old in list(self._sessions):
            machine = self._sessions[old].machine
            is_old = old < round_ - LINGERING_MAX and not machine.is_disputing
            if is_old or machine.phase < Phase.REVEAL:
                self._drop(old)
        self._names = {
            name: of
            for name, of in self._names.items()
            if of >= round_ - LINGERING_MAX or of in self._sessions
        }
        for ahead in (round_, round_ + 1):
            self._names[self.name_of(ahead)] = ahead
        for old in [key for key in self._early if key < round_]:
            del self._early[old]

    def clear(self) -> None:
        """End all: another epoch has begun."""
        for round_ in list(self._sessions):
            self._drop(round_)
        self._early.clear()
        self._names.clear()

    close = clear

    def _drop(self, round_: int) -> None:
        session = self._sessions.pop(round_)
        self._seat.actions += session.machine.abandon(self._seat.now_s)

    # --- a session --------------------------------------------------------------------------

    def begin(
        self,
        listed: Listed,
        leaders: tuple[int, ...],
        update: Vector | Masked,
        base: tuple[Vector, ...],
    ) -> None:
        """Begin the session of a list that names our advert.

        Args:
            listed: the list.
            leaders: ranks, in the order in which they lead.
            update: what we give.
            base: the vectors of the state that it is from.
        """
        seat, round_ = self._seat, listed.message.round
        if self._secrets is None or self._secrets[0] != round_ or round_ in self._sessions:
            return
        _, secrets = self._secrets
        self._secrets = None
        cohort = self._cohort(round_, leaders)
        adverts = listed.adverts
        gathered = Gathered(
            secrets,
            dealers=tuple(adverts),
            share_keys={rank: advert.share_key for rank, advert in adverts.items()},
            mask_keys={rank: advert.mask_key for rank, advert in adverts.items()},
            tau1=listed.tau1,
            turn=listed.message.turn,
        )
        machine = self._session_type(
            cohort,
            seat.identity,
            update,
            gathered,
            entropy=seat.entropy,
            records=self._records,
            desk=seat.desk.sub(self._on_answer),
        )
        self._sessions[round_] = _Session(cohort, listed, base, machine)
        away = [seat.epoch.members[rank] for rank in seat.gone]
        self._take(machine.on_start(seat.now_s, away))
        for early in self._early.pop(round_, {}).values():
            for sender, message in early:
                try:
                    self._take(machine.on_message(seat.now_s, sender, message))
                except RemoteProtocolError as error:
                    seat.disconnect(sender, error.reason)
        self._tell_ends()

    def _take(self, actions: list[Action]) -> None:
        """Have actions done, and note what they keep: the next session is made of it."""
        self._seat.actions += actions
        for action in actions:
            if isinstance(action, Persist):
                self._records.update(
                    (key, value) for key, value in action.records.items() if value is not None
                )

    def _on_answer(self, now_s: float, actions: list[Action]) -> list[Action]:
        self._seat.begin(now_s)
        self._take(actions)
        self._tell_ends()
        return self._seat.take()

    def _tell_ends(self) -> bool:
        """Tell what has come of sessions; return whether there was anything."""
        has_told = False
        for round_, session in list(self._sessions.items()):
            machine = session.machine
            if not session.is_spent and machine.is_spent:
                session.is_spent = has_told = True
                self._spent()
            if session.is_told:
                has_told |= self._tell_late_blames(round_, session)
            elif machine.outcome is not None:
                has_told = True
                self._tell_outcome(round_, session, machine.outcome)
        return has_told

    def _tell_outcome(self, round_: int, session: _Session, outcome: Sums | Aborted) -> None:
        session.is_told, session.blamed = True, len(session.machine.blames)
        self._report(round_, session, outcome)
        cohort = session.cohort
        self._ended(
            SumEnded(
                session.listed,
                session.base,
                cohort.encoding if isinstance(cohort.encoding, DeltaEncoding) else None,
                tuple(cohort.entries_of(chunk) for chunk in range(cohort.chunk_count)),
                outcome if isinstance(outcome, Sums) else None,
                outcome.blames,
                _reason(outcome),
                outcome.late if isinstance(outcome, Sums) else outcome.absent,
            )
        )

    def _tell_late_blames(self, round_: int, session: _Session) -> bool:
        late = session.machine.blames[session.blamed :]
        for blame in late:
            session.blamed += 1
            self._blamed(round_, blame, session.listed.adverts)
        return bool(late)

    def compare(self, round_: int, rank: int) -> None:
        """Ask a member that came to another entry by which digests it took its sums; once."""
        session = self._sessions.get(round_)
        if session is None or rank in session.compared:
            return
        session.compared = (*session.compared, rank)
        peer = self._seat.epoch.members[rank]
        self._take(session.machine.ask_digests(self._seat.now_s, peer))

    def _report(self, round_: int, session: _Session, outcome: Sums | Aborted) -> None:
        seat, name = self._seat, session.cohort.session
        sums = outcome if isinstance(outcome, Sums) else None
        seat.report(
            MaskedSumEnded(
                round=round_,
                session=name,
                result="summed" if sums else f"aborted: {_reason(outcome)}",
                members=session.cohort.size,
                contributors=len(sums.members) if sums else 0,
                kept=sum(chunk is None for chunk in sums.chunks) if sums else 0,
                clipped=0,
                is_weight_capped=False,
            )
        )
        for blame in outcome.blames:
            seat.report(MemberBlamed(round_, name, blame.member, blame.fault))

    # --- what arrives -----------------------------------------------------------------------

    def on_message(self, sender: PeerId, rank: int, message: SessionMessage) -> bool:
        """Take a message of a session, or raise RemoteProtocolError and change nothing.

        Returns:
            Whether its end, or a blame, was told of.
        """
        round_ = self._names.get(message.session)
        if round_ is None:
            return False
        session = self._sessions.get(round_)
        if session is not None:
            self._take(session.machine.on_message(self._seat.now_s, sender, message))
            return self._tell_ends()
        if round_ >= self._round:
            early = self._early.setdefault(round_, {}).setdefault(rank, [])
            if (sender, message) not in early and len(early) < EARLY_MESSAGES_MAX:
                early.append((sender, message))
        return False

    def body_bytes(self, sender: PeerId, header: SessionMessage) -> int | None:
        """Return the size of a body, or None if it is not wanted."""
        session = self._of(header)
        if session is None:
            return None
        return session.machine.body_bytes(self._seat.now_s, sender, header)

    def on_header(self, header: SessionMessage) -> None:
        """Do what a header leads to, whose body `body_bytes` was asked for."""
        session = self._of(header)
        if session is not None:
            self._take(session.machine.on_header(self._seat.now_s))
            self._tell_ends()

    def on_body(self, sender: PeerId, header: SessionMessage, body: Masked) -> None:
        """Take a whole body."""
        session = self._of(header)
        if session is not None:
            self._take(session.machine.on_body(self._seat.now_s, sender, header, body))
            self._tell_ends()

    def on_peer_down(self, peer: PeerId) -> None:
        """Tell the sessions that a link broke."""
        for session in list(self._sessions.values()):
            self._take(session.machine.on_peer_down(self._seat.now_s, peer))
        self._tell_ends()

    def _of(self, message: SessionMessage) -> _Session | None:
        return self._sessions.get(self._names.get(message.session, -1))


def _reason(outcome: Sums | Aborted) -> str:
    return outcome.reason if isinstance(outcome, Aborted) else ""
