"""Outer optimisers without a server: momentum or Adam over rounds (DiLoCo, FedAdam).

A server would step from where a round began, x, by the mean way of all models, mean - x, and send
the result to all. Here each peer does this step by itself, at the start of its next training: it
knows x, from which it trained, and is given the mean. So whoever averages, and however, needs to
know nothing of it, and what is averaged and certified is the mean of trained models. With SGD,
Nesterov momentum m and a rate of 1, a round begins at mean + m * (mean - earlier mean).
"""

import numpy as np

from p2pfl.learner.optimisers import MOMENTS, Optimiser, State
from p2pfl.learner.settings import OuterSettings, TrainingSettings
from p2pfl.learner.tasks.base import Floats
from p2pfl_gossip.own_state import Arrays

PREFIX = "outer/"
BEGUN, ROUND = f"{PREFIX}begun", f"{PREFIX}round"


class OuterSteps:
    """The outer optimiser of one run; what it keeps of a peer is in the peer's own state."""

    def __init__(self, settings: OuterSettings) -> None:
        self._optimiser = Optimiser(TrainingSettings(optimiser=settings.optimiser))
        self._rate = settings.learning_rate

    def begin(self, round_: int, mean: Floats, own: Arrays) -> tuple[Floats, Arrays]:
        """Return where a round begins, and what is to be kept of it.

        Args:
            round_: the round that begins.
            mean: float32[d], what the round before gave; not changed.
            own: what the peer keeps of its own.

        Returns:
            float32[d]: the mean itself where the peer was not in the round before.
        """
        last = int(own[ROUND][0]) if ROUND in own else None
        if last == round_ and own[BEGUN].shape == mean.shape:
            # The round is tried again: it begins where it did.
            return own[BEGUN], {name: own[name] for name in own if name.startswith(PREFIX)}
        state: State = {}
        begun = mean.copy()
        if last == round_ - 1 and own[BEGUN].shape == mean.shape:
            begun = own[BEGUN].copy()
            kept = {name: own[PREFIX + name] for name in MOMENTS if PREFIX + name in own}
            state = self._optimiser.begin(begun, kept)
            self._optimiser.step(begun, begun - mean, state, self._rate)
        keep = {f"{PREFIX}{name}": state[name] for name in MOMENTS if name in state}
        return begun, {**keep, BEGUN: begun, ROUND: np.array([round_], np.float32)}
