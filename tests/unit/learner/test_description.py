"""What a learner says that a group would average, and whose code that is."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from p2pfl.learner import sources
from p2pfl.learner.errors import LearningError
from p2pfl.learner.learner import make_learner
from p2pfl.learner.settings import LearningSettings
from p2pfl.learner.sources import sources_of
from p2pfl.learner.tasks.registry import make_task
from p2pfl.learner.tensor_parts import (
    NAMED_MAX,
    Beyond,
    count_beyond,
    describe_beyond,
    largest_part,
)
from p2pfl_gossip.description import Description, Difference

TASK = """
import numpy as np
import torch
from p2pfl.learner.tasks import Data, Rows, Task
from {name}_rows import rows

class Mine(Task):
    def __init__(self, width: int = 4, scale: float = 1.0, base: float = 1.0) -> None:
        self.width, self.scale, self.base = width, scale, base
    def data(self, data_dir):
        import {name}_late
        return Data(Rows(*rows()), Rows(*rows()))
    def model(self):
        body = torch.nn.Linear(3, 5)
        torch.nn.init.constant_(body.weight, self.base)
        body.requires_grad_(False)
        head = torch.nn.Linear(5, self.width)
        with torch.no_grad():
            head.weight.mul_(self.scale)
        return torch.nn.Sequential(body, torch.nn.Tanh(), head)
"""
ROWS = """
import numpy as np
def rows():
    return np.ones((8, 3), np.float32), np.arange(8) % 2
