"""The tripwire: each new model's loss on the rows that this peer held out, told to its operator.

Where sums are masked nobody sees who put what in, so a model that liars have bent shows in nothing
but what it does. A peer measures each new model on its own rows anyway. Where the loss rises by
more than training can explain, its operator is warned. It is no vote and leaves this machine in no
message: a liar would stay just below any rule that others act by, or void every round by it.
"""

from dataclasses import dataclass

from p2pfl_gossip import events
from p2pfl_gossip.actions import Event

FACTOR = 1.1
"""How much of the last loss the next one may be ..."""

MARGIN = 0.05
"""... and how much more than that."""

LOSS = "loss"
"""The figure of a task that is watched; tasks of our own kind measure it on all rows."""


@dataclass(frozen=True, slots=True)
class Rise:
    """A loss that rose: `round` gave the model, after the one of `before_round`."""

    round: int
    before_round: int
    loss: float
    before: float


class Tripwire:
    """Watches the losses of one peer's evaluations on its own held-out rows.

    Attributes:
        loss: the newest; None before the first.
        rises: how many there were.
        last: the last of them.
    """

    def __init__(self) -> None:
        self.loss: float | None = None
        self.rises = 0
        self.last: Rise | None = None
        self._round = -1

    def take(self, event: Event) -> Rise | None:
        """Note an evaluation; return what is to be warned of."""
        if not isinstance(event, events.PeerEvaluated):
            return None
        found = (event.own or event.validation).get(LOSS)
        if found is None:
            return None  # The peer has no rows of its own to tell by, or its task no loss.
        before, before_round = self.loss, self._round
        self.loss, self._round = found, event.round
        # A loss that is no number is above any.
        if before is None or found <= FACTOR * before + MARGIN:
            return None
        self.rises += 1
        self.last = Rise(event.round, before_round, found, before)
        return self.last


def describe_rise(rise: Rise) -> str:
    """Say what rose, and what to do about it."""
    return (
        f"the model of round {rise.round} has a loss of {rise.loss:.3g} on our own held-out rows,"
        f" after {rise.before:.3g} in round {rise.before_round}: members may have put in false"
        " updates, or their data have changed; see who took part (p2pfl peer status), and ask"
        " other operators whether theirs rose too (docs/liars.md)"
    )
