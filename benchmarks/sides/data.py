"""Writes the rows of every peer for the contestants that do not load them as we do.

    data.py FILE '{"peers": 1000}'

An .npz of float32 inputs as the models see them, labels, each peer's row numbers, and the rows to
evaluate on. The split is that of our own runs.
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measuring import give
from ours import scenario_of

from p2pfl.learner.partitions import make_partition
from p2pfl.learner.tasks.registry import make_task


def main(path: str, peers: int) -> None:
    """Write the file."""
    scenario = scenario_of({"peers": peers, "rounds": 1})
    data = make_task(scenario.learning.task, {}, folder=None).data(None)
    assert data.test is not None
    partition = make_partition(
        scenario.learning.partition,
        targets=data.train.targets,
        columns={},
        peer_count=peers,
        seed=scenario.seed,
    )
    rows = np.stack([partition.rows_of(peer) for peer in range(peers)])
    inputs = [
        part.inputs.astype(np.float32) * np.float32(data.scale) + np.float32(data.offset)
        for part in (data.train, data.test)
    ]
    np.savez(
        path,
        inputs=inputs[0],
        targets=data.train.targets,
        rows=rows,
        test_inputs=inputs[1][:2000],
        test_targets=data.test.targets[:2000],
    )


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2])["peers"])
    give({})
