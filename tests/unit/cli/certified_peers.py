"""A peer's folder whose journal holds a group's history and its certified model."""

from pathlib import Path
from typing import Any

import numpy as np
from calling import P2pfl
from consortium import founded
from ledger_group import LENGTH, model_of

from p2pfl.charter.charter_file import write_file
from p2pfl.charter.first_states import write_first_state
from p2pfl.store.journal import Store
from p2pfl_gossip.actions import Vector
from p2pfl_gossip.ledger.history import History, founding_record
from p2pfl_gossip.ledger.standing import Standing

TASK = f"""
import numpy as np
from p2pfl.learner.tasks import Data, NumpyTask, Rows

class Six(NumpyTask):
    def data(self, data_dir):
        x = np.zeros((8, 1), np.float32)
        return Data(train=Rows(x, np.zeros(8, np.int64)), test=Rows(x, np.zeros(8, np.int64)))
    def initial_vector(self, seed):
        return np.zeros({LENGTH}, np.float32)
    def step(self, vector, inputs, targets, rate):
        return 0.0
    def evaluate(self, vector, inputs, targets):
        return {{"accuracy": 1.0}}
"""


def make_peer(
    p2pfl: P2pfl, history: History, *, source: str = TASK, training: dict[str, Any] | None = None
) -> Path:
    """Make berlin, a member of a group of five whose journal holds a history.

    `source`: of the module that has the task, whose model has six entries.
    """
    made = p2pfl("peer", "init", "berlin", "--listen", "/ip4/127.0.0.1/tcp/4001")
    assert made.code == 0, made.err
    folder = Path("berlin")
    task = {"name": "certified_six:Six", "first_state": str(folder / "start.safetensors")}
    write_first_state(folder / "start.safetensors", model_of(0.0))
    charter = founded(folder, task=task, training=training or {})
    write_file(folder / "charters" / "group.charter", charter, is_new=True)
    (folder / "certified_six.py").write_text(source)
    with Store.open(folder / "journal") as store:
        store.persist(journal_of(history))
    return folder


def journal_of(history: History) -> dict[str, bytes | Vector | None]:
    """What a member's journal holds of a history whose head is of a sum."""
    records: dict[str, bytes | Vector | None] = dict(founding_record(history.epochs[0]))
    copy = History(history.epochs[0])
    for closing in history.closings(0):
        records |= copy.close_epoch(closing)
    step = history.head
    while step.entry.round:
        certificate = history.certificate(step.head)
        if certificate is not None:
            records |= copy.add(step, certificate)
        below = history.step(step.entry.base)
        assert below is not None
        step = below
    model = model_of(float(history.head.entry.round))
    assert model.dtype == np.float32
    return records | dict(Standing({}).certify(history.head, model, {}).records)
