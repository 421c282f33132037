"""Robust averaging: rules that bound what models of liars do, where models are seen in the clear.

They look at every single model. So they are never had together with masked sums, which hide them.
"""

from p2pfl_gossip.averaging.robust.registry import RULES, RobustError, RobustRule

__all__ = ["RULES", "RobustError", "RobustRule"]
