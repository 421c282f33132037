"""One life of a member, from its start to its end: its parts, and what follows from what.

Whatever comes, `progress` does all that it has made possible: a higher head, the proof that an
entry is final, another epoch, the next step of the round, the end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from p2pfl_gossip import events
from p2pfl_gossip.actions import Action, LocalProtocolError, Vector
from p2pfl_gossip.evaluations import Evaluations
from p2pfl_gossip.ledger.adverts import Adverts
from p2pfl_gossip.ledger.approvals import Approval, Says
from p2pfl_gossip.ledger.backoff import SilenceBackoff
from p2pfl_gossip.ledger.beginnings import Beginnings
from p2pfl_gossip.ledger.course import Course, Stage
from p2pfl_gossip.ledger.entries import EntryStep, Kind
from p2pfl_gossip.ledger.evidence import (
    evidence_of_accusations,
    evidence_of_departure,
    evidence_of_entries,
    evidence_of_false_sum,
    evidence_of_proof,
    evidence_of_seen,
    evidence_of_shares,
    evidence_of_statements,
    evidence_of_sums,
)
from p2pfl_gossip.ledger.evidence_book import EvidenceBook
from p2pfl_gossip.ledger.heads import Heads
from p2pfl_gossip.ledger.history import History, joined_at
from p2pfl_gossip.ledger.messages import (
    Closing,
    Departure,
    EntrySignature,
    Evidence,
    GroupAdvert,
    HeldOfAsker,
    Parcel,
)
from p2pfl_gossip.ledger.patience import MemberPatience
from p2pfl_gossip.ledger.proposals import HostWord
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.ledger.sessions import Sessions, SumEnded
from p2pfl_gossip.ledger.shelf import Shelf
from p2pfl_gossip.ledger.signing import Signing
from p2pfl_gossip.ledger.standing import Standing
from p2pfl_gossip.ledger.starting import Starting
from p2pfl_gossip.ledger.states import DigestState, StateDigested, StateItem
from p2pfl_gossip.ledger.succession import Succession
from p2pfl_gossip.masked_sum.core import Blame
from p2pfl_gossip.masked_sum.group_sum import GroupSum
from p2pfl_gossip.masked_sum.messages import (
    Accused,
    AuditProof,
    FalseShares,
    OutvotedSum,
    SumDigest,
    SumsSeen,
)
from p2pfl_gossip.own_state import OwnState
from p2pfl_gossip.peer_state import PeerSettings


@dataclass
class Parts:
    """The parts of a member's machine."""

    seat: Seat
    standing: Standing
    history: History
    adverts: Adverts
    patience: MemberPatience
    backoff: SilenceBackoff
    shelf: Shelf
    heads: Heads
    beginnings: Beginnings
    signing: Signing
    sessions: Sessions
    evidence: EvidenceBook
    course: Course


