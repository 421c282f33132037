"""What is lost of a peer's model or update on its way into an average: told once, then counted."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from p2pfl.group.averaging import clip_of
from p2pfl.group.settings import AveragingSettings, CohortSettings
from p2pfl.learner.learner import Learner
from p2pfl.learner.tensor_parts import Beyond, count_beyond, describe_beyond, largest_part
from p2pfl_gossip import events
from p2pfl_gossip.actions import Event

KINDS = {
    "values_clipped": "values cut to averaging.clip",
    "weight_capped": "more rows than averaging.weight_max",
    "update_shrunk": "updates shrunk to averaging.clip",
    "training_failed": "training gave nothing",
}
"""What can be lost, for people."""


class Loss(NamedTuple):
    """One thing that was lost in one round.

    Attributes:
        kind: one of KINDS.
        tensor: where, or where most of it; empty where it is of no tensor.
        largest: magnitude of the largest value, or norm of the update; 0 where there is none.
        limit: what it was cut to; 0 where there is none.
    """

    kind: str
    tensor: str = ""
    largest: float = 0.0
    limit: float = 0.0


@dataclass
class Counted:
    """How often something was lost, and its largest value."""

    rounds: int = 0
    largest: float = 0.0
    limit: float = 0.0


class Lossy:
    """Finds what events tell of losses of one peer, and counts it.

    Attributes:
        counts: by kind and tensor, in the order they were first met.
        clipped: of each tensor that the last masked sum cut: entries beyond the clip.
    """

    def __init__(self, learner: Learner, averaging: AveragingSettings) -> None:
        self.counts: dict[tuple[str, str], Counted] = {}
        self.clipped: dict[str, Beyond] = {}
        self._learner, self._clip = learner, clip_of(averaging)
        is_capped = isinstance(averaging, CohortSettings)
        self._weight_max = averaging.weight_max if is_capped else 0.0  # type: ignore[union-attr]

    def take(self, event: Event) -> list[Loss]:
        """Count what an event tells of, and return what is told of for the first time."""
        new = []
        for loss in self._losses(event):
            if (loss.kind, loss.tensor) not in self.counts:
                new.append(loss)
            counted = self.counts.setdefault((loss.kind, loss.tensor), Counted())
            counted.rounds += 1
            counted.largest = max(counted.largest, loss.largest)
            counted.limit = loss.limit
        return new

    def describe_clipped(self) -> str:
        """Say what the last masked sum cut."""
        return (
            f"{describe_beyond(self.clipped)} were beyond averaging.clip = {self._clip:g}, and cut"
            " to it: have the clip raised, or keep such tensors local (docs/tasks.md);"
            " further rounds are counted in status and metrics"
        )

    def _losses(self, event: Event) -> Iterator[Loss]:
        match event:
            case events.MaskedSumEnded(result="summed"):
                self.clipped = {}
                if event.vector is not None and self._clip is not None:
                    self.clipped = count_beyond(self._learner.description, event.vector, self._clip)
                    for name, it in self.clipped.items():
                        yield Loss("values_clipped", name, it.largest, self._clip)
                elif event.clipped:  # Of another process, which keeps its model to itself.
                    yield Loss("values_clipped", limit=self._clip or 0.0)
                if event.is_weight_capped:
                    yield Loss("weight_capped", limit=self._weight_max)
            case events.UpdateShrunk():
                name = ""
                if event.vector is not None:
                    name, _ = largest_part(self._learner.description, event.vector)
                yield Loss("update_shrunk", name, event.norm, event.clip)
            case events.TrainingFailed():
                yield Loss("training_failed")


def describe_loss(loss: Loss) -> str:
    """Say what was lost, for the line of a log that is written once."""
    again = "; further rounds are counted in status and metrics"
    match loss.kind:
        case "weight_capped":
            return (
                f"this peer has more rows than averaging.weight_max = {loss.limit:g}, and counts as"
                f" that many: have it raised{again}"
            )
        case "update_shrunk":
            where = f", most of it in {loss.tensor}" if loss.tensor else ""
            return (
                f"our update has the norm {loss.largest:.3g}{where}, and counts as one of"
                f" averaging.clip = {loss.limit:g}: train less in a round, or amend the"
                f" charter's clip{again}"
            )
    return KINDS[loss.kind]
