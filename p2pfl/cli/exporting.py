"""`p2pfl ledger export`, `p2pfl model export | verify`: records and models for others to check.

A model's card is an in-toto statement (version 1): its subject is the model's file by SHA-256, its
predicate the certified facts and the record that proves them. Whoever has the file, the card and
the founding charter needs nothing else, and trusts nobody.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from p2pfl.charter.charter_file import read_file
from p2pfl.charter.errors import PaperError
from p2pfl.charter.papers import Papers
from p2pfl.charter.texts import read_terms
from p2pfl.cli.errors import DIFFERENT, BadInput, peer_errors
from p2pfl.cli.ledgers import describe, read_ledger
from p2pfl.cli.peer_export import joint_model, newest_model, refuse_existing, write_model
from p2pfl.daemon.config import PeerFolder
from p2pfl.daemon.kept import KeptModel
from p2pfl.learner.model_files import ModelFileError, read_model
from p2pfl.store.files import SHARED, create_file
from p2pfl.store.reading import READS_MAX
from p2pfl_gossip.ledger.charter import terms_digest
from p2pfl_gossip.ledger.entries import EntryStep
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.participation import entries_of
from p2pfl_gossip.ledger.record import DamagedRecord, read_record
from p2pfl_gossip.ledger.states import digest_state

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:p2pfl:certified-model:1"
RECORD_TYPE = "urn:p2pfl:ledger:1"

CARD_BYTES_MAX = 2**30
"""As of a record, which it holds."""


def export_ledger(path: Path) -> None:
    """Print a record as JSON Lines, checked from its founding on."""
    for line in _lines(path):
        print(json.dumps(line, sort_keys=True))


def export_certified(peer: Path, file: Path, card: Path | None) -> None:
    """Write a peer's newest certified model, and the card that proves it."""
    place = card_of(file) if card is None else card
    if place.exists():
        raise BadInput(f"{place} is there already; name a new file")
    refuse_existing(file)
    kept, record, history = _model_and_record(peer)
    model = joint_model(peer, kept)
    if len(model.vector()) != len(kept.vector):
        raise BadInput(
            f"what {peer} has certified is a model and the control variates of SCAFFOLD: a file of"
            " the model alone cannot be proven (p2pfl peer export writes it without a proof)"
        )
    write_model(peer, file, kept, model)
    statement = _statement(peer, file, history, record)
    try:
        create_file(place, json.dumps(statement, indent=2).encode() + b"\n", mode=SHARED)
    except OSError as error:
        raise BadInput(f"cannot write {place}: {error.strerror}") from None
    print(f"wrote {place}: the card, with the record that proves the model")


def verify_model(file: Path, card: Path | None, founding: Path | None, group: str | None) -> int:
    """Check a model against its card and the founding charter; return the exit code."""
    if (founding is None) == (group is None):
        raise BadInput("say of which group it must be: --founding FILE.charter, or --group DIGEST")
    place = card_of(file) if card is None else card
    statement = _read_card(place)
    with peer_errors():
        wanted = group.lower() if group else read_file(founding).digest.hex() if founding else ""
    try:
        told = _verified(file, statement, wanted)
    except _Unproven as error:
        print(f"{file}: {error}")
        return DIFFERENT
    print(f"group {wanted}")
    print(f"{file} is the model of height {told['height']}, round {told['round']}, certified by")
    print(f"  {', '.join(told['signers'])}")
    print(f"  trained by {', '.join(told['members'])}")
    if told["release"]:
        print(f"released by charter {told['release']}")
    else:
        print("internal: no charter of the group releases it")
    print("final: it stays in the history" if told["is_final"] else "not final yet when exported")
    return 0


def _model_and_record(peer: Path) -> tuple[KeptModel, bytes, History]:
    """Read a peer's newest certified model, and the record whose head certifies it, checked.

    A running peer writes both at once, and they are read one after the other: where a round has
    ended in between, both are read again.
    """
    for _ in range(READS_MAX):
        record, kept = read_ledger(peer), newest_model(peer)
        history = _checked(peer, record)
        if history.head.head.entry.hex() == kept.metadata.get("entry"):
            return kept, record, history
    raise BadInput(f"the journal of {peer} changes while it is read; ask again")


def card_of(file: Path) -> Path:
    """Return where a model's card is, if nobody says otherwise."""
    return file.with_suffix(".card.json")


class _Unproven(Exception):
    """The model is not what its card says; the message says why."""


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    history = _checked(path, read_ledger(path))
    told = describe(history)
    yield {
        "kind": "record",
        "type": RECORD_TYPE,
        "group": told["group"],
        "final_round": told["final_round"],
        "missing_up_to_round": told["missing_up_to_round"],
    }
    for kind, name in (("epoch", "epochs"), ("entry", "entries"), ("member", "participation")):
        for it in told[name]:
            # An entry's own kind, sum or empty, gives way to that of the line.
            own = {"entry_kind": it["kind"]} if "kind" in it else {}
            yield {**it, **own, "kind": kind}


