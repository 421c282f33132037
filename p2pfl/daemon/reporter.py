"""Tells people what a peer does: each event becomes a line of the log, and a figure of the status.

Keys, seeds, masks and models never get here: an event's vector is left out, and of a frame at most
its digest is logged, at level debug.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from p2pfl.daemon.links import DIAL_RATE, NOT_YET, OTHER_GROUP, UP
from p2pfl.daemon.measures import RoundTimes
from p2pfl.daemon.recording import fields_of
from p2pfl.daemon.sentences import DEBUG, describe, describe_reason, snake_case
from p2pfl.group.lossy import Loss, Lossy, describe_loss
from p2pfl.group.tripwire import Tripwire, describe_rise
from p2pfl_crypto.hashing import hash_parts
from p2pfl_gossip import events
from p2pfl_gossip.actions import Event, PeerId
from p2pfl_gossip.ledger.messages import EntrySignature, GroupAdvert
from p2pfl_gossip.masked_sum.messages import ChunkHeader, SessionMessage, Vote
from p2pfl_gossip.records import Message


class Reporter:
    """The driver's observer.

    Attributes:
        counts: what has happened since the start, by name: rounds ended, lost, masked sums ...
        latest: what is newest of rounds, by name: round, contributors, training_loss ...;
            `own_update`: whether the round that ended last has our own update in its model;
            `training_failure`: what was told of the last training that failed.
        figures: those of the task, by the names it gives them, of `latest["evaluated_round"]`: on
            the peer's own test rows, or on the common ones where it has none.
        public_figures: those of them that metrics have.
        is_private: whether rounds are. Log and metrics may leave this machine, so they then have no
            figure of own rows.
        round_times: how long rounds took.
        lossy: what was lost of the peer's own model or updates; None where nobody looks.
        tripwire: warns of new models that are worse on own rows; None where rounds are private, as
            what it tells would be one more release about those rows.
        differing: of each other member that would average something else, in what: a sentence.
        listeners: are told each event as well, with members' names.
        plain_listeners: are told each event as the machine has it.
    """

    def __init__(
        self, log: logging.Logger, names: Mapping[PeerId, str], lossy: Lossy | None = None
    ) -> None:
        """Report on a peer.

        Args:
            log: where to.
            names: of the other members.
            lossy: finds and counts what is lost of the peer's own.
        """
        self.listeners: list[Callable[[Event], None]] = []
        self.plain_listeners: list[Callable[[Event], None]] = []
        self.counts: Counter[str] = Counter()
        self.latest: dict[str, Any] = {}
        self.figures: dict[str, float] = {}
        self.public_figures: dict[str, float] = {}
        self.differing: dict[str, str] = {}
        self.lossy = lossy
        self.tripwire: Tripwire | None = None
        self.is_private = False
        self._failed_round: int | None = None  # The last whose training failed.
        self._without_own: int | None = None  # The last round that nothing of ours went into.
        self.round_times = RoundTimes()
        self._links: dict[PeerId, str] = dict.fromkeys(names, NOT_YET)  # As they were told last.
        self._log, self._names = log, dict(names)

    def on_event(self, now_s: float, event: Event) -> None:
        """Log an event of the peer, and note its figures."""
        plain, event = event, self._with_names(event)
        kind = snake_case(type(event).__name__)
        self.counts[kind] += 1
        self._note_figures(now_s, event, fields_of(event))
        if self.is_private:
            event = _without_own_rows(event)
        fields = fields_of(event)
        level, told = describe(event)
        if isinstance(event, events.MemberDiffers):
            self.differing[event.member] = told
        elif isinstance(event, events.MemberAgrees):
            self.differing.pop(event.member, None)
        losses = self.lossy.take(event) if self.lossy is not None else []
        if isinstance(event, events.TrainingFailed) and self._has_failed_before(event):
            level = DEBUG
        self._write(level, kind, told, fields)
        self._tell_losses(losses, fields)
        if self.tripwire is not None and (rise := self.tripwire.take(event)) is not None:
            told = f"round {rise.round}: {describe_rise(rise)}"
            risen = {"round": rise.round, "loss": rise.loss, "before": rise.before}
            self._write(logging.WARNING, "loss_rose", told, risen)
        for listener in self.listeners:
            listener(event)
        for tell in self.plain_listeners:
            tell(plain)

    def _note_figures(self, now_s: float, event: Event, fields: Mapping[str, Any]) -> None:
        """Note what an event changes of counts, figures and what is newest."""
        match event:
            case events.RoundStarted():
                self.latest |= fields
                self.round_times.begin(now_s)
            case events.RoundEnded():
                self.latest |= fields
                self.latest["own_update"] = event.round != self._without_own
                self.counts["rounds_with_own_update"] += self.latest["own_update"]
                self.round_times.end(now_s)
            case events.AveragingStarted():
                if event.loss is not None:
                    self.latest["training_loss"] = event.loss
            case events.PeerEvaluated():
                self.latest["evaluated_round"] = event.round
                self.figures = dict(event.own or event.metrics)
                self.public_figures = dict(event.metrics if self.is_private else self.figures)
            case events.MaskedSumEnded():
                ended = "summed" if event.result == "summed" else "aborted"
                self.counts[f"masked_sums_{ended}"] += 1
                if ended == "aborted":
                    self._without_own = event.round
                elif self._without_own == event.round:
                    self._without_own = None  # A second attempt.
            case events.TrainingFailed():
                self._without_own = event.round
                self.latest["training_failure"] = describe(event)[1]

    def _has_failed_before(self, event: events.TrainingFailed) -> bool:
        """Tell whether trainings fail one after the other: that is told once, then counted."""
        before, self._failed_round = self._failed_round, event.round
        return before is not None and before >= event.round - 1

    def _tell_losses(self, losses: Sequence[Loss], fields: Mapping[str, Any]) -> None:
        """Warn of what is lost for the first time; further rounds are counted."""
        if self.lossy is None:
            return
        at = {"round": fields.get("round")}
        clipped = [it for it in losses if it.kind == "values_clipped"]
        if clipped:
            told = f"round {at['round']}: {self.lossy.describe_clipped()}"
            beyond = {name: list(it) for name, it in self.lossy.clipped.items()}
            self._write(logging.WARNING, "values_clipped", told, at | {"clipped": beyond})
        for loss in losses:
            if loss.kind in ("weight_capped", "update_shrunk"):
                told = f"round {at['round']}: {describe_loss(loss)}"
                self._write(logging.WARNING, f"{loss.kind}_first", told, at | loss._asdict())

    def on_link(self, peer: PeerId, *, up: bool, reason: str) -> None:
        """Log a link that came or went, once: what each dial in between fails by is no news."""
        if not up and reason == DIAL_RATE:
            return  # Not of the member: our own host spares an address that has just failed.
        before, state = self._links.get(peer), UP if up else reason
        self._links[peer] = state
        is_stranger = reason == OTHER_GROUP
        if state == before or (not up and before not in (UP, NOT_YET) and not is_stranger):
            return
        name = self.name_of(peer)
        fields = {"member": name, "reason": reason}
        if up:
            self._write(logging.INFO, "link_up", f"{name} is connected", fields)
            return
        if is_stranger:
            told = (
                f"{name} is of another group, or has another version of p2pfl: compare the group's"
                " id (p2pfl peer status) and p2pfl --version on both sides"
            )
        elif before == UP:
            told = f"{name} is gone: {describe_reason(reason)}"
        else:
            told = f"{name} cannot be reached: {describe_reason(reason)}"
        self._write(logging.WARNING, "link_down", told, fields)

    def rename(self, names: Mapping[PeerId, str]) -> None:
        """Call members so from now on; who is a member no more keeps its name in what is told."""
        self._names |= names

    def name_of(self, peer: PeerId) -> str:
        """Return what people call a member."""
        return self._names.get(peer, str(peer))

    def on_refused(self, peer: PeerId, reason: str) -> None:
        """Log that a member broke the protocol."""
        self.counts["refused"] += 1
        self.counts[f"refused.{reason}"] += 1
        name = self.name_of(peer)
        told = f"{name} broke the protocol: {describe_reason(reason)}; its link is ended"
        self._write(logging.WARNING, "refused", told, {"member": name, "reason": reason})

    def on_twice(self, peer: PeerId) -> None:
        """Log that two processes run with the key of one member; the second is refused."""
        self.counts["runs_twice"] += 1
        name = self.name_of(peer)
        told = (
            f"{name} runs twice: two processes with its key are here; the second is refused, and"
            f" the later one is told to end. Its operator has to stop one of them"
        )
        self._write(logging.ERROR, "runs_twice", told, {"member": name})

    def on_traffic(
        self, direction: str, peer: PeerId, message: Message, frame: bytes | bytearray
    ) -> None:
        """Log a frame, at level debug: what it is, and a digest that tells it from others."""
        if not self._log.isEnabledFor(logging.DEBUG):
            return
        kind, name = type(message).__name__, self.name_of(peer)
        fields: dict[str, Any] = {
            "direction": direction,
            "member": name,
            "message_type": kind,
            "digest": hash_parts(b"p2pfl/log", bytes(frame)).hex()[:32],
        }
        if isinstance(message, SessionMessage):
            fields["session"] = message.session.hex()[:16]
        if isinstance(message, ChunkHeader):
            fields |= {"chunk": message.chunk, "author": message.member}
        if isinstance(message, Vote):  # Who holds t of them gives others' to whoever asks.
            fields["author"] = message.member
        if isinstance(message, GroupAdvert | EntrySignature):
            fields |= {"epoch": message.epoch, "round": message.round, "author": message.member}
        preposition = "to" if direction == "out" else "from"
        self._write(logging.DEBUG, "frame", f"{kind} {preposition} {name}", fields)

    def tell(self, kind: str, told: str, *, level: int = logging.INFO, **fields: Any) -> None:
        """Log what the daemon itself does."""
        self._write(level, kind, told, fields)

    def _with_names(self, event: Event) -> Event:
        """Name members as people do, where an event names their identities."""
        match event:
            case events.OpeningWaits():
                members = tuple(self._names.get(PeerId(it), it) for it in event.members)
                return events.OpeningWaits(event.count, members)
            case events.MemberDiffers():
                member = self._names.get(PeerId(event.member), event.member)
                told = event.what, event.name, event.theirs, event.ours
                return events.MemberDiffers(member, *told)
            case events.MemberAgrees():
                return events.MemberAgrees(self._names.get(PeerId(event.member), event.member))
            case events.RoundEnded():
                silent = tuple(self._names.get(PeerId(it), it) for it in event.without_update)
                figures = event.vector, event.expected, event.contributors, event.complete
                return events.RoundEnded(event.round, *figures, silent, event.own_state)
            case events.MemberBlamed():
                member = self._names.get(PeerId(event.member), event.member)
                return events.MemberBlamed(event.round, event.session, member, event.fault)
            case events.MemberDeparted():
                member = self._names.get(PeerId(event.member), event.member)
                return events.MemberDeparted(member, event.is_revoked, event.withdraws)
        return event

    def _write(self, level: int, kind: str, told: str, fields: Mapping[str, Any]) -> None:
        if self._log.isEnabledFor(level):
            # The monotonic clock is common to all processes of one machine: `p2pfl launch` puts
            # their events in order by it.
            stamped = {"event": kind, "monotonic_s": round(time.monotonic(), 6), **fields}
            self._log.log(level, "%s", told, extra={"fields": stamped})


def _without_own_rows(event: Event) -> Event:
    """Leave out what was worked out of own rows, and has no noise."""
    match event:
        case events.AveragingStarted():
            return events.AveragingStarted(event.round, None)
        case events.PeerEvaluated():
            return events.PeerEvaluated(event.round, event.metrics)
    return event
