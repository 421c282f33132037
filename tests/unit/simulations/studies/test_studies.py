"""Studies: what they run, what they keep, and what their tables say."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
from calling import P2pfl

from p2pfl_simulations.cluster.connecting import FOLDER_BYTES_MAX, ClusterError, connected
from p2pfl_simulations.environment import CODE, versions
from p2pfl_simulations.studies import local, on_ray, page
from p2pfl_simulations.studies.cells import CellEnd, CellJob, is_whole, pack, run_cell, unpack
from p2pfl_simulations.studies.gathered import Results, read_results, table_of
from p2pfl_simulations.studies.local import run_locally
from p2pfl_simulations.studies.page import drawings_of, write_report
from p2pfl_simulations.studies.plan import NAME_CHARACTERS_MAX, Cell, baseline_of, conditions, plan
from p2pfl_simulations.studies.running import CELLS, read_failures, run_cells
from p2pfl_simulations.studies.settings import DRAWS_MAX, SEEDS_MAX, Study, StudyError, load_study
from p2pfl_simulations.studies.tables import latex, markdown, tables_of

BASE: dict[str, Any] = {
    "peers": 4,
    "rounds": 2,
    "learning": {"task": "integers"},
    "averaging": {"algorithm": "dsgd"},
    "evaluation": {"baselines": []},
}
GRID: dict[str, Any] = {
    "seeds": 3,
    "baseline": {"averaging.topology.kind": "ring"},
    "grid": {
        "averaging.topology.kind": ["ring", "complete"],
        "rounds": [1, 2],
    },
}


def study_of(**tables: Any) -> Study:
    return Study.model_validate({**GRID, **tables})


def in_process(jobs: Any, cells: Path, *, on_end: Any) -> None:
    run_locally(jobs, cells, processes=1, on_end=on_end)


def run_all(study: Study, folder: Path, base: dict[str, Any] = BASE) -> tuple[list[Cell], Any]:
    cells = plan(study, base, None)
    told = run_cells(study, cells, folder, task_folder=None, runner=in_process)
    return cells, told


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    """One study, run once for all that only look."""
    folder = tmp_path_factory.mktemp("study")
    study = study_of(name="small")
    cells, told = run_all(study, folder)
    assert (told.cells, told.kept, told.done, told.failures) == (12, 0, 12, {})
    return folder, read_results(study, cells, folder, {})


def test_a_grid_has_every_combination_and_all_seeds() -> None:
    cells = plan(study_of(), BASE, None)
    assert [(*it.condition.axes.values(), it.seed) for it in cells[:4]] == [
        ("ring", "1", 1),
        ("ring", "1", 2),
        ("ring", "1", 3),
        ("ring", "2", 1),
    ]
    assert cells[-1].scenario.averaging.topology.kind == "complete"  # type: ignore[union-attr]
    assert cells[-1].scenario.rounds == 2
    assert len({it.name for it in cells}) == len(cells) == 12


def test_a_named_value_sets_many_keys_and_a_list_has_its_own_conditions() -> None:
    many = {"name": "large", "set": {"peers": 5, "averaging.topology.kind": "complete"}}
    found = conditions(study_of(grid={"size": [many]}, baseline={}))
    assert found[0].axes == {"size": "large"}
    assert found[0].changes == many["set"]
    listed = study_of(grid={}, list=[many, {"name": "small"}], baseline={"name": "small"})
    one, two = conditions(listed)
    assert baseline_of(listed, one, [one, two]) is two
    assert baseline_of(listed, two, [one, two]) is None


def test_a_random_draw_repeats_and_keeps_its_bounds() -> None:
    search = {
        "draws": 20,
        "set": {
            "learning.training.learning_rate": {"low": 1e-3, "high": 1.0, "log": True},
            "rounds": {"low": 1, "high": 3, "integer": True},
            "averaging.topology.kind": {"choice": ["ring", "complete"]},
        },
    }
    study = study_of(grid={}, baseline={}, random=search)
    one, two = conditions(study), conditions(study)
    assert one == two
    rates = [it.changes["learning.training.learning_rate"] for it in one]
    assert all(1e-3 <= rate <= 1.0 for rate in rates)
    assert sum(rate < 0.05 for rate in rates) > 5  # Uniform by magnitude.
    assert {it.changes["rounds"] for it in one} == {1, 2, 3}
    assert len({it.name for it in one}) == 20


def test_what_decides_a_run_decides_its_cell(tmp_path: Path) -> None:
    rule = (
        "from p2pfl_simulations.plugins import AveragingRule\n"
        "class Own(AveragingRule):\n"
        "    def average(self, round, own, heard):\n        return own.vector\n"
    )
    base = {**BASE, "averaging": {"algorithm": "rule_of_a_study:Own"}}
    study = study_of(grid={}, baseline={}, seeds=1)
    digests = []
    for source in (rule, rule, rule + "# changed\n"):
        (tmp_path / "rule_of_a_study.py").write_text(source)
        digests.append(plan(study, base, tmp_path)[0].digest)
    assert digests[0] == digests[1] != digests[2]
    renamed = plan(study, {**base, "name": "other", "description": "x"}, tmp_path)
    assert renamed[0].digest == digests[2]


HALF_WRONG = """
from p2pfl_simulations.plugins import AveragingRule

