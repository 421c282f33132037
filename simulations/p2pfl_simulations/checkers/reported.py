"""What can be checked by reports alone: of a run of real processes, whose frames nobody sees."""

from p2pfl_gossip.actions import Event, Report
from p2pfl_gossip.events import Finished
from p2pfl_simulations.checkers.agreement import OneMean
from p2pfl_simulations.checkers.base import Checker, Watched
from p2pfl_simulations.checkers.certified import EndsAsCertified
from p2pfl_simulations.checkers.conduct import NoHonestBlamed
from p2pfl_simulations.checkers.progress import RoundsNeverFall
from p2pfl_simulations.testbed import PeerHandle


class ReportedChecks:
    """Tells checkers what peers report; it watches a run as a recorder does.

    Attributes:
        ends: compares the models of a group with its ledger, once that is known.
        finished: indices of the peers that have told that they finished.
    """

    def __init__(self, watched: Watched) -> None:
        self.ends = EndsAsCertified()
        self.finished: dict[int, None] = {}
        self._checkers: tuple[Checker, ...] = (OneMean(), NoHonestBlamed())
        if watched.is_group:
            # A member reports what its journal has. Another peer reports first, so a kill may take
            # its last round.
            self._checkers += (RoundsNeverFall(), self.ends)
        for checker in self._checkers:
            checker.start(watched)

    def on_report(self, now_s: float, host: PeerHandle, event: Event) -> None:
        """Pass a peer's event on; raises `Violation`."""
        if isinstance(event, Finished):
            self.finished[host.index] = None
        for checker in self._checkers:
            checker.on_action(now_s, host.index, Report(event))

    def on_incident(self, now_s: float, host: PeerHandle | None, kind: str, detail: str) -> None:
        """Nothing: faults excuse nobody."""
