"""The same training in gossipy: every peer pushes its model to a random one, which merges, trains.

    with_gossipy.py DATA '{"peers": 1000, "rounds": 1}'

Gossip of two models at a time instead of cohorts: one local epoch for each model received.
"""

import logging
import sys
from types import ModuleType

import torch
from contestant import fastest_threads, finish, make_module, start

try:
    import torchvision  # noqa: F401 - gossipy's data sets import it; none of them is used here
except (ImportError, RuntimeError):
    sys.modules["torchvision"] = ModuleType("torchvision")

from gossipy.core import AntiEntropyProtocol, CreateModelMode, StaticP2PNetwork
from gossipy.model import TorchModel
from gossipy.model.handler import TorchModelHandler
from gossipy.node import GossipNode
from gossipy.simul import GossipSimulator


class Module(TorchModel):  # type: ignore[misc]  # It has no types.
    """The model as gossipy wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = make_module()

    def init_weights(self) -> None:
        """Keep the common start."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        logits: torch.Tensor = self.layers(inputs)
        return logits


class NoEvaluation:
    """Stands for the data dispatcher, which the simulator asks for rows to evaluate on."""

    def has_test(self) -> bool:
        """Evaluate nothing: it is not timed."""
        return False


def main() -> None:
    """Run gossip learning, measured."""
    logging.disable(logging.CRITICAL)
    spec, task = start()
    prototype = TorchModelHandler(
        net=Module(),
        optimizer=torch.optim.SGD,
        optimizer_params={"lr": 0.1},
        criterion=torch.nn.CrossEntropyLoss(),
        batch_size=32,
        create_model_mode=CreateModelMode.MERGE_UPDATE,
    )
    network = StaticP2PNetwork(spec["peers"])
    nodes = {
        peer: GossipNode(peer, (rows, None), 100, prototype.copy(), network)
        for peer, rows in enumerate(task.peers)
    }
    handler = prototype.copy()
    threads = fastest_threads(lambda: [handler._update(rows) for rows in task.peers[:100]])
    simulator = GossipSimulator(nodes, NoEvaluation(), 100, AntiEntropyProtocol.PUSH)
    simulator.initialized = True  # Without the training before the first round.
    sys.stdout = sys.stderr  # Its progress bar.

    def run() -> None:
        simulator.start(n_rounds=spec["rounds"])

    def model() -> list[torch.Tensor]:
        sys.stdout = sys.__stdout__
        parameters = nodes[0].model_handler.model.parameters()
        return [value.detach() for value in parameters]

    finish(spec, task, run, model, threads=threads)


if __name__ == "__main__":
    main()
