"""`p2pfl task pack | show | try | approve`, as an operator calls them."""

import json
from pathlib import Path

import pytest
from calling import Ended, P2pfl
from consortium import founded

from p2pfl.charter.approved_bundles import last_approved
from p2pfl.charter.bundles import read_bundle
from p2pfl.charter.charter_file import encode_file
from p2pfl.cli import bundles
from p2pfl.store.acts import read_acts

TASK = """
import numpy as np
from p2pfl.learner.tasks import Data, NumpyTask, Rows

class Mine(NumpyTask):
    def data(self, data_dir):
        values = np.loadtxt(data_dir / "rows.csv", delimiter=",", dtype=np.float32, skiprows=1)
        return Data(train=Rows(values[:, :1], values[:, 1].astype(np.int64)), own_test=0)
    def initial_vector(self, seed):
        return np.zeros(2, np.float32)
    def step(self, vector, inputs, targets, rate):
        error = inputs[:, 0] * vector[0] + vector[1] - targets
        vector[0] -= rate * (error * inputs[:, 0]).mean()
        vector[1] -= rate * error.mean()
        return float((error**2).mean())
    def evaluate(self, vector, inputs, targets):
        return {"accuracy": float(((inputs[:, 0] * vector[0] + vector[1] > 0.5) == targets).mean())}
"""


@pytest.fixture(autouse=True)
def files(p2pfl: P2pfl) -> None:
    Path("task/mock").mkdir(parents=True)
    Path("task/pack_mine.py").write_text(TASK.replace(", own_test=0", ""))
    rows = "\n".join(f"{number / 10},{int(number > 10)}" for number in range(20))
    Path("task/mock/rows.csv").write_text(f"x,y\n{rows}\n")
    assert p2pfl("peer", "init", "berlin", "--listen", "/ip4/127.0.0.1/tcp/4001").code == 0


def pack(p2pfl: P2pfl, file: str = "mine.bundle") -> str:
    packed = p2pfl("task", "pack", "task", file, "--task", "pack_mine:Mine")
    assert packed.code == 0, packed.err
    digest = read_bundle(Path(file)).digest
    assert packed.out.endswith(f"wrote {file}: {digest}\n")
    return digest


def fails(ended: Ended, said: str) -> None:
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_bundle_is_packed_shown_tried_and_approved(p2pfl: P2pfl) -> None:
    digest = pack(p2pfl)
    shown = p2pfl("task", "show", "mine.bundle", "--peer", "berlin")
    assert shown.code == 0, shown.err
    assert "pack_mine:Mine" in shown.out
    assert "pack_mine.py" in shown.out
    assert f"digest     {digest}" in shown.out
    assert "nothing was approved here before: all of it is new" in shown.out
    tried = p2pfl("task", "try", "mine.bundle")
    assert tried.code == 0, tried.err
    assert "mine.bundle: made-up rows" in tried.out
    approved = p2pfl("task", "approve", "mine.bundle", "berlin", "--digest", digest[:16])
    assert approved.code == 0, approved.err
    assert "it runs, and 2 numbers travel" in approved.out
    kept = last_approved(Path("berlin"))
    assert kept is not None
    assert kept.digest == digest
    again = p2pfl("task", "show", "mine.bundle", "--peer", "berlin")
    assert "it is the one that was approved here last" in again.out
    acts, _ = read_acts(Path("berlin"))
    assert [(act.name, dict(act.facts)) for act in acts] == [
        ("task approved", {"bundle": digest, "task": "pack_mine:Mine"})
    ]


def test_what_has_changed_is_shown(p2pfl: P2pfl) -> None:
    digest = pack(p2pfl)
    assert p2pfl("task", "approve", "mine.bundle", "berlin", "--digest", digest).code == 0
    path = Path("task/pack_mine.py")
    path.write_text(path.read_text() + "import os  # \x1b[2J\n")
    pack(p2pfl, "new.bundle")
    shown = p2pfl("task", "show", "new.bundle", "--peer", "berlin")
    assert f"since {digest[:16]}, which was approved here last:" in shown.out
    assert "+import os  # \\x1b[2J" in shown.out  # A terminal obeys nothing of it.
    told = json.loads(p2pfl("task", "show", "new.bundle", "--peer", "berlin", "--json").out)
    assert told["approved_before"] == digest
    assert "+import os  # \x1b[2J" in told["differences"]
    printed = p2pfl("task", "show", "new.bundle", "--file", "pack_mine.py")
    assert "import os  # \\x1b[2J" in printed.out
    fails(p2pfl("task", "show", "new.bundle", "--file", "none.py"), "has no file none.py")


