"""An adapter on a frozen base: only the adapter trains, and only the adapter travels.

    p2pfl simulate examples/adapter/scenario.toml

The base has 20,800 parameters and each message carries 3,466: the low-rank adapter (LoRA, Hu et
al., arXiv 2106.09685) and the head.
"""

from pathlib import Path

import torch
from torch import nn

from p2pfl.learner.tasks import Data, Task, make_task


class LowRank(nn.Module):
    """A frozen linear layer plus a trained product of two thin matrices."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)  # The adapter begins by changing nothing.

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Add what the adapter has learnt to what the base says."""
        result: torch.Tensor = self.base(inputs) + self.up(self.down(inputs))
        return result


class Adapter(Task):
    """Digits, by a frozen base of two layers."""

    description = "digits with a low-rank adapter on a frozen base"

    def __init__(self, rank: int = 2) -> None:
        self._rank = rank

    def data(self, data_dir: Path | None) -> Data:
        """Use the rows of a built-in task."""
        return make_task("digits", {}, folder=None).data(data_dir)

    def model(self) -> nn.Module:
        """Return base, adapter and head.

        A real base has trained weights: load them here, `base.load_state_dict(
        safetensors.torch.load_file(path))`. Every peer must load the same, since the base does
        not travel. Here it is random features, from a generator of its own.
        """
        base = [nn.Linear(64, 64), nn.Linear(64, 256)]
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for layer in base:
                bound = (3 / layer.in_features) ** 0.5
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.zero_()
        return nn.Sequential(
            LowRank(base[0], self._rank),
            nn.ReLU(),
            LowRank(base[1], self._rank),
            nn.ReLU(),
            nn.Linear(256, 10).requires_grad_(True),
        )

    # What travels is what requires a gradient: the adapters and the head. To choose otherwise:
    #
    #     def travelling(self, model: nn.Module) -> list[str]:
    #         return [name for name, _ in model.named_parameters() if ".up." in name or ...]
