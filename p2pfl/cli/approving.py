"""How a key says something of a charter: whose it is, and how far the approval is then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from p2pfl.charter.charter_file import CharterFile, refusals
from p2pfl.charter.errors import PaperError
from p2pfl.charter.keys import key_text, read_public
from p2pfl.cli.errors import BadInput
from p2pfl.cli.governance_keys import signer_of
from p2pfl.cli.passphrases import read_keys_of
from p2pfl.daemon.config import PeerFolder, read_config
from p2pfl.store.acts import Act, add_act
from p2pfl.store.errors import StoreError
from p2pfl.store.keys import read_public_keys
from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.identity import public_key_of
from p2pfl_gossip.ledger.approvals import Says, approval_of
from p2pfl_gossip.ledger.approving import ApprovalStanding
from p2pfl_gossip.ledger.charter import CharterMember


@dataclass(frozen=True)
class KeyInHand:
    """A key that is about to sign.

    Attributes:
        name: the member whose key it is.
        key: its public half.
        file: of a governance key; or
        peer: the folder of the peer whose key it is.
    """

    name: str
    key: GovernanceKey
    file: Path | None
    peer: Path | None
    passphrase_file: Path | None

    @property
    def text(self) -> str:
        """The key, for people."""
        return "the peer's key" if self.peer is not None else f"key {self.key.fingerprint}"

    def sign(self, message: bytes) -> bytes:
        """Sign; 64 bytes."""
        if self.file is not None:
            return signer_of(self.file, self.passphrase_file).sign(message)
        assert self.peer is not None  # One of the two was given.
        return read_keys_of(self.peer, read_config(self.peer)).identity.sign(message)


def signing_of(
    members: Sequence[CharterMember],
    key: Path | None,
    peer: Path | None,
    passphrase_file: Path | None,
) -> KeyInHand:
    """Find whose key it is, before anybody is asked for a passphrase.

    Raises:
        BadInput: none or two keys are given, or it is no member's.
        PaperError: its file cannot be used.
    """
    if (key is None) == (peer is None):
        raise BadInput("say with which key: --key FILE, or --peer DIR for that of a peer")
    if key is not None:
        public, _ = read_public(key)
        names = [it.name for it in members if public.encoded in it.governance.keys]
        what = f"{key_text(public)} ({key})"
    else:
        assert peer is not None
        peer_id = read_public_keys(PeerFolder(peer).key).peer_id
        public = GovernanceKey("ed25519", public_key_of(peer_id))
        names = [it.name for it in members if it.key == public.public]
        what = f"{peer_id} ({peer})"
    if not names:
        raise PaperError(f"{what} is no key of a member of this charter, nor of the one before")
    return KeyInHand(names[0], public, key, peer, passphrase_file)


def add_word(
    file: CharterFile, charter: bytes, says: Says, signing: KeyInHand, until: int
) -> CharterFile:
    """Let a key say something of a charter; return the file with it.

    Raises:
        PaperError: what signs does not.
    """
    with refusals():
        return file.with_words([approval_of(charter, says, signing.key, until, signing.sign)])


def note_act(folder: Path, act: str, facts: Mapping[str, str]) -> None:
    """Note what an operator did in the folder of a peer."""
    try:
        add_act(folder, Act(act, datetime.now(UTC), facts))
    except StoreError as error:
        raise BadInput(str(error)) from None


def print_standing(standing: ApprovalStanding) -> None:
    """Print who has approved, and what is missing."""
    print(f"approved   {', '.join(standing.approved) or 'by nobody yet'}")
    for name in standing.objected:
        print(f"objection  of {name}")
    for name in standing.replaced:
        print(f"notice     {name} is given other keys without its own word: others wait first")
    for place, line in enumerate(standing.missing):
        print(f"{'' if place else 'missing':<11}{line}")
    if standing.is_enough:
        print("enough     it needs nobody any more")
