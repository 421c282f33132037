"""`p2pfl peer export`: from a journal to a file that torch loads."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calling import P2pfl
from consortium import MEMBERS, founded
from safetensors.torch import load_file

from p2pfl.charter.approved_bundles import approve
from p2pfl.charter.bundles import bundle_of, pack
from p2pfl.charter.charter_file import write_file
from p2pfl.charter.first_states import write_first_state
from p2pfl.daemon import kept
from p2pfl.daemon.errors import ServiceError
from p2pfl.daemon.model_files import write_peer_model
from p2pfl.learner.model_files import read_model
from p2pfl.learner.naming import LEFT_OUT
from p2pfl.learner.peer_models import PeerModel
from p2pfl.store.journal import Store
from p2pfl.store.reading import read_kept, read_kept_vector
from p2pfl_gossip.ledger.standing import (
    MODEL_PREFIX,
    STANDING_RECORD,
    StandingRecord,
    read_standing,
)
from p2pfl_gossip.ledger.states import Head
from p2pfl_gossip.own_state import OwnState
from p2pfl_gossip.records import Codec


def member(p2pfl: P2pfl) -> Path:
    """Make a peer of a network of two whose task is the digits."""
    assert p2pfl("peer", "init", "berlin", "--listen", "/ip4/127.0.0.1/tcp/4001").code == 0
    folder = Path("berlin")
    write_first_state(folder / "start.safetensors", np.zeros(235, np.float32))
    charter = founded(
        folder,
        MEMBERS[:2],
        task={
            "name": "digits",
            "options": {"hidden": [3]},
            "first_state": str(folder / "start.safetensors"),
        },
        averaging={"algorithm": "dsgd"},
        bounds={},
    )
    write_file(folder / "charters" / "group.charter", charter, is_new=True)
    return folder


def test_the_newest_model_is_written_with_the_names_of_its_tensors(p2pfl: P2pfl) -> None:
    folder = member(p2pfl)
    vector = np.random.default_rng(1).normal(size=64 * 3 + 3 + 3 * 10 + 10).astype(np.float32)
    with Store.open(folder / "journal") as store:
        store.persist(
            {kept.GROUP_RECORD: bytes(32), "round": bytes([7, *bytes(7)]), "model": vector}
        )
        exported = p2pfl("peer", "export", "berlin", "model.safetensors")
    assert exported.code == 0, exported.err
    assert exported.out == "wrote model.safetensors: 235 entries, after round 7\n"
    model, metadata = read_model(Path("model.safetensors"))
    assert model.vector().tobytes() == vector.tobytes()
    assert (metadata["task"], metadata["round"]) == ("digits", "7")
    assert len(metadata["group"]) == 64
    assert (metadata["model"], metadata["not_travelling"]) == ("joint", "{}")
    module = torch.nn.Sequential(torch.nn.Linear(64, 3), torch.nn.ReLU(), torch.nn.Linear(3, 10))
    module.load_state_dict(load_file("model.safetensors"))
    again = p2pfl("peer", "export", "berlin", "model.safetensors")
    assert (again.code, again.err) == (
        2, "p2pfl: model.safetensors is there already; name a new file\n"
    )  # fmt: skip


def test_the_model_that_the_peer_has_chosen_is_written_unless_the_newest_is_asked_for(
    p2pfl: P2pfl,
) -> None:
    folder = member(p2pfl)
    newest, best = np.zeros(235, np.float32), np.ones(235, np.float32)
    about = {"task": "", "rows": "", "by": "accuracy", "round": "4", "figure": "0.875"}
    with Store.open(folder / "journal") as store:
        store.persist(
            {kept.GROUP_RECORD: bytes(32), "round": bytes([7, *bytes(7)]), "model": newest}
        )
    write_peer_model(folder / "chosen.safetensors", PeerModel(best), about)
    exported = p2pfl("peer", "export", "berlin", "best.safetensors")
    assert exported.out == (
        "wrote best.safetensors: 235 entries, after round 4, the best by accuracy on own"
        " validation rows (0.875)\n"
    )
    model, metadata = read_model(Path("best.safetensors"))
    assert model.vector().tobytes() == best.tobytes()
    assert (metadata["round"], metadata["chosen_figure"]) == ("4", "0.875")
    assert p2pfl("peer", "export", "berlin", "last.safetensors", "--newest").code == 0
    assert read_model(Path("last.safetensors"))[0].vector().tobytes() == newest.tobytes()
    (folder / "chosen.safetensors").write_bytes(b"no model")
    broken = p2pfl("peer", "export", "berlin", "other.safetensors")
    assert broken.code == 2
    assert "chosen.safetensors is broken" in broken.err


NORMED = """
import numpy as np
from torch import nn
from p2pfl.learner.tasks import Data, Rows, Task

