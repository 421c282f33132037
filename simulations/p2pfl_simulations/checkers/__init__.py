"""Checkers: what must hold in every run, whatever goes wrong and whoever lies; one class each."""

from p2pfl_simulations.checkers.base import Checker, Violation, Watched

__all__ = ["Checker", "Violation", "Watched"]
