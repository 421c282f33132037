"""The loss of each model of a stack by itself, of its real rows alone, and its gradient."""

from collections.abc import Sequence

import numpy as np
import torch

from p2pfl.learner.tasks.base import Floats, Task


class StackedLoss:
    """A task's loss of stacked outputs.

    Args:
        task: gives it.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._is_own = type(task).loss is not Task.loss

    def gradient(
        self,
        outputs: torch.Tensor,
        targets: torch.Tensor,
        weights: torch.Tensor,
        sizes: Sequence[int],
    ) -> tuple[torch.Tensor, Floats]:
        """Return the gradient of each batch's loss, as outputs are, and the losses, [peers].

        Args:
            outputs: [peers, rows, ...].
            targets: [peers, rows, ...].
            weights: float32[peers, rows], of each row in its batch's mean; 0 for padding.
            sizes: real rows of each batch; they come first.
        """
        if self._is_own or outputs.dim() != 3 or targets.dim() != 2:
            return self._by_autograd(outputs, targets, sizes)
        return _cross_entropy(outputs, targets, weights)

    def _by_autograd(
        self, outputs: torch.Tensor, targets: torch.Tensor, sizes: Sequence[int]
    ) -> tuple[torch.Tensor, Floats]:
        gradient = torch.zeros_like(outputs)
        losses = np.zeros(len(sizes), np.float32)
        with torch.enable_grad():
            for place, size in enumerate(sizes):
                own = outputs[place, :size].detach().clone().requires_grad_()
                loss = self._task.loss(own, targets[place, :size])
                (found,) = torch.autograd.grad(loss, [own], allow_unused=True)
                if found is not None:
                    gradient[place, :size] = found
                losses[place] = float(loss.detach())
        return gradient, losses


def _cross_entropy(
    outputs: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, Floats]:
    places = targets.to(torch.int64).unsqueeze(2)
    # In one piece: NumPy sums in another order where entries lie otherwise.
    logs = torch.log_softmax(outputs.contiguous(), 2)
    each = logs.gather(2, places).squeeze(2).neg_().numpy()
    gradient = torch.exp(logs)
    gradient.scatter_add_(2, places, gradient.new_full((1, 1, 1), -1.0).expand(places.shape))
    gradient.mul_(weights.unsqueeze(2))
    losses: Floats = (each * weights.numpy()).sum(axis=1)
    return gradient, losses