"""
FILES = {"": TASK, "_rows": ROWS, "_late": "", "_beside": "x = 1\n"}


def write(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    for suffix, text in FILES.items():
        (folder / f"{name}{suffix}.py").write_text(text.replace("{name}", name))


def described(folder: Path, name: str, seed: int = 1, **options: Any) -> Description:
    settings = LearningSettings(task=f"{name}:Mine", options=options)
    for module in [it for it in sys.modules if it.startswith(name)]:
        del sys.modules[module]
    learner = make_learner(settings, peer_count=1, seed=seed, folder=folder, threads=1)
    return learner.description


def differs(ours: Description, theirs: Description) -> Difference | int | None:
    return ours.compare(theirs.page(0))


def test_what_travels_is_described_by_name_shape_and_type(tmp_path: Path) -> None:
    write(tmp_path, "described_a")
    ours = described(tmp_path, "described_a")
    assert [str(tensor) for tensor in ours.tensors] == ["2.weight [4, 5]", "2.bias [4]"]
    assert described(tmp_path, "described_a").digest == ours.digest
    wide = described(tmp_path, "described_a", width=6)
    assert differs(ours, wide) == Difference("layout", "2.weight", "[6, 5]", "[4, 5]")


def test_start_and_frozen_tensors_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, "described_b")
    ours = described(tmp_path, "described_b")
    assert differs(ours, described(tmp_path, "described_b", seed=2)) == Difference("start")
    assert differs(ours, described(tmp_path, "described_b", scale=2.0)) == Difference("start")
    assert differs(ours, described(tmp_path, "described_b", base=2.0)) == Difference("frozen")
    other = described(tmp_path, "described_b", base=1.0 + 1e-7)
    assert other.digest != ours.digest
    assert differs(ours, other) is None


def test_the_code_is_the_file_of_the_class_and_what_it_imports_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "described_c")
    ours = described(tmp_path, "described_c")
    names = ["described_c.py", "described_c_late.py", "described_c_rows.py"]
    assert [source.name for source in ours.sources] == names
    (tmp_path / "described_c_beside.py").write_text("x = 2\n")
    assert described(tmp_path, "described_c").digest == ours.digest
    (tmp_path / "described_c_rows.py").write_text(f"{ROWS}# Changed.\n")
    found = differs(ours, described(tmp_path, "described_c"))
    assert isinstance(found, Difference)
    assert (found.what, found.name) == ("code", "described_c_rows.py")


def test_line_ends_of_another_system_are_no_other_version(tmp_path: Path) -> None:
    write(tmp_path, "described_d")
    ours = described(tmp_path, "described_d")
    for file in tmp_path.glob("*.py"):
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert described(tmp_path, "described_d").digest == ours.digest


def test_a_task_in_a_package_is_all_that_it_imports_of_the_package(tmp_path: Path) -> None:
    package = tmp_path / "described_e"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep" / "__init__.py").write_text("from . import more\n")
    (package / "deep" / "more.py").write_text("from ..far import it\n")
    (package / "far.py").write_text("it = 1\n")
    (package / "other.py").write_text("1 / 0\n")
    (package / "mine.py").write_text(
        "from p2pfl.learner.tasks.integers import Integers\nfrom described_e import deep\n"
        "class Mine(Integers):\n    pass\n"
    )
    task = make_task("described_e.mine:Mine", {}, folder=tmp_path)
    assert [source.name for source in sources_of(task, folder=tmp_path)] == [
        "described_e/__init__.py",
        "described_e/deep/__init__.py",
        "described_e/deep/more.py",
        "described_e/far.py",
        "described_e/mine.py",
    ]


def test_no_more_files_are_followed_than_anybody_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "described_g")
    make_task("described_g:Mine", {}, folder=tmp_path)
    task = make_task("described_g:Mine", {}, folder=tmp_path)
    assert sources.FILES_MAX == 1000
    for most, count in ((1, 1), (2, 3), (1000, 3)):
        monkeypatch.setattr(sources, "FILES_MAX", most)
        assert len(sources_of(task, folder=tmp_path)) == count


@pytest.mark.parametrize("name", ["integers", "digits"])
def test_a_shipped_task_is_the_version_of_the_package(name: str) -> None:
    (source,) = sources_of(make_task(name, {}, folder=None), folder=None)
    assert source.name == "p2pfl-peer"
    assert source.version[0].isdigit()


def test_a_task_without_torch_is_one_tensor() -> None:
    learner = make_learner(
        LearningSettings(task="integers"), peer_count=3, seed=1, folder=None, threads=1
    )
    assert [str(tensor) for tensor in learner.description.tensors] == ["model [64]"]


def test_entries_beyond_a_limit_are_counted_by_tensor(tmp_path: Path) -> None:
    write(tmp_path, "described_f")
    settings = LearningSettings(task="described_f:Mine")
    learner = make_learner(settings, peer_count=1, seed=1, folder=tmp_path, threads=1)
    vector = learner.initial_vector().copy()
    assert count_beyond(learner.description, vector, 8.0) == {}
    vector[[3, 19, 20, 23]] = [9, -9, 8, 8.5]
    assert count_beyond(learner.description, vector, 8.0) == {
        "2.weight": Beyond(2, 20, 9.0),
        "2.bias": Beyond(1, 4, 8.5),
    }
    update = np.zeros_like(vector)
    update[[0, 20]] = [4, -3]
    assert largest_part(learner.description, update) == ("2.weight", 0.8)
    assert largest_part(learner.description, np.zeros_like(vector))[1] == 0


def test_a_start_beyond_the_clip_of_masked_sums_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "described_g")
    settings = LearningSettings(task="described_g:Mine", options={"base": 9.0})
    learner = make_learner(settings, peer_count=1, seed=1, folder=tmp_path, threads=1)
    beyond = {f"t{k}": Beyond(1, 2, 300.0) for k in range(NAMED_MAX + 6)}
    assert describe_beyond(beyond).endswith("t3 (up to 300), and some of 6 tensors more")
    assert "more" not in describe_beyond(dict(list(beyond.items())[:NAMED_MAX]))
    vector = learner.initial_vector().copy()
    vector[3] = 70
    learner.require_start_within(None)
    learner.require_start_within(8.0)
    learner._initial = np.asarray(vector, np.float32)
    learner.require_start_within(70.0)
    told = r"cut its initial model to averaging.clip = 8: 1 of 20 values of 2.weight \(up to 70\);"
    with pytest.raises(LearningError, match=told):
        learner.require_start_within(8.0)
