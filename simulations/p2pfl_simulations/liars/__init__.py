"""Liars: peers that run the real machine, with a strategy wrapped around it."""

from p2pfl_simulations.liars.liar import Liar, Place

__all__ = ["Liar", "Place"]
