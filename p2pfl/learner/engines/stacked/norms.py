"""Normalisations: over groups of channels, over features, and over a peer's own batch."""

import torch
from torch import nn

from p2pfl.learner.engines.stacked.program import NotStackable, Program, Saved, Value, tensor_name
from p2pfl.learner.engines.stacked.step import StackStep, product


class GroupNormalisation:
    """Over groups of channels of each row: [peers, channels, ..., rows].

    Args:
        weight: name of the scale, [channels], or None.
        bias: name of the shift, or None.
        groups: of channels.
        epsilon: added to a variance.
    """

    def __init__(self, weight: str | None, bias: str | None, groups: int, epsilon: float) -> None:
        self._weight, self._bias, self._groups, self._epsilon = weight, bias, groups, epsilon

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Normalise, scale and shift."""
        (x,) = inputs
        peers, channels, rows = x.shape[0], x.shape[1], x.shape[-1]
        grouped = x.reshape(peers, self._groups, -1, rows)
        count = grouped.shape[2]
        centred = grouped - grouped.sum(2, keepdim=True).div_(count)
        inverse = (centred * centred).sum(2, keepdim=True).div_(count).add_(self._epsilon).rsqrt_()
        # The scale is folded into the inverse deviation: one pass over the values less.
        scale = _by_channel(inverse, channels)
        if self._weight is not None:
            scale = scale * step.parameters[self._weight].view(peers, channels, 1, 1)
        by_channel = centred.view(peers, channels, -1, rows)
        if self._bias is None:
            y = by_channel * scale
        else:
            bias = step.parameters[self._bias].view(peers, channels, 1, 1)
            y = torch.addcmul(bias, by_channel, scale)
        return y.view(x.shape), (centred, inverse, scale)

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Give the gradients of scale and shift; return that of the input."""
        centred, inverse, scale = saved
        peers, channels, rows = gradient.shape[0], gradient.shape[1], gradient.shape[-1]
        count = centred.shape[2]
        g = gradient.reshape(peers, channels, -1, rows)
        values = g * centred.view(g.shape)
        along, total = values.sum(2), g.sum(2)  # [peers, channels, rows]
        if self._weight is not None and step.trains(self._weight):
            step.add_gradient(
                self._weight, (along * _by_channel(inverse, channels)[:, :, 0]).sum(2)
            )
        if self._bias is not None and step.trains(self._bias):
            step.add_gradient(self._bias, total.sum(2))
        if not wanted:
            return (None,)
        if self._weight is not None:
            weight = step.parameters[self._weight].view(peers, channels, 1)
            along, total = along * weight, total * weight
        shape = (peers, self._groups, -1, rows)
        shift = total.view(shape).sum(2, keepdim=True).mul_(inverse).div_(-count)
        slope = along.view(shape).sum(2, keepdim=True).mul_(inverse * inverse * inverse)
        slope.div_(-count)
        torch.addcmul(_by_channel(shift, channels), g, scale, out=values)
        values.view(centred.shape).addcmul_(centred, slope)
        return (values.view(gradient.shape),)