class Halves(AveragingRule):
    entries: int = 1000

    def average(self, round, own, heard):
        return own.vector[: self.entries]
"""


@pytest.mark.parametrize("wrong", [0, 1])
def test_an_own_part_that_does_not_work_is_refused_before_the_first_cell(
    wrong: int, tmp_path: Path
) -> None:
    """In whichever condition it is; and whatever else is wrong costs one cell."""
    (tmp_path / "half_wrong.py").write_text(HALF_WRONG)
    choices = [
        {"name": "many", "set": {"averaging": {"algorithm": "dsgd"}, "peers": 3000}},
        {"name": "own", "set": {"averaging": {"algorithm": "half_wrong:Halves"}}},
        {"name": "three", "set": {"averaging": {"algorithm": "half_wrong:Halves"}}},
    ]
    choices[2]["set"]["averaging"]["options"] = {"entries": 3}  # type: ignore[index]
    study = study_of(grid={"rule": choices[: 2 + wrong]}, baseline={}, seeds=1)
    cells = plan(study, BASE, tmp_path)
    out = tmp_path / "out"

    def run_them() -> Any:
        return run_cells(study, cells, out, task_folder=tmp_path, runner=in_process)

    if wrong:
        with pytest.raises(StudyError, match=r"three: averaging rule .* returned \[3\], and a m"):
            run_them()
        assert not any((out / CELLS).iterdir())
        return
    told = run_them()
    assert (told.done, list(told.failures)) == (1, [cells[0].name])


TASK_OF_FILES = """
from pathlib import Path
import numpy as np
from p2pfl.learner.tasks.base import Data, Rows
from p2pfl.learner.tasks.integers import Integers
from p2pfl_simulations.plugins import Liar

class Own(Integers):
    def __init__(self, start="start.txt"):
        super().__init__()
    def data(self, data_dir):
        with (data_dir / "read.txt").open("a") as file:
            file.write("x")
        columns = {"ward": np.loadtxt(data_dir / "wards.csv", dtype=object)}
        rows = np.loadtxt(data_dir / "rows.csv", delimiter=",", dtype=int)
        return Data(Rows(rows[:, :1], rows[:, 1]), Rows(rows[:2, :1], rows[:2, 1]), columns)

class Words(Liar):
    def __init__(self, words):
        self.words = words
