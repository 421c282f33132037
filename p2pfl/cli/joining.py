"""`p2pfl charter invite | join`: how a newcomer knows the group that it joins."""

from pathlib import Path

from p2pfl.charter.invitations import (
    INVITATION,
    invitation_to,
    read_invitation,
    write_invitation,
)
from p2pfl.cli.errors import BadInput, peer_errors
from p2pfl.cli.ledgers import read_ledger
from p2pfl.cli.phrases import print_words, require_phrase
from p2pfl.daemon.config import PeerFolder, read_config
from p2pfl_gossip.ledger.record import DamagedRecord, read_record


def write_invite(peer: Path, name: str, file: Path) -> None:
    """Write the invitation of a newcomer from a member's own ledger, and print its words."""
    if file.exists():
        raise BadInput(f"{file} is there already; name a new file")
    try:
        history = read_record(read_ledger(peer))
    except DamagedRecord as error:
        raise BadInput(f"the ledger of {peer} is damaged: {error}") from None
    with peer_errors():
        invitation = invitation_to(history, name)
        write_invitation(file, invitation)
    print(f"wrote {file}: {name} joins group {invitation.group[:16]}")
    print_words(invitation.phrase)
    print(f"hand it to {name} with the group's charters and first state, and read it the words by")
    print("telephone; another member should do so, too, each from its own ledger")


def take_invitation(file: Path, peer: Path, *, phrase: str | None) -> None:
    """Put an invitation into a peer's folder, once its words are those that were heard."""
    with peer_errors():
        read_config(peer)  # There must be a peer.
        invitation = read_invitation(file)
        require_phrase(
            invitation.phrase,
            phrase,
            by="a member of the group has read to you",
            fault="this invitation's is another: it is not what the member wrote",
        )
        folder = PeerFolder(peer).charters
        folder.mkdir(mode=0o700, exist_ok=True)
        write_invitation(folder / INVITATION, invitation)
    print(f"{peer} joins group {invitation.group[:16]}; what else has to lie in {folder}:")
    print("  the group's charters, and the first state that the founding charter names")
