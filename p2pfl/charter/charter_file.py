"""Charter files: a charter, its texts and what keys have said of it, as one file.

    mark of 16 bytes | length as LE32 | body | H("p2pfl/parcel", body)

The body holds the canonical bytes of the charter, of its terms and of its running settings, what
founders have committed to and shown of their random bytes, approvals in their one order, and free
texts with their salts. Two files of one charter differ at most in what has been shown, said and
erased: `merged` takes them together. Whatever is read is checked: each digest against its bytes,
each text against its digest, each founder's bytes against what it had committed to.

A founding charter is a *draft* until all founders have shown their bytes. A draft's nonce is the
hash of all commitments; with the last bytes shown, the nonce and so the name is fixed.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

from p2pfl.charter.cards import FOUNDER_BYTES, commit, draft_nonce, founders_nonce
from p2pfl.charter.errors import PaperError
from p2pfl.charter.texts import (
    SALT_BYTES,
    TEXT_CHARACTERS_MAX,
    Running,
    Terms,
    read_running,
    read_terms,
    salted_digest,
)
from p2pfl.store.files import SHARED, create_file, replace_file
from p2pfl_crypto.hashing import DIGEST_BYTES, hash_parts
from p2pfl_crypto.identity import peer_id_of
from p2pfl_gossip.ledger.approvals import (
    APPROVALS_BYTES_MAX,
    DEPARTING,
    Approval,
    RefusedApproval,
    Says,
    encode_approvals,
    in_order,
    read_approvals,
    require_signed,
)
from p2pfl_gossip.ledger.approving import ApprovalStanding, check_amendment, check_founding
from p2pfl_gossip.ledger.charter import (
    CHARTER_BYTES_MAX,
    NETWORK_MEMBERS_MAX,
    NONE,
    Charter,
    Epoch,
    RefusedCharter,
    encode_charter,
    peer_governance_key,
    read_charter,
    require_network,
    running_digest,
    terms_digest,
)
from p2pfl_gossip.ledger.messages import TEXT_BYTES_MAX
from p2pfl_gossip.records import (
    ByteSize,
    Codec,
    Digest,
    MalformedFrame,
    Message,
    TextForm,
    replaced,
)

SUFFIX = ".charter"

MARK = b"p2pfl charter 1\n"

BODY_BYTES_MAX = 8 * 2**20
"""A charter of 128 members, and a contact of ten thousand characters for each."""

BESIDE_MAX = 2 + NETWORK_MEMBERS_MAX
"""Free texts: purpose, agreement, and a contact of each member."""

_LENGTH_BYTES = 4


class Beside(Message, frozen=True, array_like=True, forbid_unknown_fields=True, order=True):
    """A free text, which can be erased: only its salted digest is in the terms.

    Attributes:
        digest: as the terms have it.
        salt: 16 random bytes.
        text: what somebody wrote.
    """

    digest: Digest
    salt: Annotated[bytes, ByteSize(min_length=SALT_BYTES, max_length=SALT_BYTES)]
    text: Annotated[str, TextForm(max_length=TEXT_CHARACTERS_MAX)]


class _Body(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    charter: Annotated[bytes, ByteSize(max_length=CHARTER_BYTES_MAX)]
    terms: Annotated[bytes, ByteSize(max_length=TEXT_BYTES_MAX)]
    running: Annotated[bytes, ByteSize(max_length=TEXT_BYTES_MAX)]
    commitments: Annotated[tuple[Digest, ...], ByteSize(max_length=NETWORK_MEMBERS_MAX)]
    shown: Annotated[
        tuple[Annotated[bytes, ByteSize(max_length=FOUNDER_BYTES)], ...],
        ByteSize(max_length=NETWORK_MEMBERS_MAX),
    ]
    approvals: Annotated[bytes, ByteSize(max_length=APPROVALS_BYTES_MAX)]
    beside: Annotated[tuple[Beside, ...], ByteSize(max_length=BESIDE_MAX)]


_CODEC = Codec(_Body, frame_bytes_max=BODY_BYTES_MAX)


@dataclass(frozen=True)
class CharterFile:
    """A charter with all that goes with it.

    Attributes:
        charter: the machine's.
        terms_bytes, running_bytes: the canonical texts.
        commitments: in a founding charter, each founder's, in order.
        shown: in a founding charter, each founder's 16 random bytes, or none yet.
        approvals: what keys said of it, in their one order.
        beside: free texts that were not erased, by digest.

    Raises:
        PaperError: the parts are not those of one charter; the message says which.
    """

    charter: Charter
    terms_bytes: bytes
    running_bytes: bytes
    commitments: tuple[bytes, ...] = ()
    shown: tuple[bytes, ...] = ()
    approvals: tuple[Approval, ...] = ()
    beside: tuple[Beside, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        charter = self.charter
        if terms_digest(self.terms_bytes) != charter.terms:
            raise PaperError("the terms are not those that the charter names")
        if running_digest(self.running_bytes) != charter.running:
            raise PaperError("the running settings are not those that the charter names")
        _ = self.terms, self.running  # Both are read, and so checked.
        try:
            if self.is_network:
                require_network(charter)
            else:
                # Whatever a charter says by itself is checked by the epoch that it makes.
                Epoch(NONE, 0, charter)
        except RefusedCharter as error:
            raise PaperError(f"the charter cannot be: {error}") from None
        _require_named_members(charter, self.terms, self.running)
        _require_founders(self)
        _require_beside(self.terms, self.beside)
        for approval in self.approvals:
            try:
                require_signed(approval)
            except RefusedApproval as error:
                raise PaperError(str(error)) from None

    @cached_property
    def terms(self) -> Terms:
        """What only governance keys change."""
        return read_terms(self.terms_bytes)

    @cached_property
    def running(self) -> Running:
        """What operators change within bounds."""
        return read_running(self.running_bytes)

    @property
    def digest(self) -> bytes:
        """The charter's name; of a draft, that of the draft."""
        return self.charter.digest()

    @property
    def draft_digest(self) -> bytes:
        """The name of the draft that a founding charter was made of: all but the nonce."""
        return replaced(self.charter, nonce=draft_nonce(self.commitments)).digest()

    @property
    def is_founding(self) -> bool:
        """Whether it founds a group."""
        return self.charter.present == NONE

    @property
    def is_network(self) -> bool:
        """Whether its members gossip, and keep no ledger: then it holds for good."""
        return self.terms.network is not None

    @property
    def is_draft(self) -> bool:
        """Whether founders' random bytes are still missing."""
        return self.is_founding and self.charter.nonce == draft_nonce(self.commitments)

    def text_of(self, digest: str | None) -> str | None:
        """Return a free text, if there is one and it was not erased."""
        return next((it.text for it in self.beside if it.digest.hex() == digest), None)

    def founding_standing(self) -> ApprovalStanding:
        """Say how far its founding is.

        Raises:
            PaperError: an approval is not what it must be, or it is a draft.
        """
        if self.is_draft:
            raise PaperError("it is a draft: not all founders have shown their random bytes yet")
        with refusals():
            return check_founding(self.charter, self._own_words(), is_network=self.is_network)

    def _own_words(self) -> tuple[Approval, ...]:
        """Return what keys said of it; of a succession without those of the predecessor alone.

        Whether these are enough, its record says (`History.check_successor`).
        """
        said = self.words(Says.APPROVE, Says.OBJECT)
        if self.charter.succeeds is None:
            return said
        own = {
            key
            for member in self.charter.members
            for key in (*member.governance.keys, peer_governance_key(member.key).encoded)
        }
        return tuple(it for it in said if it.key in own)

    def standing_after(self, present: "CharterFile") -> ApprovalStanding:
        """Say how far the approval of this charter is, that is to follow one.

        Raises:
            PaperError: it cannot follow that one, or an approval is not what it must be.
        """
        leaving = present.words(*DEPARTING)
        own = [it for it in self.approvals if it.says in (Says.APPROVE, Says.OBJECT)]
        own += [it for it in self.approvals if it.charter == present.digest]
        with refusals():
            Epoch(NONE, 0, present.charter).followed_by(self.charter)
            return check_amendment(present.charter, self.charter, in_order([*own, *leaving]))

    def words(self, *says: Says) -> tuple[Approval, ...]:
        """Return what keys said of it, of these kinds."""
        return tuple(it for it in self.approvals if it.says in says and it.charter == self.digest)

    def with_words(self, approvals: Iterable[Approval]) -> "CharterFile":
        """Return it with more of what keys say."""
        return replace(self, approvals=in_order([*self.approvals, *approvals]))

    def with_shown(self, name: str, secret: bytes) -> "CharterFile":
        """Return a draft with the random bytes of a founder; with the last, it is one no more.

        Raises:
            PaperError: it is no draft, or the founder had committed to others.
        """
        if not self.is_draft:
            raise PaperError("it is no draft any more: all founders have shown their bytes")
        ranks = [rank for rank, it in enumerate(self.charter.members) if it.name == name]
        if not ranks:
            raise PaperError(f"{name} is no founder of this draft")
        shown = list(self.shown)
        shown[ranks[0]] = secret
        return _settled(replace(self, shown=tuple(shown)))

    def with_all_shown(self, secrets: Mapping[str, bytes]) -> "CharterFile":
        """Return a draft with the random bytes of all founders, by name: one no more.

        Raises:
            PaperError: a founder had committed to others.
        """
        shown = tuple(secrets[it.name] for it in self.charter.members)
        return _settled(replace(self, shown=shown))

    def with_texts_of(self, other: "CharterFile") -> "CharterFile":
        """Return it with the free texts of another charter that it names, too.

        Free texts do not travel between peers; those that stay the same are here already.
        """
        named = _named_texts(self.terms)
        found = [it for it in other.beside if it.digest.hex() in named]
        return replace(self, beside=tuple(sorted({*self.beside, *found})))

    def without_texts(self) -> "CharterFile":
        """Return it without free texts: what is left proves as much."""
        return replace(self, beside=())


