"""`p2pfl model export | verify` and `p2pfl ledger export`: proofs that travel with a model."""

import base64
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calling import P2pfl
from certified_peers import journal_of, make_peer
from ledger_group import LedgerGroup, model_of, two_epochs

from p2pfl.charter.texts import TaskTerms, Terms, encode_text
from p2pfl.cli import exporting
from p2pfl.cli.ledgers import read_ledger
from p2pfl.learner.model_files import NamedModel, read_model
from p2pfl.learner.naming import LEFT_OUT
from p2pfl.store.journal import Store
from p2pfl_gossip.ledger.charter import terms_digest
from p2pfl_gossip.ledger.record import write_record
from p2pfl_gossip.ledger.states import digest_state
from p2pfl_gossip.own_state import OwnState

OLD, NEW, HISTORY = two_epochs()
GROUP = HISTORY.epochs[0].group.hex()


@pytest.fixture
def exported(p2pfl: P2pfl) -> Path:
    """A model and its card, taken out of a peer."""
    make_peer(p2pfl, HISTORY)
    ended = p2pfl("model", "export", "berlin", "six.safetensors")
    assert ended.code == 0, ended.err
    assert "wrote six.card.json: the card, with the record that proves the model" in ended.out
    return Path("six.safetensors")


def card() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(Path("six.card.json").read_text())
    return read


def test_a_model_is_verified_by_its_card_alone(p2pfl: P2pfl, exported: Path) -> None:
    assert read_model(exported)[0].vector().tobytes() == model_of(8.0).tobytes()
    ended = p2pfl("model", "verify", "six.safetensors", "--group", GROUP)
    assert ended.code == 0, ended.out + ended.err
    assert f"group {GROUP}" in ended.out
    assert "is the model of height 4, round 8, certified by" in ended.out
    assert "m1, m2, m3, m4, m6" in ended.out
    assert "not final yet when exported" in ended.out


def test_a_model_and_its_record_are_of_one_round(
    p2pfl: P2pfl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer runs: a round ends after its record was read, and before its model is."""
    group = LedgerGroup(5)
    folder = make_peer(p2pfl, group.history(1))
    later = iter([(1, 3), (1, 3, 4)])

    def read(peer: Path) -> bytes:
        record = read_ledger(peer)
        if rounds := next(later, ()):
            with Store.open(folder / "journal") as store:
                store.persist(journal_of(group.history(*rounds)))
        return record

    monkeypatch.setattr(exporting, "read_ledger", read)
    assert p2pfl("model", "export", "berlin", "six.safetensors").code == 0
    founding = group.history(1).epochs[0].group.hex()
    verified = p2pfl("model", "verify", "six.safetensors", "--group", founding)
    assert (verified.code, verified.err) == (0, "")
    assert "is the model of height 3, round 4" in verified.out
    later = iter([(1, *range(3, last)) for last in range(6, 99)])
    ended = p2pfl("model", "export", "berlin", "another.safetensors")
    assert (ended.code, ended.err.splitlines()) == (
        2,
        ["p2pfl: the journal of berlin changes while it is read; ask again"],
    )
    assert not Path("another.safetensors").exists()


NORMED = """
from torch import nn
from p2pfl.learner.tasks import Task

class Six(Task):
    def data(self, data_dir):
        raise AssertionError("an export of what is certified reads no rows")
    def model(self):
        return nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1, bias=False), nn.Linear(1, 1))
    def personal(self, model):
        return ["2.weight", "2.bias"]
    def travelling(self, model):
        return ["0.weight", "0.bias", "1.weight"]
