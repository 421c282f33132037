"""What is said of a member: its name, and where its peer is reached."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from p2pfl.learner.settings import SettingsTable
from p2pfl.libp2p.multiaddr import Multiaddr, parse_multiaddr
from p2pfl_crypto.identity import PeerId, public_key_of

ADDRESSES_MAX = 16  # A dialer tries them all.
ROWS_MAX = 10**9  # So that no weight makes another one vanish beside it.

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name: that is 1 to 64 of a-z, 0-9, dot, dash and underscore, with a"
            " letter or digit first"
        )
    return name


PeerName = Annotated[str, AfterValidator(_check_name)]
"""1 to 64 of a-z, 0-9, dot, dash and underscore; begins with a letter or digit, as folders do."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""32 bytes in hexadecimal, small letters."""


def dialled_addresses(texts: Sequence[str], peer_id: PeerId | None) -> list[Multiaddr]:
    """Parse addresses that others are to dial.

    Args:
        texts: as people write them.
        peer_id: whom they must name if they name anybody; None if that is not known yet.

    Raises:
        ValueError: one of them cannot be dialled, or is there twice.
    """
    addresses = []
    for text in texts:
        address = parse_multiaddr(text)
        if peer_id is not None and address.peer_id not in (None, peer_id):
            raise ValueError(f"{text} names another peer than {peer_id}")
        if address.port == 0:
            raise ValueError(f"{text} has port 0, which nobody can dial")
        if is_unspecified(address):
            raise ValueError(f"{text} is where a peer listens; give an address to reach it at")
        addresses.append(address)
    if len({(address.kind, address.host, address.port) for address in addresses}) < len(addresses):
        raise ValueError("an address is there twice")
    return addresses


def require_reachable(name: str, peer_id: str, addresses: Sequence[str]) -> None:
    """Require an identity, and addresses that can be dialled, of a member of that name.

    Raises:
        ValueError: names the member, and what is wrong.
    """
    try:
        public_key_of(peer_id)
        dialled_addresses(addresses, PeerId(peer_id))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def is_unspecified(address: Multiaddr) -> bool:
    """Tell whether an address stands for all of a machine's: nobody can dial that."""
    is_ip = address.kind in ("ip4", "ip6")
    return is_ip and ipaddress.ip_address(address.host).is_unspecified


class Member(SettingsTable):
    """One member of a group, as the others know it."""

    name: PeerName
    """For people; unique in the group, and free to change."""
    peer_id: str
    """Its identity, `12D3Koo...`: the name of its public key, which it proves on every link."""
    addresses: Annotated[tuple[str, ...], Field(min_length=1, max_length=ADDRESSES_MAX)]
    """Where it can be reached: `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT`; free to change."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> "Member":
        require_reachable(self.name, self.peer_id, self.addresses)
        return self
