"""What a group's ledger says of the models that its members have."""

from collections.abc import Iterable

from p2pfl_gossip.actions import Action, Report
from p2pfl_gossip.events import RoundEnded
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.participation import entries_of
from p2pfl_gossip.ledger.states import digest_state
from p2pfl_simulations.checkers.base import Checker, Violation, Watched, fingerprint


class EndsAsCertified(Checker):
    """A member ends a round with the model that the certified entry of its height names."""

    actions = (Report,)

    def start(self, watched: Watched) -> None:
        """Begin with no round ended."""
        super().start(watched)
        self._ended: dict[int, dict[bytes, int]] = {}  # By round: digests, and who had it first.
        self._digests: dict[bytes, bytes] = {}  # By fingerprint: as a rule all have one model.

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Note the digest of a model."""
        event = action.event if isinstance(action, Report) else None
        if not isinstance(event, RoundEnded) or not self.watched.is_honest(host):
            return
        print_ = fingerprint(event.vector)
        if print_ not in self._digests:
            self._digests[print_] = digest_state("model", event.vector).item.digest
        self._ended.setdefault(event.round, {}).setdefault(self._digests[print_], host)

    def compare(self, histories: Iterable[History]) -> None:
        """Hold the models against what is certified; raises `Violation`."""
        certified = {
            entry.height - 1: entry.state[0].digest
            for history in histories
            for entry in entries_of(history)
        }
        for round_, found in self._ended.items():
            for digest, host in found.items():
                if round_ not in certified:
                    raise Violation(f"peer {host} ends round {round_}, which nobody has certified")
                if digest != certified[round_]:
                    raise Violation(f"peer {host} ends round {round_} with a model not certified")
