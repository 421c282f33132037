"""Small models of other layers than perceptrons', and rows for them: made alike on both sides."""

import torch

ROWS, CLASSES = 64, 5
TOKENS, WORDS, WIDTH = 7, 30, 12


class Attention(torch.nn.Module):
    """One head over the tokens of a row, out of linear layers, that Opacus can see into."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(WORDS, WIDTH)
        self.query, self.key, self.value = (torch.nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.norm = torch.nn.LayerNorm(WIDTH)
        self.out = torch.nn.Linear(WIDTH, CLASSES)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Return float[rows, classes] of words, int[rows, tokens]."""
        rows = self.embed(words)
        weights = torch.softmax(self.query(rows) @ self.key(rows).mT / WIDTH**0.5, -1)
        logits: torch.Tensor = self.out(self.norm(rows + weights @ self.value(rows)).mean(1))
        return logits


class Words(torch.nn.Module):
    """The mean of the words' vectors, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = torch.nn.Embedding(WORDS, WIDTH), torch.nn.Linear(WIDTH, CLASSES)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Return float[rows, classes] of words, int[rows, tokens]."""
        logits: torch.Tensor = self.out(self.embed(words).mean(1))
        return logits


def convolution() -> torch.nn.Module:
    """Two convolutions with GroupNorm; rows are float[3, 8, 8]."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.GroupNorm(2, 8),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 6, 3, stride=2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(6 * 3 * 3, CLASSES),
    )


class Layers(torch.nn.Module):
    """Linear layers with a residue, one without a bias; rows are float[3, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.into = torch.nn.Linear(3 * 8 * 8, WIDTH)
        self.over = torch.nn.Linear(WIDTH, WIDTH, bias=False)
        self.out = torch.nn.Linear(WIDTH, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return float[rows, classes] of images, float[rows, 3, 8, 8]."""
        rows = torch.nn.functional.gelu(self.into(images.flatten(1)))
        logits: torch.Tensor = self.out(rows + torch.tanh(self.over(rows)))
        return logits


MODULES = {
    "convolution, GroupNorm": convolution,
    "linear layers, GELU": Layers,
    "embedding": Words,
    "attention": Attention,
}
IMAGES = ("convolution, GroupNorm", "linear layers, GELU")
