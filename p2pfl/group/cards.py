"""Cards: what a peer hands to a group that is to admit it. Everything on it is public."""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from p2pfl.group.documents import read_document, write_document
from p2pfl.learner.settings import Settings
from p2pfl.libp2p.multiaddr import InvalidMultiaddr, Multiaddr, parse_multiaddr
from p2pfl_crypto.identity import InvalidIdentity, PeerId, public_key_of

ADDRESSES_MAX = 16  # A dialer tries them all.

PeerName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""1 to 64 of a-z, 0-9, dot, dash and underscore; begins with a letter or digit, as folders do."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""32 bytes in hexadecimal, small letters."""


class CardError(Exception):
    """A card that cannot be read or written; one line a fault."""


class Member(Settings):
    """One member of a group, as the others know it."""

    name: PeerName
    """For people; unique in the group, and free to change."""
    peer_id: str
    """Its identity, `12D3Koo...`: the name of its public key, which it proves on every link."""
    addresses: Annotated[tuple[str, ...], Field(min_length=1, max_length=ADDRESSES_MAX)]
    """Where it can be reached: `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT`; free to change."""
    commitment: Digest | None = None
    """To its contribution to the draw; only a group with a public `draw_seed` can do without."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> "Member":
        try:
            public_key_of(self.peer_id)
        except InvalidIdentity as error:
            raise ValueError(f"{self.name}: {error}") from None
        addresses = [str(self._parse(address)) for address in self.addresses]
        if len(set(addresses)) != len(addresses):
            raise ValueError(f"{self.name}: an address is there twice")
        return self

    def multiaddrs(self) -> tuple[Multiaddr, ...]:
        """Return the addresses, each naming whom to expect there."""
        return tuple(self._parse(address) for address in self.addresses)

    def _parse(self, text: str) -> Multiaddr:
        try:
            address = parse_multiaddr(text)
        except InvalidMultiaddr as error:
            raise ValueError(f"{self.name}: {error}") from None
        if address.peer_id not in (None, self.peer_id):
            raise ValueError(f"{self.name}: {text} names another peer than {self.peer_id}")
        if address.port == 0:
            raise ValueError(f"{self.name}: {text} has port 0, which nobody can dial")
        if address.kind in ("ip4", "ip6") and ipaddress.ip_address(address.host).is_unspecified:
            raise ValueError(
                f"{self.name}: {text} is where a peer listens; give an address to reach it at"
            )
        return address.with_peer(PeerId(self.peer_id))


class _Card(Member):
    format: Literal[1] = 1


def read_card(path: Path) -> Member:
    """Read a card.

    Raises:
        CardError: it cannot be read, or says what cannot be; one line a fault.
    """
    card = read_document(path, _Card, CardError)
    return Member.model_validate(card.model_dump(exclude={"format"}))


def write_card(path: Path, member: Member) -> None:
    """Write a card, in place of the one that may be there.

    Raises:
        CardError: it cannot be written.
    """
    write_document(path, _Card.model_validate(member.model_dump()), CardError)
