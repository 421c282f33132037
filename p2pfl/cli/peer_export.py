"""`p2pfl peer export`: the model that a peer uses, with what it has of its own.

It is the one that the peer has chosen by rows of its own, where it has such rows; else the newest.
"""

from pathlib import Path

from p2pfl.cli.errors import BadInput, peer_errors
from p2pfl.cli.quantities import count
from p2pfl.daemon.config import PeerFolder, read_config
from p2pfl.daemon.kept import KeptModel, chosen_model, kept_model
from p2pfl.daemon.membership import Membership, membership_of
from p2pfl.learner.model_files import NamedModel
from p2pfl.learner.naming import LEFT_OUT, name_model
from p2pfl.store.errors import StoreError
from p2pfl_gossip.own_state import NOTHING

OPTION = "--without-statistics"


def export_model(
    path: Path, file: Path, *, has_statistics: bool = True, is_newest: bool = False
) -> None:
    """Write the model that the peer in a folder uses to a new file.

    Statistics of normalisation layers are worked out from the peer's own training rows.

    Args:
        path: the folder.
        file: where to.
        has_statistics: False to leave them out, which takes no rows.
        is_newest: True for the newest, whichever it has chosen.
    """
    refuse_existing(file)
    kept = newest_model(path)
    if not is_newest:
        with peer_errors():
            kept = chosen_model(PeerFolder(path).chosen, kept) or kept
    model = _named(path, kept, has_own=True)
    if has_statistics and LEFT_OUT in model.origins:
        model = _with_statistics(path, kept, model.origins[LEFT_OUT])
    write_model(path, file, kept, model)


def joint_model(path: Path, kept: KeptModel) -> NamedModel:
    """Name what all have in common of a model: nothing that is a peer's own, and no statistics."""
    return _named(path, kept, has_own=False)


def refuse_existing(file: Path) -> None:
    """Refuse to write over a file, before anything is read."""
    if file.exists():
        raise BadInput(f"{file} is there already; name a new file")


def newest_model(path: Path) -> KeptModel:
    """Read the newest model that the peer in a folder has, while it runs or not."""
    folder = PeerFolder(path)
    try:
        with peer_errors():
            read_config(path)  # There must be a peer.
            return kept_model(folder.journal)
    except StoreError as error:
        raise BadInput(str(error)) from None


def _membership(path: Path) -> Membership:
    return membership_of(PeerFolder(path), read_config(path))


def _named(path: Path, kept: KeptModel, *, has_own: bool) -> NamedModel:
    """Name the tensors of a model, without the rows of its task."""
    with peer_errors():
        membership = _membership(path)
        agreed, own = membership.agreed, kept.own if has_own else NOTHING
        return name_model(
            agreed.learning, kept.vector, own, seed=agreed.seed, folder=membership.code
        )


def _with_statistics(path: Path, kept: KeptModel, names: list[str]) -> NamedModel:
    """Name the tensors of a model, with statistics of it on the peer's own rows."""
    try:
        with peer_errors():
            learner, place = _membership(path).learner()
            return learner.named(kept.vector, place, kept.own)
    except BadInput as error:
        raise BadInput(
            f"{error}; the statistics {', '.join(names)} take this peer's training rows: mend that,"
            f" or leave them out by {OPTION}"
        ) from None


def write_model(path: Path, file: Path, kept: KeptModel, model: NamedModel) -> None:
    """Write a model of the peer in a folder, and tell where the tensors are from."""
    try:
        with peer_errors():
            task = _membership(path).agreed.learning.task
        model.write(file, {"task": task, **kept.metadata})
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror or error}") from None
    entries = count(len(model.vector()))
    by = kept.metadata.get("chosen_by", "")
    best = f", the best by {by} ({float(kept.metadata['chosen_figure']):.4g})" if by else ""
    print(f"wrote {file}: {entries} entries, after round {kept.metadata['round']}{best}")
    for origin, names in model.origins.items():
        print(f"  {origin}: {', '.join(names)}")
    if LEFT_OUT in model.origins:
        print(
            "  model.eval() is no model of the group's before you have worked them out from rows of"
            " yours (docs/tasks.md, What comes out)"
        )
