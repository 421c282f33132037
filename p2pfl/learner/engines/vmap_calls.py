"""What a forward pass calls that vmap does not take: dropout, and torch's fused attention."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Mask = tuple[tuple[int, ...], float]
"""The shape of what a dropout is applied to, and its probability of zero."""


class WithoutDropout(TorchFunctionMode):
    """Leaves dropout out while it is entered."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        """Call a function of torch, or what takes its place."""
        named = named or {}
        if function is functional.dropout:
            return self._dropout(*arguments, **named)
        if function is functional.scaled_dot_product_attention:
            return self._attend(*arguments, **named)
        return function(*arguments, **named)

    def _dropout(
        self, x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        return x

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        **named: Any,
    ) -> torch.Tensor:
        attend = functional.scaled_dot_product_attention
        return attend(query, key, value, attn_mask, 0.0, **named)


class StackedCalls(WithoutDropout):
    """Takes the place of calls while it is entered.

    Dropout multiplies by masks that are given, so that each model has its own, whoever shares the
    stack. Attention is two products: vmap would take the fused one model after model.

    Args:
        masks: one for each dropout, in their order, scaled; None for no dropout at all.

    Attributes:
        asked: the dropouts that were asked for, in their order.
    """

    def __init__(self, masks: Sequence[torch.Tensor] | None = None) -> None:
        super().__init__()
        self.asked: list[Mask] = []
        self._masks = masks

    def _dropout(
        self, x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        if not training or p == 0:
            return x
        self.asked.append((tuple(x.shape), p))
        if self._masks is None:
            return x
        mask = self._masks[len(self.asked) - 1]
        return x.mul_(mask) if inplace else x * mask

    def _attend(  # type: ignore[override]
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        if enable_gqa:
            shared = query.shape[-3] // key.shape[-3]
            key = key.repeat_interleave(shared, -3)
            value = value.repeat_interleave(shared, -3)
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = torch.matmul(query * factor, key.transpose(-1, -2))
        if is_causal:
            seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
            scores = scores.masked_fill(~seen, -math.inf)
        if attn_mask is not None:
            if attn_mask.dtype == torch.bool:
                scores = scores.masked_fill(~attn_mask, -math.inf)
            else:
                scores = scores + attn_mask
        weights = self._dropout(torch.softmax(scores, -1), dropout_p)
        return torch.matmul(weights, value)


def draw_masks(asked: Sequence[Mask], generators: Sequence[torch.Generator]) -> list[torch.Tensor]:
    """Draw each model's masks, [peers, *shape] of each dropout, from its own generator."""
    masks = [torch.empty(len(generators), *shape) for shape, _ in asked]
    for place, generator in enumerate(generators):
        for mask, (_, probability) in zip(masks, asked, strict=True):
            mask[place].bernoulli_(1 - probability, generator=generator)
    for mask, (_, probability) in zip(masks, asked, strict=True):
        if probability < 1:
            mask.div_(1 - probability)
    return masks