"""


def test_rows_and_files_of_arguments_decide_a_cell_and_rows_are_read_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "files_of_a_study.py").write_text(TASK_OF_FILES)
    files = ("data/rows.csv", "data/wards.csv", "start.txt", "words.txt", "more.txt")
    for name in files:
        (tmp_path / name).write_text("1,2\n3,4\n5,6\n")
    liars = [
        {"strategy": "files_of_a_study:Words", "peers": [peer], "arguments": {"words": words}}
        for peer, words in ((0, ["words.txt"]), (1, str(tmp_path / "more.txt")), (2, "\0"))
    ]
    base = {
        **BASE,
        "learning": {"task": "files_of_a_study:Own", "data_dir": "data"},
        "faults": {"liars": liars},
    }
    study = study_of(seeds=2)

    def digests() -> tuple[str, ...]:
        return tuple(cell.digest for cell in plan(study, base, tmp_path))

    found = [digests(), digests()]
    assert found[0] == found[1]
    assert (data / "read.txt").read_text() == "xx"  # Once a plan, and not for each condition.
    for name in files:
        (tmp_path / name).write_text("1,2\n3,4\n5,7\n")
        found.append(digests())
        assert not set(found[-1]) & set(found[-2]), name
    shutil.rmtree(data)
    with pytest.raises(StudyError, match=r"task 'files_of_a_study:Own': .*No such file"):
        digests()


def test_another_version_of_p2pfl_is_another_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(grid={}, baseline={}, seeds=1)
    cells, told = run_all(study, tmp_path)
    assert (told.done, told.others) == (1, 0)
    monkeypatch.setattr("p2pfl_simulations.environment.our_code", lambda: "another")
    assert plan(study, BASE, None)[0].digest != cells[0].digest
    _, told = run_all(study, tmp_path)
    assert (told.kept, told.others, told.done) == (0, 1, 1)


def test_a_cell_is_not_run_by_another_version(tmp_path: Path) -> None:
    began = {**versions(), CODE: "another"}
    job = CellJob("it", "digest", BASE, None, 1, False, began)
    assert run_cell(job, str(tmp_path)).failure == (
        f"where it was to run, p2pfl code is {versions()[CODE]}, not another, as where the sweep"
        " began"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"grid": {"averagin.topology": [1]}}, "averagin is not a known key"),
        ({"grid": {"averaging.topology.kind": []}}, "has no values"),
        ({"baseline": {"averaging.topology.kind": "torus"}}, "is never 'torus'; it is ring, comp"),
        ({"baseline": {"topology": "ring"}}, "there is no axis 'topology'"),
        ({"seeds": [1, 1]}, "each once"),
        ({"seeds": 0}, f"seeds are 1 to {SEEDS_MAX}"),
        ({"seeds": SEEDS_MAX + 1}, f"seeds are 1 to {SEEDS_MAX}"),
        (
            {"grid": {}, "baseline": {}, "random": {"draws": DRAWS_MAX + 1, "set": {}}},
            f"less than or equal to {DRAWS_MAX}",
        ),
        ({"list": [{"name": "a"}]}, "exclude each other"),
        ({"grid": {"peers": [4, 4]}, "baseline": {}}, "comes twice"),
        ({"set": {"averaging": {"algorithm": "no_such:Rule"}}}, "cannot be imported"),
        ({"grid": {}, "baseline": {}, "random": {"draws": 1, "set": {"a": {"low": 1}}}}, "needed"),
        ({"sead": 1}, "sead"),
    ],
)
def test_a_wrong_study_is_refused_before_anything_runs(tables: dict[str, Any], told: str) -> None:
    with pytest.raises((StudyError, ValueError), match=re.escape(told)):
        plan(study_of(**tables), BASE, None)


def test_finished_cells_are_kept_and_broken_ones_run_again(
    done: tuple[Path, Results], tmp_path: Path
) -> None:
    source, before = done
    folder = tmp_path / "again"
    shutil.copytree(source, folder)
    places = sorted((folder / CELLS).iterdir())
    (places[0] / "model.safetensors").write_bytes(b"damaged")
    (places[1] / "rounds.parquet").unlink()
    shutil.rmtree(places[2])
    (folder / CELLS / "stale.partial").mkdir()
    cells, told = run_all(before.study, folder)
    assert (told.kept, told.done) == (9, 3)
    after = read_results(before.study, cells, folder, {})
    assert table_of(after).equals(table_of(before))
    assert not list((folder / CELLS).glob("*.partial"))


def test_a_cell_that_fails_is_told_and_costs_no_other(tmp_path: Path) -> None:
    study = study_of(
        grid={"averaging.topology.kind": ["ring", "torus"]}, set={"peers": 7}, seeds=2, baseline={}
    )
    cells, told = run_all(study, tmp_path)
    assert told.done == 2
    assert len(told.failures) == 2
    failures = read_failures(tmp_path)
    assert all("7 peers has no two sides" in line for line in failures.values())
    results = read_results(study, cells, tmp_path, failures)
    rows = table_of(results).to_pylist()
    assert [row["failure"] is None for row in rows] == [True, True, False, False]
    write_report(results, tmp_path)
    assert "7 peers has no two sides" in (tmp_path / "report.html").read_text()


def test_the_tables_give_means_intervals_and_paired_differences(
    done: tuple[Path, Results],
) -> None:
    _, results = done
    means, differences = tables_of(results)
    assert means.head[:3] == ["kind", "rounds", "seeds"]
    assert [row[:3] for row in means.rows] == [
        ["ring", "1", "3"],
        ["ring", "2", "3"],
        ["complete", "1", "3"],
        ["complete", "2", "3"],
    ]
    assert [row[:2] for row in differences.rows] == [["complete", "1"], ["complete", "2"]]
    complete = results.conditions[2]
    figures = {
        name: [run.rounds[-1].consensus_distance for run in results.runs_of(it).values()]
        for name, it in (("ring", results.conditions[0]), ("complete", complete))
    }
    interval = results.against_baseline(complete, "consensus_distance")
    assert interval is not None
    gaps = [a - b for a, b in zip(figures["complete"], figures["ring"], strict=True)]  # type: ignore[operator]
    assert interval.mean == pytest.approx(sum(gaps) / 3)
    assert interval.high < 0  # A complete graph agrees at once.
    assert markdown(means).splitlines()[1].startswith("| --- | --- | ---: |")
    assert r"\toprule" in latex(means)
    assert r"\pm" in latex(means)


def test_a_study_says_how_many_gain_and_lose(tmp_path: Path) -> None:
    study = study_of(
        grid={"peers": [4]}, baseline={}, seeds=3, set={"evaluation.baselines": ["local"]}
    )
    cells, _ = run_all(study, tmp_path)
    results = read_results(study, cells, tmp_path, {})
    for row in table_of(results).to_pylist():
        assert row["gained"] + row["lost"] + row["even"] == 4
        assert row["least_gain"] <= row["gain"]
    means = tables_of(results)[0]
    assert means.head[4:9] == [
        "gain over local",
        "peers that gain",
        "that lose",
        "no clear difference",
        "least gain of a peer",
    ]
    assert re.fullmatch(r"[+−]?[\d.]+ ± [\d.]+ points", means.rows[0][4])


def test_the_report_has_curves_tables_and_files_of_each_kind(
    done: tuple[Path, Results], tmp_path: Path
) -> None:
    _, results = done
    written = {it.relative_to(tmp_path).as_posix() for it in write_report(results, tmp_path)}
    assert {
        "table.parquet",
        "report.html",
        "tables/means.md",
        "tables/means.tex",
        "tables/differences.tex",
        "figures/comparison-mean-1.svg",
        "figures/comparison-mean-1.pdf",
    } <= written
    assert (tmp_path / "figures/comparison-mean-1.pdf").read_bytes().startswith(b"%PDF-")
    table = parquet.read_table(tmp_path / "table.parquet")
    assert table.num_rows == 12
    assert set(table.column("averaging.topology.kind").to_pylist()) == {"ring", "complete"}
    assert "wall_s" not in table.column_names
    drawing, _ = drawings_of(results)[0]
    assert 'class="area r-1' in drawing.picture


def test_a_report_parts_many_conditions_into_charts_and_draws_so_many(
    done: tuple[Path, Results], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, results = done
    assert len(drawings_of(results)) == 2  # Four lines in one chart of the mean, one of the worst.
    monkeypatch.setattr(page, "LINES_MAX", 3)
    assert len(drawings_of(results)) == 4
    monkeypatch.setattr(page, "CHARTS_MAX", 1)
    assert len(drawings_of(results)) == 2


def test_a_random_draw_is_shown_by_key_and_its_best_draws_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = {
        "learning.training.batch_size": {"low": 4, "high": 64, "integer": True, "log": True},
        "averaging.deadline_s": {"low": 1.0, "high": 9.0},
        "averaging.topology.kind": {"choice": ["ring", "complete"]},
    }
    skewed = {"learning.partition": {"kind": "dirichlet", "alpha": 0.1}, "rounds": 1}
    search = {"draws": 4, "set": draws}
    study = study_of(grid={}, baseline={}, seeds=1, random=search, set=skewed)
    cells, _ = run_all(study, tmp_path)
    results = read_results(study, cells, tmp_path, {})
    rows = tables_of(results)[0].rows
    means = [float(row[5].removesuffix(" %")) for row in rows]
    assert means == sorted(means, reverse=True)
    assert len(set(means)) > 1
    monkeypatch.setattr(page, "LINES_MAX", 2)
    *by_key, curves, _ = drawings_of(results)
    assert [it.name for it, _ in by_key] == ["drawn-1", "drawn-2", "drawn-3"]
    for (drawing, told), key in zip(by_key, draws, strict=True):
        assert told.endswith(f"by {key}")
        assert drawing.picture.count("<circle") == 4
        assert drawing.picture.count("mark c-good") == 3
        assert [line[0] for line in drawing.rows] == [row[0] for row in rows]
    assert "batch_size (log scale)" in by_key[0][0].picture
    assert ">complete</text>" in by_key[2][0].picture
    assert curves[1] == "mean over peers, the best 2 of 4 draws"
    assert all(name in curves[0].picture for name in (rows[0][0], rows[1][0]))
    write_report(results, tmp_path)
    assert "In green: the best 3 draws." in (tmp_path / "report.html").read_text()


def test_cells_of_another_version_are_said_to_be_such(tmp_path: Path) -> None:
    cells = plan(study_of(), BASE, None)
    with pytest.raises(StudyError, match="whole: none was run"):
        read_results(study_of(), cells, tmp_path, {})
    (tmp_path / CELLS / "of-before").mkdir(parents=True)
    with pytest.raises(StudyError, match=r"the 1 in .* are of other settings, own parts or"):
        read_results(study_of(), cells, tmp_path, {})


def test_a_long_name_of_a_condition_is_cut_in_its_folders_name() -> None:
    told = "n" * (NAME_CHARACTERS_MAX + 1)
    cells = plan(study_of(grid={}, baseline={}, seeds=1, list=[{"name": told}]), BASE, None)
    assert cells[0].name.startswith(told[:-1] + "-seed-1-")


def test_a_folder_that_is_too_large_does_not_travel(tmp_path: Path) -> None:
    with (tmp_path / "rows.csv").open("wb") as rows:
        rows.truncate(FOLDER_BYTES_MAX + 1)  # A hole: it takes no room.
    with pytest.raises(ClusterError, match="has 105 MB"), connected("local", tmp_path):
        pass


def test_a_cell_travels_packed_and_is_verified(done: tuple[Path, Results], tmp_path: Path) -> None:
    folder, results = done
    cell = results.cells[0]
    unpack(pack(folder / CELLS / cell.name), tmp_path / "there")
    assert is_whole(tmp_path / "there", cell.digest)
    assert not is_whole(tmp_path / "there", "another")
    (tmp_path / "there" / "extra").write_text("more")
    assert is_whole(tmp_path / "there", cell.digest)
    (tmp_path / "there" / "cell.json").write_text("{}")
    assert not is_whole(tmp_path / "there", cell.digest)


def test_a_store_keeps_cells_for_a_later_sweep(done: tuple[Path, Results], tmp_path: Path) -> None:
    """Of memory here; tests/on_ray has a bucket."""
    folder, results = done
    one, two = (
        CellJob(it.name, it.digest, it.document, None, 1, False, {}) for it in results.cells[:2]
    )
    store, ends = f"memory://{tmp_path}", list[CellEnd]()
    assert on_ray._from_store([one, two], tmp_path, store, ends.append) == [one, two]
    on_ray._put(store, two.name, pack(folder / CELLS / two.name))
    assert on_ray._names_in(store) == {f"{two.name}.tar"}
    assert on_ray._from_store([one, two], tmp_path, store, ends.append) == [one]
    assert ends == [CellEnd(two.name, "", "store")]
    assert is_whole(tmp_path / two.name, two.digest)
    with pytest.raises(StudyError, match="--store other://bucket: "):
        on_ray._from_store([one], tmp_path, "other://bucket", ends.append)


def test_an_error_within_a_cell_names_its_place(tmp_path: Path) -> None:
    job = CellJob("it", "digest", {**BASE, "peers": "many"}, None, 1, False, versions())
    assert run_cell(job, str(tmp_path)) == CellEnd(
        "it", "it: peers: Input should be a valid integer, unable to parse string as an integer,"
        " not 'many'"
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_two_sweeps_do_not_share_a_folder(tmp_path: Path) -> None:
    study = study_of(grid={}, baseline={}, seeds=1)
    cells = plan(study, BASE, None)

    def another(*_: Any, **__: Any) -> None:
        with pytest.raises(StudyError, match="another sweep is at work"):
            run_cells(study, cells, tmp_path, task_folder=None, runner=in_process)

    run_cells(study, cells, tmp_path, task_folder=None, runner=another)


def test_the_command_plans_runs_and_goes_on(p2pfl: P2pfl) -> None:
    Path("base.toml").write_text(
        'peers = 4\nrounds = 2\nlearning.task = "integers"\naveraging.algorithm = "dsgd"\n'
        "evaluation.baselines = []\n"
    )
    Path("graphs.toml").write_text(
        'scenario = "base.toml"\nseeds = 2\n[grid]\n"averaging.topology.kind" = ["ring", "star"]\n'
    )
    planned = p2pfl("sweep", "graphs.toml", "--plan")
    assert len(planned.out.splitlines()) == 4
    first = p2pfl("sweep", "graphs.toml", "--jobs", "1", "-q", "--json")
    assert first.code == 0, first.err
    document = json.loads(first.out)
    assert (document["cells"], document["whole"], document["failures"]) == (4, 4, {})
    table = Path(document["folder"], "table.parquet").read_bytes()
    again = p2pfl("sweep", "graphs.toml", "--jobs", "1")
    assert "4 finished cells were kept" in again.err
    assert Path(document["folder"], "table.parquet").read_bytes() == table
    assert load_study(Path(document["folder"], "study.toml"))[0].seeds == (1, 2)
    for arguments, told in (
        (["--jobs", "0"], "1 or more"),
        (["--store", "x"], "--store is for --ray"),
        (["--set", "scenario=nowhere"], "no file or scenario 'nowhere'"),
        (["--set", "seds=1"], "seds is not a known key; did you mean 'seeds'?"),
    ):
        refused = p2pfl("sweep", "graphs.toml", *arguments)
        assert (refused.code, told in refused.err) == (2, True), refused.err


GATED = """
import os
import signal
from p2pfl_simulations.plugins import AveragingRule

