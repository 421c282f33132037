"""The same training in Flower's simulation: federated averaging with virtual clients on Ray.

    with_flower.py DATA '{"peers": 1000, "rounds": 1, "cohort": 200}'

`cohort` clients are drawn a round, since all of them would take minutes. Memory is that of the
driving process alone; Ray's workers come on top.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["RAY_DEDUP_LOGS"] = "0"
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parent)

import numpy as np
import numpy.typing as npt
import torch
from contestant import make_module
from flwr.client import ClientApp, NumPyClient
from flwr.common import Context, ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.simulation import run_simulation

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measuring import Clock, give, peak_memory_mb

PATH, SPEC = sys.argv[1], json.loads(sys.argv[2])
_loaded: dict[str, npt.NDArray[Any]] = {}


def rows_of(peer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a client's rows; each worker loads the file once."""
    if not _loaded:
        with np.load(PATH) as file:
            _loaded.update({name: file[name] for name in ("inputs", "targets", "rows")})
    rows = _loaded["rows"][peer]
    return torch.from_numpy(_loaded["inputs"][rows]), torch.from_numpy(_loaded["targets"][rows])


class Client(NumPyClient):  # type: ignore[misc]  # It has no types here.
    """One client: a local epoch from the server's model."""

    def __init__(self, peer: int) -> None:
        self._peer = peer

    def fit(
        self, parameters: list[Any], config: dict[str, Any]
    ) -> tuple[list[Any], int, dict[str, Any]]:
        torch.set_num_threads(1)
        module = make_module()
        with torch.no_grad():
            for parameter, value in zip(module.parameters(), parameters, strict=True):
                parameter.copy_(torch.as_tensor(value))
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        inputs, targets = rows_of(self._peer)
        order = torch.randperm(len(targets))
        for first in range(0, len(order), 32):
            batch = order[first : first + 32]
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(inputs[batch]), targets[batch]).backward()
            optimizer.step()
        return [value.detach().numpy() for value in module.parameters()], len(targets), {}


def make_client(context: Context) -> Any:
    """Make the client of a node, as the framework wraps it."""
    return Client(int(context.node_config["partition-id"])).to_client()


def make_server(_: Context) -> ServerAppComponents:
    """Make the server: the cohort's mean, no evaluation."""
    start = [value.detach().numpy() for value in make_module().parameters()]
    strategy = FedAvg(
        fraction_fit=SPEC["cohort"] / SPEC["peers"],
        fraction_evaluate=0.0,
        min_fit_clients=SPEC["cohort"],
        min_available_clients=SPEC["peers"],
        initial_parameters=ndarrays_to_parameters(start),
    )
    strategy.configure_fit = _timed(strategy.configure_fit, "begin")
    strategy.aggregate_fit = _timed(strategy.aggregate_fit, "end")
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=SPEC["rounds"]))


moments: dict[str, list[Clock]] = {"begin": [], "end": []}


def _timed(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Note when a round's clients are sent off, and when their mean is taken."""

    def timed(*arguments: Any, **keywords: Any) -> Any:
        result = method(*arguments, **keywords)
        moments[name].append(Clock())
        return result

    return timed


def main() -> None:
    """Run the simulation, measured from a round's start to its mean."""
    run_simulation(
        server_app=ServerApp(server_fn=make_server),
        client_app=ClientApp(client_fn=make_client),
        num_supernodes=SPEC["peers"],
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    # The first round starts the workers: it is left out where there are more.
    first = min(1, SPEC["rounds"] - 1)
    wall_s = moments["begin"][first].figures()["wall_s"] - moments["end"][-1].figures()["wall_s"]
    updates = SPEC["cohort"] * (SPEC["rounds"] - first)
    give(
        {
            "updates": updates,
            "wall_s": wall_s,
            "updates_per_s": updates / wall_s,
            "peak_mb": peak_memory_mb(),
        }
    )


if __name__ == "__main__":
    main()