class refusals:  # noqa: N801  It reads as the statement that it is.
    """Turns what the rules refuse into `PaperError`."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End; raise a refusal anew as one line for people."""
        if isinstance(error, RefusedCharter | RefusedApproval):
            raise PaperError(str(error)) from None


def merged(one: CharterFile, other: CharterFile) -> CharterFile:
    """Take two files of one charter together.

    Raises:
        PaperError: they are of two charters, or of two drafts.
    """
    if one.is_founding and other.is_founding:
        if one.draft_digest != other.draft_digest:
            raise PaperError("they are two different drafts or charters: compare them with diff")
    elif one.digest != other.digest:
        raise PaperError("they are two different charters: compare them with diff")
    base = next((it for it in (one, other) if not it.is_draft), one)
    if base.is_draft:
        shown = tuple(left or right for left, right in zip(one.shown, other.shown, strict=True))
        base = _settled(replace(base, shown=shown))
    return replace(
        base,
        approvals=in_order([*one.approvals, *other.approvals]),
        beside=tuple(sorted({*one.beside, *other.beside})),
    )


def _settled(draft: CharterFile) -> CharterFile:
    if not all(draft.shown):
        return draft
    nonce = founders_nonce(draft.draft_digest, draft.shown)
    return replace(draft, charter=replaced(draft.charter, nonce=nonce))


