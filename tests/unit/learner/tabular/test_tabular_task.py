"""The task "tabular": made from options alone, and trained on one table a peer."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from p2pfl.learner.errors import LearningError
from p2pfl.learner.exclusions import Excluded
from p2pfl.learner.learner import Learner, make_learner
from p2pfl.learner.settings import LearningSettings, SitesPartition
from p2pfl.learner.tabular.task import COPIED_ROWS_MIN
from p2pfl_gossip.learning import Evaluate, Evaluated, Train, Trained

SCHEMA: dict[str, Any] = {
    "target": "y",
    "columns": {
        "a": {"type": "number", "range": [-3, 3]},
        "kind": {"type": "category", "categories": ["p", "q"]},
        "y": {"type": "boolean"},
    },
}
LETTERS = "abcdefghijklmnopqrst"
TARGETS: dict[str, tuple[dict[str, Any], Callable[[float], object]]] = {
    "boolean": ({"type": "boolean"}, lambda score: int(score > 0)),
    "category": (
        {"type": "category", "categories": ["low", "mid", "high"]},
        lambda score: "low" if score < -1 else "mid" if score < 1 else "high",
    ),
    "number": ({"type": "number", "mean": 100, "deviation": 20}, lambda score: 100 + 10 * score),
}


def write_sites(folder: Path, target: str, rows: int = 60, extra: str = "") -> dict[str, Any]:
    """Write three sites, and return a schema of them."""
    column, of = TARGETS[target]
    folder.mkdir(exist_ok=True)
    for place, name in enumerate(("berlin", "oslo", "rome")):
        draw = Random(name)
        lines = ["a,letter,kind,y" + (",part" if extra else "")]
        for row in range(rows + 10 * place):
            a, letter, kind = draw.uniform(-3, 3), draw.choice(LETTERS), draw.choice("pq")
            score = a + (kind == "q") + LETTERS.index(letter) / 20 - 1
            part = ("," + ("test" if row % 4 == 0 else "train")) if extra else ""
            lines.append(f"{a},{letter},{kind},{of(score)}{part}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    letters = {"type": "category", "categories": list(LETTERS)}
    columns = {**SCHEMA["columns"], "letter": letters, "y": column}
    return {"target": "y", "columns": columns} | ({"split": extra} if extra else {})


def learner(folder: Path, options: dict[str, Any], peers: int = 3, **more: Any) -> Learner:
    settings = LearningSettings(
        task="tabular",
        options=options,
        data_dir=Path("sites"),
        **({"partition": {"kind": "sites"}} | more),
    )
    return make_learner(settings, peer_count=peers, seed=1, folder=folder, threads=1)


@pytest.mark.parametrize("target", TARGETS)
def test_a_table_is_learnt_whatever_its_target(tmp_path: Path, target: str) -> None:
    schema = write_sites(tmp_path / "sites", target)
    training = {"epochs": 5, "batch_size": 16, "learning_rate": 0.2}
    made = learner(tmp_path, {"schema": schema, "hidden": [16]}, training=training)
    vector = made.initial_vector()
    (before,) = made.run([(0, Evaluate(0, vector))])
    for round_number in range(8):
        trained = made.run(
            [(it, Train(round_number, vector, f"{it}/{round_number}")) for it in range(3)]
        )
        vector = np.mean([it.vector for it in trained if isinstance(it, Trained)], axis=0)
        vector = vector.astype(np.float32)
    (after,) = made.run([(0, Evaluate(8, vector))])
    assert isinstance(before, Evaluated)
    assert isinstance(after, Evaluated)
    figure = "rmse" if target == "number" else "loss"
    assert after.own[figure] < 0.75 * before.own[figure]
    assert not after.metrics  # There are no common test rows.
    if target == "number":
        assert after.own["r2"] > 0.4
        assert after.own["mae"] < 15  # In the target's own unit: its deviation is about 20.


def test_the_rows_that_a_table_marks_are_those_that_its_peer_is_measured_on(tmp_path: Path) -> None:
    schema = write_sites(tmp_path / "sites", "boolean", extra="part")
    made = learner(tmp_path, {"schema": schema, "metric": "auroc"})
    assert [made.test_count(peer) for peer in range(3)] == [15, 18, 20]  # One row in four.
    assert [made.sample_count(peer) for peer in range(3)] == [45, 52, 60]
    assert made.primary.name == "auroc"
    path = tmp_path / "sites" / "oslo.csv"
    path.write_text(path.read_text().replace(",test", ",train"))
    with pytest.raises(LearningError, match="marks none of its rows as test rows"):
        learner(tmp_path, {"schema": schema})


def test_a_site_s_copy_of_another_s_table_is_refused_by_both_names(tmp_path: Path) -> None:
    """It would be tested on what the other trains on. A few rows may be alike by chance."""
    options = {"schema": write_sites(tmp_path / "sites", "boolean")}
    sites = tmp_path / "sites"
    lines = (sites / "berlin.csv").read_text().splitlines(keepends=True)
    (sites / "oslo.csv").write_text("".join(lines))
    with pytest.raises(LearningError, match=r"oslo\.csv has the rows of .*berlin\.csv, all 60 in"):
        learner(tmp_path, options)
    for name in ("berlin", "oslo"):
        (sites / f"{name}.csv").write_text("".join(lines[: COPIED_ROWS_MIN + 1]))
    with pytest.raises(LearningError, match="all 10 in the same order"):
        learner(tmp_path, options)
    for name in ("berlin", "oslo"):
        (sites / f"{name}.csv").write_text("".join(lines[:COPIED_ROWS_MIN]))
    assert learner(tmp_path, options).sample_count(1) > 0


def test_rows_of_those_who_object_are_left_out_by_the_unit_s_column(tmp_path: Path) -> None:
    """Named as the list has them: a number without a decimal point, a text as it is."""
    lines = ["patient,x,y", *(f"{row % 10},{row}.0,{row % 2}" for row in range(40))]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    columns = {"x": {"type": "number", "mean": 20.0, "deviation": 10.0}, "y": {"type": "boolean"}}
    schema = {"target": "y", "columns": columns, "unit": "patient"}
    options = {"schema": schema, "hidden": []}
    settings = LearningSettings(
        task="tabular", options=options, data_dir=tmp_path / "rows.csv", held_out=0.25
    )
    one: dict[str, Any] = {"peer_count": 1, "seed": 1, "folder": tmp_path, "threads": 1}
    assert make_learner(settings, **one).sample_count(0) == 30
    excluded = Excluded("patient", frozenset(("3", "7")))
    assert make_learner(settings, **one, excluded=excluded).sample_count(0) == 24
    (tmp_path / "rows.csv").write_text("\n".join([*lines, ",1.0,1"]))
    with pytest.raises(LearningError, match="line 42, column 'patient': it does not say whose"):
        make_learner(settings, **one)


@pytest.mark.parametrize(
    ("target", "metric", "larger"),
    [("boolean", "brier", False), ("number", "r2", True), ("number", None, False)],
)
def test_the_metric_is_chosen_with_its_direction(
    tmp_path: Path, target: str, metric: str | None, larger: bool
) -> None:
    schema = write_sites(tmp_path / "sites", target)
    chosen = {} if metric is None else {"metric": metric}
    primary = learner(tmp_path, {"schema": schema, **chosen}).primary
    assert (primary.name, primary.larger_is_better) == (metric or "rmse", larger)
    with pytest.raises(LearningError, match=r"is measured by .*, not 'f7'"):
        learner(tmp_path, {"schema": schema, "metric": "f7"})


def test_a_peer_has_the_rows_of_its_own_site_in_the_order_of_names(tmp_path: Path) -> None:
    schema = write_sites(tmp_path / "sites", "boolean")
    made = learner(tmp_path, {"schema": schema})
    counts = [made.sample_count(peer) for peer in range(3)]
    assert counts[0] < counts[1] < counts[2]
    with pytest.raises(LearningError, match=r"3 sites \(berlin, oslo, rome\), but .* peers = 3"):
        learner(tmp_path, {"schema": schema}, peers=4)
    assert learner(tmp_path, {"schema": schema}, peers=5, partition={"kind": "iid"})
    with pytest.raises(LearningError, match="goes by the column 'site'"):
        make_learner(
            LearningSettings(partition=SitesPartition(kind="sites")),
            peer_count=2,
            seed=1,
            folder=None,
        )


def test_many_categories_are_embedded_and_few_are_not(tmp_path: Path) -> None:
    schema = write_sites(tmp_path / "sites", "boolean")
    made = learner(tmp_path, {"schema": schema, "hidden": [4]})
    shapes = {name: it.shape for name, it in made.named(made.initial_vector()).tensors.items()}
    assert shapes["0.tables.0.weight"] == (20, 10)
    assert shapes["1.weight"] == (4, 1 + 2 + 10)
    del schema["columns"]["letter"]
    made = learner(tmp_path, {"schema": schema, "hidden": [4]})
    assert made.batching == "stacked (bmm by hand)"


def test_members_compare_their_schema(tmp_path: Path) -> None:
    schema = write_sites(tmp_path / "sites", "boolean")
    del schema["columns"]["letter"]
    text = 'target = "y"\n[columns.a]\ntype = "number"\nrange = [-3, 3]\n'
    text += '[columns.y]\ntype = "boolean"\n'
    descriptions = []
    for range_ in ("[-3, 3]", "[-4, 4]"):
        (tmp_path / "schema.toml").write_text(text.replace("[-3, 3]", range_))
        descriptions.append(learner(tmp_path, {"schema": "schema.toml"}).description)
    ours, theirs = descriptions
    assert [it.name for it in ours.sources] == ["p2pfl-peer", "schema.toml"]
    assert ours.sources[0] == theirs.sources[0]
    assert ours.sources[1] != theirs.sources[1]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "missing a required argument: 'schema'; its options are: schema, hidden, metric"),
        ({"schema": "none.toml"}, r"cannot read the schema .*none\.toml"),
        ({"schema": 3}, "options.schema is a file's name or a table"),
        ({"schema": SCHEMA, "hidden": [0]}, "options.hidden: a width is a whole number"),
        ({"schema": SCHEMA, "hidden": 3}, "options.hidden lists the widths"),
        ({"schema": SCHEMA | {"target": "z"}}, "options.schema: the target 'z' is none"),
        ({"schema": SCHEMA, "hiden": [3]}, "unexpected keyword argument 'hiden'"),
    ],
)
def test_bad_options_are_refused_in_one_line(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(LearningError, match=says) as caught:
        learner(tmp_path, options)
    assert "\n" not in str(caught.value)


def test_a_place_of_the_tables_is_asked_for() -> None:
    settings = LearningSettings(task="tabular", options={"schema": SCHEMA})
    with pytest.raises(LearningError, match="data_dir says where the tables are"):
        make_learner(settings, peer_count=1, seed=1, folder=None)
