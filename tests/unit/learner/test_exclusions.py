"""Rows of units that objected are in no training, and the list is read as it is."""

from pathlib import Path

import numpy as np
import pytest

from p2pfl.learner import exclusions
from p2pfl.learner.errors import LearningError
from p2pfl.learner.exclusions import Excluded, read_excluded, without_excluded
from p2pfl.learner.partitions import Partition

SPLIT = Partition(np.arange(6), np.array([0, 4, 6]), "two peers")


@pytest.mark.parametrize(
    "units",
    [np.array(["a", "b", "a", "c", "b", "d"]), np.array([1.0, 2, 1, 3, 2, 4])],
    ids=["text", "numbers"],
)
def test_rows_of_a_unit_go_wherever_they_are(units: np.ndarray) -> None:
    listed = frozenset(("a", "b", "x") if units.dtype.kind == "U" else ("1", "2", "9"))
    kept = without_excluded(SPLIT, {"unit": units}, Excluded("unit", listed), "t")
    assert kept.rows.tolist() == [3, 5]
    assert kept.offsets.tolist() == [0, 1, 2]
    none = without_excluded(SPLIT, {"unit": units}, Excluded("unit", frozenset()), "t")
    assert none.rows.tolist() == SPLIT.rows.tolist()


def test_what_cannot_be_is_told() -> None:
    units = {"unit": np.array(["a"] * 6)}
    with pytest.raises(LearningError, match=r"no column 'patient' .* it has: unit"):
        without_excluded(SPLIT, units, Excluded("patient", frozenset()), "t")
    with pytest.raises(LearningError, match="all rows are those of excluded units"):
        without_excluded(SPLIT, units, Excluded("unit", frozenset("a")), "t")


def test_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "excluded.txt"
    with pytest.raises(LearningError, match="nothing is trained on without them"):
        read_excluded(path, "unit")
    path.write_text("# objected in May\n  17 \n\nab c\n")
    assert read_excluded(path, "unit") == Excluded("unit", frozenset(("17", "ab c")))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LearningError, match="no UTF-8"):
        read_excluded(path, "unit")
    monkeypatch.setattr(exclusions, "LIST_BYTES_MAX", 4)
    path.write_text("1\n2\n")
    assert read_excluded(path, "unit").units == {"1", "2"}
    path.write_text("1\n22\n")
    with pytest.raises(LearningError, match="longer than 4 bytes"):
        read_excluded(path, "unit")
