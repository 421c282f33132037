"""Messages <-> frames: the closed set of all that peers say to each other.

A frame is a msgpack array of the message's tag and fields (records.py). Tags: 1 to 15 the peer
and the opening of its group, 16 to 63 averaging, 64 to 127 masked sums, 140 to 149 states, 150
to 179 the ledger. A tag is never used again for another meaning: 5 and 6 were secrets that members
revealed to draw a seed.
"""

from p2pfl_gossip.averaging.age_gossip import AgedModelHeader
from p2pfl_gossip.averaging.cohort_averaging import MeanHeader, PartHeader
from p2pfl_gossip.averaging.fedavg import GlobalModelHeader
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_gossip.averaging.push_sum import RunningSumHeader
from p2pfl_gossip.catch_up import (
    ModelHeader,
    ModelRequest,
    NoUpdate,
    Status,
    StatusRequest,
    Wait,
)
from p2pfl_gossip.ledger.messages import LEDGER_MESSAGES
from p2pfl_gossip.ledger.state_messages import STATE_MESSAGES
from p2pfl_gossip.masked_sum.messages import MASKED_SUM_MESSAGES
from p2pfl_gossip.opening import OPENING_MESSAGES
from p2pfl_gossip.records import Codec

FRAME_BYTES_MAX = 256 * 1024
"""Of one message; models travel as bulk bodies. The largest are charters with their approvals and
texts, of 128 members with four keys each; all others take less than 64 KiB."""

MESSAGES = (
    Status
    | StatusRequest
    | ModelRequest
    | ModelHeader
    | Wait
    | NoUpdate
    | OPENING_MESSAGES
    | PartHeader
    | MeanHeader
    | VectorHeader
    | RunningSumHeader
    | AgedModelHeader
    | GlobalModelHeader
    | MASKED_SUM_MESSAGES
    | LEDGER_MESSAGES
    | STATE_MESSAGES
)

_CODEC = Codec(MESSAGES, frame_bytes_max=FRAME_BYTES_MAX)

encode = _CODEC.encode
decode_untrusted = _CODEC.decode_untrusted
