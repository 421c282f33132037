"""Member cards: what a member says of itself to those who found a group, or are to admit it.

A card is TOML. Beyond the card of the peer it says who answers for the data (`controller`), which
governance keys approve in the member's name and how many of them it takes, and what the member has
committed to: 16 random bytes of its own, which go into the group's founding charter. They lie in
the peer's folder until all have committed to one draft:

    DIR/member.toml     the card; all of it is public
    DIR/founding        the random bytes; nobody else may read it before the draft is complete
"""

import os
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import tomli_w
from pydantic import Field, ValidationError, model_validator

from p2pfl.charter.errors import PaperError
from p2pfl.charter.keys import key_text, read_key_text
from p2pfl.charter.texts import TEXT_CHARACTERS_MAX
from p2pfl.group.cards import ADDRESSES_MAX, ROWS_MAX, Digest, PeerName, require_reachable
from p2pfl.group.documents import read_document, write_document
from p2pfl.learner.settings import SettingsTable
from p2pfl.store.errors import KeyFileError
from p2pfl.store.files import PRIVATE, create_file, replace_file
from p2pfl.store.passphrases import KeyTable, hex_field, read_private
from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import public_key_of
from p2pfl_gossip.ledger.charter import KEYS_OF_ONE_MAX

FOUNDER_BYTES = 16

MEMBER_CARD = "member.toml"
FOUNDING = "founding"

Controller = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^\S(.*\S)?$")]


class GovernanceTable(SettingsTable):
    """Who approves in a member's name."""

    threshold: Annotated[int, Field(ge=1, le=KEYS_OF_ONE_MAX)] = 1
    """How many of the keys it takes."""
    keys: Annotated[tuple[str, ...], Field(min_length=1, max_length=KEYS_OF_ONE_MAX)]
    """As `p2pfl charter key` prints them: `ed25519:...` or `p256:...`."""

    @model_validator(mode="after")
    def _can_be(self) -> "GovernanceTable":
        keys = self.governance_keys()
        if len(set(keys)) < len(keys):
            raise ValueError("a governance key is there twice; one key counts once")
        if self.threshold > len(keys):
            raise ValueError(f"threshold is {self.threshold}, and there are {len(keys)} keys")
        return self

    def governance_keys(self) -> tuple[GovernanceKey, ...]:
        """Return the keys."""
        return tuple(read_key_text(text) for text in self.keys)


class MemberForm(SettingsTable):
    """One member, as a card and a charter's TOML say it."""

    name: PeerName
    """For people; unique in the group."""
    controller: Controller | None = None
    """Who answers for its data: one vote for each; the member's name if not given."""
    peer_id: str
    addresses: Annotated[tuple[str, ...], Field(min_length=1, max_length=ADDRESSES_MAX)]
    weight: Annotated[float, Field(gt=0, le=ROWS_MAX, allow_inf_nan=False)] = 1.0
    """How much its updates count; all members see it."""
    governance: GovernanceTable
    contact: Annotated[str, Field(max_length=TEXT_CHARACTERS_MAX)] | None = None
    """Whom to call. Only a salted digest of it goes into the charter."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> "MemberForm":
        require_reachable(self.name, self.peer_id, self.addresses)
        return self

    @property
    def votes_as(self) -> str:
        """The controller's name."""
        return self.controller or self.name


class MemberCard(MemberForm):
    """What a member hands over."""

    format: Literal[1] = 1
    commitment: Digest

    def form(self) -> MemberForm:
        """Return what of it goes into a charter's TOML."""
        return MemberForm.model_validate(self.model_dump(exclude={"format", "commitment"}))


def read_member_card(path: Path) -> MemberCard:
    """Read a member's card.

    Raises:
        PaperError: it cannot be read, or says what cannot be; one line a fault.
    """
    return read_document(path, MemberCard, PaperError)


def write_member_card(
    folder: Path,
    form: MemberForm,
    *,
    entropy: Callable[[int], bytes] = os.urandom,
) -> MemberCard:
    """Draw a founder's bytes, and write card and bytes into a peer's folder, in place of old ones.

    Raises:
        PaperError: they cannot be written.
    """
    secret = entropy(FOUNDER_BYTES)
    card = MemberCard.model_validate(
        form.model_dump(exclude_none=True) | {"commitment": commit(form.peer_id, secret).hex()}
    )
    _write_founding(folder, _Founding(format=1, secret=secret.hex()), is_new=True)
    write_document(folder / MEMBER_CARD, card, PaperError)
    return card


def commit(peer_id: str, secret: bytes) -> bytes:
    """Commit to a founder's bytes: H("p2pfl/commit", peer key, bytes)."""
    return hash_parts(b"p2pfl/commit", public_key_of(peer_id), secret)


def reveal(folder: Path, draft: bytes) -> bytes:
    """Return a founder's bytes for one draft; from then on for no other one.

    Args:
        folder: of the peer.
        draft: digest of the draft, which holds everybody's commitment.

    Raises:
        PaperError: there are none, or they were shown for another draft.
    """
    file = _read_founding(folder)
    if file.shown_for not in (None, draft.hex()):
        raise PaperError(
            f"the random bytes of {folder} were shown for another draft: make a new card with"
            " p2pfl charter card, and have everybody draft anew"
        )
    if file.shown_for is None:
        shown = _Founding(format=1, secret=file.secret, shown_for=draft.hex())
        _write_founding(folder, shown, is_new=False)
    return bytes.fromhex(file.secret)


def draft_nonce(commitments: Sequence[bytes]) -> bytes:
    """Return the nonce of a draft: H("p2pfl/commits", commitment of each founder)."""
    return hash_parts(b"p2pfl/commits", *commitments)


def founders_nonce(draft: bytes, secrets: Sequence[bytes]) -> bytes:
    """Return a founding charter's nonce: H("p2pfl/founders", draft, bytes of each founder)."""
    return hash_parts(b"p2pfl/founders", draft, *secrets)


def governance_form(threshold: int, keys: Sequence[GovernanceKey]) -> GovernanceTable:
    """Return a member's governance as its card says it.

    Raises:
        PaperError: it cannot be so.
    """
    try:
        return GovernanceTable(threshold=threshold, keys=tuple(key_text(key) for key in keys))
    except ValidationError as error:
        fault = error.errors()[0]
        message = str(fault["msg"]).removeprefix("Value error, ")
        where = ".".join(str(part) for part in fault["loc"])
        raise PaperError(f"{where}: {message}" if where else message) from None


class _Founding(KeyTable):
    format: Literal[1]
    secret: Annotated[str, hex_field(FOUNDER_BYTES)] = Field(repr=False)
    shown_for: Annotated[str, hex_field(32)] | None = None


def _read_founding(folder: Path) -> _Founding:
    path = folder / FOUNDING
    if not path.exists():
        raise PaperError(f"{folder} has no random bytes for a founding: run p2pfl charter card")
    try:
        content = read_private(path, "founder's file")
        return _Founding.model_validate(tomllib.loads(content.decode()))
    except KeyFileError as error:
        raise PaperError(str(error)) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError):
        raise PaperError(f"{path} is damaged; make a new card with p2pfl charter card") from None


def _write_founding(folder: Path, file: _Founding, *, is_new: bool) -> None:
    path = folder / FOUNDING
    content = tomli_w.dumps(file.model_dump(exclude_none=True)).encode()
    try:
        if is_new:
            path.unlink(missing_ok=True)
            create_file(path, content)
        else:
            replace_file(path, content, mode=PRIVATE)
    except OSError as error:
        raise PaperError(f"cannot write {path}: {error.strerror}") from None
