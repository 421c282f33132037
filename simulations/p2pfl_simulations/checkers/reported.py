"""What can be checked by reports alone: of a run of real processes, whose frames nobody sees."""

from p2pfl_gossip.actions import Event, Report
from p2pfl_simulations.checkers.agreement import OneMean
from p2pfl_simulations.checkers.base import Checker, Watched
from p2pfl_simulations.checkers.conduct import NoHonestBlamed
from p2pfl_simulations.testbed import PeerHandle


class ReportedChecks:
    """Tells checkers what peers report; it watches a run as a recorder does."""

    def __init__(self, watched: Watched) -> None:
        self._checkers: tuple[Checker, ...] = (OneMean(), NoHonestBlamed())
        for checker in self._checkers:
            checker.start(watched)

    def on_report(self, now_s: float, host: PeerHandle, event: Event) -> None:
        """Pass a peer's event on; raises `Violation`."""
        for checker in self._checkers:
            checker.on_action(now_s, host.index, Report(event))

    def on_incident(self, now_s: float, host: PeerHandle | None, kind: str, detail: str) -> None:
        """Nothing: faults excuse nobody."""