def _checked(path: Path, record: bytes) -> History:
    try:
        return read_record(record)
    except DamagedRecord as error:
        raise BadInput(f"the ledger of {path} is damaged: {error}") from None


def _statement(peer: Path, file: Path, history: History, record: bytes) -> dict[str, Any]:
    content = file.read_bytes()
    entry, epoch = history.head.entry, history.epochs[history.head.entry.epoch]
    (told,) = describe(history, last=1)["entries"] or [{}]
    return {
        "_type": STATEMENT,
        "subject": [{"name": file.name, "digest": {"sha256": hashlib.sha256(content).hexdigest()}}],
        "predicateType": PREDICATE,
        "predicate": {
            "group": history.epochs[0].group.hex(),
            "charter": epoch.digest.hex(),
            "entry": history.head.head.entry.hex(),
            "height": entry.height,
            "members": told.get("members", []),
            "signers": told.get("signers", []),
            **_released(peer, history),
            "personal_data": (
                "treat the model as personal data where the rows that it was trained on are: no"
                " noise was added"
            ),
            "record": base64.b64encode(record).decode(),
        },
    }


def _released(peer: Path, history: History) -> dict[str, Any]:
    """Say whether a charter of the group releases the model, with the terms that prove it."""
    model, papers = history.head.entry.state[0].digest.hex(), Papers(PeerFolder(peer).charters)
    with peer_errors():
        papers.read()
    for epoch in history.epochs:
        file = papers.files.get(epoch.digest)
        if file is not None and model in (file.terms.releases or ()):
            terms = base64.b64encode(file.terms_bytes).decode()
            return {
                "use": f"released by the group's charter {epoch.digest.hex()}",
                "release": {"charter": epoch.digest.hex(), "terms": terms},
            }
    return {"use": "internal to the group: no charter of it releases this model"}


def _release_of(predicate: Mapping[str, Any], history: History, model: bytes) -> str:
    """Check by which charter a model is released; empty if by none.

    Raises:
        _Unproven: the card says so, and it is not so.
    """
    release = predicate.get("release")
    if release is None:
        return ""
    try:
        charter = release["charter"]
        terms = base64.b64decode(release["terms"], validate=True)
        releases = read_terms(terms).releases or ()
    except (KeyError, TypeError, ValueError, PaperError):
        raise _Unproven("its card is damaged: the release in it is none") from None
    in_force = {epoch.digest.hex(): epoch.charter.terms for epoch in history.epochs}
    if in_force.get(charter) != terms_digest(terms) or model.hex() not in releases:
        raise _Unproven("no charter of the group releases it, although its card says so")
    return str(charter)


def _read_card(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(CARD_BYTES_MAX + 1)
    except OSError as error:
        raise BadInput(f"cannot read the card {path}: {error.strerror}") from None
    if len(content) > CARD_BYTES_MAX:
        raise BadInput(f"{path} is longer than {CARD_BYTES_MAX} bytes")
    try:
        statement = json.loads(content)
        is_card = statement["_type"] == STATEMENT and statement["predicateType"] == PREDICATE
    except (ValueError, KeyError, TypeError, RecursionError):
        is_card = False
    if not is_card:
        raise BadInput(f"{path} is no card of a model: p2pfl model export writes one")
    assert isinstance(statement, dict)
    return statement


def _verified(file: Path, statement: Mapping[str, Any], group: str) -> dict[str, Any]:
    try:
        content = file.read_bytes()
        sha256 = statement["subject"][0]["digest"]["sha256"]
        predicate = statement["predicate"]
        record = base64.b64decode(predicate["record"], validate=True)
        history = read_record(record)
        model, _ = read_model(file)
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror or error}") from None
    except (KeyError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, DamagedRecord):
            raise _Unproven(f"the record in its card is damaged: {error}") from None
        raise _Unproven("its card is damaged") from None
    except ModelFileError as error:
        raise _Unproven(str(error)) from None
    if history.epochs[0].group.hex() != group:
        raise _Unproven(f"it is of the group {history.epochs[0].group.hex()}, not {group}")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _Unproven("its bytes are not those that the card names")
    digest = digest_state("model", model.vector()).item.digest
    for entry in reversed(entries_of(history)):
        if entry.state[0].digest == digest and EntryStep(entry).head.entry.hex() == predicate.get(
            "entry"
        ):
            (told,) = [
                it
                for it in describe(history)["entries"]
                if it["entry"] == EntryStep(entry).head.entry.hex()
            ]
            return {**told, "release": _release_of(predicate, history, digest)}
    raise _Unproven("no certified entry of its record has this model: it is another one")
