"""Self-attention and encoder layers of transformers."""

import torch
from torch import nn

from p2pfl.learner.engines.stacked.dropout import add_dropout, draw_mask
from p2pfl.learner.engines.stacked.linear import add_linear, read_linear
from p2pfl.learner.engines.stacked.norms import read_layer_norm
from p2pfl.learner.engines.stacked.pointwise import read_activation
from p2pfl.learner.engines.stacked.program import NotStackable, Program, Saved, Value
from p2pfl.learner.engines.stacked.shaping import Sum
from p2pfl.learner.engines.stacked.step import StackStep


class Attention:
    """Softmax attention of every token to all of its row, by products.

    The input has queries, keys and values side by side: [peers, rows, tokens, 3 * width].

    Args:
        heads: that the width is split among.
        dropout: the probability that a weight is set to zero.
    """

    def __init__(self, heads: int, dropout: float) -> None:
        self._heads, self._dropout = heads, dropout

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Attend: [peers, rows, tokens, width]."""
        (x,) = inputs
        peers, rows, tokens, width = x.shape[0], x.shape[1], x.shape[2], x.shape[3] // 3
        each = width // self._heads
        parts = x.reshape(peers * rows, tokens, 3, self._heads, each).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts.reshape(3, -1, tokens, each).unbind()
        scale = each**-0.5
        weights = torch.softmax(torch.bmm(queries * scale, keys.transpose(1, 2)), -1)
        mask, used = None, weights
        if self._dropout:
            mask = draw_mask(step, self._dropout, (self._heads, tokens, tokens)).view(weights.shape)
            used = weights * mask
        y = torch.bmm(used, values)
        y = y.view(peers * rows, self._heads, tokens, each).transpose(1, 2)
        return (
            y.reshape(peers, rows, tokens, width),
            (queries, keys, values, weights, mask, used, scale),
        )

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Return the gradient of queries, keys and values side by side."""
        if not wanted:
            return (None,)
        queries, keys, values, weights, mask, used, scale = saved
        peers, rows, tokens, width = gradient.shape
        each = width // self._heads
        g = gradient.reshape(peers * rows, tokens, self._heads, each).transpose(1, 2)
        g = g.reshape(-1, tokens, each)
        of_weights = torch.bmm(g, values.transpose(1, 2))
        if mask is not None:
            of_weights *= mask
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_scores *= scale
        found = torch.stack(
            (
                torch.bmm(of_scores, keys),
                torch.bmm(of_scores.transpose(1, 2), queries),
                torch.bmm(used.transpose(1, 2), g),
            )
        )
        found = found.view(3, peers * rows, self._heads, tokens, each).permute(1, 3, 0, 2, 4)
        return (found.reshape(peers, rows, tokens, 3 * width),)


def add_attention(
    program: Program, name: str, module: nn.MultiheadAttention, value: Value
) -> Value:
    """Append self-attention of the tokens of a value."""
    if not module.batch_first:
        raise NotStackable("an attention with its batch second: set batch_first")
    if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
        raise NotStackable("an attention with other keys than queries")
    if len(value.shape) != 2 or value.shape[1] != module.embed_dim or value.shape[0] < 2:
        raise NotStackable(f"an attention over rows of {list(value.shape)}")
    if module.head_dim < 2:
        raise NotStackable("an attention with heads of width 1")
    prefix = f"{name}." if name else ""
    width = module.embed_dim
    bias = f"{prefix}in_proj_bias" if module.in_proj_bias is not None else None
    value = add_linear(
        program, f"{prefix}in_proj_weight", bias, (width, 3 * width), value, is_transposed=False
    )
    value = program.add(
        Attention(module.num_heads, module.dropout),
        value,
        shape=(value.shape[0], width),
        last=False,
    )
    program.draws = program.draws or module.dropout > 0
    program.scratch = max(program.scratch, 2 * module.num_heads * value.shape[0] ** 2)
    return read_linear(program, f"{prefix}out_proj", module.out_proj, value)


def read_encoder_layer(
    program: Program, name: str, module: nn.TransformerEncoderLayer, value: Value
) -> Value:
    """Read an `nn.TransformerEncoderLayer`, its norms first or last."""
    prefix = f"{name}." if name else ""
    value = program.turned(value, last=False)

    def attended(x: Value) -> Value:
        y = add_attention(program, f"{prefix}self_attn", module.self_attn, x)
        return add_dropout(program, module.dropout1.p, y, rows_second=True)

    def fed(x: Value) -> Value:
        y = read_linear(program, f"{prefix}linear1", module.linear1, x)
        y = read_activation(program, "", _activation(module), y)
        y = add_dropout(program, module.dropout.p, y)
        y = read_linear(program, f"{prefix}linear2", module.linear2, y)
        return add_dropout(program, module.dropout2.p, y)

    def added(x: Value, y: Value) -> Value:
        return program.add(Sum(), x, y, shape=x.shape, last=False)

    def normed(which: str, x: Value) -> Value:
        return read_layer_norm(program, f"{prefix}{which}", getattr(module, which), x)

    if module.norm_first:
        value = added(value, attended(normed("norm1", value)))
        return added(value, fed(normed("norm2", value)))
    value = normed("norm1", added(value, attended(value)))
    return normed("norm2", added(value, fed(value)))


def read_encoder(program: Program, name: str, module: nn.TransformerEncoder, value: Value) -> Value:
    """Read an `nn.TransformerEncoder`."""
    prefix = f"{name}." if name else ""
    for number, layer in enumerate(module.layers):
        if type(layer) is not nn.TransformerEncoderLayer:
            raise NotStackable(f"an encoder of {type(layer).__name__}")
        value = read_encoder_layer(program, f"{prefix}layers.{number}", layer, value)
    if module.norm is None:
        return value
    if type(module.norm) is not nn.LayerNorm:
        raise NotStackable(f"an encoder that ends with {type(module.norm).__name__}")
    return read_layer_norm(program, f"{prefix}norm", module.norm, value)


def _activation(module: nn.TransformerEncoderLayer) -> nn.Module:
    given = module.activation
    if given is nn.functional.relu or type(given) is nn.ReLU:
        return nn.ReLU()
    if given is nn.functional.gelu or (type(given) is nn.GELU and given.approximate == "none"):
        return nn.GELU()
    raise NotStackable("an encoder layer with another activation than ReLU and GELU")
