"""Who vouches for what: statements of members, certificates of entries, proofs that one is final.

A certificate takes t members of the entry's epoch. Two of one round would have an honest signer in
common, and an honest member signs once a round. An entry is final once t members named it as their
head in adverts of the next round; then no history without it can be certified any more.
"""

from functools import lru_cache

from p2pfl_crypto.identity import Identity, InvalidIdentity
from p2pfl_crypto.statements import sign_statement, verify_statement
from p2pfl_gossip.actions import RemoteProtocolError
from p2pfl_gossip.ledger.approvals import RefusedApproval, in_order
from p2pfl_gossip.ledger.approving import check_amendment
from p2pfl_gossip.ledger.charter import NONE, Epoch, RefusedCharter, read_charter
from p2pfl_gossip.ledger.entries import VERSION, Entry, EntryStep, Kind, features_of
from p2pfl_gossip.ledger.messages import (
    Closing,
    EntryCertificate,
    EntrySignature,
    Finality,
    GroupAdvert,
    GroupList,
    entry_statement,
    head_statement,
    list_statement,
)
from p2pfl_gossip.records import MalformedFrame

CHECKED_MAX = 4096
"""Signatures remembered as good: a member meets the same ones in messages, certificates and proofs,
and all members of a simulation are in one process. A round of 128 members has 512."""


@lru_cache(maxsize=CHECKED_MAX)
def _verify_once(key: bytes, kind: bytes, rank: int, signature: bytes, *body: bytes) -> None:
    verify_statement(key, kind, rank, signature, *body)  # What raises is not remembered.


def verify_of(epoch: Epoch, rank: int, kind: bytes, signature: bytes, *body: bytes) -> None:
    """Check what a member states in the ledger of its epoch.

    Raises:
        RemoteProtocolError: there is no such member, or the signature is not its.
    """
    if rank >= epoch.size:
        raise RemoteProtocolError("no_such_member")
    try:
        _verify_once(epoch.keys[rank], kind, rank, signature, *body)
    except InvalidIdentity:
        raise RemoteProtocolError("bad_signature") from None


def sign(identity: Identity, rank: int, kind: bytes, body: bytes) -> bytes:
    """State something in the ledger, from our place."""
    return sign_statement(identity, kind, rank, body)


def require_advert(epoch: Epoch, advert: GroupAdvert) -> None:
    """Check an advert of this epoch, whoever brings it, or raise RemoteProtocolError."""
    head = advert.head
    if advert.epoch != epoch.number:
        raise RemoteProtocolError("wrong_epoch")
    if head.epoch > advert.epoch or head.round >= advert.round:
        raise RemoteProtocolError("head_ahead_of_round")
    if advert.named:
        members = [named.member for named in advert.named]
        if members != sorted(set(members)) or any(member >= epoch.size for member in members):
            raise RemoteProtocolError("bad_evidence")
    verify_of(epoch, advert.member, b"advert", advert.signature, advert.digest(epoch))
    statement = head_statement(epoch, advert.round, head)
    verify_of(epoch, advert.member, b"head", advert.head_signature, statement)


def require_list(epoch: Epoch, leader: int, listed: GroupList) -> tuple[int, ...]:
    """Check a list, as far as it goes without its adverts, and return whom it names."""
    ranks = epoch.unpack(listed.members)
    if listed.epoch != epoch.number:
        raise RemoteProtocolError("wrong_epoch")
    if ranks is None:
        raise RemoteProtocolError("bad_bitmap")
    if listed.kind not in (Kind.SUM, Kind.EMPTY) or len(listed.digests) != 32 * len(ranks):
        raise RemoteProtocolError("bad_list")
    if len(ranks) < epoch.threshold:
        raise RemoteProtocolError("too_few_adverts")
    verify_of(epoch, leader, b"list", listed.signature, list_statement(epoch, listed))
    return ranks


