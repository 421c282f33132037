"""How members come to one draw seed: each committed to a secret in the roster, now all reveal.

A secret is held against its commitment, so it does not matter who passes it on. Nobody's choice
bends the seed: commitments were made before any secret was known, and without all secrets there is
no seed at all (`p2pfl_crypto.draw_seed`).
"""

from typing import Annotated

from p2pfl_crypto.draw_seed import DRAW_SECRET_BYTES, combine_draw, commit_draw
from p2pfl_gossip.actions import LocalProtocolError, RemoteProtocolError
from p2pfl_gossip.records import ByteSize, Digest, Message, UInt32

MEMBERS_MAX = 2**16
"""Of a group that opens so; bounds the bitmap of a request, to 8 KiB."""


class Revealed(Message, frozen=True, tag=5):
    """The secret that `member` committed to; from anybody."""

    member: UInt32
    secret: Digest


class RevealRequest(Message, frozen=True, tag=6):
    """Tell me these members' secrets.

    `members` is a bitmap over the roster, least significant bit first, of ceil(n/8) bytes.
    """

    members: Annotated[bytes, ByteSize(min_length=1, max_length=MEMBERS_MAX // 8)]


class Reveals:
    """The secrets that one member knows.

    Args:
        group_id: 32 bytes that name the group, commitments included.
        commitments: 32 bytes of each member, in roster order.
        index: our own place.
        secret: our own secret.
    """

    def __init__(
        self, *, group_id: bytes, commitments: tuple[bytes, ...], index: int, secret: bytes
    ) -> None:
        if len(commitments) > MEMBERS_MAX:
            raise LocalProtocolError(f"a group has at most {MEMBERS_MAX} members to reveal")
        if commit_draw(secret) != commitments[index]:
            raise LocalProtocolError("our secret is not the one that we committed to")
        self._group_id, self._commitments = group_id, commitments
        self._secrets = {index: secret}

    @property
    def is_complete(self) -> bool:
        """Whether we know every secret."""
        return len(self._secrets) == len(self._commitments)

    @property
    def missing(self) -> tuple[int, ...]:
        """The members whose secrets we do not know, in roster order."""
        return tuple(
            member for member in range(len(self._commitments)) if member not in self._secrets
        )

    def seed(self) -> bytes:
        """Return the draw seed, 32 bytes; every secret must be known."""
        return combine_draw(self._group_id, self._ordered())

    def on_revealed(self, message: Revealed) -> None:
        """Take a secret, or raise RemoteProtocolError and change nothing."""
        if message.member >= len(self._commitments):
            raise RemoteProtocolError("member_out_of_range")
        # Only a member's own secret has its hash, so what we know need not be hashed again.
        known = self._secrets.get(message.member)
        if known is None and commit_draw(message.secret) == self._commitments[message.member]:
            self._secrets[message.member] = message.secret
        elif known != message.secret:
            raise RemoteProtocolError("wrong_secret")

    def reveal(self, member: int) -> Revealed:
        """Tell a secret that we know."""
        return Revealed(member, self._secrets[member])

    def request(self) -> RevealRequest:
        """Ask for all that we miss."""
        bits = sum(1 << member for member in self.missing)
        return RevealRequest(bits.to_bytes(self._bitmap_bytes, "little"))

    def wanted(self, request: RevealRequest) -> list[int]:
        """Return whose secrets, of those that we know, are asked for; in roster order.

        Raises RemoteProtocolError if the bitmap is not of this group.
        """
        bits = int.from_bytes(request.members, "little")
        if len(request.members) != self._bitmap_bytes or bits >> len(self._commitments):
            raise RemoteProtocolError("wrong_bitmap")
        return [member for member in sorted(self._secrets) if bits >> member & 1]

    def to_record(self) -> bytes:
        """Return all secrets, joined in roster order, to keep: by now they are public."""
        return b"".join(self._ordered())

    def restore(self, record: bytes) -> None:
        """Take what `to_record` gave an earlier incarnation."""
        size = DRAW_SECRET_BYTES
        secrets = [record[start : start + size] for start in range(0, len(record), size)]
        if len(record) != size * len(self._commitments) or any(
            commit_draw(secret) != commitment
            for secret, commitment in zip(secrets, self._commitments, strict=True)
        ):
            raise LocalProtocolError("the persisted secrets are not of this group")
        self._secrets = dict(enumerate(secrets))

    @property
    def _bitmap_bytes(self) -> int:
        return (len(self._commitments) + 7) // 8

    def _ordered(self) -> list[bytes]:
        return [self._secrets[member] for member in range(len(self._commitments))]
