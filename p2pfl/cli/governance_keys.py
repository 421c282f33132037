"""`p2pfl charter key | card`."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from p2pfl.charter.cards import MEMBER_CARD, MemberForm, governance_form, write_member_card
from p2pfl.charter.errors import PaperError
from p2pfl.charter.keys import (
    Kind,
    key_text,
    make_key,
    read_key_text,
    read_public,
    read_signer,
    write_command,
)
from p2pfl.charter.pkcs11 import read_public_key, signing_words
from p2pfl.charter.signers import Signer
from p2pfl.cli.errors import BadInput, peer_errors
from p2pfl.cli.passphrases import ask_new_passphrase, ask_passphrase
from p2pfl.daemon.config import PeerFolder, read_config
from p2pfl.group.documents import check_document
from p2pfl.store.keys import read_public_keys
from p2pfl.store.passphrases import read_passphrase
from p2pfl_crypto.governance import GovernanceKey


def make_governance_key(
    file: Path,
    *,
    kind: str,
    passphrase_file: Path | None,
    pkcs11: Path | None,
    key_id: str | None,
    token: str | None,
    pin_file: Path | None,
    public: str | None,
    command: str | None,
    deadline_s: float,
) -> None:
    """Make a sealed key, or note the command that signs with one that is elsewhere."""
    if pkcs11 is not None and command is not None:
        raise BadInput("--pkcs11 and --command exclude each other; give one")
    if pkcs11 is not None and key_id is None:
        raise BadInput("--pkcs11 needs --id: that of the key in the module")
    if (command is None) != (public is None):
        raise BadInput("--command and --public go together: who signs, and with which key")
    with peer_errors():
        if pkcs11 is not None and key_id is not None:
            key = read_public_key(pkcs11, key_id, token)
            words = signing_words(pkcs11, key_id, token, pin_file, key.kind)
            write_command(file, key, words, deadline_s=deadline_s)
        elif command is not None and public is not None:
            key, words = _as_given(public, command)
            write_command(file, key, words, deadline_s=deadline_s)
        else:
            if kind not in ("ed25519", "p256"):
                raise BadInput(f"--kind {kind}: there are ed25519 and p256")
            if file.exists():  # Before anybody is asked for a passphrase.
                raise BadInput(f"{file} is there already, and a key is never overwritten")
            if passphrase_file is None:
                passphrase = ask_new_passphrase()
            else:
                passphrase = read_passphrase(passphrase_file)
            key = make_key(file, cast("Kind", kind), passphrase)
    print(f"wrote {file}: {key_text(key)}")
    if pkcs11 is None and command is None:
        print("keep it offline, with a copy in another safe place: it approves in your name")


def signer_of(file: Path, passphrase_file: Path | None) -> Signer:
    """Return what signs with the key of a file; ask for a passphrase if it takes one."""

    def ask() -> bytes:
        return ask_passphrase(file) if passphrase_file is None else read_passphrase(passphrase_file)

    return read_signer(file, ask)


def write_card_of_member(
    peer: Path,
    keys: Sequence[Path],
    *,
    threshold: int,
    controller: str | None,
    weight: float | None,
    contact: str | None,
) -> None:
    """Write a member's card, and draw what the member puts into the founding."""
    with peer_errors():
        config = read_config(peer)
        public = read_public_keys(PeerFolder(peer).key)
        governance = governance_form(threshold, [read_public(key)[0] for key in keys])
        if weight is None:
            weight = float(config.rows or 1)
        document = {
            "name": config.name,
            "controller": controller,
            "peer_id": public.peer_id,
            "addresses": config.addresses,
            "weight": weight,
            "governance": governance.model_dump(),
            "contact": contact,
        }
        given = {key: value for key, value in document.items() if value is not None}
        card = write_member_card(
            peer, check_document(given, MemberForm, PaperError, source="charter card")
        )
    count = f"{threshold} of {len(keys)} governance keys"
    print(f"wrote {peer / MEMBER_CARD}: {card.name} for {card.votes_as}, weight {card.weight:g}")
    print(f"  {count} approve in its name; it has committed to random bytes for one founding")


def _as_given(public: str, command: str) -> tuple[GovernanceKey, list[str]]:
    try:
        return read_key_text(public), shlex.split(command)
    except ValueError as error:
        raise BadInput(str(error)) from None
