"""The course of a member: train, advertise, sum, sign, and on to the next round.

A round is a try. It ends with a certificate, which takes everybody to the round after it; or it is
left, once t members have advertised it and its sum has failed. What is trained belongs to a head,
not to a round: it goes into the next round that is made from that head, once.
"""

from collections.abc import Callable, Collection
from enum import StrEnum

import numpy as np

from p2pfl_crypto.transcripts import sums_digest
from p2pfl_gossip import events
from p2pfl_gossip.actions import LocalProtocolError, PeerId, Vector
from p2pfl_gossip.ledger.adverts import Adverts, ready
from p2pfl_gossip.ledger.backoff import SilenceBackoff
from p2pfl_gossip.ledger.beginnings import Beginnings
from p2pfl_gossip.ledger.charter import NONE
from p2pfl_gossip.ledger.entries import (
    VERSION,
    Entry,
    EntryStep,
    Kind,
    empty_entry,
    features_of,
    height_from,
    out_of,
    weight_in_force,
)
from p2pfl_gossip.ledger.evidence_book import EvidenceBook
from p2pfl_gossip.ledger.exclusion import strikes_after
from p2pfl_gossip.ledger.gathering import Gathering, Listed
from p2pfl_gossip.ledger.heads import Heads
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.making import StateMade, next_state
from p2pfl_gossip.ledger.messages import GroupAdvert, Rest, head_statement
from p2pfl_gossip.ledger.participation import Cause, idle_heights, why_out
from p2pfl_gossip.ledger.patience import MemberPatience
from p2pfl_gossip.ledger.proposals import Proposals
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.ledger.sessions import NOT_GRANTED, Sessions, SumEnded
from p2pfl_gossip.ledger.signing import Signing
from p2pfl_gossip.ledger.spends import Spends
from p2pfl_gossip.ledger.standing import Standing
from p2pfl_gossip.ledger.training import OwnTraining, Update
from p2pfl_gossip.own_state import OwnState


class Stage(StrEnum):
    """Where a member is in its round."""

    STARTING = "starting"
    """It asks others what they hold of its own."""
    TRAINING = "training"
    AVERAGING = "averaging"
    """It has advertised, and waits for a list, a sum or a certificate."""
    RESTING = "resting"
    """It has advertised that it gives no update."""
    LEFT = "left"


