"""One study or one run, here or on a Ray cluster of so many workers; `scaling.py` starts it.

    scaled.py '{"kind": "run", "peers": 1000, "rounds": 2, "task": "cnn", "workers": 2}'

It needs Ray: `.venvs/ray/bin/python` has it. Prints one JSON object: seconds of Ray's start and of
the work itself, what was done, and the digest. `workers` of 0 does without Ray.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measuring import Clock, Figures, give

from p2pfl_simulations import make_scenario, run
from p2pfl_simulations.studies.gathered import read_results, table_of
from p2pfl_simulations.studies.local import run_locally
from p2pfl_simulations.studies.on_ray import run_on_ray
from p2pfl_simulations.studies.plan import plan
from p2pfl_simulations.studies.running import run_cells
from p2pfl_simulations.studies.settings import Study

SIDES = Path(__file__).resolve().parent
OBJECT_BYTES = 500_000_000
"""Of Ray's store, for vectors that are under way."""


@contextmanager
def cluster(workers: int) -> Iterator[str | None]:
    """Start a cluster of one node here; yield its address."""
    if not workers:
        yield None
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")
    os.environ.setdefault("RAY_worker_niceness", "0")  # As the processes it is held against.
    from ray.cluster_utils import Cluster

    head = {
        "num_cpus": workers,
        "include_dashboard": False,
        "object_store_memory": OBJECT_BYTES,
    }
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield made.address
    finally:
        made.shutdown()


def study(spec: dict[str, Any], address: str | None) -> Figures:
    """Run cells of 32 peers, or of 4 whose work is next to nothing."""
    small = spec.get("small", False)
    base: dict[str, Any] = {
        "peers": 4 if small else 32,
        "rounds": 1 if small else 30,
        "learning": {"task": "integers" if small else "digits"},
        "averaging": {"algorithm": "dsgd"},
        "evaluation": {"baselines": []},
    }
    chosen = Study.model_validate({"seeds": spec["cells"]})
    cells = plan(chosen, base, None)
    jobs = spec.get("jobs", 1)
    runner: Any = partial(run_locally, processes=jobs)
    if address is not None:
        runner = partial(run_on_ray, address=address, under_way=None, store=None, task_folder=None)
    with tempfile.TemporaryDirectory() as temporary:
        folder, clock = Path(temporary), Clock()
        told = run_cells(chosen, cells, folder, task_folder=None, runner=runner)
        taken = clock.figures()
        assert told.done == len(cells), told.failures
        digests = table_of(read_results(chosen, cells, folder, {})).column("run_digest").to_pylist()
    return {**taken, "done": told.done, "digest": digests}


def one_run(spec: dict[str, Any], address: str | None) -> Figures:
    """Run a simulation whose learning is done by the cluster."""
    is_cnn = spec["task"] == "cnn"
    scenario = make_scenario(
        {
            "peers": spec["peers"],
            "rounds": spec["rounds"],
            "checkpoint_every": 0,
            "learning": {
                "task": "cnn_task:SmallPictures" if is_cnn else spec["task"],
                "held_out": 0,
                "partition": {"kind": "iid", "rows_per_peer": 32, "reuse": True},
                "training": {"steps": spec.get("steps", 1), "batch_size": 32},
                "evaluation_rows": 100,
            },
            "averaging": {"algorithm": "dsgd", "topology": {"kind": "ring"}},
            "evaluation": {"every": spec["rounds"], "peers": 4, "baselines": []},
        }
    )
    clock = Clock()
    result = run(scenario, folder=SIDES, ray=address, threads=spec.get("threads"))
    return {
        **clock.figures(),
        "done": spec["peers"] * spec["rounds"],
        "parameters": len(result.require_model()),
        "digest": result.digest,
    }


def main() -> None:
    """Do what the argument says."""
    spec = json.loads(sys.argv[1])
    starting = Clock()
    with cluster(spec["workers"]) as address:
        start = starting.figures()["wall_s"]
        found = (study if spec["kind"] == "study" else one_run)(spec, address)
    give({**found, "start_s": start})


if __name__ == "__main__":
    main()
