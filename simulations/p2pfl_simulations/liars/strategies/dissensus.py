"""Tells each neighbour of a graph what drives it away from the others."""

from collections.abc import Sequence

import numpy as np

from p2pfl_gossip.actions import Action, SendBulk
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_simulations.liars.liar import Liar
from p2pfl_simulations.liars.poisoning import ENTRY_MAX

PAUSE_S = 0.005
"""Between two looks at who has begun a round."""


class Dissensus(Liar):
    """Tells each neighbour what undoes its mixing with honest ones (He, Karimireddy & Jaggi, 2022).

    The neighbour i gets x_i - epsilon sum over honest j of (x_j - x_i) / (its liars), all of equal
    weight: with epsilon 1 it stays where it was, above it is driven away. Peers of a graph begin a
    round at different times: the liar waits until all honest ones around its neighbour have.

    Args:
        epsilon: how far.
        patience_s: how long it waits at most, before it says what it knows.
    """

    algorithms = ("dsgd",)
    is_omniscient = True

    def __init__(self, epsilon: float = 1.5, patience_s: float = 1.0) -> None:
        self._epsilon, self._patience_s = epsilon, patience_s
        self._since_s: dict[tuple[int, int], float] = {}

    def say(self, now_s: float, action: Action) -> Sequence[Action]:
        """Send another model than the own one."""
        if not isinstance(action, SendBulk) or not isinstance(action.header, VectorHeader):
            return (action,)
        receiver, round_ = self.me.index_of(action.receiver), action.header.round
        models = {it.peer: it.trained for it in self.me.insight.of(round_)}
        around = self.me.partners_of(receiver, round_)
        if receiver not in self.me.colluders and self._waits(now_s, receiver, round_):
            honest = {receiver, *around}.difference(self.me.colluders)
            if not honest.issubset(models):
                self.me.ask_again(PAUSE_S, action)
                return ()
        self._since_s.pop((receiver, round_), None)
        if receiver not in models:
            return (action,)
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

    def _waits(self, now_s: float, receiver: int, round_: int) -> bool:
        """Tell whether its patience lasts."""
        since_s = self._since_s.setdefault((receiver, round_), now_s)
        return now_s < since_s + self._patience_s
