"""The frames of the averaging algorithms, byte by byte."""

import json
from pathlib import Path
from typing import Any

import pytest

from p2pfl_gossip import wire
from p2pfl_gossip.averaging.age_gossip import AgedModelHeader
from p2pfl_gossip.averaging.fedavg import GlobalModelHeader
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_gossip.averaging.push_sum import RunningSumHeader
from p2pfl_gossip.records import MalformedFrame

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "averaging_messages.json").read_text()
)
KINDS = {
    kind.__name__: kind
    for kind in (VectorHeader, RunningSumHeader, AgedModelHeader, GlobalModelHeader)
}


@pytest.mark.parametrize("case", VECTORS["messages"], ids=lambda case: case["message"])
def test_frames_are_pinned(case: dict[str, Any]) -> None:
    message = KINDS[case["message"]](**case["fields"])
    assert wire.encode(message).hex() == case["frame"]
    assert wire.decode_untrusted(bytes.fromhex(case["frame"])) == message


@pytest.mark.parametrize("case", VECTORS["malformed"], ids=lambda case: case["why"])
def test_malformed_frames_are_refused(case: dict[str, str]) -> None:
    with pytest.raises(MalformedFrame):
        wire.decode_untrusted(bytes.fromhex(case["frame"]))


def test_every_message_has_a_vector() -> None:
    assert {case["message"] for case in VECTORS["messages"]} == set(KINDS)
