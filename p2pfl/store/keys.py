"""The key file of a peer: its identity.

A TOML table of the public half (`peer_id`) and either the secret in hexadecimal, or sealed by a
passphrase (passphrases.py), with everything public in the file as associated data. What a
passphrase does not do: guard a running peer, which has the key in memory.

Files of format 1 are read as well: they have one more secret, and a commitment to it, which nothing
asks for any more.
"""

import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, ValidationError

from p2pfl.store.errors import KeyFileError
from p2pfl.store.files import create_file
from p2pfl.store.passphrases import (
    MODERATE,
    KeyTable,
    SealCost,
    Sealed,
    hex_field,
    open_text,
    read_private,
    seal_text,
)
from p2pfl_crypto.identity import SEED_BYTES, Identity, InvalidIdentity, PeerId, public_key_of

SECOND_BYTES = 32
"""Of the second secret in a file of format 1; sealed, it stands behind the seed."""

_REMEDY = "restore it from a backup, or make a new identity with p2pfl peer init"


@dataclass(frozen=True, slots=True)
class PeerKeys:
    """What only the peer itself may know.

    Attributes:
        identity: its Ed25519 key pair.
    """

    identity: Identity


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What a key file tells without its passphrase; `read_keys` checks it against the secrets."""

    peer_id: PeerId
    is_sealed: bool


def generate_keys(entropy: Callable[[int], bytes] = os.urandom) -> PeerKeys:
    """Make the keys of a new peer from `entropy(size)`, which gives uniform secret bytes."""
    return PeerKeys(Identity(entropy(SEED_BYTES)))


def write_keys(
    path: Path,
    keys: PeerKeys,
    *,
    passphrase: bytes | None = None,
    cost: SealCost = MODERATE,
    entropy: Callable[[int], bytes] = os.urandom,
) -> None:
    """Write a key file that only its owner may read; one that is there is never overwritten.

    Args:
        path: of the new file.
        keys: what it holds.
        passphrase: seals the secrets, if given.
        cost: of sealing, and of each opening.
        entropy: gives salt and nonce.

    Raises:
        KeyFileError: there is a file already, or it cannot be written.
        ValueError: the passphrase is empty or longer than 1024 bytes.
    """
    identity = keys.identity
    document: dict[str, Any] = {"format": 2, "peer_id": identity.peer_id}
    if passphrase is None:
        document["secret"] = {"seed": identity.seed.hex()}
    else:
        public = f"p2pfl key 2 {identity.peer_id}"
        sealed = seal_text(identity.seed, passphrase, public, cost=cost, entropy=entropy)
        document["sealed"] = sealed.model_dump()
    try:
        create_file(path, tomli_w.dumps(document).encode())
    except FileExistsError:
        raise KeyFileError(f"{path} is there already, and a key is never overwritten") from None
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from None


def read_keys(path: Path, *, passphrase: bytes | None = None) -> PeerKeys:
    """Read a key file; takes about a second where it is sealed.

    Raises:
        KeyFileError: it is missing, open to others, damaged, or sealed by another passphrase; or
            there is a passphrase for a file that is not sealed.
    """
    file = _read(path)
    if file.secret is not None:
        if passphrase is not None:
            raise KeyFileError(
                f"{path} is not sealed, but there is a passphrase for it: leave that out"
            )
        keys = PeerKeys(Identity(bytes.fromhex(file.secret.seed)))
    else:
        if passphrase is None:
            raise KeyFileError(f"{path} is sealed: give its passphrase with passphrase_file")
        assert file.sealed is not None  # _read has seen that it is one of the two.
        keys = _unseal(path, file, file.sealed, passphrase)
    if keys.identity.peer_id != file.peer_id:
        raise KeyFileError(f"{path} is damaged: its secret is not that of its peer id; {_REMEDY}")
    return keys


def read_public_keys(path: Path) -> PublicKeys:
    """Read what a key file tells without a passphrase.

    Raises:
        KeyFileError: it is missing, open to others or damaged.
    """
    file = _read(path)
    try:
        public_key_of(file.peer_id)
    except InvalidIdentity as error:
        raise KeyFileError(f"{path} is damaged: {error}; {_REMEDY}") from None
    return PublicKeys(PeerId(file.peer_id), file.sealed is not None)


# --- the file --------------------------------------------------------------------------------


class _Secret(KeyTable):
    seed: Annotated[str, hex_field(SEED_BYTES)] = Field(repr=False)
    draw_secret: Annotated[str, hex_field(SECOND_BYTES)] | None = Field(None, repr=False)


class _KeyFile(KeyTable):
    format: Literal[1, 2]
    peer_id: str
    commitment: Annotated[str, hex_field(32)] | None = None
    secret: _Secret | None = None
    sealed: Sealed | None = None

    @property
    def is_of_its_format(self) -> bool:
        """Whether what only format 1 has is there, or not."""
        seconds = [self.commitment, *([self.secret.draw_secret] if self.secret else [])]
        return all((it is not None) == (self.format == 1) for it in seconds)

    @property
    def public_line(self) -> str:
        """What is public in a sealed file, in one canonical line."""
        commitment = f" {self.commitment}" if self.commitment else ""
        return f"p2pfl key {self.format} {self.peer_id}{commitment}"


def _read(path: Path) -> _KeyFile:
    content = read_private(path, "key file")
    try:
        file = _KeyFile.model_validate(tomllib.loads(content.decode("utf-8-sig")))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise KeyFileError(f"{path} is no key file; {_REMEDY}") from None
    except ValidationError as error:
        # Of a fault only its place is told: what stands there may be a secret.
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise KeyFileError(f"{path} is damaged at {where}; {_REMEDY}") from None
    if not file.is_of_its_format:
        raise KeyFileError(f"{path} is damaged: it is of no one format; {_REMEDY}")
    if (file.secret is None) == (file.sealed is None):
        raise KeyFileError(f"{path} is damaged: it takes one table, secret or sealed; {_REMEDY}")
    return file


def _unseal(path: Path, file: _KeyFile, sealed: Sealed, passphrase: bytes) -> PeerKeys:
    text = open_text(path, sealed, passphrase, file.public_line)
    if len(text) != SEED_BYTES + SECOND_BYTES * (file.format == 1):
        raise KeyFileError(f"{path} is damaged at sealed.text; {_REMEDY}")
    return PeerKeys(Identity(text[:SEED_BYTES]))