class Gated(AveragingRule):
    waits: bool = False
    def average(self, round, own, heard):
        gate = os.environ.get("GATE")
        if gate and round and self.waits:
            os.write(int(gate), b"x")
            signal.pause()  # Until it is killed.
        return own.vector
"""


def test_a_sweep_that_is_killed_goes_on_to_the_same_table(p2pfl: P2pfl) -> None:
    Path("gated_rule.py").write_text(GATED)
    Path("base.toml").write_text(
        'peers = 4\nrounds = 2\nlearning.task = "integers"\nevaluation.baselines = []\n'
        'averaging.algorithm = "gated_rule:Gated"\n'
    )
    Path("gated.toml").write_text(
        'scenario = "base.toml"\nseeds = 1\n[grid]\n"averaging.options.waits" = [false, true]\n'
    )
    begun, gate = os.pipe()
    command = str(Path(sys.executable).with_name("p2pfl"))
    sweep = [command, "sweep", "gated.toml", "--jobs", "1", "-q"]
    with subprocess.Popen(
        [*sweep, "--out", "killed"], env={**os.environ, "GATE": str(gate)}, pass_fds=[gate]
    ) as process:
        os.close(gate)
        told = os.read(begun, 1)
        process.kill()
    os.close(begun)
    assert told == b"x"  # It was at its second cell; of one that had ended nothing is read.
    assert len(list(Path("killed", CELLS).iterdir())) == 1
    tables = []
    for folder, kept in (("killed", True), ("undisturbed", False)):
        ended = p2pfl("sweep", "gated.toml", "--jobs", "1", "--out", folder)
        assert ended.code == 0, ended.err
        assert ("1 finished cells were kept" in ended.err) == kept
        tables.append(Path(folder, "table.parquet").read_bytes())
    assert tables[0] == tables[1]


DEADLY = """
import os
from p2pfl_simulations.plugins import AveragingRule

