"""Tells each neighbour of a graph what drives it away from the others."""

from collections.abc import Sequence

import numpy as np

from p2pfl_gossip.actions import Action, SendBulk
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_simulations.liars.liar import Liar
from p2pfl_simulations.liars.poisoning import ENTRY_MAX


class Dissensus(Liar):
    """Tells each neighbour what undoes its mixing with honest ones (He, Karimireddy & Jaggi, 2022).

    The neighbour i gets x_i - epsilon sum over honest j of (x_j - x_i) / (its liars), all of equal
    weight: with epsilon 1 it stays where it was, above it is driven away.

    Args:
        epsilon: how far.
    """

    algorithms = ("dsgd",)
    is_omniscient = True

    def __init__(self, epsilon: float = 1.5) -> None:
        self._epsilon = epsilon

    def say(self, now_s: float, action: Action) -> Sequence[Action]:
        """Send another model than the own one."""
        if not isinstance(action, SendBulk) or not isinstance(action.header, VectorHeader):
            return (action,)
        receiver, round_ = self.me.index_of(action.receiver), action.header.round
        models = {it.peer: it.trained for it in self.me.insight.of(round_)}
        if receiver not in models:
            return (action,)
        around = self.me.partners_of(receiver, round_)
        own = models[receiver].astype(np.float64)
        pulls = [models[peer] - own for peer in around if peer in models]
        liars = sum(peer in self.me.colluders for peer in around)
        if not pulls or not liars:
            return (action,)
        wish = own - self._epsilon * np.sum(pulls, axis=0) / liars
        body = np.clip(wish, -ENTRY_MAX, ENTRY_MAX).astype(np.float32)
        body.flags.writeable = False
        return (
            SendBulk(action.receiver, action.header, (body,), body.nbytes, ticket=action.ticket),
        )
