# mypy: disable-error-code="no-any-return, no-untyped-call"
"""Stacked layers: the gradients of one step against autograd's, and the same bits in any stack."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
import torch
from sampled import sampled
from torch import nn
from torch.nn import functional

from p2pfl.learner.engines.stacked.program import NotStackable, Program
from p2pfl.learner.engines.stacked.reading import READERS, read
from p2pfl.learner.engines.stacked.step import Memory, Models, StackStep
from p2pfl.learner.engines.threads import one_torch_thread
from p2pfl.learner.vectors import VectorLayout

WORDS = 11


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(x + self.first(x).relu() * 0.5)


class ResidualImage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.relu(self.norm(self.convolution(x)))
        return torch.flatten(y + x, 1)


class RectifiedTwice(nn.Module):
    """What a pooling takes, another layer takes as well."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.pooling = nn.Conv2d(2, 3, 2), nn.MaxPool2d(2)
        self.last = nn.Conv2d(3, 3, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.convolution(x))
        pooled = self.pooling(y)
        return torch.flatten(pooled, 1) + torch.flatten(self.last(y), 1)


class Tokens(nn.Module):
    """Words, positions, an encoder, and the mean or the first of the tokens."""

    def __init__(self, *, norm_first: bool, dropout: float, first_token: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 8, padding_idx=2)
        self.positions = nn.Parameter(torch.randn(6, 8))
        layer = nn.TransformerEncoderLayer(
            8, 2, 12, dropout=dropout, batch_first=True, norm_first=norm_first
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.first_token = first_token
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.encoder(self.words(x) + self.positions)
        return self.head(y[:, 0] if self.first_token else y.mean(1))


class Adapter(nn.Module):
    """A frozen layer with a low-rank addition."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.down = nn.Linear(9, 7), nn.Linear(9, 2, bias=False)
        self.up = nn.Linear(2, 7, bias=False)
        self.base.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.up(self.down(x)) * 1.5


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 3, batch_first=True)
        self.norm = nn.LayerNorm(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x + self.attention(x, x, x, need_weights=False)[0]).flatten(1)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.tanh(self.layer(x)))


class Written(nn.Module):
    """A CNN as tutorials write it."""

    def __init__(self, *, drops: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding="same"), nn.Conv2d(4, 5, 2)
        self.hidden, self.last = nn.Linear(5 * 3 * 3, 12), nn.Linear(12, 3)
        self.drops = drops

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x.view(-1, 1, 9, 9) - 0.1) / 0.4 + 0.05
        x = functional.max_pool2d(functional.relu(self.first(x)), 2)
        x = functional.avg_pool2d(torch.relu(self.second(x)), (1, 1), stride=1)
        if self.drops:
            x = functional.dropout2d(x, 0.2, self.training)
            x = functional.dropout(x, training=self.training)
        x = x.view(x.size(0), x.shape[1] * x.size()[2] * x.size(-1))
        x = functional.leaky_relu(self.hidden(x), 0.1)
        x = functional.dropout(x, p=0.5, training=False)
        return functional.log_softmax(self.last(x), dim=1)


class Line(nn.Module):
    """A CNN of series."""

    def __init__(self, pooling: nn.Module, end: str) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, 4, 3, stride=2, padding=1)
        self.norm, self.pooling, self.drop = nn.BatchNorm1d(4), pooling, nn.Dropout1d(0.3)
        self.second, self.end = nn.Conv1d(4, 6, 2, padding="valid"), end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(self.pooling(functional.gelu(self.norm(self.first(x)))))
        x = self.second(x)
        if self.end == "pooled":
            return functional.adaptive_avg_pool1d(x, 1).squeeze(-1)
        if self.end == "mean":
            return x.mean(-1)
        if self.end == "image":
            x = x.unsqueeze(2)
            x = functional.adaptive_avg_pool2d(x, (1, 2))
            return torch.mean(x, dim=(2, 3), keepdim=True).reshape(-1, 6)
        return torch.flatten(functional.max_pool1d(x, 2, 1), 1)


class Shared(nn.Module):
    """Means over places as a residual network ends."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.last = nn.Conv2d(2, 6, 3), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.adaptive_avg_pool2d(self.convolution(x), (2, 3))
        return self.last(y.contiguous().mean([2, 3]))


def linear(rng: Random) -> tuple[nn.Module, tuple[int, ...]]:
    width, hidden, last = rng.randint(2, 40), rng.randint(2, 40), rng.choice([1, 3, 10])
    return (
        nn.Sequential(nn.Linear(width, hidden, bias=rng.random() < 0.7), nn.Linear(hidden, last)),
        (width,),
    )


def convolution(rng: Random) -> tuple[nn.Module, tuple[int, ...]]:
    channels, side = rng.randint(1, 4), rng.randint(7, 12)
    layers = [
        nn.Conv2d(channels, 5, (3, 2), stride=rng.randint(1, 2), padding=rng.randint(0, 1)),
        nn.Conv2d(5, rng.randint(2, 6), 2, bias=rng.random() < 0.7),
    ]
    return nn.Sequential(*layers, nn.Flatten()), (channels, side, side + 1)


def pooling(rng: Random) -> tuple[nn.Module, tuple[int, ...]]:
    kinds = [
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.AvgPool2d((2, 3), stride=1),
        nn.AvgPool2d(2, padding=1),
        nn.AdaptiveAvgPool2d((1, 2)),
        nn.AdaptiveAvgPool2d((3, 2)),
    ]
    layers = [nn.Conv2d(1, 3, (2, 1)), rng.choice(kinds), nn.Flatten()]
    return nn.Sequential(nn.Unflatten(1, (1, -1, 8)), *layers), (rng.randint(5, 9) * 8,)


def rectified(rng: Random) -> tuple[nn.Module, tuple[int, ...]]:
    poolings = [nn.MaxPool2d(2), nn.MaxPool2d(3, stride=1), nn.MaxPool2d(3, 2, padding=1)]
    first = rng.choice([nn.Identity(), nn.Conv2d(2, 2, 2)])
    layers = [
        first,
        nn.ReLU(),
        rng.choice(poolings),
        nn.Conv2d(2, 3, 1),
        nn.Tanh(),
        nn.MaxPool2d(2),
    ]
    return nn.Sequential(nn.Conv2d(2, 2, 1), *layers, nn.Flatten()), (2, rng.randint(6, 9), 7)


def activation(kind: nn.Module) -> Callable[[Random], tuple[nn.Module, tuple[int, ...]]]:
    def make(rng: Random) -> tuple[nn.Module, tuple[int, ...]]:
        width = rng.randint(2, 30)
        return nn.Sequential(nn.Linear(6, width), kind, nn.Linear(width, 3)), (6,)

    return make


def norms(rng: Random) -> tuple[nn.Module, tuple[int, ...]]:
    channels = 2 * rng.randint(1, 4)
    affine = rng.random() < 0.7
    norm: nn.Module = rng.choice(
        [nn.GroupNorm(2, channels, affine=affine), nn.BatchNorm2d(channels, affine=affine)]
    )
    layers = [nn.Conv2d(2, channels, 3), norm, nn.ReLU(), nn.Conv2d(channels, 2, 2), nn.Flatten()]
    return nn.Sequential(*layers), (2, rng.randint(6, 9), 7)


def features(rng: Random) -> tuple[nn.Module, tuple[int, ...]]:
    width = rng.randint(2, 30)
    norm: nn.Module = rng.choice([nn.BatchNorm1d(width), nn.LayerNorm(width)])
    return nn.Sequential(nn.Linear(7, width), norm, nn.ReLU(), nn.Linear(width, 4)), (7,)


def dropout(rng: Random) -> tuple[nn.Module, tuple[int, ...]]:
    layers = [
        nn.Conv2d(1, 4, 3 if rng.random() < 0.5 else (3, 3)),
        rng.choice([nn.Dropout(0.3), nn.Dropout2d(0.3)]),
        nn.Flatten(),
        nn.Dropout(0.5),
    ]
    return nn.Sequential(*layers, nn.Linear(4 * 5 * 5, 3)), (1, 7, 7)


def tokens(rng: Random) -> tuple[nn.Module, tuple[int, ...]]:
    first, which = rng.random() < 0.5, rng.random() < 0.5
    return Tokens(norm_first=first, dropout=rng.choice([0.0, 0.2]), first_token=which), (6,)


def line(rng: Random) -> tuple[nn.Module, tuple[int, ...]]:
    poolings = [
        nn.MaxPool1d(2),
        nn.MaxPool1d(3, stride=1, padding=1),
        nn.AvgPool1d(2, stride=1),
        nn.AdaptiveAvgPool1d(4),
    ]
    end = rng.choice(["pooled", "mean", "image", "flat"])
    return Line(rng.choice(poolings), end), (2, rng.randint(14, 19))


def softmax(rng: Random) -> tuple[nn.Module, tuple[int, ...]]:
    classes = rng.randint(2, 37)
    return nn.Sequential(nn.Linear(4, classes), nn.LogSoftmax(rng.choice([1, -1]))), (4,)


MAKERS: dict[str, Callable[[Random], tuple[nn.Module, tuple[int, ...]]]] = {
    "linear": linear,
    "convolution": convolution,
    "pooling": pooling,
    "rectified": rectified,
    "rectified twice": lambda _: (RectifiedTwice(), (2, 7, 9)),
    "norms": norms,
    "features": features,
    "dropout": dropout,
    "tokens": tokens,
    "residual": lambda rng: (Residual(rng.randint(3, 20)), (0,)),
    "image": lambda _: (ResidualImage(), (3, 6, 5)),
    "written": lambda rng: (Written(drops=rng.random() < 0.5), (81,)),
    "line": line,
    "shared": lambda rng: (Shared(), (2, rng.randint(6, 9), 8)),
    "softmax": softmax,
    "adapter": lambda _: (Adapter(), (9,)),
    "attention": lambda _: (Attending(), (4, 6)),
    "twice": lambda _: (Twice(), (5,)),
    **{
        type(kind).__name__ + getattr(kind, "approximate", ""): activation(kind)
        for kind in (
            nn.ReLU(),
            nn.GELU(),
            nn.GELU(approximate="tanh"),
            nn.Tanh(),
            nn.Sigmoid(),
            nn.SiLU(),
            nn.LeakyReLU(0.2),
        )
    },
}


class Stack:
    """A module read as a program, with different models, rows and sizes for each peer."""

    def __init__(self, name: str, seed: int, sizes: Sequence[int], dtype: torch.dtype) -> None:
        torch.manual_seed(seed)
        module, shape = MAKERS[name](Random(seed))
        if shape == (0,):
            assert isinstance(module, Residual)
            shape = (module.first.in_features,)
        self.module = module.to(dtype).train()
        self.program: Program = read(module, shape)
        self.sizes, self.dtype = list(sizes), dtype
        names = [name for name, value in module.named_parameters() if value.requires_grad]
        self.layout = VectorLayout(module, names, align=16)
        frozen = {
            name: value.detach() for name, value in module.named_parameters() if name not in names
        }
        self.make = lambda count: Models(self.layout, frozen, frozenset(names), count, dtype)
        # Between tensors there is nothing that a module could hold.
        start = torch.zeros(len(sizes), self.layout.length, dtype=dtype)
        for view in self.layout.views(start).values():
            view.copy_(torch.randn(view.shape, dtype=dtype) * 0.5)
        self.start = start
        rows = (len(sizes), -(-max(sizes) // 16) * 16)
        if isinstance(module, Tokens):
            self.inputs = torch.randint(0, WORDS, (*rows, *shape))
        else:
            self.inputs = torch.randn(*rows, *shape, dtype=dtype)
        self.weights = torch.zeros(rows, dtype=dtype)
        for place, size in enumerate(sizes):
            self.weights[place, :size] = 1 / size
            self.inputs[place, size:] = self.inputs[place, 0]

    def run(self, peers: Sequence[int], upstream: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return outputs and gradients of some peers in one stack."""
        models, chosen = self.make(len(peers)), list(peers)
        models.flat.copy_(self.start[chosen])
        generators = [torch.Generator().manual_seed(100 + peer) for peer in peers]
        step = StackStep(
            models,
            0,
            self.inputs[chosen],
            self.weights[chosen],
            [self.sizes[peer] for peer in peers],
            generators,
            Memory(self.dtype),
        )
        with torch.no_grad(), one_torch_thread():
            outputs, saved = self.program.forward(step)
            self.program.backward(step, saved, upstream[chosen].clone())
        return outputs, models.gradients


def gradient_for(stack: Stack, seed: int) -> torch.Tensor:
    """Make a gradient of the outputs, zero in padded rows as a loss of real rows gives it."""
    with torch.no_grad():
        models = stack.make(1)
        generators = [torch.Generator().manual_seed(0)]
        arguments = (stack.inputs[:1], stack.weights[:1], stack.sizes[:1], generators)
        step = StackStep(models, 0, *arguments, Memory(stack.dtype))
        shape = stack.program.forward(step)[0].shape
    torch.manual_seed(seed)
    upstream = torch.randn(len(stack.sizes), *shape[1:], dtype=stack.dtype)
    for place, size in enumerate(stack.sizes):
        upstream[place, size:] = 0
    return upstream


@pytest.mark.parametrize("seed", sampled(range(4), every=2))
@pytest.mark.parametrize("name", MAKERS)
def test_a_step_s_gradients_are_those_of_autograd(name: str, seed: int) -> None:
    sizes = [5, 16, 2, 11]
    stack = Stack(name, seed, sizes, torch.float64)
    upstream = gradient_for(stack, seed)
    outputs, gradients = stack.run(range(4), upstream)
    given = stack.layout.views(gradients)
    parameters = dict(stack.module.named_parameters())
    for peer, size in enumerate(sizes):
        with torch.no_grad():
            for entry_name, view in stack.layout.views(stack.start[peer]).items():
                parameters[entry_name].copy_(view)
        torch.manual_seed(100 + peer)
        expected = stack.module(stack.inputs[peer, :size])
        torch.testing.assert_close(outputs[peer, :size], expected, rtol=1e-9, atol=1e-10)
        trained = [parameters[it.name] for it in stack.layout.entries]
        found = torch.autograd.grad(expected, trained, upstream[peer, :size])
        for entry, gradient in zip(stack.layout.entries, found, strict=True):
            torch.testing.assert_close(given[entry.name][peer], gradient, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", MAKERS)
def test_a_peer_s_bits_are_the_same_in_any_stack(name: str, seed: int) -> None:
    rng = Random(seed)
    sizes = [rng.randint(2, 16) for _ in range(24)] if seed else [32] * 24
    stack = Stack(name, seed + 50, sizes, torch.float32)
    upstream = gradient_for(stack, seed)
    outputs, gradients = stack.run(range(24), upstream)
    for count in (1, 1, 2, 3, 7, 24):
        peers = rng.sample(range(24), count)
        own_outputs, own_gradients = stack.run(peers, upstream)
        for place, peer in enumerate(peers):
            assert torch.equal(own_outputs[place], outputs[peer])
            assert torch.equal(own_gradients[place], gradients[peer])


def test_relu_goes_behind_a_pooling_unless_somebody_else_takes_it() -> None:
    once = read(nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.MaxPool2d(2)), (2, 7, 9))
    shapes = [value.shape for value in once.kept_values()]
    assert shapes.count((3, 6, 8)) == 1
    twice = read(RectifiedTwice(), (2, 7, 9))
    assert [value.shape for value in twice.kept_values()].count((3, 6, 8)) == 2
    tanh = read(nn.Sequential(nn.Conv2d(2, 3, 2), nn.Tanh(), nn.MaxPool2d(2)), (2, 7, 9))
    assert [value.shape for value in tanh.kept_values()].count((3, 6, 8)) == 2


def test_every_layer_that_can_be_read_is_tried_here() -> None:
    tried: set[type[nn.Module]] = {nn.Identity}
    for make in MAKERS.values():
        for seed in range(40):
            module, _ = make(Random(seed))
            tried |= {type(part) for part in module.modules()}
    assert READERS.keys() <= tried


class Several(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x], 1)


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x


class Viewing(nn.Module):
    def __init__(self, work: Callable[[Any], Any]) -> None:
        super().__init__()
        self.work = work

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.work(x)


class Doubled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 2


@pytest.mark.parametrize(
    ("module", "shape", "reason"),
    [
        (nn.Sequential(nn.Conv2d(2, 4, 3, groups=2)), (2, 5, 5), "groups"),
        (nn.Sequential(nn.Conv2d(2, 4, 2, padding="same")), (2, 5, 5), "padding 'same'"),
        (nn.Sequential(nn.Conv1d(2, 4, 2)), (2, 5, 5), "length"),
        (nn.Sequential(nn.MaxPool1d(2, ceil_mode=True)), (2, 5), "ceil_mode"),
        (nn.Sequential(nn.Linear(4, 2), nn.LogSoftmax(0)), (4,), "over axis 0"),
        (Viewing(lambda x: x.view(-1)), (4,), "a view of rows"),
        (Viewing(lambda x: x.view(-1, 2)), (4,), "a view of rows"),
        (Viewing(lambda x: x.view(x.size(1), -1)), (4,), "across rows"),
        (Viewing(lambda x: x.view(x.size(0) * 2, -1)), (4,), r"mul\(\)"),
        (Viewing(lambda x: x.squeeze()), (4, 1), "whichever axes"),
        (Viewing(lambda x: x.unsqueeze(0)), (4,), "squeeze of the batch"),
        (Viewing(lambda x: functional.leaky_relu(x, x)), (4,), "no constant"),
        (Viewing(lambda x: functional.max_pool2d(x, 2, 2, 0, 2)), (1, 4, 4), "dilation"),
        (Viewing(lambda x: x.mean()), (4,), r"mean\(\)"),
        (Viewing(lambda x: x.mean((1, 2))), (2, 3, 4), r"mean\(\)"),
        (Viewing(lambda x: 1 - x), (4,), r"sub\(\)"),
        (nn.Sequential(nn.Conv2d(2, 1, 3)), (2, 5, 5), "one channel"),
        (nn.Sequential(nn.Conv2d(2, 4, 3)), (2, 2, 2), "a kernel of"),
        (nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)), (2, 5, 5), "ceil_mode"),
        (nn.Sequential(nn.AvgPool2d(2, padding=1, count_include_pad=False)), (2, 5, 5), "padding"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(3)), (5, 5), "adaptive"),
        (nn.Sequential(nn.Linear(4, 2)), (5,), "4 inputs"),
        (nn.Sequential(nn.Linear(4, 2), nn.Softplus()), (4,), "softplus"),
        (nn.Sequential(nn.Embedding(5, 3, max_norm=1.0)), (5,), "max_norm"),
        (nn.TransformerEncoderLayer(4, 2), (3, 4), "batch second"),
        (nn.GRU(4, 2), (3, 4), "GRU"),
        (Several(), (4,), r"cat\(\)"),
        (Branching(), (4,), "traced"),
        (Doubled(4, 2), (4,), "Doubled|linear"),
        (nn.Identity(), (4,), "nothing"),
    ],
)
def test_what_no_layer_stands_for_is_told(
    module: nn.Module, shape: tuple[int, ...], reason: str
) -> None:
    with pytest.raises(NotStackable, match=reason):
        read(module, shape)


def test_hooks_are_not_read_over() -> None:
    module = nn.Sequential(nn.Linear(4, 2))
    module[0].register_forward_hook(lambda *_: None)
    with pytest.raises(NotStackable, match="hooks"):
        read(module, (4,))