def require_entry_signature(epoch: Epoch, message: EntrySignature) -> None:
    """Check a member's signature of an entry, or raise RemoteProtocolError."""
    if message.epoch != epoch.number:
        raise RemoteProtocolError("wrong_epoch")
    statement = entry_statement(epoch, message.round, message.entry)
    verify_of(epoch, message.member, b"entry", message.signature, statement)


def require_certificate(epoch: Epoch, certificate: EntryCertificate) -> None:
    """Check that t members of this epoch signed the entry, or raise RemoteProtocolError."""
    entry = certificate.entry
    if entry.group != epoch.group or entry.epoch != epoch.number or entry.charter != epoch.digest:
        raise RemoteProtocolError("wrong_epoch")
    _require_form(epoch, entry)
    signers = _signers(epoch, certificate.signers, certificate.signatures)
    statement = entry_statement(epoch, entry.round, entry.digest())
    for place, rank in enumerate(signers):
        signature = certificate.signatures[64 * place : 64 * place + 64]
        verify_of(epoch, rank, b"entry", signature, statement)


def _require_form(epoch: Epoch, entry: Entry) -> None:
    is_known = entry.version == VERSION and entry.kind in (Kind.SUM, Kind.EMPTY)
    if not is_known or entry.features != features_of(epoch, entry.kind):
        raise RemoteProtocolError("unknown_entry")
    for bitmap in (entry.members, entry.out):
        if epoch.unpack(bitmap) is None:
            raise RemoteProtocolError("bad_bitmap")
    if entry.base.round >= entry.round or entry.base.epoch > entry.epoch:
        raise RemoteProtocolError("base_ahead_of_round")


def require_final(epoch: Epoch, proof: Finality) -> None:
    """Check that t members named a head in adverts of the round after it, or raise."""
    if proof.head.epoch != epoch.number:
        raise RemoteProtocolError("wrong_epoch")
    signers = _signers(epoch, proof.signers, proof.signatures)
    statement = head_statement(epoch, proof.head.round + 1, proof.head)
    for place, rank in enumerate(signers):
        verify_of(epoch, rank, b"head", proof.signatures[64 * place : 64 * place + 64], statement)


def require_closing(epoch: Epoch, closing: Closing) -> Epoch:
    """Check the end of this epoch, and return the one that follows.

    t peers' keys alone end no epoch: they may leak, once a group is over. Its charter needs its
    approvals too.
    """
    entry = closing.certificate.entry
    require_certificate(epoch, closing.certificate)
    try:
        charter = read_charter(closing.charter)
        following = epoch.followed_by(charter)
    except (MalformedFrame, RefusedCharter):
        raise RemoteProtocolError("bad_charter") from None
    if entry.next_charter == NONE or following.digest != entry.next_charter:
        raise RemoteProtocolError("other_charter")
    try:
        standing = check_amendment(epoch.charter, charter, closing.approvals)
    except (RefusedApproval, RefusedCharter):
        raise RemoteProtocolError("bad_approval") from None
    if closing.approvals != in_order(closing.approvals):
        raise RemoteProtocolError("bad_approval")
    if not standing.is_enough:
        raise RemoteProtocolError("not_approved")
    if closing.round != entry.round + 1:
        raise RemoteProtocolError("wrong_round")
    head = EntryStep(entry).head
    require_final(epoch, Finality(head, closing.signers, closing.signatures))
    return following


def _signers(epoch: Epoch, bitmap: bytes, signatures: bytes) -> tuple[int, ...]:
    ranks = epoch.unpack(bitmap)
    if ranks is None:
        raise RemoteProtocolError("bad_bitmap")
    if len(ranks) != epoch.threshold:
        raise RemoteProtocolError("not_a_quorum")
    if len(signatures) != 64 * len(ranks):
        raise RemoteProtocolError("bad_signatures")
    return ranks


def gather(epoch: Epoch, signatures: dict[int, bytes]) -> tuple[bytes, bytes]:
    """Return exactly t of these signatures, as a bitmap of their signers and their bytes joined."""
    ranks = sorted(signatures)[: epoch.threshold]
    return epoch.pack(tuple(ranks)), b"".join(signatures[rank] for rank in ranks)
