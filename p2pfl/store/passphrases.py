"""Secrets sealed by a passphrase, and passphrases that a file holds.

XChaCha20-Poly1305 under an Argon2id key (RFC 9106). Argon2id's limits are kept beside the sealed
text, so that they can be raised later. Whatever is public in a file is its associated data: who
changes it breaks the seal.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import nacl.pwhash.argon2id as argon2id
from pydantic import BaseModel, ConfigDict, Field

from p2pfl.store.errors import KeyFileError
from p2pfl_crypto.sealing import KEY_BYTES, NONCE_BYTES, BrokenSeal, open_sealed, seal

PRIVATE_FILE_BYTES_MAX = 4096  # A key file has about 500.
_PASSPHRASE_BYTES_MAX = 1024


@dataclass(frozen=True, slots=True)
class SealCost:
    """What each guess at a passphrase costs: Argon2id's passes and memory."""

    passes: int
    memory_bytes: int


INTERACTIVE = SealCost(argon2id.OPSLIMIT_INTERACTIVE, argon2id.MEMLIMIT_INTERACTIVE)
MODERATE = SealCost(argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_MODERATE)
"""libsodium's limits: 64 MiB and a tenth of a second, or 256 MiB and about a second."""


def hex_field(bytes_min: int, bytes_max: int | None = None) -> Any:
    """Return the field of so many bytes as hexadecimal text."""
    bytes_max = bytes_min if bytes_max is None else bytes_max
    return Field(pattern=rf"^([0-9a-f]{{2}}){{{bytes_min},{bytes_max}}}$")


class KeyTable(BaseModel):
    """A table of a key file. Its faults never show what stands there: it may be a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Sealed(KeyTable):
    """A sealed text, and all but the passphrase that it takes to open it."""

    passes: Annotated[int, Field(ge=1, le=64)]
    memory_bytes: Annotated[int, Field(ge=argon2id.MEMLIMIT_MIN, le=argon2id.MEMLIMIT_SENSITIVE)]
    salt: Annotated[str, hex_field(argon2id.SALTBYTES)]
    nonce: Annotated[str, hex_field(NONCE_BYTES)]
    text: Annotated[str, hex_field(1, 512)]


def seal_text(
    secret: bytes,
    passphrase: bytes,
    public: str,
    *,
    cost: SealCost,
    entropy: Callable[[int], bytes] = os.urandom,
) -> Sealed:
    """Seal a secret.

    Args:
        secret: what nobody reads without the passphrase.
        passphrase: 1 to 1024 bytes.
        public: all that is public beside it, as one canonical line.
        cost: of sealing, and of each opening.
        entropy: gives salt and nonce.

    Raises:
        ValueError: the passphrase is empty or too long.
    """
    require_passphrase(passphrase)
    salt, nonce = entropy(argon2id.SALTBYTES), entropy(NONCE_BYTES)
    key = _sealing_key(passphrase, salt, cost)
    text = seal(key, nonce, secret, _associated(public, cost, salt))
    return Sealed(
        passes=cost.passes,
        memory_bytes=cost.memory_bytes,
        salt=salt.hex(),
        nonce=nonce.hex(),
        text=text.hex(),
    )


def open_text(path: Path, sealed: Sealed, passphrase: bytes, public: str) -> bytes:
    """Open what `seal_text` sealed.

    Raises:
        KeyFileError: the passphrase is another, or the file was changed.
    """
    cost, salt = SealCost(sealed.passes, sealed.memory_bytes), bytes.fromhex(sealed.salt)
    key = _sealing_key(passphrase, salt, cost)
    try:
        return open_sealed(
            key,
            bytes.fromhex(sealed.nonce),
            bytes.fromhex(sealed.text),
            _associated(public, cost, salt),
        )
    except BrokenSeal:
        raise KeyFileError(
            f"{path} does not open: the passphrase is wrong, or the file is damaged"
        ) from None


def read_passphrase(path: Path) -> bytes:
    """Read a passphrase from the first line of a file that only its owner may read.

    Raises:
        KeyFileError: it is missing, open to others, or holds no passphrase of 1 to 1024 bytes.
    """
    passphrase = read_private(path, "passphrase file").removesuffix(b"\n").removesuffix(b"\r")
    if b"\n" in passphrase:
        raise KeyFileError(f"{path} has more than one line; a passphrase is one")
    try:
        require_passphrase(passphrase)
    except ValueError as error:
        raise KeyFileError(f"{path}: {error}") from None
    return passphrase


def require_passphrase(passphrase: bytes) -> None:
    """Raise ValueError if a passphrase is empty or longer than 1024 bytes."""
    if not 0 < len(passphrase) <= _PASSPHRASE_BYTES_MAX:
        raise ValueError(
            f"a passphrase has 1 to {_PASSPHRASE_BYTES_MAX} bytes, not {len(passphrase)}"
        )


def read_private(path: Path, kind: str) -> bytes:
    """Read a short file that only its owner may read; `kind` names it in faults.

    Raises:
        KeyFileError: it is missing, open to others, or too long.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise KeyFileError(f"other users may read the {kind}: run chmod 600 {path}")
            content = file.read(PRIVATE_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise KeyFileError(f"cannot read the {kind} {path}: {error.strerror}") from None
    if len(content) > PRIVATE_FILE_BYTES_MAX:
        raise KeyFileError(f"{path} is too long for a {kind}")
    return content


def _associated(public: str, cost: SealCost, salt: bytes) -> bytes:
    return f"{public} {cost.passes} {cost.memory_bytes} {salt.hex()}".encode()


def _sealing_key(passphrase: bytes, salt: bytes, cost: SealCost) -> bytes:
    return argon2id.kdf(
        KEY_BYTES, passphrase, salt, opslimit=cost.passes, memlimit=cost.memory_bytes
    )