"""
STATISTICS = ["0.running_mean", "0.running_var", "0.num_batches_tracked"]


@pytest.fixture
def fresh_task(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delitem(sys.modules, "certified_six", raising=False)
    yield
    sys.modules.pop("certified_six", None)


@pytest.mark.usefixtures("fresh_task")
@pytest.mark.parametrize("name", ["personal", "model"])
def test_nothing_of_one_peer_is_in_a_certified_model(p2pfl: P2pfl, name: str) -> None:
    """Neither its head or personal model, which others would take for the group's."""
    folder = make_peer(p2pfl, HISTORY, source=NORMED)
    own = OwnState()
    own.take({name: np.full(2 if name == "personal" else 8, 77, np.float32)})
    with Store.open(folder / "journal") as store:
        store.persist(own.records())
    ended = p2pfl("model", "export", "berlin", "six.safetensors")
    assert ended.code == 0, ended.err
    assert f"left out, as nobody has worked them out for this model: {', '.join(STATISTICS)}" in (
        ended.out
    )
    assert "model.eval() is no model of the group's before" in ended.out
    assert "  of the start: 2.weight, 2.bias\n" in ended.out
    model, metadata = read_model(Path("six.safetensors"))
    assert model.vector().tobytes() == model_of(8.0).tobytes()
    assert not set(STATISTICS) & model.tensors.keys()
    assert model.origins == {LEFT_OUT: STATISTICS, "of the start": ["2.weight", "2.bias"]}
    assert metadata["model"] == "joint"
    assert not any((it == 77).any() for it in model.tensors.values())
    assert p2pfl("model", "verify", "six.safetensors", "--group", GROUP).code == 0


@pytest.mark.usefixtures("fresh_task")
def test_a_model_that_its_file_could_not_prove_is_refused(p2pfl: P2pfl) -> None:
    """What is certified has the control variates as well, which no model has tensors for."""
    source = NORMED.replace("nn.Linear(2, 1, bias=False)", "nn.Linear(2, 1)").replace(
        '["0.weight", "0.bias", "1.weight"]', '["1.weight", "1.bias"]'
    )
    make_peer(p2pfl, HISTORY, source=source, training={"local": {"kind": "scaffold"}})
    ended = p2pfl("model", "export", "berlin", "six.safetensors")
    assert ended.code == 2
    assert "a model and the control variates of SCAFFOLD: a file of the model alone" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not Path("six.safetensors").exists()


def test_the_card_is_an_in_toto_statement(exported: Path) -> None:
    statement = card()
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    sha256 = hashlib.sha256(exported.read_bytes()).hexdigest()
    assert statement["subject"] == [{"name": "six.safetensors", "digest": {"sha256": sha256}}]
    predicate = statement["predicate"]
    assert predicate["group"] == GROUP
    assert predicate["height"] == 4
    assert base64.b64decode(predicate["record"]) == write_record(HISTORY)


Forge = Callable[[dict[str, Any]], object]


def _with_record(record: bytes) -> Forge:
    return lambda it: it["predicate"].update(record=base64.b64encode(record).decode())


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (lambda it: it["subject"][0]["digest"].update(sha256="0" * 64), "are not those that the"),
        (lambda it: it["predicate"].update(entry="0" * 64), "no certified entry of its record"),
        (lambda it: it["predicate"].pop("record"), "its card is damaged"),
        (lambda it: it["predicate"].update(record="?"), "its card is damaged"),
        (lambda it: it.update(subject=[]), "its card is damaged"),
        (_with_record(b""), "the record in its card is damaged"),
        (_with_record(write_record(HISTORY)[:-1]), "the record in its card is damaged"),
        (
            _with_record(write_record(LedgerGroup(5, rounds=7).history(1, 8))),
            "it is of the group",
        ),
        (_with_record(write_record(OLD.history(1, 3))), "no certified entry of its record"),
    ],
)
def test_a_forged_card_is_told(p2pfl: P2pfl, exported: Path, forge: Forge, said: str) -> None:
    statement = card()
    forge(statement)
    Path("six.card.json").write_text(json.dumps(statement))
    ended = p2pfl("model", "verify", str(exported), "--group", GROUP)
    assert (ended.code, ended.err) == (1, "")
    assert said in ended.out
    assert len(ended.out.splitlines()) == 1


def test_another_model_is_told_whatever_its_card_says(p2pfl: P2pfl, exported: Path) -> None:
    _, metadata = read_model(exported)
    kept = {key: metadata[key] for key in ("task", "round", "entry", "certified")}
    NamedModel.of_vector(model_of(9.0)).write(exported, kept)
    verify = ("model", "verify", str(exported), "--group", GROUP)
    assert "are not those that the card names" in p2pfl(*verify).out
    statement = card()
    sha256 = hashlib.sha256(exported.read_bytes()).hexdigest()
    statement["subject"][0]["digest"]["sha256"] = sha256
    Path("six.card.json").write_text(json.dumps(statement))
    ended = p2pfl(*verify)
    assert ended.code == 1
    assert "no certified entry of its record has this model" in ended.out
    exported.write_bytes(b"x" * 100)
    assert "is no model of p2pfl" in p2pfl(*verify).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["six.safetensors"], "say of which group it must be: --founding FILE.charter, or"),
        (["six.safetensors", "--group", GROUP, "--founding", "x"], "say of which group"),
        (["none.safetensors", "--group", GROUP], "cannot read the card none.card.json"),
        (["six.safetensors", "--card", "six.safetensors", "--group", GROUP], "is no card of"),
        (["six.safetensors", "--founding", "none.charter"], "cannot read none.charter"),
    ],
)
@pytest.mark.usefixtures("exported")
def test_what_cannot_be_verified_is_told(p2pfl: P2pfl, arguments: list[str], said: str) -> None:
    ended = p2pfl("model", "verify", *arguments)
    assert ended.code == 2
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1


