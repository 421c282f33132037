"""Clips the rows of other models by Opacus and prints how far ours are; runs where Opacus is."""

import json
import sys
import warnings
from typing import Any, cast

import numpy as np
import torch
from oracle_modules import MODULES

warnings.simplefilter("ignore")
from opacus import GradSampleModule  # noqa: E402


def main() -> None:
    """Print the largest relative difference of norms, and that of sums by their largest entry."""
    given, name, clip = np.load(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    plain = MODULES[name]()
    plain.load_state_dict({key: torch.from_numpy(given[f"at {key}"]) for key in plain.state_dict()})
    module = GradSampleModule(plain, loss_reduction="sum")
    outputs = module(torch.from_numpy(given["inputs"]))
    targets = torch.from_numpy(given["targets"])
    torch.nn.functional.cross_entropy(outputs, targets, reduction="sum").backward()
    named = dict(plain.named_parameters())
    # Opacus adds the attribute.
    samples = {key: cast(Any, it).grad_sample.flatten(1).double() for key, it in named.items()}
    norms = torch.cat(list(samples.values()), 1).norm(dim=1)
    factors = (clip / norms).clamp(max=1)[:, None]
    total = np.concatenate([(it * factors).sum(0).numpy() for it in samples.values()])
    ours = np.concatenate([given[f"sum {key}"].ravel() for key in samples])
    apart = np.abs(given["norms"] / norms.numpy() - 1).max()
    print(json.dumps([float(apart), float(np.abs(ours - total).max() / np.abs(total).max())]))


if __name__ == "__main__":
    main()
