"""A cluster of two nodes on this machine: studies on it, one node killed, and a run's learning."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from p2pfl_simulations import make_scenario, run
from p2pfl_simulations.cluster.connecting import ClusterError, with_patience
from p2pfl_simulations.environment import versions
from p2pfl_simulations.studies.cells import CellEnd
from p2pfl_simulations.studies.gathered import read_results, table_of
from p2pfl_simulations.studies.local import run_locally
from p2pfl_simulations.studies.on_ray import run_on_ray
from p2pfl_simulations.studies.plan import plan
from p2pfl_simulations.studies.running import run_cells
from p2pfl_simulations.studies.settings import Study

pytestmark = pytest.mark.filterwarnings("ignore")

BASE: dict[str, Any] = {
    "peers": 4,
    "rounds": 2,
    "learning": {"task": "integers"},
    "averaging": {"algorithm": "rules_of_a_cluster:Half"},
    "evaluation": {"baselines": []},
}
RULE = '''
from p2pfl_simulations.plugins import AveragingRule

class Half(AveragingRule):
    """Half of the way to the first neighbour."""

    def average(self, round, own, heard):
        return (own.vector + heard[0].vector) / 2 if heard else own.vector
'''


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    # At a niceness of 15, Ray's own, a worker gets nothing beside other work.
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"})
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    made = with_patience(lambda: Cluster(initialize_head=True, head_node_args=head), ray.shutdown)
    try:
        yield made
    finally:
        made.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules_of_a_cluster.py").write_text(RULE)
    return tmp_path


def study_of(seeds: int, **tables: Any) -> Study:
    return Study.model_validate({"seeds": seeds, "grid": {"rounds": [2, 3]}, **tables})


def on_ray(cluster: Any, folder: Path, **options: Any) -> Any:
    def runner(jobs: Any, cells: Path, *, on_end: Any) -> None:
        run_on_ray(
            jobs,
            cells,
            on_end=on_end,
            task_folder=folder,
            **{"address": cluster.address, "under_way": None, "store": None, **options},
        )

    return runner


def in_process(jobs: Any, cells: Path, *, on_end: Any) -> None:
    run_locally(jobs, cells, processes=1, on_end=on_end)


def test_a_node_is_killed_and_the_table_is_that_of_this_process(
    cluster: Any, folder: Path, tmp_path: Path
) -> None:
    study = study_of(4)
    cells = plan(study, BASE, folder)
    here = run_cells(study, cells, tmp_path / "here", task_folder=folder, runner=in_process)
    assert here.done == 8
    second = with_patience(lambda: cluster.add_node(num_cpus=1), lambda: None)
    ended: list[str] = []

    def kill_the_second(told: Any) -> None:
        if told.done == 2 and not ended:
            ended.append("killed")
            cluster.remove_node(second, allow_graceful=False)

    there = run_cells(
        study,
        cells,
        tmp_path / "there",
        task_folder=folder,
        runner=on_ray(cluster, folder),
        progress=kill_the_second,
    )
    assert ended == ["killed"]
    assert (there.done, there.failures) == (8, {})
    tables = [
        table_of(read_results(study, cells, tmp_path / name, {})) for name in ("here", "there")
    ]
    assert tables[0].equals(tables[1])


def test_results_stay_in_a_store_and_are_taken_from_it(
    cluster: Any, folder: Path, tmp_path: Path
) -> None:
    study = study_of(1)
    cells = plan(study, BASE, folder)
    store = (tmp_path / "store").as_uri()
    runner = on_ray(cluster, folder, store=store)
    first = run_cells(study, cells, tmp_path / "one", task_folder=folder, runner=runner)
    assert first.done == 2
    assert sorted(it.name for it in (tmp_path / "store").iterdir()) == sorted(
        f"{cell.name}.tar" for cell in cells
    )
    again = run_cells(study, cells, tmp_path / "two", task_folder=folder, runner=runner)
    assert again.places == {"store": 2}  # No cell ran again.


def test_a_cell_that_fails_there_is_told(cluster: Any, folder: Path, tmp_path: Path) -> None:
    study = study_of(1, set={"peers": 3000}, grid={})
    cells = plan(study, BASE, folder)
    told = run_cells(
        study, cells, tmp_path / "out", task_folder=folder, runner=on_ray(cluster, folder)
    )
    assert "2048 rows cannot be dealt to 3000 peers" in next(iter(told.failures.values()))


def test_a_cluster_that_is_not_there_is_one_line(folder: Path, tmp_path: Path) -> None:
    study = study_of(1)
    cells = plan(study, BASE, folder)
    ends: list[CellEnd] = []
    with pytest.raises(ClusterError, match=r"there is no Ray cluster at 127\.0\.0\.1:1"):
        run_on_ray(
            [_job(cell) for cell in cells],
            tmp_path,
            address="127.0.0.1:1",
            under_way=1,
            store=None,
            task_folder=None,
            on_end=ends.append,
        )


def _job(cell: Any) -> Any:
    from p2pfl_simulations.studies.cells import CellJob

    return CellJob(cell.name, cell.digest, cell.document, None, 1, False, versions())


@pytest.fixture
def second_node(cluster: Any) -> Iterator[Any]:
    """Another machine, as far as Ray is concerned; a test may take it away itself."""
    node = with_patience(lambda: cluster.add_node(num_cpus=1), lambda: None)
    try:
        yield node
    finally:
        if node in cluster.worker_nodes:
            cluster.remove_node(node, allow_graceful=False)


OWN_TASK = """
import os
import signal
import time
from pathlib import Path
from p2pfl.learner.tasks.integers import Integers