@pytest.mark.usefixtures("exported")
def test_nothing_is_overwritten(p2pfl: P2pfl) -> None:
    before = Path("six.card.json").read_bytes()
    ended = p2pfl("model", "export", "berlin", "new.safetensors", "--card", "six.card.json")
    assert ended.code == 2
    assert "six.card.json is there already" in ended.err
    assert not Path("new.safetensors").exists()
    assert p2pfl("model", "export", "berlin", "six.safetensors").code == 2
    assert Path("six.card.json").read_bytes() == before


@pytest.mark.usefixtures("exported")
def test_bytes_of_a_card(p2pfl: P2pfl, monkeypatch: pytest.MonkeyPatch) -> None:
    size = Path("six.card.json").stat().st_size
    verify = ("model", "verify", "six.safetensors", "--group", GROUP)
    monkeypatch.setattr(exporting, "CARD_BYTES_MAX", size)
    assert p2pfl(*verify).code == 0
    monkeypatch.setattr(exporting, "CARD_BYTES_MAX", size - 1)
    assert "is longer than" in p2pfl(*verify).err


def test_a_record_is_printed_as_json_lines(p2pfl: P2pfl, tmp_path: Path) -> None:
    file = tmp_path / "ledger.bin"
    file.write_bytes(write_record(HISTORY))
    ended = p2pfl("ledger", "export", str(file))
    assert ended.code == 0, ended.err
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert [line["kind"] for line in lines] == (
        ["record"] + 2 * ["epoch"] + 5 * ["entry"] + 5 * ["member"]
    )
    assert lines[0]["group"] == GROUP
    entries = [line for line in lines if line["kind"] == "entry"]
    assert [line["entry_kind"] for line in entries] == ["sum", "sum", "empty", "sum", "sum"]
    file.write_bytes(write_record(HISTORY)[:-2])
    damaged = p2pfl("ledger", "export", str(file))
    assert (damaged.code, damaged.out) == (2, "")
    assert "is damaged" in damaged.err


def test_a_charter_releases_a_model_and_the_card_proves_it(p2pfl: P2pfl) -> None:
    model = digest_state("model", model_of(8.0)).item.digest.hex()
    text = encode_text(
        Terms(name="six", purpose="0" * 64, task=TaskTerms(name="digits"), releases=(model,))
    )
    _, _, history = two_epochs(terms=terms_digest(text))
    group = history.epochs[0].group.hex()
    make_peer(p2pfl, history)
    assert p2pfl("model", "export", "berlin", "six.safetensors").code == 0
    assert card()["predicate"]["use"].startswith("internal to the group")  # No papers are here.
    told = p2pfl("model", "verify", "six.safetensors", "--group", group)
    assert "internal: no charter of the group releases it" in told.out
    in_force, before = history.epochs[1].digest.hex(), history.epochs[0].digest.hex()
    terms = base64.b64encode(text).decode()
    other = base64.b64encode(text.replace(model.encode(), b"1" * 64)).decode()
    for release, said, code in (
        ({"charter": in_force, "terms": terms}, f"released by charter {in_force}", 0),
        ({"charter": before, "terms": terms}, "no charter of the group releases it", 1),
        ({"charter": in_force, "terms": other}, "no charter of the group releases it", 1),
        ({"charter": in_force}, "the release in it is none", 1),
    ):
        statement = card()
        statement["predicate"]["release"] = release
        Path("six.card.json").write_text(json.dumps(statement))
        ended = p2pfl("model", "verify", "six.safetensors", "--group", group)
        assert (ended.code, said in ended.out) == (code, True), ended.out