def _by_channel(of_groups: torch.Tensor, channels: int) -> torch.Tensor:
    """Repeat [peers, groups, 1, rows] for each channel: [peers, channels, 1, rows]."""
    peers, groups, _, rows = of_groups.shape
    repeated = of_groups.expand(peers, groups, channels // groups, rows)
    return repeated.reshape(peers, channels, 1, rows)


class BatchNormalisation:
    """Over all rows and places of a peer's own batch: [peers, channels, ..., rows].

    Padded rows count for nothing, forward and back.

    Args:
        weight: name of the scale, [channels], or None.
        bias: name of the shift, or None.
        epsilon: added to a variance.
    """

    def __init__(self, weight: str | None, bias: str | None, epsilon: float) -> None:
        self._weight, self._bias, self._epsilon = weight, bias, epsilon

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Normalise, scale and shift."""
        (x,) = inputs
        peers, channels, rows = x.shape[0], x.shape[1], x.shape[-1]
        flat = x.reshape(peers, channels, -1)
        places = flat.shape[2] // rows
        # Two equal columns: a product with one column goes to another kernel for a single peer.
        shares = (step.weights / places)[:, None, :, None].expand(peers, places, rows, 2)
        shares = shares.reshape(peers, places * rows, 2)
        centred = flat - product(flat, shares)[:, :, :1]
        inverse = product(centred * centred, shares)[:, :, :1].add(self._epsilon).rsqrt_()
        scale = inverse
        if self._weight is not None:
            scale = inverse * step.parameters[self._weight].unsqueeze(2)
        if self._bias is None:
            y = centred * scale
        else:
            y = torch.addcmul(step.parameters[self._bias].unsqueeze(2), centred, scale)
        return y.view(x.shape), (centred, inverse, scale)

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Give the gradients of scale and shift; return that of the input."""
        centred, inverse, scale = saved
        peers, channels, rows = gradient.shape[0], gradient.shape[1], gradient.shape[-1]
        g = gradient.reshape(centred.shape)
        places = g.shape[2] // rows
        values = g * centred
        along, total = values.sum(2, keepdim=True), g.sum(2, keepdim=True)
        if self._weight is not None and step.trains(self._weight):
            step.add_gradient(self._weight, along * inverse)
        if self._bias is not None and step.trains(self._bias):
            step.add_gradient(self._bias, total)
        if not wanted:
            return (None,)
        count = g.new_tensor([size * places for size in step.sizes]).view(peers, 1, 1)
        torch.addcmul(-total * scale / count, g, scale, out=values)
        values.addcmul_(centred, -along * scale * inverse * inverse / count)
        if not step.is_full:
            real = (step.weights > 0).to(values.dtype)[:, None, None, :]
            values.view(peers, channels, places, rows).mul_(real)
        return (values.view(gradient.shape),)


class LayerNormalisation:
    """Over the last axes of each row, or token: [peers, rows, ..., *shape].

    Args:
        weight: name of the scale, [*shape], or None.
        bias: name of the shift, or None.
        shape: of what is normalised.
        epsilon: added to a variance.
    """

    def __init__(
        self, weight: str | None, bias: str | None, shape: tuple[int, ...], epsilon: float
    ) -> None:
        self._weight, self._bias, self._shape = weight, bias, list(shape)
        self._epsilon = epsilon

    def forward(self, step: StackStep, *inputs: torch.Tensor) -> tuple[torch.Tensor, Saved]:
        """Normalise, scale and shift."""
        x = inputs[0].contiguous()
        y, mean, inverse = torch.native_layer_norm(x, self._shape, None, None, self._epsilon)
        normal, peers = y.reshape(len(x), -1, *self._shape), len(x)
        if self._weight is not None:
            weight = step.parameters[self._weight].view(peers, 1, *self._shape)
            y = normal * weight
            if self._bias is not None:
                y += step.parameters[self._bias].view(peers, 1, *self._shape)
        return y.view(x.shape), (x, mean, inverse, normal)

    def backward(
        self, step: StackStep, saved: Saved, gradient: torch.Tensor, *, wanted: bool
    ) -> tuple[torch.Tensor | None, ...]:
        """Give the gradients of scale and shift; return that of the input."""
        x, mean, inverse, normal = saved
        g = gradient.reshape(normal.shape)
        if self._weight is not None and step.trains(self._weight):
            step.add_gradient(self._weight, (g * normal).sum(1))
        if self._bias is not None and step.trains(self._bias):
            step.add_gradient(self._bias, g.sum(1))
        if not wanted:
            return (None,)
        if self._weight is not None:
            g = g * step.parameters[self._weight].view(len(x), 1, *self._shape)
        result: torch.Tensor = torch.ops.aten.native_layer_norm_backward(
            g.view(x.shape), x, self._shape, mean, inverse, None, None, [True, False, False]
        )[0]
        return (result,)


def read_group_norm(program: Program, name: str, module: nn.GroupNorm, value: Value) -> Value:
    """Read an `nn.GroupNorm`."""
    weight, bias, names = _affine(name, module)
    layer = GroupNormalisation(weight, bias, module.num_groups, module.eps)
    return _add_by_channel(program, layer, names, module.num_channels, value)


def read_batch_norm(
    program: Program, name: str, module: nn.BatchNorm1d | nn.BatchNorm2d, value: Value
) -> Value:
    """Read an `nn.BatchNorm1d` of features or lines, or an `nn.BatchNorm2d` of images."""
    if len(value.shape) not in ((3,) if isinstance(module, nn.BatchNorm2d) else (1, 2)):
        raise NotStackable(f"a batch norm of rows of {list(value.shape)}")
    weight, bias, names = _affine(name, module)
    layer = BatchNormalisation(weight, bias, module.eps)
    return _add_by_channel(program, layer, names, module.num_features, value)


def read_layer_norm(program: Program, name: str, module: nn.LayerNorm, value: Value) -> Value:
    """Read an `nn.LayerNorm`."""
    shape = tuple(module.normalized_shape)
    if value.shape[-len(shape) :] != shape:
        raise NotStackable(f"a layer norm of {list(shape)} on rows of {list(value.shape)}")
    weight, bias, names = _affine(name, module)
    return program.add(
        LayerNormalisation(weight, bias, shape, module.eps),
        program.turned(value, last=False),
        shape=value.shape,
        last=False,
        parameters=names,
    )


def _affine(name: str, module: nn.Module) -> tuple[str | None, str | None, tuple[str, ...]]:
    weight = tensor_name(name, "weight") if getattr(module, "weight", None) is not None else None
    bias = tensor_name(name, "bias") if getattr(module, "bias", None) is not None else None
    return weight, bias, tuple(part for part in (weight, bias) if part is not None)


def _add_by_channel(
    program: Program,
    layer: GroupNormalisation | BatchNormalisation,
    names: tuple[str, ...],
    channels: int,
    value: Value,
) -> Value:
    if not value.shape or value.shape[0] != channels:
        raise NotStackable(f"a norm of {channels} channels on rows of {list(value.shape)}")
    turned = program.turned(value, last=True)
    return program.add(layer, turned, shape=value.shape, last=True, parameters=names)
