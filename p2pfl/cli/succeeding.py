"""`p2pfl charter succeed`: a new group that goes on where one lost too many members."""

from pathlib import Path

import tomli_w

from p2pfl.charter.charter_file import CharterFile, refusals
from p2pfl.charter.first_states import write_first_state
from p2pfl.cli.errors import BadInput, peer_errors
from p2pfl.cli.ledgers import read_ledger
from p2pfl.daemon.config import PeerFolder
from p2pfl.daemon.kept import kept_model
from p2pfl.store.errors import StoreError
from p2pfl_gossip.ledger.approvals import Says
from p2pfl_gossip.ledger.approving import ApprovalStanding
from p2pfl_gossip.ledger.charter import CharterMember
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.record import DamagedRecord, read_record


def write_successor(peer: Path, state: Path) -> None:
    """Write the head's model as a first state, and print what a draft says of the predecessor."""
    history = _history(peer)
    folder = PeerFolder(peer)
    try:
        with peer_errors():
            kept = kept_model(folder.journal)
            item = write_first_state(state, kept.vector)
    except StoreError as error:
        raise BadInput(str(error)) from None
    head = history.head.head
    if item != history.head.entry.state[0]:
        state.unlink()
        raise BadInput(f"the model of {peer} is not that of its record's head: run it once more")
    table = {
        "group": history.epoch.group.hex(),
        "charter": history.epoch.digest.hex(),
        "epoch": head.epoch,
        "round": head.round,
        "entry": head.entry.hex(),
    }
    print(f"# wrote {state}: the model of height {history.head.entry.height}")
    print("# put this into the TOML of the new group, and found it as any other:")
    print(tomli_w.dumps({"succeeds": table}), end="")


def members_of(founding: CharterFile, predecessor: Path) -> tuple[CharterMember, ...]:
    """Return the last members of the group that another one succeeds.

    Raises:
        BadInput: it succeeds none, or that is the record of another one.
    """
    succeeds, history = founding.charter.succeeds, _history(predecessor)
    if succeeds is None:
        raise BadInput("this group succeeds none: leave --predecessor out")
    if succeeds.charter != history.epoch.digest:
        raise BadInput(
            f"the charter succeeds group {succeeds.group.hex()[:16]}, and {predecessor} is of"
            f" {history.epoch.group.hex()[:16]}, or of another time"
        )
    return history.epoch.charter.members


def succession_of(founding: CharterFile, predecessor: Path) -> ApprovalStanding:
    """Say how far the founding of a group is that succeeds the one of a peer or record.

    Raises:
        PaperError: it cannot succeed that one.
    """
    history = _history(predecessor)
    with refusals():
        return history.check_successor(founding.charter, founding.words(Says.APPROVE, Says.OBJECT))


def _history(path: Path) -> History:
    try:
        return read_record(read_ledger(path))
    except DamagedRecord as error:
        raise BadInput(f"the ledger of {path} is damaged: {error}") from None