class Mine(Task):
    def data(self, data_dir):
        x = np.load(data_dir / "rows.npy")
        return Data(*[Rows(x, (x[:, 0] > 5).astype(int))] * 2)
    def model(self):
        return nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    def travelling(self, model):
        return ["0.weight", "0.bias"]
    def personal(self, model):
        return ["1.weight", "1.bias"]
"""
STATISTICS = ["0.running_mean", "0.running_var", "0.num_batches_tracked"]
HEAD = ["1.weight", "1.bias"]
NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def normed(p2pfl: P2pfl, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a peer with rows of its own, whose task has batch norm and a personal head."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "normed_by_rows", raising=False)
    assert p2pfl("peer", "init", "berlin", "--listen", "/ip4/127.0.0.1/tcp/4001").code == 0
    folder = Path("berlin")
    settings = folder / "peer.toml"
    settings.write_text(f'data_dir = "data"\n{settings.read_text()}')
    (folder / "data").mkdir()
    rows = np.random.default_rng(3).normal(5, 2, (40, 2)).astype(np.float32)
    np.save(folder / "data/rows.npy", rows)
    Path("task").mkdir()
    Path("task/normed_by_rows.py").write_text(NORMED)
    bundle = bundle_of(pack(Path("task"), "normed_by_rows:Mine"))
    approve(folder, bundle, NOW)
    write_first_state(folder / "start.safetensors", np.zeros(4, np.float32))
    task = {"name": "normed_by_rows:Mine", "bundle": bundle.digest, "held_out": 0}
    charter = founded(
        folder,
        MEMBERS[:2],
        task={**task, "first_state": str(folder / "start.safetensors")},
        averaging={"algorithm": "dsgd"},
        bounds={},
    )
    write_file(folder / "charters" / "group.charter", charter, is_new=True)
    own = OwnState()
    own.take({"personal": np.arange(6, dtype=np.float32)})
    with Store.open(folder / "journal") as store:
        store.persist(
            {"round": bytes([7, *bytes(7)]), "model": np.ones(4, np.float32), **own.records()}
        )
    yield folder
    sys.modules.pop("normed_by_rows", None)


def module_of_task() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2))


def test_statistics_are_worked_out_from_the_peers_own_rows(p2pfl: P2pfl, normed: Path) -> None:
    exported = p2pfl("peer", "export", "berlin", "model.safetensors")
    assert exported.code == 0, exported.err
    worked_out = "worked out from training rows of the peer"
    assert exported.out.splitlines()[1:] == [
        f"  {worked_out}: {', '.join(STATISTICS)}",
        f"  the peer's own: {', '.join(HEAD)}",
    ]
    module, rows = module_of_task(), np.load(normed / "data/rows.npy")
    module.load_state_dict(load_file("model.safetensors"))
    state = module.state_dict()
    assert state["0.running_mean"].numpy() == pytest.approx(rows.mean(0))
    assert state["0.running_var"].numpy() == pytest.approx(rows.var(0, ddof=1))
    model, metadata = read_model(Path("model.safetensors"))
    assert model.origins == {worked_out: STATISTICS, "the peer's own": HEAD}
    assert (metadata["model"], metadata["round"]) == ("joint", "7")
    assert model.tensors["1.bias"].tolist() == [4, 5]


def test_without_rows_statistics_are_missing_and_never_made_up(p2pfl: P2pfl, normed: Path) -> None:
    (normed / "data/rows.npy").unlink()
    ended = p2pfl("peer", "export", "berlin", "model.safetensors")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "rows.npy" in ended.err
    assert f"the statistics {', '.join(STATISTICS)} take this peer's training rows" in ended.err
    assert "leave them out by --without-statistics" in ended.err
    assert not Path("model.safetensors").exists()
    ended = p2pfl("peer", "export", "berlin", "model.safetensors", "--without-statistics")
    assert ended.code == 0, ended.err
    assert f"  {LEFT_OUT}: {', '.join(STATISTICS)}\n" in ended.out
    assert read_model(Path("model.safetensors"))[0].origins[LEFT_OUT] == STATISTICS
    with pytest.raises(RuntimeError, match=r"Missing key.* \"0.running_mean\""):
        module_of_task().load_state_dict(load_file("model.safetensors"))


@pytest.mark.parametrize("is_folder", [True, False], ids=["cut off", "of an older version"])
def test_what_a_killed_writer_left_of_a_model_goes_the_next_time(
    tmp_path: Path, is_folder: bool
) -> None:
    path, left = tmp_path / "chosen.safetensors", tmp_path / "chosen.partial"
    if is_folder:
        left.mkdir()
        left = left / ".tmpAb3xZ9"
    left.write_bytes(b"half a model")
    write_peer_model(path, PeerModel(np.zeros(3, np.float32)), {})
    assert [it.name for it in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o600


def end_while_read(
    monkeypatch: pytest.MonkeyPatch, store: Store, rounds: Iterator[dict[str, Any]]
) -> None:
    """Have a round end, and its records be kept, each time just before a vector is read."""

    def read(journal: Path, key: str) -> Any:
        if (records := next(rounds, None)) is not None:
            store.persist(records)
        return read_kept_vector(journal, key)

    monkeypatch.setattr(kept, "read_kept_vector", read)


def test_a_model_is_never_read_with_the_own_state_of_another_round(
    p2pfl: P2pfl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer ends a round while its journal is read: both are read again."""
    folder = member(p2pfl)

    def records(round_: int) -> dict[str, Any]:
        own = OwnState()
        own.take({"personal": np.full(3, round_, np.float32)})
        vector = np.full(235, round_, np.float32)
        return {"round": round_.to_bytes(8, "little"), "model": vector, **own.records()}

    with Store.open(folder / "journal") as store:
        store.persist(records(1))
        end_while_read(monkeypatch, store, map(records, (2, 3)))
        model = kept.kept_model(folder / "journal")
        assert model.metadata["round"] == "3"
        assert model.vector[0] == model.own["personal"][0] == 3
        end_while_read(monkeypatch, store, map(records, range(4, 100)))
        with pytest.raises(ServiceError, match="changes while it is read; ask again"):
            kept.kept_model(folder / "journal")


