"""Where the passphrase of a key comes from: a file, or whoever sits at the terminal."""

import sys
from getpass import getpass
from pathlib import Path

from p2pfl.cli.errors import BadInput
from p2pfl.daemon.config import PeerConfig, PeerFolder
from p2pfl.store.keys import PeerKeys, read_keys, read_public_keys
from p2pfl.store.passphrases import read_passphrase, require_passphrase


def read_keys_of(folder: Path, config: PeerConfig) -> PeerKeys:
    """Read the keys of the peer in a folder; ask for the passphrase if no file has it.

    Raises:
        KeyFileError: the key file or the passphrase file is at fault, or the passphrase is wrong.
        BadInput: there is nobody to ask.
    """
    path = PeerFolder(folder).key
    if config.passphrase_file is not None:
        return read_keys(path, passphrase=read_passphrase(config.passphrase_file))
    if not read_public_keys(path).is_sealed:
        return read_keys(path)
    if not sys.stdin.isatty():
        raise BadInput(
            f"{path} is sealed, and there is no terminal to ask for its passphrase: set"
            f" passphrase_file in {PeerFolder(folder).config}"
        )
    return read_keys(path, passphrase=getpass(f"Passphrase of {path}: ").encode())


def ask_passphrase(path: Path) -> bytes:
    """Ask for the passphrase of a key file.

    Raises:
        BadInput: there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise BadInput(
            f"{path} is sealed, and there is no terminal to ask for its passphrase: use"
            " --passphrase-file"
        )
    return getpass(f"Passphrase of {path}: ").encode()


def ask_new_passphrase() -> bytes:
    """Ask for a passphrase twice.

    Raises:
        BadInput: there is nobody to ask, or the two differ, or it is empty or too long.
    """
    if not sys.stdin.isatty():
        raise BadInput("no terminal to ask at for a new passphrase: use --passphrase-file")
    passphrase = getpass("New passphrase: ").encode()
    try:
        require_passphrase(passphrase)
    except ValueError as error:
        raise BadInput(str(error)) from None
    if getpass("The same again: ").encode() != passphrase:
        raise BadInput("the two passphrases differ; nothing was made")
    return passphrase
