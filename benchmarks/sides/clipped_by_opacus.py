"""Clips the rows of a block by Opacus and prints how far ours are; runs where Opacus is."""

import json
import sys
import warnings
from itertools import pairwise

import numpy as np
import torch

warnings.simplefilter("ignore")
from opacus import GradSampleModule  # noqa: E402


def main() -> None:
    """Print the largest relative difference of norms, and that of sums by their largest entry."""
    given, settings = np.load(sys.argv[1]), json.loads(sys.argv[2])
    layers, at = [], 0
    for below, above in pairwise(settings["widths"]):
        layer = torch.nn.Linear(below, above)
        weight = given["model"][at : at + below * above].reshape(below, above)
        at += below * above
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight.T.copy()))
            layer.bias.copy_(torch.from_numpy(given["model"][at : at + above].copy()))
        at += above
        layers += [layer, torch.nn.ReLU()]
    module = GradSampleModule(torch.nn.Sequential(*layers[:-1]), loss_reduction="sum")
    inputs = given["inputs"].astype(np.float32) * np.float32(settings["scale"])
    outputs = module(torch.from_numpy(inputs + np.float32(settings["offset"])))
    targets = torch.from_numpy(given["targets"])
    torch.nn.functional.cross_entropy(outputs, targets, reduction="sum").backward()
    samples = []
    for parameter in module.parameters():
        sample = parameter.grad_sample
        samples.append(sample.transpose(1, 2).flatten(1) if sample.ndim == 3 else sample)
    gradients = torch.cat(samples, 1).double()
    norms = gradients.norm(dim=1)
    total = (gradients * (settings["clip"] / norms).clamp(max=1)[:, None]).sum(0).numpy()
    apart = np.abs(given["norms"] / norms.numpy() - 1).max()
    sums_apart = np.abs(given["total"] - total).max() / np.abs(total).max()
    print(json.dumps([float(apart), float(sums_apart)]))


if __name__ == "__main__":
    main()