class Deadly(AveragingRule):
    def average(self, round, own, heard):
        if round:
            os._exit(9)
        return own.vector
"""


def test_a_process_that_dies_costs_its_cell_alone(tmp_path: Path) -> None:
    (tmp_path / "deadly_rule.py").write_text(DEADLY)
    study = study_of(
        seeds=1, baseline={}, grid={"averaging.algorithm": ["deadly_rule:Deadly", "dsgd", "none"]}
    )
    cells = plan(study, BASE, tmp_path)

    def side_by_side(jobs: Any, cells: Path, *, on_end: Any) -> None:
        run_locally(jobs, cells, processes=2, on_end=on_end)

    told = run_cells(study, cells, tmp_path / "out", task_folder=tmp_path, runner=side_by_side)
    assert told.done == 2
    assert list(told.failures.values()) == ["its process died, twice: out of memory?"]
    assert next(iter(told.failures)).startswith("deadly_rule-Deadly")


def test_a_worker_ends_with_who_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    sentinel, others_end = os.pipe()
    os.close(others_end)  # As at the other's death.
    local._end_with(sentinel)
    os.close(sentinel)
    assert ended == [1]


def test_ray_that_is_slow_to_start_is_started_again_and_nothing_else_is() -> None:
    from p2pfl_simulations.cluster.connecting import SLOW_START, START_TRIES, with_patience

    said: list[str] = []

    def start(ends: list[str]) -> str:
        said.append("start")
        end = ends.pop(0)
        if end:
            raise RuntimeError(end)
        return "up"

    slow = f"The current node {SLOW_START}."
    ends = [slow, slow, ""]
    assert with_patience(lambda: start(ends), lambda: said.append("clear")) == "up"
    assert said == ["start", "clear", "start", "clear", "start"]
    for ends, tries in ((["no such address", ""], 1), ([slow] * START_TRIES + [""], START_TRIES)):
        said.clear()
        with pytest.raises(RuntimeError):
            with_patience(partial(start, ends), lambda: None)
        assert said == ["start"] * tries