# --- checks ---------------------------------------------------------------------------------------


def _require_named_members(charter: Charter, terms: Terms, running: Running) -> None:
    names = {member.name for member in charter.members}
    if set(running.addresses) != names:
        raise PaperError("the addresses are of other members than the charter's")
    for what, named in (
        ("a contact", terms.contacts),
        ("a document", [it.of for it in terms.documents if it.of is not None]),
    ):
        others = sorted(set(named) - names)
        if others:
            raise PaperError(f"{what} is of {others[0]}, who is no member")


def _require_founders(file: CharterFile) -> None:
    charter, commitments = file.charter, file.commitments
    if not file.is_founding:
        if file.shown or commitments:
            raise PaperError("only a founding charter has founders' random bytes")
        return
    if not len(file.shown) == len(commitments) == len(charter.members):
        raise PaperError("the founders' random bytes are not one for each")
    for member, committed, secret in zip(charter.members, commitments, file.shown, strict=True):
        if secret and commit(peer_id_of(member.key), secret) != committed:
            raise PaperError(f"{member.name} has shown other random bytes than it committed to")
    if not file.is_draft and (
        not all(file.shown) or charter.nonce != founders_nonce(file.draft_digest, file.shown)
    ):
        raise PaperError("the nonce does not follow from the founders' random bytes")


