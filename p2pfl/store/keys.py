"""The key file of a peer: its identity and its secret contribution to the draw.

A TOML table of public keys (`peer_id`, `commitment`) and either the two secrets in hexadecimal, or
both sealed by a passphrase: XChaCha20-Poly1305 under an Argon2id key (RFC 9106), with everything
public in the file as associated data. Argon2id's limits are kept in the file, so that they can be
raised later. What a passphrase does not do: guard a running peer, which has the keys in memory.
"""

import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import nacl.pwhash.argon2id as argon2id
import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from p2pfl.store.errors import KeyFileError
from p2pfl.store.files import create_file
from p2pfl_crypto.draw_seed import DRAW_SECRET_BYTES, commit_draw
from p2pfl_crypto.identity import SEED_BYTES, Identity, InvalidIdentity, PeerId, public_key_of
from p2pfl_crypto.sealing import KEY_BYTES, NONCE_BYTES, TAG_BYTES, BrokenSeal, open_sealed, seal

_FILE_BYTES_MAX = 4096  # A key file has about 500.
_PASSPHRASE_BYTES_MAX = 1024
_REMEDY = "restore it from a backup, or make a new identity with p2pfl peer init"


@dataclass(frozen=True, slots=True)
class PeerKeys:
    """What only the peer itself may know.

    Attributes:
        identity: its Ed25519 key pair.
        draw_secret: 32 bytes that it reveals when the group draws its seed; for one group only.
    """

    identity: Identity
    draw_secret: bytes = field(repr=False)

    @property
    def commitment(self) -> bytes:
        """The public commitment to the draw's secret, 32 bytes."""
        return commit_draw(self.draw_secret)


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What a key file tells without its passphrase; `read_keys` checks it against the secrets."""

    peer_id: PeerId
    commitment: bytes
    is_sealed: bool


@dataclass(frozen=True, slots=True)
class SealCost:
    """What each guess at a passphrase costs: Argon2id's passes and memory."""

    passes: int
    memory_bytes: int


INTERACTIVE = SealCost(argon2id.OPSLIMIT_INTERACTIVE, argon2id.MEMLIMIT_INTERACTIVE)
MODERATE = SealCost(argon2id.OPSLIMIT_MODERATE, argon2id.MEMLIMIT_MODERATE)
"""libsodium's limits: 64 MiB and a tenth of a second, or 256 MiB and about a second."""


def generate_keys(entropy: Callable[[int], bytes] = os.urandom) -> PeerKeys:
    """Make the keys of a new peer from `entropy(size)`, which gives uniform secret bytes."""
    return PeerKeys(Identity(entropy(SEED_BYTES)), entropy(DRAW_SECRET_BYTES))


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
    document: dict[str, Any] = {
        "format": 1,
        "peer_id": keys.identity.peer_id,
        "commitment": keys.commitment.hex(),
    }
    if passphrase is None:
        document["secret"] = {
            "seed": keys.identity.seed.hex(),
            "draw_secret": keys.draw_secret.hex(),
        }
    else:
        require_passphrase(passphrase)
        sealed = {
            "passes": cost.passes,
            "memory_bytes": cost.memory_bytes,
            "salt": entropy(argon2id.SALTBYTES).hex(),
            "nonce": entropy(NONCE_BYTES).hex(),
            "text": "",
        }
        document["sealed"] = sealed
        file = _KeyFile.model_validate(document | {"sealed": sealed | {"text": "00" * _TEXT_BYTES}})
        sealed["text"] = seal(
            _sealing_key(file.sealed_table, passphrase),
            bytes.fromhex(file.sealed_table.nonce),
            keys.identity.seed + keys.draw_secret,
            file.associated(),
        ).hex()
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
        keys = PeerKeys(
            Identity(bytes.fromhex(file.secret.seed)), bytes.fromhex(file.secret.draw_secret)
        )
    else:
        if passphrase is None:
            raise KeyFileError(f"{path} is sealed: give its passphrase with passphrase_file")
        keys = _unseal(path, file, passphrase)
    if keys.identity.peer_id != file.peer_id or keys.commitment.hex() != file.commitment:
        raise KeyFileError(
            f"{path} is damaged: its secrets are not those of its peer id; {_REMEDY}"
        )
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
    return PublicKeys(PeerId(file.peer_id), bytes.fromhex(file.commitment), file.sealed is not None)


