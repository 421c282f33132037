"""What members tell each other of whom they reach: one request, one answer, a stream each.

The protocol is not named after a group: members whose charters differ are to find just that. Who
asks is in the charter of whoever answers, as its host admits nobody else. A view is its sender's
claim: shown as what that member says, and nothing that decides.
"""

from typing import Annotated

from p2pfl_gossip.records import ByteSize, Codec, Digest, Message, TextForm, UInt32, UInt63

PROTOCOL = "/p2pfl/view/1"

VIEW_BYTES_MAX = 256 * 1024
"""Of an answer: about 120 bytes a member."""

MEMBERS_MAX = 1024
"""Named in one view, the first of the charter; a group with links among all has far fewer."""

Word = Annotated[str, TextForm(pattern="^[a-z0-9_]{1,40}$")]
"""A reason or state, as this package writes them: it may be shown."""

PeerIdText = Annotated[str, TextForm(pattern="^[1-9A-HJ-NP-Za-km-z]{1,64}$")]
Version = Annotated[str, TextForm(pattern="^[A-Za-z0-9./+_-]{1,64}$")]


class Seen(Message, frozen=True):
    """What a member sees of another.

    Attributes:
        peer_id: the other.
        link: ``"up"``, ``"not_yet"``, or why there is none.
        dial: ``"ok"``, ``"untried"``, or why it cannot be dialled.
        round_trip_us: of the last dial.
    """

    peer_id: PeerIdText
    link: Word
    dial: Word
    round_trip_us: UInt32 | None


class ViewRequest(Message, frozen=True, tag=1):
    """Tell me what you see; where `fresh`, try to dial everybody first."""

    fresh: bool


class View(Message, frozen=True, tag=2):
    """What a member sees.

    Attributes:
        software: its version of p2pfl.
        protocol: what its group's protocols begin with, without the group: ``"/p2pfl/1"``.
        group: the id of its group.
        now_ms: its clock, Unix time.
        is_running: whether it is a running peer, or `p2pfl peer check`.
        is_second: whether it is linked to another process that runs with the asker's key.
        seen: the other members, in the order of its charter.
    """

    software: Version
    protocol: Version
    group: Digest
    now_ms: UInt63
    is_running: bool
    is_second: bool
    seen: Annotated[tuple[Seen, ...], ByteSize(max_length=MEMBERS_MAX)]


VIEW_MESSAGES = ViewRequest | View

_CODEC = Codec(VIEW_MESSAGES, frame_bytes_max=VIEW_BYTES_MAX)

encode = _CODEC.encode
decode_untrusted = _CODEC.decode_untrusted
