"""Governance keys: those that approve charters. They may stay offline.

A key stands in a file of one of two kinds, and every command takes either:

- *sealed*: an Ed25519 or ECDSA P-256 key under a passphrase. There is no unsealed form.
- *a command*: the public key, and a command of the operator's own that signs (signers.py): a
  hardware module, a card, a service of the house. The key itself is never here.

People see a public key as text: `ed25519:` or `p256:` and its bytes in hexadecimal.
"""

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import Field, ValidationError

from p2pfl.charter.errors import PaperError
from p2pfl.charter.signers import DEADLINE_S_MAX, CommandSigner, KeySigner, Signer
from p2pfl.store.errors import KeyFileError
from p2pfl.store.files import create_file
from p2pfl.store.passphrases import (
    MODERATE,
    KeyTable,
    SealCost,
    Sealed,
    open_text,
    read_private,
    seal_text,
)
from p2pfl_crypto.governance import P256_ORDER, GovernanceKey

SECRET_BYTES = 32
"""An Ed25519 seed, or a P-256 scalar, big-endian."""

COMMAND_WORDS_MAX = 32  # A command and its options.
_REMEDY = "restore it from a copy, or have the group replace the key"

Kind = Literal["ed25519", "p256"]


def key_text(key: GovernanceKey) -> str:
    """Write a public key for people: `ed25519:...` or `p256:...`."""
    return f"{key.kind}:{key.public.hex()}"


def read_key_text(text: str) -> GovernanceKey:
    """Read what `key_text` wrote.

    Raises:
        ValueError: it is no public key.
    """
    kind, colon, digits = text.partition(":")
    if not colon or kind not in ("ed25519", "p256"):
        raise ValueError(f"{text!r} is no governance key, which is ed25519: or p256: and digits")
    try:
        public = bytes.fromhex(digits)
        if digits != public.hex():
            raise ValueError
        return GovernanceKey("ed25519" if kind == "ed25519" else "p256", public)
    except ValueError:
        raise ValueError(f"{text!r} is no governance key: the digits are no {kind} key") from None


def make_key(
    path: Path,
    kind: Kind,
    passphrase: bytes,
    *,
    cost: SealCost = MODERATE,
    entropy: Callable[[int], bytes] = os.urandom,
) -> GovernanceKey:
    """Make a key, and seal it in a new file that only its owner may read.

    Raises:
        PaperError: there is a file already, or it cannot be written.
        ValueError: the passphrase is empty or too long.
    """
    secret = entropy(SECRET_BYTES)
    while kind == "p256" and not 0 < int.from_bytes(secret) < P256_ORDER:
        secret = entropy(SECRET_BYTES)
    key = _public_of(kind, secret)
    sealed = seal_text(secret, passphrase, _public_line(key), cost=cost, entropy=entropy)
    _create(path, {"format": 1, "key": key_text(key), "sealed": sealed.model_dump()})
    return key


def write_command(path: Path, key: GovernanceKey, command: list[str], *, deadline_s: float) -> None:
    """Write a key file that says by which command a key signs.

    Raises:
        PaperError: there is a file already, it cannot be written, or the command cannot be.
    """
    document = {
        "format": 1,
        "key": key_text(key),
        "command": {"words": command, "deadline_s": deadline_s},
    }
    try:
        _KeyFile.model_validate(document)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise PaperError(f"the command of a key cannot be: {where}: {fault['msg']}") from None
    _create(path, document)


def read_public(path: Path) -> tuple[GovernanceKey, bool]:
    """Return the public key of a file, and whether it takes a passphrase to sign with it.

    Raises:
        PaperError: the file is missing, open to others or damaged.
    """
    key, file = _read(path)
    return key, file.sealed is not None


def read_signer(path: Path, ask: Callable[[], bytes]) -> Signer:
    """Read what signs with a key.

    Args:
        path: of the key file.
        ask: gives the passphrase; asked only if the key is sealed.

    Raises:
        PaperError: the file cannot be used, or does not open by that passphrase.
    """
    key, file = _read(path)
    if file.command is not None:
        words = tuple(file.command.words)
        return CommandSigner(key, words, deadline_s=file.command.deadline_s, place=path.parent)
    assert file.sealed is not None  # _read has seen that it is one of the two.
    try:
        secret = open_text(path, file.sealed, ask(), _public_line(key))
    except KeyFileError as error:
        raise PaperError(str(error)) from None
    if len(secret) != SECRET_BYTES or _public_of(key.kind, secret) != key:
        raise PaperError(f"{path} is damaged: its secret is not that of its key; {_REMEDY}")
    return KeySigner(key, secret)


# --- the file -----------------------------------------------------------------------------------


class _Command(KeyTable):
    words: Annotated[list[str], Field(min_length=1, max_length=COMMAND_WORDS_MAX)]
    deadline_s: Annotated[float, Field(gt=0, le=DEADLINE_S_MAX)]


class _KeyFile(KeyTable):
    format: Literal[1]
    key: str
    sealed: Sealed | None = None
    command: _Command | None = None


def _public_line(key: GovernanceKey) -> str:
    return f"p2pfl governance key 1 {key_text(key)}"


def _public_of(kind: str, secret: bytes) -> GovernanceKey:
    if kind == "ed25519":
        ed25519 = Ed25519PrivateKey.from_private_bytes(secret).public_key()
        return GovernanceKey("ed25519", ed25519.public_bytes_raw())
    p256 = ec.derive_private_key(int.from_bytes(secret), ec.SECP256R1()).public_key()
    return GovernanceKey("p256", p256.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))


def _create(path: Path, document: dict[str, Any]) -> None:
    try:
        create_file(path, tomli_w.dumps(document).encode())
    except FileExistsError:
        raise PaperError(f"{path} is there already, and a key is never overwritten") from None
    except OSError as error:
        raise PaperError(f"cannot write {path}: {error.strerror}") from None


def _read(path: Path) -> tuple[GovernanceKey, _KeyFile]:
    try:
        content = read_private(path, "governance key")
        file = _KeyFile.model_validate(tomllib.loads(content.decode("utf-8-sig")))
    except KeyFileError as error:
        raise PaperError(str(error)) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise PaperError(f"{path} is no governance key; {_REMEDY}") from None
    except ValidationError as error:
        # Of a fault only its place is told: what stands there may be a secret.
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise PaperError(f"{path} is damaged at {where}; {_REMEDY}") from None
    if (file.sealed is None) == (file.command is None):
        raise PaperError(f"{path} is damaged: it takes one table, sealed or command; {_REMEDY}")
    try:
        return read_key_text(file.key), file
    except ValueError as error:
        raise PaperError(f"{path} is damaged: {error}; {_REMEDY}") from None
