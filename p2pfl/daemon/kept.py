"""The model that a peer has kept, read from its journal while it runs or not."""

from dataclasses import dataclass
from pathlib import Path

from p2pfl.daemon.chosen import chosen_of
from p2pfl.daemon.errors import ServiceError
from p2pfl.daemon.model_files import broken, read_about, read_peer_model
from p2pfl.store.reading import READS_MAX, read_kept, read_kept_vector
from p2pfl_gossip.actions import LocalProtocolError, Vector
from p2pfl_gossip.ledger.charter import NONE
from p2pfl_gossip.ledger.standing import MODEL_PREFIX, STANDING_RECORD, read_standing
from p2pfl_gossip.own_state import RECORD, Arrays, OwnState
from p2pfl_gossip.records import MalformedFrame


@dataclass(frozen=True)
class KeptModel:
    """A model from a journal.

    Attributes:
        vector: float32[d] or float64[d].
        own: what the peer keeps of its own, of its last training.
        metadata: the round that it is of; and the group, or the ledger's entry that certifies it
            and the digest there; or by what the peer chose it.
    """

    vector: Vector
    own: Arrays
    metadata: dict[str, str]


def kept_model(journal: Path) -> KeptModel:
    """Read the newest model that a journal has, with the own state that belongs to it.

    A running peer writes both at once. So the own state is read before and after the model: if it
    is another then, the model may be as well, and both are read again. So is a ledger's head, if
    its model is gone: the next one has come meanwhile.

    Raises:
        ServiceError: it has none yet, or one that cannot be read.
        StoreError: there is no journal, or it is damaged.
    """
    for _ in range(READS_MAX):
        before = read_kept(journal, RECORD)
        own = OwnState()
        try:
            own.restore(before)
        except LocalProtocolError as error:
            raise ServiceError(f"the journal in {journal} cannot be read ({error})") from None
        model = _model_with(journal, own)
        if read_kept(journal, RECORD) == before:
            return model
    raise ServiceError(CHANGES.format(journal=journal))


def chosen_model(path: Path, newest: KeptModel) -> KeptModel | None:
    """Read the model that a peer has chosen of all that it had; None if it has chosen none.

    Args:
        path: the file.
        newest: of its journal.

    Raises:
        ServiceError: the file is broken.
    """
    if read_about(path) is None:
        return None
    model, about = read_peer_model(path)
    if model.vector.shape != newest.vector.shape:
        raise broken(path, "another length than the newest model's")
    round_, figure = chosen_of(path, about)
    chosen = {"round": str(round_), "chosen_figure": repr(figure)}
    by = f"{about.get('by', '')} on own validation rows"
    return KeptModel(model.vector, model.own, {**chosen, "chosen_by": by})


def _model_with(journal: Path, own: OwnState) -> KeptModel:
    """Read the newest model, and put own state beside it."""
    kept = read_kept(journal, "round").get("round")
    if kept is not None:  # It gossips, and keeps no ledger.
        vector = read_kept_vector(journal, "model")
        group = read_kept(journal, GROUP_RECORD).get(GROUP_RECORD)
        if vector is None:
            raise ServiceError(NOTHING.format(journal=journal))
        about = {"round": str(int.from_bytes(kept, "little"))}
        if isinstance(group, bytes):
            about["group"] = group.hex()
        return KeptModel(vector, own.arrays, about)
    stored = read_kept(journal, STANDING_RECORD).get(STANDING_RECORD)
    for _ in range(READS_MAX):
        model, about = _head_of(journal, stored)
        vector = read_kept_vector(journal, MODEL_PREFIX + model.hex())
        if vector is not None:
            return KeptModel(vector, own.arrays, about)
        before, stored = stored, read_kept(journal, STANDING_RECORD).get(STANDING_RECORD)
        if stored == before:
            raise ServiceError(f"the journal in {journal} lacks the model of its head")
    raise ServiceError(CHANGES.format(journal=journal))


def _head_of(journal: Path, stored: bytes | None) -> tuple[bytes, dict[str, str]]:
    """Read which model a journal's head is, and what is told of it."""
    try:
        record = None if stored is None else read_standing(stored)
    except MalformedFrame as error:
        raise ServiceError(f"the ledger in {journal} cannot be read ({error})") from None
    if record is None or record.head is None or record.model == NONE:
        raise ServiceError(NOTHING.format(journal=journal))
    entry = {"entry": record.head.entry.hex(), "certified": record.model.hex()}
    return record.model, {"round": str(record.head.round), **entry}


GROUP_RECORD = "daemon/group"
"""Names the group that a journal is of."""

CHANGES = "the journal in {journal} changes while it is read; ask again"
NOTHING = "{journal} has no model yet: no round has ended"