class Course:
    """The rounds of one member.

    Args:
        seat: our place.
        standing: what we said.
        history: what is certified.
        heads: our head, and its model.
        beginnings: the model that takes its place, where an epoch starts anew.
        adverts: of all members.
        patience: with each member.
        backoff: from members that were silent where that made a round void.
        signing: of entries.
        sessions: the masked sums.
        evidence: who was proven to lie.
        own: what we keep of our own from training to training.
        streams: names the random streams of our training.
        proposals: charters that may follow, and whether our own keys and our host have us rest.
        progressed: is called where time alone has moved us.

    Attributes:
        stage: where we are.
        round: the round that we are in; 0 before the first.
        gathering: of the round's list.
        is_paused: whether our operator wants no more updates to be given.
        spends: what we gave, and whether we may give more.
        causes: why members were not in the last sum that we worked out, as far as we can tell.
    """

    def __init__(
        self,
        seat: Seat,
        standing: Standing,
        history: History,
        heads: Heads,
        beginnings: Beginnings,
        adverts: Adverts,
        patience: MemberPatience,
        backoff: SilenceBackoff,
        signing: Signing,
        sessions: Sessions,
        evidence: EvidenceBook,
        own: OwnState,
        *,
        streams: str,
        proposals: Proposals,
        progressed: Callable[[], None],
    ) -> None:
        self._seat, self._standing, self._history, self._heads = seat, standing, history, heads
        self._beginnings = beginnings
        self._adverts, self._patience, self._backoff = adverts, patience, backoff
        self._signing, self._sessions = signing, sessions
        self._evidence, self._own = evidence, own
        self._made: tuple[SumEnded, StateMade] | None = None  # Waits for evidence.
        self._summed: SumEnded | None = None  # Of the round that we are in.
        self._proposals, self._progressed = proposals, progressed
        self.stage = Stage.STARTING
        self.round = 0
        self.gathering: Gathering | None = None
        self.is_paused = False
        self.causes: dict[PeerId, Cause] = {}
        self._update: Update | None = None
        self._training = OwnTraining(
            seat, history, own, streams=streams, given=self._on_update, failed=self._on_failed
        )
        self.spends = Spends(seat, standing, history, adverts, awaits_sum=self._awaits_sum)
        self._failed_round = 0  # The round for which training gave nothing.
        self._is_lost = self._is_timed = False
        self._may_lag = False  # Whether the higher head of others was waited for in vain.
        self._told_height = -1

    @property
    def _base(self) -> Vector | None:
        """The model that our updates are from; None while it is not here."""
        return self._beginnings.vector if self._history.begins_anew else self._heads.vector

    @property
    def _vectors(self) -> tuple[Vector, ...] | None:
        """The same with what the state has beside the model."""
        base, begins_anew = self._base, self._history.begins_anew
        if base is None:
            return None
        if begins_anew:
            others = self._seat.epoch.charter.state[1:]
            return (base, *(np.zeros(item.length, np.float32) for item in others))
        return (base, *self._heads.others)

    # --- rounds -----------------------------------------------------------------------------

    def begin(self, round_: int) -> None:
        """Begin with a round."""
        self._enter(round_)

    def _enter(self, round_: int) -> None:
        seat = self._seat
        if round_ <= self.round or round_ <= self._standing.advert_round:
            raise LocalProtocolError("rounds grow")
        for timer in ("repeat", "time", "turn", "hopeless", "head"):
            seat.cancel_timer(timer)
        self._may_lag = False
        self._note_silence()
        self.round, self._is_lost, self._is_timed = round_, False, False
        self._sessions.enter(round_)
        self._adverts.forget_before(round_ - 1)
        self.gathering = Gathering(
            seat,
            round_,
            self._sessions.name_of(round_),
            self._adverts,
            self._history,
            self._patience,
            self._backoff,
            self._on_listed,
        )
        self._prepare()

    def _note_silence(self) -> None:
        """Note, of a round whose sum we have and no certificate, who was late, or signed nothing.

        One whose proof came on time here, and never to others, is none of them: all pass proofs on.
        """
        summed, self._summed = self._summed, None
        if summed is None or self._history.head.head.round >= summed.listed.message.round:
            return
        round_, absent = summed.listed.message.round, summed.absent
        own = self._standing.signed(round_)
        if not absent and own is not None:
            head = EntryStep(own.entry).head
            absent = tuple(set(summed.listed.adverts).difference(self._signing.signers(head)))
        self._back_off(round_, absent)

    def _back_off(self, round_: int, absent: tuple[int, ...]) -> None:
        """Leave those out for a while that were silent; nobody, where a lie made the round void.

        Those that found it out say no more in it. The while begins now: a dispute may last longer
        than the round after it.
        """
        if not self._evidence.has_of_round(round_):
            for member in sorted(absent):
                self._backoff.on_absent(round_, member, present=self.round)

    def _prepare(self) -> None:
        """Advertise for the round: at once, if we rest or have an update; else train for it."""
        if not self._history.is_abreast:
            self._find_way()
            return
        if self._waits_for_base() or self._waits_for_head():
            return
        rest, head = self.rest(), self._history.head
        if self._update is not None and self._update.base.head != head.head:
            self._update = None
        if rest != Rest.NONE:
            self._stop_training()
            self._advertise(rest)
        elif self._update is not None:
            self._advertise(Rest.NONE)
        else:
            self._train()

    def _find_way(self) -> None:
        """Ask for our head, and say nothing: nobody is to wait for an update of ours meanwhile."""
        seat = self._seat
        self.stage = Stage.TRAINING
        self._stop_training()
        self._patience.end()
        self._heads.ask_way()
        seat.set_timer("head", seat.now_s + seat.epoch.charter.relay_s, self._on_head_due)

    def _waits_for_base(self) -> bool:
        """Say nothing yet, as the model that the epoch starts from is on its way."""
        if self._base is not None or self._may_lag or not self._beginnings.is_coming:
            return False
        self._wait_a_while()
        return True

    def _wait_a_while(self) -> None:
        seat = self._seat
        self.stage = Stage.TRAINING
        self._stop_training()
        self._patience.begin(self.round)
        seat.set_timer("head", seat.now_s + seat.epoch.charter.relay_s, self._on_head_due)

    def _waits_for_head(self) -> bool:
        """Say nothing yet, as our head is about to be raised.

        Whoever follows others to their round does so by their adverts, and those name the head
        that it lacks: its certificate comes just after. An advert with the old head would be
        listed by nobody; and so again in the next round, and in each that is as short.
        """
        if self._may_lag or not self._is_behind:
            return False
        self._wait_a_while()
        return True

    @property
    def _is_behind(self) -> bool:
        """Whether others name a higher head than ours: more of them than may lie."""
        head = self._history.head.head
        latest = [self._adverts.latest(member) for member in self._seat.others]
        higher = [
            advert
            for advert in latest
            if advert is not None and advert.round >= self.round and advert.head.place > head.place
        ]
        return len(higher) > self._seat.epoch.liars_max

    def _on_head_due(self) -> None:
        """Go on with the head that we have, unless a model is on its way."""
        self._may_lag = not (self._heads.is_coming or self._beginnings.is_coming)
        self._prepare()

    def rest(self) -> Rest:
        """Return why we give no update now, or that we do."""
        epoch = self._seat.epoch
        if self._standing.record.sits_out:
            return Rest.START
        if self._carries_charter:
            return Rest.CHARTER
        if self._history.height >= epoch.charter.rounds:
            return Rest.FINISHED
        if self._base is None:
            return Rest.STATE
        if self.is_paused:
            return Rest.PAUSED
        if self._proposals.rest != Rest.NONE:
            return self._proposals.rest
        if self.spends.is_over:
            return Rest.SPENT
        if self._failed_round == self.round:
            return Rest.TRAINING  # With other draws, it may give something for the next one.
        return Rest.NONE

    @property
    def _carries_charter(self) -> bool:
        """Whether our head carries the charter of an epoch that has not begun yet."""
        entry = self._history.head.entry
        return entry.epoch == self._seat.epoch.number and entry.next_charter != NONE

    def pause(self, *, is_paused: bool) -> None:
        """Give no more updates, or give them again: our operator knows what was lost."""
        self.is_paused = is_paused
        if not is_paused:
            self.spends.forgive()

    def _awaits_sum(self) -> bool:
        """Whether a sum may still come of what was given: it is made, or its proof comes."""
        return self._standing.record.spent_round == self.round or self._is_behind

    @property
    def may_be_allowed_more(self) -> bool:
        """Whether we rest since we gave as many updates from one model as we may; none private.

        Not while a sum may still come of the last one.
        """
        is_over = self.stage is not Stage.AVERAGING
        return is_over and self.rest() == Rest.SPENT and self._seat.epoch.charter.privacy is None

    def allow_one_more(self) -> None:
        """Give one update more from a model of which we gave as many as we may."""
        if self.may_be_allowed_more:
            self._seat.actions.append(self._standing.allow_one_more())

    # --- training ---------------------------------------------------------------------------

    def _train(self) -> None:
        head, seat = self._history.head, self._seat
        self.stage = Stage.TRAINING
        under_way = self._training.head
        if under_way is not None:
            if under_way.head == head.head:
                return  # What is trained belongs to the head.
            self._stop_training()
        height, base = self._history.height, self._base
        assert base is not None
        if height != self._told_height:
            self._told_height = height
            seat.report(events.RoundStarted(height))
        self._training.begin(self.round, base)
        self._patience.begin(self.round)

    def _stop_training(self) -> None:
        if self._training.stop():
            self._patience.end()

    def _on_update(self, update: Update) -> None:
        self._patience.end()
        self._update = update
        self._prepare()

    def _on_failed(self, _head: EntryStep, reason: str) -> None:
        self._patience.end()
        self._seat.report(events.TrainingFailed(self._history.height, reason))
        self._failed_round = self.round
        self._advertise(Rest.TRAINING)

    # --- adverts ----------------------------------------------------------------------------

    @property
    def has_advertised(self) -> bool:
        """Whether we have advertised for the round that we are in."""
        return self._standing.advert_round == self.round

    def _advertise(self, rest: Rest) -> None:
        seat, epoch, head = self._seat, self._seat.epoch, self._history.head.head
        if self.has_advertised:
            raise LocalProtocolError("a round is advertised for once")
        is_new = rest == Rest.SPENT and self.stage is not Stage.RESTING
        if is_new and epoch.charter.privacy is None:
            seat.report(events.UpdatesSpent(self._history.height, idle_heights(self._history)))
        self.stage = Stage.AVERAGING if rest == Rest.NONE else Stage.RESTING
        self._patience.end()
        secrets, share_key, mask_key = self._sessions.make_keys()
        advert = GroupAdvert(
            epoch=epoch.number,
            round=self.round,
            member=seat.rank,
            head=head,
            head_signature=seat.sign(b"head", head_statement(epoch, self.round, head)),
            charter=min(self._proposals.named, default=NONE),
            rest=rest,
            spends=self.spends.count,
            named=self._evidence.named(out_of(epoch, self._history.head.entry)),
            share_key=share_key,
            mask_key=mask_key,
            signature=bytes(64),
        )
        digest = advert.digest(epoch)
        advert = advert.signed(seat.sign(b"advert", digest))
        seat.actions.append(self._standing.advertise(advert))
        self._sessions.keep_secrets(self.round, secrets)
        self._adverts.take(advert, digest)
        seat.broadcast(advert)
        self._repeat_later()
        self.look()

    def _repeat_later(self) -> None:
        relay_s = self._seat.epoch.charter.relay_s
        self._seat.set_timer("repeat", self._seat.now_s + relay_s, self._repeat)

    def _repeat(self) -> None:
        """Say again what may have been lost, and ask for what we lack."""
        advert = self._standing.record.advert
        if self.is_active and advert is not None:
            self._seat.broadcast(advert)
        self._signing.repeat(self.round)
        self._heads.fill_gap()
        self._beginnings.look()
        self._repeat_later()
        self._progressed()

    @property
    def is_active(self) -> bool:
        """Whether something is to come of the rounds: a sum, a charter, or finality.

        Who said that it gives an update in this round, and may give none after it, sees the round
        through, and says in the next one why it rests.
        """
        if self._carries_charter or self.stage is Stage.AVERAGING:
            return True
        # Who failed to train for this round is to try again in the next one.
        if self.rest() in (Rest.NONE, Rest.TRAINING):
            return True
        return bool(self._proposals.named) or not self._history.is_final(self._history.head.head)

    # --- what may have become possible ------------------------------------------------------

    def look(self) -> None:
        """Follow others to later rounds, or leave one that came to nothing."""
        seat, gathering = self._seat, self.gathering
        if gathering is None:
            return
        # Those that m + 1 have reached, one of whom follows the rules.
        ahead = self._adverts.round_of_others(seat.epoch.liars_max + 1)
        if ahead > self.round:
            self._lose("behind")
            self._enter(ahead)
            return
        self._make_entry()
        gathering.look()
        if self.gathering is not gathering or not self.has_advertised:
            return
        if gathering.began_s is not None and not self._is_timed:
            self._is_timed = True  # A list that came early may have begun it.
            wait_s = gathering.time_s + self._sessions.time_s
            seat.set_timer("time", gathering.began_s + wait_s, self._on_time_up)
        if self._is_hopeless(gathering):
            self._give_up(gathering)
        is_reached = self._adverts.reached(self.round) >= seat.epoch.threshold
        if self._is_lost and is_reached and self.is_active:
            self._lose("aborted")
            self._enter(self.round + 1)

    def _on_time_up(self) -> None:
        self._is_lost = True
        self._progressed()

    def _give_up(self, gathering: Gathering) -> None:
        """Leave a round that nothing can come of: at once, but where too few have an update.

        That may last: then rounds are to follow each other no faster than answers come.
        """
        seat = self._seat
        assert gathering.began_s is not None
        are_ready = len(ready(self._adverts.of_round(self.round))) >= seat.epoch.least
        at_s = gathering.began_s + seat.epoch.charter.relay_s
        if are_ready or seat.now_s >= at_s:
            self._is_lost = True
        else:
            seat.set_timer("hopeless", at_s, self._progressed)

    def _is_hopeless(self, gathering: Gathering) -> bool:
        """Whether all are here that may come, and no t of them name one head for one kind of list.

        Who is out, or has left, comes to no list, whether we have a link to it or not.
        """
        seat = self._seat
        if gathering.listed is not None or gathering.began_s is None:
            return False
        missing = seat.epoch.size - self._adverts.reached(self.round)
        away: Collection[int] = seat.gone
        if missing > len(away):  # As a rule nobody is out: this is looked at with each message.
            away = {*away, *self._evidence.departed, *gathering.out}
        if missing > len(away) or any(
            self._adverts.round_of(member) < self.round
            for member in seat.others
            if member not in away
        ):
            return False
        return not gathering.can_list()

    def _lose(self, reason: str) -> None:
        if self.has_advertised and self.stage is Stage.AVERAGING:
            self._seat.report(events.RoundLost(self._history.height, reason))

    # --- lists and sums ---------------------------------------------------------------------

    def _on_listed(self, listed: Listed) -> None:
        seat = self._seat
        for member in listed.adverts:
            self._patience.delivered(member)
        if listed.message.kind == Kind.EMPTY:
            step = EntryStep(
                empty_entry(seat.epoch, listed.message.round, listed.base, listed.next_charter)
            )
            vectors = self._vectors
            if listed.base.head == self._history.head.head and vectors is not None:
                self._signing.sign(step, *vectors)
            return
        own, update = listed.adverts.get(seat.rank), self._update
        if own is None or own != self._standing.record.advert or update is None:
            return
        if update.base.head != listed.base.head or self._proposals.rest != Rest.NONE:
            return
        vectors = self._vectors
        assert vectors is not None
        # All members of the list have one base, and so the same leaders, whatever their heads.
        leaders = seat.epoch.leaders(listed.message.round, out_of(seat.epoch, listed.base.entry))
        self._sessions.begin(listed, leaders, update.vector, vectors)

    def on_spent(self) -> None:
        """Our update has left us: it is in no other session, ever."""
        update, self._update = self._update, None
        assert update is not None
        self.spends.spend(update.base, self.round)

    def on_sum_ended(self, ended: SumEnded) -> None:
        """Work the entry out, or give the round up."""
        if ended.sums is None:
            if ended.reason == NOT_GRANTED:
                self.spends.deny()
            if ended.listed.message.epoch == self._seat.epoch.number:
                self._back_off(ended.listed.message.round, ended.absent)
            if ended.listed.message.round == self.round:
                self._is_lost = True
                self.look()
            return
        if ended.listed.message.round == self.round:
            self._summed = ended
        self._seat.work(
            next_state(self._seat.epoch, ended),
            lambda made: self._on_model(ended, StateMade.of(made)),
        )

    def _on_model(self, ended: SumEnded, made: StateMade) -> None:
        self._made = (ended, made)
        self._evidence.ask(ended.listed.base.entry, ended.listed.adverts)
        self._make_entry()

    def _make_entry(self) -> None:
        """Work the entry out and sign it, once all proofs are here that its list names."""
        if self._made is None:
            return
        ended, made = self._made
        epoch, listed, sums = self._seat.epoch, ended.listed, ended.sums
        if listed.message.epoch != epoch.number:
            self._made = None  # Another epoch began while the model was being made.
            return
        base = listed.base.entry
        out = self._evidence.out(base, listed.adverts)
        if out is None or sums is None:
            return
        self._made = None
        entry = Entry(
            version=VERSION,
            kind=Kind.SUM,
            group=epoch.group,
            epoch=epoch.number,
            charter=epoch.digest,
            round=listed.message.round,
            height=height_from(epoch, base) + 1,
            base=listed.base.head,
            listed=listed.tau1,
            ballot=sums.ballot,
            sums=sums_digest([chunk.digest if chunk else NONE for chunk in sums.chunks]),
            members=epoch.pack(sums.members),
            weight=weight_in_force(epoch, out_of(epoch, base)),
            state=made.items,
            next_charter=listed.next_charter,
            out=epoch.pack(out),
            strikes=strikes_after(epoch, base),
            features=features_of(epoch, Kind.SUM),
        )
        step = EntryStep(entry)
        self._note_causes(listed, sums.members)
        if self._standing.may_sign(entry.round):
            for item, vector, digests in zip(
                made.items, made.vectors, made.chunk_digests, strict=True
            ):
                self._heads.hold(item, vector, digests)
            self._signing.sign(step, *made.vectors)

    def _note_causes(self, listed: Listed, members: tuple[int, ...]) -> None:
        """Note why those that are not in a sum are not, for people."""
        seat, epoch = self._seat, self._seat.epoch
        adverts = self._adverts.of_round(listed.message.round)
        self.causes = {}
        for rank in [rank for rank in range(epoch.size) if rank not in members]:
            cause = why_out(
                rank,
                members=members,
                out=out_of(epoch, listed.base.entry),
                listed=listed.adverts,
                adverts=adverts,
                works=self._patience.works(rank),
                gone=rank in seat.gone,
            )
            if cause is not None:
                self.causes[epoch.members[rank]] = cause

    # --- a higher head ----------------------------------------------------------------------

    def on_raised(self, step: EntryStep) -> None:
        """Go on from a higher head."""
        round_ = step.entry.round
        if step.entry.epoch == self._seat.epoch.number:
            for certified in (step.entry.base, step.head):
                if certified.epoch == step.entry.epoch:
                    self._backoff.take_back(certified.round)  # Lost for us alone.
        if step.entry.kind == Kind.SUM and step.entry.epoch == self._seat.epoch.number:
            for member in self._seat.epoch.unpack(step.entry.members) or ():
                self._backoff.on_given(member)
        if self.stage is Stage.STARTING:
            return
        if round_ >= self.round:
            self._enter(round_ + 1)
        elif not self.has_advertised:
            if self.gathering is not None:
                self.gathering.follow_head()
            self._seat.cancel_timer("head")
            self._prepare()

    def begin_anew(self) -> None:
        """Forget what is of the model before: the present epoch starts from another one."""
        self._stop_training()
        self._update = None
        self._seat.keep(self._own.forget())
        self._told_height = -1

    def on_base(self) -> None:
        """Go on: the model that the epoch starts from is here."""
        if self.stage is not Stage.STARTING and self.round and not self.has_advertised:
            self._seat.cancel_timer("head")
            self._prepare()
        self._progressed()

    def stop(self) -> None:
        """Give up all that is under way, for good."""
        self._stop_training()
        self._sessions.close()
        self.stage = Stage.LEFT
