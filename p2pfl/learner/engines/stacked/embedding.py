"""Embeddings: rows of each peer's own table, by number."""

import torch
from torch import nn

from p2pfl.learner.engines.stacked.program import NotStackable, Program, Saved, Value, tensor_name
from p2pfl.learner.engines.stacked.step import StackStep


class Embedding:
    """Takes rows of a table [words, width] by [peers, rows, ...] of integers.

    Args:
        weight: name of the table.
        padding: the word whose row takes no gradient, or None.
    """

    def __init__(self, weight: str, padding: int | None) -> None:
        self._weight, self._padding = weight, padding

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Take them."""
        words = inputs[0].reshape(step.peers, -1)
        table = step.parameters[self._weight]
        if int(words.min()) < 0 or int(words.max()) >= table.shape[1]:
            raise IndexError("index out of range in self")  # As torch's embedding says.
        found = [table[peer][own] for peer, own in enumerate(words)]
        return torch.stack(found).view(*inputs[0].shape, table.shape[2]), words

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Give the gradient of the table."""
        if step.trains(self._weight):
            table = step.parameters[self._weight]
            result = gradient.new_zeros(table.shape)
            parts = gradient.reshape(step.peers, -1, table.shape[2])
            for target, words, part in zip(result, saved, parts, strict=True):
                target.index_add_(0, words, part)
            if self._padding is not None:
                result[:, self._padding] = 0
            step.add_gradient(self._weight, result)
        return (None,)


def read_embedding(program: Program, name: str, module: nn.Embedding, value: Value) -> Value:
    """Read an `nn.Embedding` of the batch itself."""
    if module.max_norm is not None or module.scale_grad_by_freq or module.sparse:
        raise NotStackable("an embedding with max_norm, scale_grad_by_freq or sparse gradients")
    if value.number != 0:
        raise NotStackable("an embedding of something else than the batch")
    weight = tensor_name(name, "weight")
    return program.add(
        Embedding(weight, module.padding_idx),
        value,
        shape=(*value.shape, module.embedding_dim),
        last=False,
        parameters=(weight,),
    )
