"""Faults planted in the product, one at a time: what the sweep must be able to find."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from replacing import Change, replaced

from p2pfl_gossip import peer
from p2pfl_gossip.actions import Persist, SendBulk
from p2pfl_gossip.catch_up import ModelHeader, ModelRequest
from p2pfl_gossip.masked_sum.core import Core
from p2pfl_gossip.masked_sum.exchange import Exchange
from p2pfl_gossip.masked_sum.journal import Refused, SessionJournal, Step
from p2pfl_gossip.masked_sum.mean_summing import MeanSumming
from p2pfl_gossip.masked_sum.messages import Vote
from p2pfl_gossip.masked_sum.revealing import Revealing
from p2pfl_gossip.masked_sum.session import Session
from p2pfl_gossip.masked_sum.summing import Summing
from p2pfl_gossip.masked_sum.voting import Voting
from p2pfl_simulations.results.recorder import Recorder

Replace = Callable[[], Iterator[Change]]
Plant = Callable[[], AbstractContextManager[None]]
PLANTS: dict[str, Plant] = {}


def planting(plants: dict[str, Plant]) -> Callable[[Replace], Plant]:
    """Return what registers plants: each replaces attributes of classes while it is entered."""

    def plant(replace: Replace) -> Plant:
        def planted() -> AbstractContextManager[None]:
            return replaced(replace())

        planted.__doc__ = replace.__doc__
        plants[replace.__name__.replace("_", "-")] = planted
        return planted

    return plant


plant = planting(PLANTS)


def _persisted_last(actions: list[Any], begin: int) -> None:
    """Move what was persisted from `begin` on behind all that was said."""
    added = actions[begin:]
    persists = [it for it in added if isinstance(it, Persist)]
    actions[begin:] = [it for it in added if not isinstance(it, Persist)] + persists


@plant
def vote_before_record() -> Iterator[Change]:
    """A vote leaves before the record that says what was voted for."""
    honest = Voting._try_to_vote

    def vote(self: Any) -> None:
        begin = len(self._core.actions)
        honest(self)
        _persisted_last(self._core.actions, begin)

    yield Voting, "_try_to_vote", vote


@plant
def spent_not_recorded() -> Iterator[Change]:
    """That a vector was sent is not written down."""
    honest = Exchange.start

    def start(self: Any) -> None:
        begin = len(self._core.actions)
        honest(self)
        added = self._core.actions[begin:]
        self._core.actions[begin:] = [it for it in added if not isinstance(it, Persist)]

    yield Exchange, "start", start


@plant
def session_begun_twice() -> Iterator[Change]:
    """A restarted member begins a session again that it had begun before."""
    honest = SessionJournal.begin

    def begin(self: Any, round_: int, attempt: int) -> Persist:
        try:
            return honest(self, round_, attempt)
        except Refused:
            self._last = None
            return honest(self, round_, attempt)

    yield SessionJournal, "begin", begin


@plant
def trained_model_given() -> Iterator[Change]:
    """Who asks for a model gets the one that was just trained, and never averaged."""
    honest = peer.Peer.on_message

    def on_message(self: Any, now_s: float, sender: Any, message: Any) -> list[Any]:
        actions = honest(self, now_s, sender, message)
        if isinstance(message, ModelRequest):
            model, header = self._position.vector, ModelHeader(self._position.round)
            actions.append(SendBulk(sender, header, (model,), model.nbytes))
        return actions

    yield peer.Peer, "on_message", on_message


@plant
def round_forgotten() -> Iterator[Change]:
    """A restarted peer begins at round 0, whatever is on its disk."""
    honest = peer.Peer.on_start

    def on_start(self: Any, now_s: float, records: dict[str, Any]) -> list[Any]:
        kept = {key: value for key, value in records.items() if key != "model"}
        return honest(self, now_s, kept)

    yield peer.Peer, "on_start", on_start


@plant
def one_sum_believed() -> Iterator[Change]:
    """A chunk's sum counts once one member has signed it."""
    honest = Summing._quorum

    def quorum(self: Any, chunk: int) -> bytes | None:
        found: bytes | None = honest(self, chunk)
        for said in self._said[chunk].values() if found is None else ():
            found = said.digest
            break
        return found

    yield Summing, "_quorum", quorum


@plant
def two_sums_believed() -> Iterator[Change]:
    """A chunk's sum counts once any two members have signed it, be they its vouchers or not."""
    honest = Summing._quorum

    def quorum(self: Any, chunk: int) -> bytes | None:
        found = honest(self, chunk)
        if found is None:
            counts = self._digest_counts(chunk)
            found = next((digest for digest, count in counts.items() if count > 1), None)
        return found

    yield Summing, "_quorum", quorum


@plant
def signatures_unchecked() -> Iterator[Change]:
    """Nobody checks a signature."""
    yield Core, "verify", lambda *_: None


@plant
def no_next_leader() -> Iterator[Change]:
    """Where a leader is silent, nobody takes over, and the session lives for ever."""
    yield Voting, "_next_turn", lambda _self: None
    yield Session, "_on_session_over", lambda _self: None


@plant
def reveal_sent_once() -> Iterator[Change]:
    """A reveal or a sum that was lost is never asked for again, and the session waits for ever.

    Both are planted, as each has a clock that would end the session.
    """

    def wait(self: Any) -> None:
        self._core.cancel_timer("session")

    yield Revealing, "fetch_missing", wait
    yield MeanSumming, "_repair_sums", wait


@plant
def counted_twice() -> Iterator[Change]:
    """A peer that ends a round again after a restart counts again."""
    honest = Recorder._round_ended

    def ended(self: Any, now_s: float, host: Any, event: Any) -> None:
        self._of(event.round).ended_by[host.index] = 0
        honest(self, now_s, host, event)

    yield Recorder, "_round_ended", ended


@plant
def blamed_for_repeating() -> Iterator[Change]:
    """A leader that repeats an earlier leader's ballot is blamed for it."""
    honest = Voting.on_ballot

    def on_ballot(self: Any, sender: int, message: Any) -> None:
        honest(self, sender, message)
        if message.turn and message.digest() in self._ballots:
            self._core.blame(sender, "two_ballots", message)

    yield Voting, "on_ballot", on_ballot


@plant
def voted_twice() -> Iterator[Change]:
    """A member votes for every ballot that it can check, and not for the first alone."""
    honest = Voting.progress

    def progress(self: Any) -> None:
        honest(self)
        core, own = self._core, self._vote_of.get(self._core.rank)
        if own is None:
            return
        voted = self.__dict__.setdefault("voted", {own.ballot: None})
        for digest, ballot in self._ballots.items():
            if digest not in voted and self._is_borne_out(ballot):
                voted[digest] = None
                last = self._journal._last  # Its record would refuse a second vote.
                self._journal._last = type(last)(
                    last.round, last.attempt, Step.SPENT, last.spent_rounds, bytes(32)
                )
                core.actions.append(self._journal.advance(Step.VOTED, digest))
                signature = core.sign(b"vote", digest)
                core.broadcast(Vote(core.cohort.session, core.rank, digest, signature))

    yield Voting, "progress", progress
