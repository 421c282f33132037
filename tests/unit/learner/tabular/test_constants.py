"""A federated mean and variance: what all members have together, and nobody's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import make_learner
from p2pfl.learner.settings import LearningSettings
from p2pfl.learner.tabular.constants import with_constants
from p2pfl.learner.tabular.schema import make_schema, read_schema
from p2pfl_gossip.learning import Train, Trained
from p2pfl_simulations import load_scenario, run

SCHEMA: dict[str, Any] = {
    "target": "y",
    "split": "part",
    "columns": {
        "a": {"type": "number", "range": [0, 100], "missing": "mean"},
        "k": {
            "type": "category",
            "categories": ["p", "q", "r"],
            "missing": "most-frequent",
            "most_frequent": "p",
        },
        "y": {"type": "boolean"},
    },
}


def write_sites(folder: Path) -> tuple[list[float], list[int]]:
    """Write three sites of unlike values; return the known training values of `a`, and counts."""
    rng = np.random.default_rng(3)
    (folder / "sites").mkdir()
    known: list[float] = []
    counts = []
    for place, name in enumerate(("berlin", "oslo", "rome")):
        lines, count = ["a,k,y,part"], 0
        for row in range(40 + 30 * place):
            a = round(float(np.clip(rng.normal(20 + 25 * place, 8), 0, 100)), 3)
            is_test, is_missing = row % 5 == 0, row % 7 == 0
            category = "q" if rng.random() < 0.6 else "pr"[row % 2]
            text = "" if is_missing else str(a)
            lines.append(f"{text},{category},{row % 2},{'test' if is_test else 'train'}")
            count += not is_test
            if not is_test and not is_missing:
                known.append(a)
        counts.append(count)
        (folder / "sites" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return known, counts


def settings(**training: Any) -> LearningSettings:
    return LearningSettings.model_validate(
        {
            "task": "tabular-constants",
            "options": {"schema": SCHEMA},
            "data_dir": "sites",
            "partition": {"kind": "sites"},
            "training": {"batch_size": 10**9} | training,
        }
    )


def test_the_average_by_rows_is_that_of_the_pooled_training_rows(tmp_path: Path) -> None:
    known, counts = write_sites(tmp_path)
    made = make_learner(settings(), peer_count=3, seed=1, folder=tmp_path, threads=1)
    assert [made.sample_count(peer) for peer in range(3)] == counts
    initial = made.initial_vector()
    trained = made.run([(peer, Train(0, initial, f"{peer}")) for peer in range(3)])
    vectors = [it.vector for it in trained if isinstance(it, Trained)]
    assert all(np.linalg.norm(vector) <= 1 for vector in vectors)
    average = np.average(vectors, axis=0, weights=counts).astype(np.float32)
    document = with_constants(make_schema(SCHEMA, source="s"), average)
    agreed = make_schema(document, source="agreed")
    column: Any = agreed.columns["a"]
    assert column.mean == pytest.approx(np.mean(known), rel=1e-4)
    assert column.deviation == pytest.approx(np.std(known), rel=1e-3)
    assert column.range == (0, 100)
    category: Any = agreed.columns["k"]
    assert category.most_frequent == "q"


def test_a_real_masked_sum_keeps_the_digits_that_constants_need() -> None:
    folder = Path(__file__).parents[4] / "examples" / "tables"
    options = {"schema": "patients.toml"}
    scenario = load_scenario(
        str(folder / "scenario.toml"),
        {
            "rounds": 1,
            "learning.task": "tabular-constants",
            "learning.options": options,
            "learning.training": {"batch_size": 10**9},
            "averaging.weights": "samples",
            "evaluation.baselines": [],
        },
    )
    ended = run(scenario, folder=folder)
    made = make_learner(scenario.learning, peer_count=6, seed=1, folder=folder, threads=1)
    counts = [made.sample_count(peer) for peer in range(6)]
    initial = made.initial_vector()
    jobs = [(peer, Train(0, initial, f"{peer}")) for peer in range(6)]
    vectors = [it.vector for it in made.run(jobs) if isinstance(it, Trained)]
    exact = np.average(vectors, axis=0, weights=counts)
    schema = read_schema(folder / "patients.toml")
    found, wanted = (
        make_schema(with_constants(schema, it.astype(np.float32)), source="s").columns
        for it in (ended.require_model(), exact)
    )
    for name in ("age", "creatinine"):
        ours: Any = found[name]
        theirs: Any = wanted[name]
        assert ours.mean == pytest.approx(theirs.mean, rel=1e-4)
        assert ours.deviation == pytest.approx(theirs.deviation, rel=5e-3)


def test_a_batch_that_is_not_all_rows_is_refused(tmp_path: Path) -> None:
    write_sites(tmp_path)
    with pytest.raises(LearningError, match=r"constants are of all rows: set training\.batch_size"):
        make_learner(settings(batch_size=4), peer_count=3, seed=1, folder=tmp_path, threads=1)


def test_a_site_may_be_much_smaller_than_the_others(tmp_path: Path) -> None:
    write_sites(tmp_path)
    rows = "".join(f"{20 + row},p,{row % 2},{'train' if row else 'test'}\n" for row in range(7))
    (tmp_path / "sites" / "z.csv").write_text(f"a,k,y,part\n{rows}")  # The largest has 80.
    made = make_learner(settings(), peer_count=4, seed=1, folder=tmp_path, threads=1)
    assert made.sample_count(3) == 6


def test_a_number_without_a_range_is_refused(tmp_path: Path) -> None:
    write_sites(tmp_path)
    column = {"type": "number", "mean": 0, "deviation": 1}
    schema = SCHEMA | {"columns": SCHEMA["columns"] | {"a": column}}
    chosen = settings().model_copy(update={"options": {"schema": schema}})
    with pytest.raises(LearningError, match=r"columns\.a has no range"):
        make_learner(chosen, peer_count=3, seed=1, folder=tmp_path, threads=1)


def test_a_model_of_another_schema_is_refused() -> None:
    with pytest.raises(LearningError, match="has 3 entries, but constants of this schema have 8"):
        with_constants(make_schema(SCHEMA, source="s"), np.zeros(3, np.float32))
    with pytest.raises(LearningError, match="no member has a value of column 'a'"):
        with_constants(make_schema(SCHEMA, source="s"), np.zeros(8, np.float32))
