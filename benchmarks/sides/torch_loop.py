"""The plain way: a loop over peers with torch's modules and SGD, and the mean of each cohort.

No frames, no links, no digests; tensors are averaged where they lie.

    torch_loop.py DATA '{"peers": 1000, "rounds": 5}'
"""

from collections.abc import Iterable

import torch
from contestant import fastest_threads, finish, make_module, start


def average(models: list[list[torch.Tensor]], cohorts: Iterable[torch.Tensor]) -> None:
    """Give all members of each cohort the mean of their models."""
    with torch.no_grad():
        for cohort in cohorts:
            members = [models[peer] for peer in cohort.tolist()]
            for values in zip(*members, strict=True):
                mean = torch.stack(values).mean(0)
                for value in values:
                    value.copy_(mean)


def main() -> None:
    """Train and average, measured."""
    spec, task = start()
    module = make_module()
    parameters = list(module.parameters())
    with torch.no_grad():
        models = [[value.clone() for value in parameters] for _ in range(spec["peers"])]
    generator = torch.Generator().manual_seed(1)

    def train(peer: int) -> None:
        with torch.no_grad():
            for parameter, value in zip(parameters, models[peer], strict=True):
                parameter.copy_(value)
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        inputs, targets = task.peers[peer]
        order = torch.randperm(len(targets), generator=generator)
        for first in range(0, len(order), 32):
            batch = order[first : first + 32]
            loss = torch.nn.functional.cross_entropy(module(inputs[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            for parameter, value in zip(parameters, models[peer], strict=True):
                value.copy_(parameter)

    def train_each(peers: int) -> None:
        for peer in range(peers):
            train(peer)

    def rounds(count: int) -> None:
        for _ in range(count):
            train_each(spec["peers"])
            average(models, torch.randperm(spec["peers"], generator=generator).split(8))

    threads = fastest_threads(lambda: train_each(100))
    finish(spec, task, lambda: rounds(spec["rounds"]), lambda: models[0], threads=threads)


if __name__ == "__main__":
    main()
