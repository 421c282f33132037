"""The evaluations of a peer: of the model that each so many rounds gave, beside the rounds."""

from functools import partial

from p2pfl_gossip import events
from p2pfl_gossip.actions import Action, LocalProtocolError, Report, Vector
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.learning import Evaluate, Evaluated
from p2pfl_gossip.own_state import OwnState
from p2pfl_gossip.peer_state import PeerSettings
from p2pfl_gossip.records import Record


class Evaluations:
    """Asks for evaluations and reports their figures.

    Attributes:
        under_way: how many have not ended.
    """

    def __init__(self, settings: PeerSettings, own: OwnState, desk: Desk) -> None:
        self.under_way = 0
        self._own = own
        self._settings, self._desk = settings, desk

    def evaluate(self, round_: int, vector: Vector) -> list[Action]:
        """Have the model that a round gave evaluated, if it is the round's turn."""
        every = self._settings.evaluate_every
        if not every or ((round_ + 1) % every and round_ + 1 < self._settings.rounds):
            return []
        self.under_way += 1
        done, failed = partial(self._on_evaluated, round_), partial(self._on_failed, round_)
        return [self._desk.work(Evaluate(round_, vector, self._own.arrays), done, failed)]

    def _on_evaluated(self, round_: int, _now_s: float, result: Record) -> list[Action]:
        if not isinstance(result, Evaluated):
            raise LocalProtocolError(f"an evaluation ended with {type(result).__name__}")
        self.under_way -= 1
        figures = result.metrics, result.own, result.validation
        return [Report(events.PeerEvaluated(round_, *figures))]

    def _on_failed(self, round_: int, _now_s: float, reason: str) -> list[Action]:
        self.under_way -= 1
        return [Report(events.EvaluationFailed(round_, reason))]