def read_passphrase(path: Path) -> bytes:
    """Read a passphrase from the first line of a file that only its owner may read.

    Raises:
        KeyFileError: it is missing, open to others, or holds no passphrase of 1 to 1024 bytes.
    """
    passphrase = _read_private(path, "passphrase file").removesuffix(b"\n").removesuffix(b"\r")
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


# --- the file --------------------------------------------------------------------------------

_TEXT_BYTES = SEED_BYTES + DRAW_SECRET_BYTES + TAG_BYTES


def _hex(size: int) -> Any:
    return Field(pattern=rf"^[0-9a-f]{{{2 * size}}}$")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class _Secret(_Table):
    seed: Annotated[str, _hex(SEED_BYTES)] = Field(repr=False)
    draw_secret: Annotated[str, _hex(DRAW_SECRET_BYTES)] = Field(repr=False)


class _Sealed(_Table):
    passes: Annotated[int, Field(ge=1, le=64)]
    memory_bytes: Annotated[int, Field(ge=argon2id.MEMLIMIT_MIN, le=argon2id.MEMLIMIT_SENSITIVE)]
    salt: Annotated[str, _hex(argon2id.SALTBYTES)]
    nonce: Annotated[str, _hex(NONCE_BYTES)]
    text: Annotated[str, _hex(_TEXT_BYTES)]


class _KeyFile(_Table):
    format: Literal[1]
    peer_id: str
    commitment: Annotated[str, _hex(32)]
    secret: _Secret | None = None
    sealed: _Sealed | None = None

    @property
    def sealed_table(self) -> _Sealed:
        assert self.sealed is not None
        return self.sealed

    def associated(self) -> bytes:
        """Put what is public in a sealed file into one canonical line."""
        sealed = self.sealed_table
        return (
            f"p2pfl key 1 {self.peer_id} {self.commitment}"
            f" {sealed.passes} {sealed.memory_bytes} {sealed.salt}"
        ).encode()


def _read(path: Path) -> _KeyFile:
    content = _read_private(path, "key file")
    try:
        file = _KeyFile.model_validate(tomllib.loads(content.decode("utf-8-sig")))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise KeyFileError(f"{path} is no key file; {_REMEDY}") from None
    except ValidationError as error:
        # Of a fault only its place is told: what stands there may be a secret.
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise KeyFileError(f"{path} is damaged at {where}; {_REMEDY}") from None
    if (file.secret is None) == (file.sealed is None):
        raise KeyFileError(f"{path} is damaged: it takes one table, secret or sealed; {_REMEDY}")
    return file


def _read_private(path: Path, kind: str) -> bytes:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise KeyFileError(f"other users may read the {kind}: run chmod 600 {path}")
            content = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise KeyFileError(f"cannot read the {kind} {path}: {error.strerror}") from None
    if len(content) > _FILE_BYTES_MAX:
        raise KeyFileError(f"{path} is too long for a {kind}")
    return content


def _unseal(path: Path, file: _KeyFile, passphrase: bytes) -> PeerKeys:
    sealed = file.sealed_table
    key = _sealing_key(sealed, passphrase)
    try:
        text = open_sealed(
            key, bytes.fromhex(sealed.nonce), bytes.fromhex(sealed.text), file.associated()
        )
    except BrokenSeal:
        raise KeyFileError(
            f"{path} does not open: the passphrase is wrong, or the file is damaged"
        ) from None
    return PeerKeys(Identity(text[:SEED_BYTES]), text[SEED_BYTES:])


def _sealing_key(sealed: _Sealed, passphrase: bytes) -> bytes:
    return argon2id.kdf(
        KEY_BYTES,
        passphrase,
        bytes.fromhex(sealed.salt),
        opslimit=sealed.passes,
        memlimit=sealed.memory_bytes,
    )
