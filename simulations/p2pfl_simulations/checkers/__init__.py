"""Checkers: what must hold in every run, whatever goes wrong and whoever lies; one class each."""

from p2pfl_simulations.checkers.agreement import OneMean, TrueMean
from p2pfl_simulations.checkers.auditing import AuditHolds
from p2pfl_simulations.checkers.base import Checker, Violation, Watched
from p2pfl_simulations.checkers.beginnings import BeginsAsSaid
from p2pfl_simulations.checkers.conduct import NoHonestBlamed, NoHonestRefused
from p2pfl_simulations.checkers.ledger import ledger_checkers
from p2pfl_simulations.checkers.membership import SameMembers
from p2pfl_simulations.checkers.naming import OnlyLiarsNamed
from p2pfl_simulations.checkers.progress import NobodyIsLed, RoundsNeverFall
from p2pfl_simulations.checkers.secrecy import OwnModelStays, SpentOnce
from p2pfl_simulations.checkers.spending import SpendsFew
from p2pfl_simulations.checkers.vouching import OneBallot
from p2pfl_simulations.checkers.write_ahead import WriteAhead

__all__ = ["Checker", "Violation", "Watched", "all_checkers"]


def all_checkers() -> tuple[Checker, ...]:
    """Make those that hold in every run and need nothing but inputs and actions."""
    sums = OneBallot()
    return (
        SameMembers(),
        sums,
        OneMean(sums),
        TrueMean(sums),
        NoHonestRefused(),
        NoHonestBlamed(),
        RoundsNeverFall(),
        NobodyIsLed(),
        OwnModelStays(),
        SpentOnce(),
        SpendsFew(),
        WriteAhead(),
        AuditHolds(),
        OnlyLiarsNamed(),
        BeginsAsSaid(),
        *ledger_checkers(),
    )
