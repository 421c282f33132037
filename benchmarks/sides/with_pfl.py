"""The same training in pfl (apple): federated averaging with all peers in each cohort.

    with_pfl.py DATA '{"peers": 1000, "rounds": 5}'

It has a server and no gossip: one model goes to all and one sum comes back. Users' rows are tensors
in memory, and it takes them in the same order each time, which is the cheapest that it offers.
"""

import torch
from contestant import fastest_threads, finish, make_module, start
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.model.pytorch import PyTorchModel


class Module(torch.nn.Module):
    """The model with the two methods that pfl wants."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = make_module()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        logits: torch.Tensor = self.layers(inputs)
        return logits

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy."""
        self.train()
        return torch.nn.functional.cross_entropy(self(inputs), targets)

    def metrics(self, inputs: torch.Tensor, targets: torch.Tensor) -> dict[str, object]:
        """Measure nothing: evaluation is not timed."""
        return {}


def main() -> None:
    """Run federated averaging, measured."""
    spec, task = start()
    module = Module()
    model = PyTorchModel(
        module,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(module.parameters(), 1.0),
    )
    users = FederatedDataset(
        lambda user: Dataset(raw_data=list(task.peers[user])),
        get_user_sampler("minimize_reuse", list(range(spec["peers"]))),
    )
    training = NNTrainHyperParams(local_batch_size=32, local_num_epochs=1, local_learning_rate=0.1)

    def run(rounds: int, cohort: int) -> None:
        FederatedAveraging().run(
            NNAlgorithmParams(
                central_num_iterations=rounds,
                evaluation_frequency=10**9,
                train_cohort_size=cohort,
                val_cohort_size=0,
            ),
            SimulatedBackend(training_data=users, val_data=users),
            model,
            training,
            send_metrics_to_platform=False,
        )

    start_values = [value.detach().clone() for value in module.parameters()]
    threads = fastest_threads(lambda: run(1, 100))
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), start_values, strict=True):
            parameter.copy_(value)
    finish(
        spec,
        task,
        lambda: run(spec["rounds"], spec["peers"]),
        lambda: [value.detach() for value in module.parameters()],
        threads=threads,
    )


if __name__ == "__main__":
    main()