def test_a_head_whose_model_is_gone_meanwhile_is_read_again(
    p2pfl: P2pfl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member of a ledger keeps its newest models; each round is another record."""
    folder = member(p2pfl)
    codec = Codec(StandingRecord | None, frame_bytes_max=2**16)

    def records(round_: int) -> dict[str, Any]:
        digest = bytes([round_]) * 32
        record = StandingRecord(head=Head(0, round_, digest), model=digest)
        vector = np.full(235, round_, np.float32)
        gone = {f"{MODEL_PREFIX}{(bytes([round_ - 1]) * 32).hex()}": None}
        kept = {f"{MODEL_PREFIX}{digest.hex()}": vector, **OwnState().records()}
        return {STANDING_RECORD: codec.encode(record), **gone, **kept}

    with Store.open(folder / "journal") as store:
        store.persist(records(1))
        end_while_read(monkeypatch, store, map(records, (2, 3)))
        model = kept.kept_model(folder / "journal")
        assert (model.metadata["round"], model.vector[0]) == ("3", 3)
        end_while_read(monkeypatch, store, map(records, range(4, 100)))
        with pytest.raises(ServiceError, match="changes while it is read; ask again"):
            kept.kept_model(folder / "journal")
        end_while_read(monkeypatch, store, iter(()))
        key = read_kept(folder / "journal", STANDING_RECORD)[STANDING_RECORD]
        store.persist({f"{MODEL_PREFIX}{read_standing(key).model.hex()}": None})
        with pytest.raises(ServiceError, match="lacks the model of its head"):
            kept.kept_model(folder / "journal")


def test_what_cannot_be_exported_is_told_in_one_line(p2pfl: P2pfl) -> None:
    folder = member(p2pfl)
    ended = p2pfl("peer", "export", "berlin", "model.safetensors")
    assert (ended.code, ended.err) == (2, "p2pfl: berlin/journal holds no journal\n")
    with Store.open(folder / "journal") as store:
        store.persist({"incarnation": b"1"})
        ended = p2pfl("peer", "export", "berlin", "model.safetensors")
        assert ended.code == 2
        assert "has no model yet: no round has ended" in ended.err
        store.persist({"round": bytes(8), "model": np.zeros(9, np.float32)})
        ended = p2pfl("peer", "export", "berlin", "model.safetensors")
        assert ended.code == 2
        assert "the model has 9 entries, but that of task 'digits' has 235" in ended.err
        assert len(ended.err.splitlines()) == 1
    assert not Path("model.safetensors").exists()