def _named_texts(terms: Terms) -> set[str]:
    return {terms.purpose, *terms.contacts.values()} | ({terms.agreement or ""} - {""})


def _require_beside(terms: Terms, beside: tuple[Beside, ...]) -> None:
    if beside != tuple(sorted(set(beside))) or len({it.digest for it in beside}) < len(beside):
        raise PaperError("the free texts are not in their order")
    named = _named_texts(terms)
    for it in beside:
        if it.digest.hex() not in named or salted_digest(it.salt, it.text) != it.digest.hex():
            raise PaperError("a free text is not what the terms name")


# --- files ----------------------------------------------------------------------------------------


def encode_file(file: CharterFile) -> bytes:
    """Return the bytes of a file."""
    body = _CODEC.encode(
        _Body(
            encode_charter(file.charter),
            file.terms_bytes,
            file.running_bytes,
            file.commitments,
            file.shown,
            encode_approvals(file.approvals),
            file.beside,
        )
    )
    length = len(body).to_bytes(_LENGTH_BYTES, "little")
    return MARK + length + body + hash_parts(b"p2pfl/parcel", body)


def decode_file(content: bytes) -> CharterFile:
    """Read the bytes of a file, all of it checked.

    Raises:
        PaperError: it is damaged, or its parts do not belong together.
    """
    if content[: len(MARK)] != MARK:
        raise PaperError("it is no charter file of this version of p2pfl")
    start = len(MARK) + _LENGTH_BYTES
    end = start + int.from_bytes(content[len(MARK) : start], "little")
    if len(content) < end + DIGEST_BYTES:
        raise PaperError("it is cut off")
    if len(content) > end + DIGEST_BYTES or len(content) < start:
        raise PaperError("there is more after its end")
    body = content[start:end]
    if hash_parts(b"p2pfl/parcel", body) != content[end:]:
        raise PaperError("it is damaged: its bytes are not those that were written")
    try:
        read = _CODEC.decode_untrusted(body)
        assert isinstance(read, _Body)
        if _CODEC.encode(read) != body:
            raise PaperError("it is not in its canonical form")
        charter, approvals = read_charter(read.charter), read_approvals(read.approvals)
    except MalformedFrame as error:
        raise PaperError(f"it is damaged: {error}") from None
    return CharterFile(
        charter, read.terms, read.running, read.commitments, read.shown, approvals, read.beside
    )


def read_file(path: Path) -> CharterFile:
    """Read a charter file.

    Raises:
        PaperError: it cannot be read, is damaged, or its parts do not belong together.
    """
    try:
        with path.open("rb") as file:
            content = file.read(BODY_BYTES_MAX + 1024)
    except OSError as error:
        raise PaperError(f"cannot read {path}: {error.strerror}") from None
    try:
        return decode_file(content)
    except PaperError as error:
        raise PaperError(f"{path}: {error}") from None


def write_file(
    path: Path, file: CharterFile, *, is_new: bool = False, erases: bool = False
) -> None:
    """Write a charter file; readers see the old one or the new one.

    What somebody else, or a running peer, has added to the file meanwhile stays in it: nobody's
    signature is lost by two who write at once. With `erases` what the file had goes.

    Raises:
        PaperError: it cannot be written, or is there although it is to be new.
    """
    if path.suffix != SUFFIX:
        raise PaperError(f"{path}: call it NAME{SUFFIX}")
    try:
        if is_new:
            create_file(path, encode_file(file), mode=SHARED)
        else:
            with _alone_in(path.parent):
                whole = file if erases else _with_what_is_there(path, file)
                replace_file(path, encode_file(whole), mode=SHARED)
    except FileExistsError:
        raise PaperError(f"{path} is there already; name a new file") from None
    except OSError as error:
        raise PaperError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep others from writing charter files in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _with_what_is_there(path: Path, file: CharterFile) -> CharterFile:
    if not path.exists():
        return file
    there = read_file(path)
    is_same = there.digest == file.digest or (
        there.is_founding and file.is_founding and there.draft_digest == file.draft_digest
    )
    return merged(there, file) if is_same else file