def test_a_bundle_is_tried_with_the_options_of_its_charter(p2pfl: P2pfl) -> None:
    path = Path("task/pack_mine.py")
    wants = "    def __init__(self, width):\n        self.width = width\n"
    path.write_text(
        path.read_text()
        .replace("class Mine(NumpyTask):\n", f"class Mine(NumpyTask):\n{wants}")
        .replace("np.zeros(2, ", "np.zeros(self.width, ")
    )
    digest = pack(p2pfl)
    approve = ("task", "approve", "mine.bundle", "berlin", "--digest", digest)
    fails(p2pfl(*approve), "missing a required argument: 'width'")
    assert "and 3 numbers travel" in p2pfl(*approve, "--set", "width=3").out
    task = {"name": "pack_mine:Mine", "bundle": digest, "options": {"width": 5}}
    file = founded(Path(), task=task | {"first_state": "start.safetensors"})
    Path("berlin/charters/group.charter").write_bytes(encode_file(file))
    assert "and 5 numbers travel" in p2pfl(*approve).out


def test_another_bundle_than_meant_is_not_approved(p2pfl: P2pfl) -> None:
    digest = pack(p2pfl)
    approve = ("task", "approve", "mine.bundle", "berlin")
    for given in (digest[: bundles.DIGITS_MIN - 1], "0" * 64, digest[:16] + "zz", ""):
        fails(p2pfl(*approve, "--digest", given), "it is not what you meant to approve")
    fails(p2pfl(*approve), "say which bundle you approve: --digest")
    fails(p2pfl("task", "approve", "mine.bundle", "none", "--digest", digest), "there is no peer")
    assert last_approved(Path("berlin")) is None
    assert p2pfl(*approve, "--digest", digest[: bundles.DIGITS_MIN]).code == 0


def test_one_that_does_not_run_is_not_approved(p2pfl: P2pfl) -> None:
    path = Path("task/pack_mine.py")
    path.write_text(path.read_text().replace("return float((error**2).mean())", "raise OSError(7)"))
    digest = pack(p2pfl)
    fails(p2pfl("task", "approve", "mine.bundle", "berlin", "--digest", digest), "OSError: 7")
    assert last_approved(Path("berlin")) is None


def test_one_without_made_up_rows_is_not_approved(p2pfl: P2pfl) -> None:
    Path("task/mock/rows.csv").unlink()
    packed = p2pfl("task", "pack", "task", "mine.bundle", "--task", "pack_mine:Mine")
    assert "mock rows  none" in packed.out
    digest = read_bundle(Path("mine.bundle")).digest
    fails(
        p2pfl("task", "approve", "mine.bundle", "berlin", "--digest", digest),
        "mine.bundle has no made-up rows in mock/ to try it on",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["task", "mine.tar"], "mine.tar: call it NAME.bundle"),
        (["none", "mine.bundle"], "there is no folder none"),
        (["task", "there.bundle"], "there.bundle is there already"),
        (["task", "none/mine.bundle"], "cannot write none/mine.bundle: No such file"),
        (["berlin", "mine.bundle"], "berlin/control.sock is a link or a device"),
    ],
)
def test_what_cannot_be_packed_is_refused(p2pfl: P2pfl, arguments: list[str], said: str) -> None:
    Path("there.bundle").touch()
    if arguments[0] == "berlin":
        Path("berlin/control.sock").symlink_to("nowhere")
    fails(p2pfl("task", "pack", *arguments, "--task", "pack_mine:Mine"), said)


def test_what_is_no_bundle_is_told(p2pfl: P2pfl) -> None:
    Path("mine.bundle").write_bytes(b"x" * 600)
    for command in (["show"], ["try"], ["approve", "--digest", "0" * 64]):
        words = [command[0], "mine.bundle", *(["berlin"] if "approve" in command else [])]
        fails(p2pfl("task", *words, *command[1:]), "mine.bundle is no bundle: it is damaged")
    fails(p2pfl("task", "show", "none.bundle"), "cannot read none.bundle: No such file")
