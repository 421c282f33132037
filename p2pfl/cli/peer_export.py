"""`p2pfl peer export`."""

from pathlib import Path

from p2pfl.cli.errors import BadInput, peer_errors
from p2pfl.cli.quantities import count
from p2pfl.daemon.config import PeerFolder, read_config
from p2pfl.daemon.kept import KeptModel, kept_model
from p2pfl.daemon.membership import membership_of
from p2pfl.learner.naming import name_model
from p2pfl.store.errors import StoreError


def export_model(path: Path, file: Path) -> None:
    """Write the newest model of the peer in a folder to a new file."""
    refuse_existing(file)
    write_model(path, file, newest_model(path))


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


def write_model(path: Path, file: Path, kept: KeptModel) -> None:
    """Write a model of the peer in a folder, with the names of its tensors."""
    try:
        with peer_errors():
            membership = membership_of(PeerFolder(path), read_config(path))
            agreed, place = membership.agreed, membership.code
            model = name_model(
                agreed.learning, kept.vector, kept.own, seed=agreed.seed, folder=place
            )
        model.write(file, {"task": agreed.learning.task, **kept.metadata})
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror or error}") from None
    print(f"wrote {file}: {count(len(kept.vector))} entries, after round {kept.metadata['round']}")
