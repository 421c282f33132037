"""What keys say of charters: signed words, one form for all of them, and one order.

Who must say what for a charter to come into force is in `approving`.
"""

from collections.abc import Callable, Iterable
from enum import IntEnum
from functools import lru_cache
from typing import Annotated

from p2pfl_crypto.governance import (
    GovernanceKey,
    InvalidGovernance,
    governance_message,
    verify,
)
from p2pfl_gossip.ledger.charter import (
    KeyBytes,
)
from p2pfl_gossip.records import (
    ByteSize,
    Codec,
    Digest,
    MalformedFrame,
    Message,
    Signature,
    UInt32,
    UInt63,
)

APPROVALS_MAX = 640
"""Of one charter: all keys that one can have, peers' and governance."""

APPROVALS_BYTES_MAX = 112 * 1024
"""So many take 160 bytes each."""


class Says(IntEnum):
    """What a key says."""

    APPROVE = 0
    """Of a charter: it may follow the one that it names."""
    OBJECT = 1
    """Of a charter: it may not. An old key whose member is given others stops that."""
    LEAVE = 2
    """Of the charter in force: its member leaves the group."""
    REVOKE = 3
    """Of the charter in force: its member's peer key counts no more."""
    WITHDRAW = 4
    """Of the charter in force: its member leaves, and asks that later models are not built on
    rounds with its rows. Whether they are, the others decide by a charter."""


LEAVING = (Says.LEAVE, Says.WITHDRAW)
"""By which a member leaves of its own will."""

DEPARTING = (*LEAVING, Says.REVOKE)
"""What a member says alone of the charter in force, and by which its peer stops."""


_PURPOSES = {
    Says.APPROVE: b"approve",
    Says.OBJECT: b"object",
    Says.LEAVE: b"leave",
    Says.REVOKE: b"revoke",
    Says.WITHDRAW: b"withdraw",
}


class RefusedApproval(ValueError):
    """An approval is none; the message says why."""


class Approval(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one key says of a charter; whose key it is, the charters say.

    Attributes:
        charter: the charter's digest.
        says: a `Says`.
        key: the key that signs, with its kind.
        until: second since 1970 after which nobody takes it any more, but for what is in force.
        signature: over what `approval_message` says.
    """

    charter: Digest
    says: UInt32
    key: KeyBytes
    until: UInt63
    signature: Signature


class _Approvals(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    approvals: Annotated[tuple[Approval, ...], ByteSize(max_length=APPROVALS_MAX)]


_CODEC = Codec(_Approvals, frame_bytes_max=APPROVALS_BYTES_MAX)


def approval_message(charter: bytes, says: int, key: GovernanceKey, until: int) -> bytes:
    """Return what is signed: the charter's digest, what is said of it, by which key, until when.

    A charter's digest names its group, by the charters before it.
    """
    return governance_message(key, _PURPOSES[Says(says)], charter, until.to_bytes(8, "little"))


def approval_of(
    charter: bytes,
    says: int,
    key: GovernanceKey,
    until: int,
    sign: Callable[[bytes], bytes],
) -> Approval:
    """Say something of a charter.

    Args:
        charter: its digest.
        says: a `Says`.
        key: that signs.
        until: second since 1970.
        sign: bytes in, 64 bytes out: the secret key's part.

    Raises:
        RefusedApproval: what `sign` gave is no signature of the key.
    """
    signature = sign(approval_message(charter, says, key, until))
    if len(signature) != 64:
        raise RefusedApproval(f"a signature has 64 bytes, not {len(signature)}")
    approval = Approval(charter, says, key.encoded, until, signature)
    require_signed(approval)
    return approval


def require_signed(approval: Approval) -> None:
    """Check that an approval is its key's.

    Raises:
        RefusedApproval: it is not.
    """
    if approval.says not in tuple(Says):
        raise RefusedApproval(f"{approval.says} is nothing that a key can say")
    try:
        _verify_once(approval)
    except InvalidGovernance as error:
        raise RefusedApproval(f"key {fingerprint_of(approval.key)}: {error}") from None


@lru_cache(maxsize=4096)  # A charter's are checked again with each that comes; as in certificates.
def _verify_once(approval: Approval) -> None:
    key = GovernanceKey.read(approval.key)
    message = approval_message(approval.charter, approval.says, key, approval.until)
    verify(key, approval.signature, message)


def encode_approvals(approvals: Iterable[Approval]) -> bytes:
    """Write approvals in their one order: by what is said, then by key."""
    return _CODEC.encode(_Approvals(in_order(approvals)))


def read_approvals(encoded: bytes) -> tuple[Approval, ...]:
    """Read approvals; who signed them is not looked at.

    Raises:
        MalformedFrame: these are none, or not in their one order.
    """
    read = _CODEC.decode_untrusted(encoded)
    assert isinstance(read, _Approvals)
    if _CODEC.encode(read) != encoded or read.approvals != in_order(read.approvals):
        raise MalformedFrame("not approvals in their one form and order")
    return read.approvals


def in_order(approvals: Iterable[Approval]) -> tuple[Approval, ...]:
    """Return approvals in their one order, each key's word once.

    Of two by which one key says the same, the one that holds longer counts.
    """
    found: dict[tuple[bytes, int, bytes], Approval] = {}
    for approval in approvals:
        place = (approval.charter, approval.says, approval.key)
        known = found.get(place)
        if known is None or (known.until, known.signature) < (approval.until, approval.signature):
            found[place] = approval
    return tuple(found[place] for place in sorted(found))


def fingerprint_of(key: bytes) -> str:
    """Return a key's fingerprint, for people; what is no key, as digits."""
    try:
        return GovernanceKey.read(key).fingerprint
    except InvalidGovernance:
        return key.hex()[:16]