class Watched(Integers):
    def __init__(self, meeting, marker):
        super().__init__()
        self.meeting, self.marker = Path(meeting), Path(marker)

    def step(self, vector, inputs, targets, rate):
        if self.meeting.is_dir():  # Nobody goes on before two processes learn.
            (self.meeting / str(os.getpid())).touch()
            while len(list(self.meeting.iterdir())) < 2:
                time.sleep(0.05)
        try:
            self.marker.unlink()
        except FileNotFoundError:
            return super().step(vector, inputs, targets, rate)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def watched(folder: Path) -> tuple[Any, Path, Path]:
    """A run whose workers wait for each other in one folder, and one of which dies of a file."""
    (folder / "of_a_cluster.py").write_text(OWN_TASK)
    meeting, marker = folder / "meeting", folder / "marker"
    options = {"meeting": str(meeting), "marker": str(marker)}
    scenario = make_scenario(
        {
            "peers": 40,
            "rounds": 5,
            "learning": {"task": "of_a_cluster:Watched", "options": options},
            "averaging": {"algorithm": "dsgd"},
            "evaluation": {"baselines": []},
        }
    )
    return scenario, meeting, marker


@pytest.mark.usefixtures("second_node")
def test_a_run_learns_on_two_machines_with_the_same_digest(cluster: Any, tmp_path: Path) -> None:
    scenario, meeting, _ = watched(tmp_path)

    def meet(told: Any) -> None:
        if told.round == 1:
            meeting.mkdir(exist_ok=True)

    there = run(scenario, ray=cluster.address, folder=tmp_path, progress=meet)
    met = {int(it.name) for it in meeting.iterdir()}
    assert len(met) == 2
    assert os.getpid() not in met
    assert (there.counters["workers_on_ray"], there.counters["workers_lost_on_ray"]) == (2, 0)
    assert there.counters["jobs_on_ray"] == 40 * 5 * 2 + 5  # And the mean model of each round.
    assert there.digest == run(scenario, folder=tmp_path).digest


@pytest.mark.parametrize("lost", ["process", "machine"])
def test_a_run_loses_a_worker_while_it_learns_and_goes_on_to_the_same_digest(
    lost: str, cluster: Any, second_node: Any, tmp_path: Path
) -> None:
    """Killed in the middle of a step; or with its machine, which never comes back."""
    scenario, meeting, marker = watched(tmp_path)
    done: list[str] = []

    def strike(told: Any) -> None:
        if told.round == 1:
            meeting.mkdir(exist_ok=True)
        if told.round == 2 and not done:
            done.append(lost)
            if lost == "process":
                marker.touch()
            else:
                cluster.remove_node(second_node, allow_graceful=False)

    there = run(scenario, ray=cluster.address, folder=tmp_path, progress=strike)
    assert done == [lost]
    assert not marker.exists()
    assert there.counters["workers_lost_on_ray"] >= 1
    assert there.digest == run(scenario, folder=tmp_path).digest


def test_work_for_a_device_goes_where_ray_knows_of_one(cluster: Any) -> None:
    """Whether it learns on it nobody has tried: there is none here, so "auto" ends on the CPU."""
    node = with_patience(lambda: cluster.add_node(num_cpus=1, num_gpus=1), lambda: None)
    learning = {"task": "digits", "device": "auto"}
    scenario = make_scenario({**BASE, "averaging": {"algorithm": "dsgd"}, "learning": learning})
    try:
        there = run(scenario, ray=cluster.address)
        assert there.digest == run(scenario).digest
        assert there.counters["workers_on_ray"] == 1  # One GPU, and two cores.
    finally:
        cluster.remove_node(node, allow_graceful=False)
