"""`p2pfl peer export`."""

from pathlib import Path

from p2pfl.cli.errors import BadInput, peer_errors
from p2pfl.cli.quantities import count
from p2pfl.daemon.config import PeerFolder, read_config
from p2pfl.daemon.kept import kept_model
from p2pfl.daemon.membership import membership_of
from p2pfl.learner.naming import name_model
from p2pfl.store.errors import StoreError


def export_model(path: Path, file: Path) -> None:
    """Write the newest model of the peer in a folder to a new file."""
    folder = PeerFolder(path)
    if file.exists():
        raise BadInput(f"{file} is there already; name a new file")
    try:
        with peer_errors():
            config = read_config(path)
            membership = membership_of(folder, config)
            roster = membership.roster
            kept = kept_model(roster, membership.group, folder.journal)
            place = membership.code
            model = name_model(
                roster.learning, kept.vector, kept.own, seed=roster.seed, folder=place
            )
        model.write(file, {"task": roster.learning.task, **kept.metadata})
    except StoreError as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror or error}") from None
    print(f"wrote {file}: {count(len(kept.vector))} entries, after round {kept.metadata['round']}")
