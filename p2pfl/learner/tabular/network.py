"""The model of a table: linear layers with ReLU, behind embeddings where there are any."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from p2pfl.learner.tabular.features import Embedded, Features


class EmbeddedInputs(nn.Module):
    """Puts a learnt vector in place of each code: [n, plain + codes] -> [n, plain + lengths].

    Args:
        plain: inputs that pass as they are.
        embedded: the columns whose codes follow them.
    """

    def __init__(self, plain: int, embedded: Sequence[Embedded]) -> None:
        super().__init__()
        self._plain = plain
        self.tables = nn.ModuleList([nn.Embedding(it.codes, it.length) for it in embedded])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Look the codes up; they are whole numbers that float32 holds exactly."""
        codes = inputs[:, self._plain :].long()
        found = [table(codes[:, place]) for place, table in enumerate(self.tables)]
        return torch.cat([inputs[:, : self._plain], *found], dim=1)


def make_network(features: Features, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """Make the model at its start, drawing from torch's global generator."""
    plain = len(features.names)
    widths = [plain + sum(it.length for it in features.embedded), *hidden, outputs]
    layers: list[nn.Module] = []
    if features.embedded:
        layers.append(EmbeddedInputs(plain, features.embedded))
    for first, second in pairwise(widths):
        layers += [nn.Linear(first, second), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