class Life:
    """A member between its start and its end.

    Args:
        seat: our place.
        standing: what we said in earlier lives.
        history: what we held.
        vector: float32[d], the head's model.
        records: all that was kept.
        settings: how often we evaluate.
        first: float32[d], the model of the group's first state.
        streams: names the random streams of our training in this life.
        session_type: the machine of masked sums.
        closed: is called once nothing more is done.
        invitation: what we were invited to, if the group was there before us (history.py).

    Attributes:
        parts: of the machine.
        succession: what is to follow the present epoch.
        is_finished: whether the last model is final, and evaluated.
    """

    def __init__(
        self,
        seat: Seat,
        standing: Standing,
        history: History,
        vector: Vector,
        records: dict[str, bytes | Vector],
        *,
        settings: PeerSettings,
        first: Vector,
        streams: str,
        session_type: type[GroupSum],
        closed: Callable[[], None],
        invitation: bytes | None = None,
    ) -> None:
        adverts, patience, backoff = Adverts(seat), MemberPatience(seat), SilenceBackoff(seat)
        shelf = Shelf(seat.desk.sub())
        own = OwnState()
        own.restore(records)
        others = _others_of(history, standing)
        heads = Heads(seat, standing, history, shelf, vector, others, own, self._on_raised)
        signing = Signing(
            seat,
            standing,
            history,
            certified=heads.on_certified,
            lacking=heads.on_lacking,
            contradicted=self._on_two_entries,
        )
        sessions = Sessions(
            seat,
            records,
            ended=self._on_sum_ended,
            spent=self._on_spent,
            blamed=self._take_blame,
            session_type=session_type,
        )
        evidence = EvidenceBook(seat, sessions.name_of)
        evidence.restore(records)
        self.succession = Succession(seat, history)
        self.succession.proposals.departures = lambda: evidence.departures
        self.succession.proposals.restore(records)
        beginnings = Beginnings(seat, standing, history, shelf, first, self._on_base, self._on_kept)
        self.succession.proposals.holds_model = beginnings.holds
        course = Course(
            seat,
            standing,
            history,
            heads,
            beginnings,
            adverts,
            patience,
            backoff,
            signing,
            sessions,
            evidence,
            own,
            streams=streams,
            proposals=self.succession.proposals,
            progressed=self.progress,
        )
        self.parts = Parts(
            seat,
            standing,
            history,
            adverts,
            patience,
            backoff,
            shelf,
            heads,
            beginnings,
            signing,
            sessions,
            evidence,
            course,
        )
        self._settings, self._closed, self._invitation = settings, closed, invitation
        self._own = own
        self._evaluations = Evaluations(settings, own, seat.desk.sub(self._finish_after))
        self._starting: Starting | None = None
        self.is_finished = False

    # --- start and end ----------------------------------------------------------------------

    def start(self) -> None:
        """Ask others what they hold of ours, or for the way to an epoch that we are of."""
        parts = self.parts
        departure = parts.evidence.departure(parts.seat.rank)
        if departure is not None:  # Of an earlier life: a peer that has stopped does not begin.
            parts.seat.broadcast(departure)  # It may have died before anybody had its word.
            self.tell_of(departure)
            return
        if not self._is_as_invited():
            return
        vectors = (parts.heads.vector, *parts.heads.others)
        items = parts.history.head.entry.state
        for item, vector in zip(items, vectors, strict=True):
            job = DigestState(item.name, vector)
            parts.seat.work(job, partial(self._on_digested, item, vector))
        if parts.seat.is_member:
            self._check_start()
        else:
            self._ask_way()

    def _is_as_invited(self) -> bool:
        """Whether the history led us where we were invited to; else tell so, and stop for good.

        Before anything is said in a history that the whole network around us may have made up.
        """
        parts, shown = self.parts, None
        if self._invitation is not None and parts.seat.is_member:
            shown = joined_at(parts.history, parts.seat.identity.peer_id)
        if shown in (None, self._invitation):
            return True
        parts.seat.report(events.OtherHistory())
        self.leave()
        return False

    def _on_digested(self, item: StateItem, vector: Vector, result: StateDigested) -> None:
        if result.item == item:
            if item in self.parts.history.head.entry.state:
                self.parts.heads.hold(item, vector, result.chunk_digests)
        elif item in self.parts.history.first.entry.state:
            raise LocalProtocolError("the first model is another than the charter's")

    def _check_start(self) -> None:
        parts = self.parts
        history = parts.history
        is_new = history.head.head == history.first.head and not history.epoch.number
        self._starting = Starting(
            parts.seat,
            parts.standing,
            lambda: history.head.head,
            self._on_checked,
            waits_for_all=is_new and not parts.standing.advert_round,
        )
        self._starting.start()

    def _ask_way(self) -> None:
        """Ask the members of an epoch that we are none of, again and again."""
        seat = self.parts.seat
        if not seat.is_member:
            self.parts.heads.ask_way()
            seat.set_timer("way", seat.now_s + seat.epoch.charter.relay_s, self._ask_way)

    def on_held(self, rank: int, message: HeldOfAsker) -> None:
        """Take what a member holds of ours."""
        if self._starting is not None:
            self._starting.on_held(rank, message)

    def _on_checked(self, lacked: int) -> None:
        """Begin, or sit out what our journal lacks."""
        seat, standing, history = self.parts.seat, self.parts.standing, self.parts.history
        seat.actions.append(standing.begin_life())
        if lacked:
            seat.actions.append(standing.sit_out(lacked))
            seat.report(events.SitsOut(lacked))
        if not standing.advert_round:
            seat.report(events.Opened())
        rounds = history.head.head.round, history.begun.round
        behind = max(standing.advert_round, lacked, *rounds)
        self.parts.course.begin(behind + 1)

    def leave(self) -> None:
        """Give up all that is under way, for good."""
        seat = self.parts.seat
        self.parts.course.stop()
        self._closed()
        seat.report(events.Left(self.parts.history.height))

    # --- what is asked of us ----------------------------------------------------------------

    def pause(self, *, is_paused: bool) -> None:
        """Give no more updates, or give them again."""
        self.parts.course.pause(is_paused=is_paused)
        if is_paused:
            self.parts.seat.report(events.Paused(self.parts.history.height))
        self.progress()

    def allow_one_more(self) -> None:
        """Give one update more from a model of which we gave as many as we may."""
        self.parts.course.allow_one_more()
        self.progress()

    def propose(self, parcel: Parcel) -> None:
        """Take a charter that is to follow, or what was said of one; pass it on."""
        self.succession.proposals.propose(parcel)
        self.progress()

    def give_model(self, vector: Vector) -> None:
        """Take a model that a charter starts from."""
        self.parts.beginnings.take(vector)

    def _on_kept(self) -> None:
        self.succession.proposals.review()
        self.progress()

    def _on_base(self) -> None:
        self.parts.course.on_base()

    def ask_papers(self, charters: Sequence[bytes]) -> None:
        """Ask the others for the texts of charters, which they showed us without."""
        self.succession.proposals.ask(charters)

    def hear_host(self, word: HostWord) -> None:
        """Take what only the host knows."""
        self.succession.proposals.hear(word)
        self.progress()

    # --- what follows -----------------------------------------------------------------------

    def progress(self) -> None:
        """Do all that has become possible."""
        parts = self.parts
        if parts.course.stage is Stage.LEFT:
            return
        parts.heads.settle()
        parts.beginnings.settle()
        head = parts.history.head.head
        if parts.adverts.count_of(head.round + 1) >= parts.seat.epoch.threshold:
            self.succession.note_final(parts.adverts.of_round(head.round + 1))
        closing = self.succession.next(parts.heads.is_withheld, parts.heads.is_refused)
        if closing is not None:
            self._begin_epoch(closing)
            parts.heads.settle()
        if parts.course.stage not in (Stage.STARTING, Stage.LEFT):
            parts.course.look()
            self._finish()

    def _begin_epoch(self, closing: Closing) -> None:
        parts, seat = self.parts, self.parts.seat
        was_member = seat.is_member
        self.succession.begin(closing)
        parts.heads.begin_epoch()
        parts.beginnings.begin_epoch(parts.heads.vector)
        is_anew = parts.history.begins_anew
        if is_anew:
            parts.course.begin_anew()
        for part in (
            parts.adverts,
            parts.signing,
            parts.patience,
            parts.backoff,
            parts.sessions,
            parts.evidence,
        ):
            part.clear()
        if was_member and not seat.is_member:
            self.leave()
            return
        if not was_member and not self._is_as_invited():
            return
        self.is_finished = False
        seat.report(events.EpochBegun(seat.epoch.number, seat.epoch.members, is_anew))
        if parts.course.stage is not Stage.STARTING:
            behind = max(closing.round, parts.course.round, parts.standing.advert_round)
            parts.course.begin(behind + 1)
        elif seat.is_member and self._starting is None:
            self._check_start()

    def _on_sum_ended(self, ended: SumEnded) -> None:
        for blame in ended.blames:
            self._take_blame(ended.listed.message.round, blame, ended.listed.adverts)
        self.parts.course.on_sum_ended(ended)

    def _take_blame(self, round_: int, blame: Blame, adverts: Mapping[int, GroupAdvert]) -> None:
        """Note what a session's messages prove; of other faults the group has no proof."""
        epoch = self.parts.seat.epoch
        match blame.evidence:
            case (SumDigest() as one, SumDigest() as other) if blame.fault == "two_sums":
                self.accuse(evidence_of_sums(epoch, round_, one, other))
            case (SumsSeen() as one, SumsSeen() as other) if blame.fault == "two_seen":
                self.accuse(evidence_of_seen(epoch, round_, one, other))
            case (AuditProof() as said,) if blame.fault == "false_proof":
                self.accuse(evidence_of_proof(epoch, round_, said))
            case (FalseShares() as said,):
                self.accuse(evidence_of_shares(epoch, round_, said, adverts))
            case (Accused() as said,):
                member = epoch.members.index(blame.member)
                self.accuse(evidence_of_accusations(epoch, round_, member, said))
            case (OutvotedSum() as said,):
                self.accuse(evidence_of_false_sum(epoch, round_, said))
            case (one, other):
                member = epoch.members.index(blame.member)
                evidence = evidence_of_statements(epoch, round_, member, one, other)
                if evidence is not None:
                    self.accuse(evidence)

    def _on_two_entries(self, one: EntrySignature, other: EntrySignature) -> None:
        self.accuse(evidence_of_entries(one, other))

    def accuse(self, evidence: Evidence) -> None:
        """Keep a proof that a member lied, which our next advert names."""
        if self.parts.evidence.note(evidence):
            self.tell_of(evidence)

    def depart(self, words: Sequence[Approval]) -> None:
        """Take a member's own word that it leaves, or that its peer's key is revoked; tell all.

        Raises:
            RefusedApproval: it is none.
        """
        evidence = evidence_of_departure(self.parts.seat.epoch, words)
        if self.parts.evidence.note(evidence):
            self.parts.seat.broadcast(evidence)
            self.tell_of(evidence)

    def tell_of(self, evidence: Evidence) -> None:
        """Show whom a proof that we keep is about; stop, if our own keys say so of us."""
        seat = self.parts.seat
        member = seat.epoch.members[evidence.member]
        if isinstance(evidence.proof, Departure):
            says = evidence.proof.words[0].says
            seat.report(
                events.MemberDeparted(
                    member, is_revoked=says == Says.REVOKE, withdraws=says == Says.WITHDRAW
                )
            )
            self.succession.proposals.take_departures()
            if evidence.member == seat.rank:
                self.leave()
            return
        self.parts.backoff.take_back(evidence.round)
        seat.report(events.MemberBlamed(evidence.round, bytes(32), member, evidence.fault))

    def _on_spent(self) -> None:
        self.parts.course.on_spent()

    def _on_raised(self, step: EntryStep, vector: Vector, height_before: int) -> None:
        """Tell of a higher head, and go on from it."""
        entry, seat = step.entry, self.parts.seat
        # What came before an epoch that starts anew is no model of it, nor a height.
        if entry.kind == Kind.SUM and not self.parts.history.begins_anew:
            members = self.parts.history.epochs[entry.epoch].unpack(entry.members) or ()
            if entry.height > height_before + 1:
                seat.report(events.CaughtUp(height_before, entry.height - 1))
            self.is_finished = False  # It may have ended too early for the proof of its last sum.
            round_, size = entry.height - 1, seat.epoch.size
            seat.report(
                events.RoundEnded(
                    round_, vector, size, len(members), complete=True, own_state=self._own.arrays
                )
            )
            seat.actions += self._evaluations.evaluate(round_, vector)
        self.parts.beginnings.keep_end(vector)
        self.parts.course.on_raised(step)
        self.progress()

    def _finish(self) -> None:
        """Report the end, once the last sum is final and the last figures are there."""
        history = self.parts.history
        height = history.height
        if self.is_finished or not history.is_abreast:
            return
        is_whole = height >= self.parts.seat.epoch.charter.rounds
        if not is_whole and not self.parts.course.spends.is_spent_out:
            return
        if history.is_final(history.head.head) and not self._evaluations.under_way:
            self.is_finished = True
            self.parts.seat.report(events.Finished(height))

    def _finish_after(self, now_s: float, actions: list[Action]) -> list[Action]:
        seat = self.parts.seat
        seat.begin(now_s)
        seat.actions += actions
        self._finish()
        return seat.take()


def _others_of(history: History, standing: Standing) -> tuple[Vector, ...]:
    """Return what the head's state has beside its model: kept, or of zeros in a first state."""
    found = []
    for item in history.head.entry.state[1:]:
        vector = standing.models.get(item.digest)
        if vector is None:
            vector = np.zeros(item.length, np.float32)
            vector.flags.writeable = False
        found.append(vector)
    return tuple(found)
