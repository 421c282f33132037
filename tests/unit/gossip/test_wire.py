"""Every message as bytes: pinned by vectors, and nothing else decodes."""

import json
import math
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfl_gossip import wire
from p2pfl_gossip.averaging.cohort_averaging import MeanHeader, PartHeader
from p2pfl_gossip.catch_up import Status
from p2pfl_gossip.description import Fingerprint, Source, Tensor
from p2pfl_gossip.ledger.approvals import Approval
from p2pfl_gossip.ledger.entries import Entry, Feature, Head, Strike
from p2pfl_gossip.ledger.messages import (
    AdvertAndHead,
    Departure,
    EntryCertificate,
    EntrySignature,
    GroupAdvert,
    HeldParcel,
    Named,
    TwoAdverts,
    TwoEntries,
    TwoSums,
)
from p2pfl_gossip.ledger.states import StateItem
from p2pfl_gossip.masked_sum.messages import Header, SumDigest
from p2pfl_gossip.records import MalformedFrame

VECTORS = Path(__file__).parents[2] / "vectors"
FILES = (
    "averaging_messages.json",
    "ledger_messages.json",
    "masked_sum_messages.json",
    "messages.json",
    "state_messages.json",
)
KINDS = {kind.__name__: kind for kind in get_args(wire.MESSAGES)}
LEDGER_RECORDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        AdvertAndHead,
        Approval,
        Departure,
        Entry,
        EntryCertificate,
        EntrySignature,
        Feature,
        GroupAdvert,
        Head,
        HeldParcel,
        Named,
        StateItem,
        Strike,
        SumDigest,
        TwoAdverts,
        TwoEntries,
        TwoSums,
    )
}
"""What messages of the ledger hold."""
CASES: list[dict[str, Any]] = [
    case for name in FILES for case in json.loads((VECTORS / name).read_text())["messages"]
]


def _fields(case: dict[str, Any]) -> dict[str, Any]:
    return {name: _field(value) for name, value in case["fields"].items()}


def _field(value: Any) -> Any:
    """Turn a field of a vector into what a message holds; a table is a record within it."""
    if isinstance(value, list):
        return tuple(_field(item) for item in value)
    if isinstance(value, dict) and "record" in value:
        fields = {name: of for name, of in value.items() if name != "record"}
        return LEDGER_RECORDS[value["record"]](**_fields({"fields": fields}))
    if isinstance(value, dict) and "text" in value:
        return value["text"]
    if isinstance(value, dict) and "dtype" in value:
        return Tensor(value["name"], tuple(value["shape"]), value["dtype"])
    if isinstance(value, dict) and "version" in value:
        return Source(**value)
    if isinstance(value, dict) and "sums" in value:
        return Fingerprint(**_fields({"fields": value}))
    if isinstance(value, dict):
        return Header(**_fields({"fields": value}))
    return _bytes(value) if isinstance(value, str) else value


def _bytes(text: str) -> bytes:
    """Read hexadecimal, in which (5a*100) is a hundred times 5a."""
    return bytes.fromhex(re.sub(r"\((\w\w)\*(\d+)\)", lambda it: it[1] * int(it[2]), text))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['message']}-{case['frame'][:40]}")
def test_each_message_has_the_bytes_of_its_vector(case: dict[str, Any]) -> None:
    message = KINDS[case["message"]](**_fields(case))
    frame = _bytes(case["frame"])
    assert wire.encode(message) == frame
    assert wire.decode_untrusted(frame) == message
    assert wire.decode_untrusted(memoryview(bytearray(frame))) == message


def test_every_message_has_a_vector() -> None:
    assert {case["message"] for case in CASES} == set(KINDS)


def test_every_tag_is_in_the_range_of_its_layer_and_used_once() -> None:
    tags = {kind: kind.__struct_config__.tag for kind in KINDS.values()}
    assert len(set(tags.values())) == len(tags)
    ranges = {
        "catch_up": (*range(1, 5), 12, 13),
        "reveals": range(5, 7),
        "opening": range(7, 9),
        "comparison": range(9, 11),
        "description": range(11, 12),
        "averaging": range(16, 64),
        "masked_sum": range(64, 128),
        "ledger": range(140, 180),
    }
    for kind, tag in tags.items():
        assert tag in ranges[kind.__module__.split(".")[1]]


MALFORMED = {
    "nothing": b"",
    "no array": b"\x01",
    "nil": b"\xc0",
    "an empty array": b"\x90",
    "a tag that is not known": b"\x91\x7f",
    "a tag that is a string": b"\x92\xa11\x01",
    "a tag that is negative": b"\x92\xff\x01",
    "a field missing": b"\x91\x01",
    "a field too many": b"\x93\x01\x05\x05",
    "a trailing byte": b"\x92\x01\x05\x00",
    "two messages": b"\x92\x01\x05\x92\x01\x05",
    "cut off": b"\x92\x01",
    "an array that promises more": b"\xdd\xff\xff\xff\xff\x01",
    "bytes that promise more": b"\x93\x11\x05\xc6\xff\xff\xff\xff\x00",
    "a round below zero": b"\x92\x01\xff",
    "a round of more than 32 bits": b"\x92\x01\xcf\x00\x00\x00\x01\x00\x00\x00\x00",
    "a round that is a float": b"\x92\x01\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00",
    "a round that is a bool": b"\x92\x01\xc3",
    "a round that is nil": b"\x92\x01\xc0",
    "a weight that is a string": b"\x93\x10\x05\xa3nan",
    "a bitmap that is a string": b"\x93\x11\x05\xa1\x01",
    "an empty bitmap": b"\x93\x11\x05\xc4\x00",
    "a bitmap of 129 bytes": b"\x93\x11\x05\xc4\x81" + bytes(129),
    "a secret of 31 bytes": b"\x93\x05\x00\xc4\x1f" + bytes(31),
    "a secret of 33 bytes": b"\x93\x05\x00\xc4\x21" + bytes(33),
    "a member below zero": b"\x93\x05\xff\xc4\x20" + bytes(32),
    "a request for nobody": b"\x92\x06\xc4\x00",
    "a request of 8,193 bytes": b"\x92\x06\xc5\x20\x01" + bytes(8193),
    "a flag that is a number": b"\x92\x07\x01",
    "an extension": b"\x92\x01\xd4\x01\x00",
    "a timestamp": b"\x92\x01\xd6\xff\x00\x00\x00\x00",
    "a map": b"\x81\xa5round\x05",
    "a reserved byte": b"\xc1",
    "deep nesting": b"\x91" * 40_000,
    "deep nesting of a field": b"\x92\x01" + b"\x91" * 40_000,
    "text that is not UTF-8": b"\x92\x01\xa2\xff\xfe",
}


@pytest.mark.parametrize("frame", MALFORMED.values(), ids=MALFORMED)
def test_malformed_frames_are_refused(frame: bytes) -> None:
    with pytest.raises(MalformedFrame):
        wire.decode_untrusted(frame)


def test_a_frame_that_is_too_long_is_not_even_looked_at() -> None:
    longest = b"\x92\x01" + b"\x91" * (wire.FRAME_BYTES_MAX - 2)
    assert len(longest) == wire.FRAME_BYTES_MAX
    with pytest.raises(MalformedFrame, match="more than"):
        wire.decode_untrusted(longest + b"\x00")
    with pytest.raises(MalformedFrame) as caught:
        wire.decode_untrusted(longest)
    assert "more than" not in str(caught.value)


def test_what_is_too_long_to_be_taken_is_not_sent_either() -> None:
    with pytest.raises(ValueError, match="MeanHeader takes"):
        wire.encode(MeanHeader(1, bytes(wire.FRAME_BYTES_MAX)))


@pytest.mark.parametrize("weight", [math.nan, math.inf, -0.0])
def test_weights_that_are_no_numbers_pass_the_wire_and_are_for_the_machine_to_refuse(
    weight: float,
) -> None:
    decoded = wire.decode_untrusted(wire.encode(PartHeader(1, weight)))
    assert isinstance(decoded, PartHeader)
    assert repr(decoded.weight) == repr(weight)


def test_a_weight_may_be_an_integer_on_the_wire() -> None:
    # msgpack encoders of other languages shorten 3.0 so.
    decoded = wire.decode_untrusted(b"\x93\x10\x05\x03")
    assert decoded == PartHeader(5, 3.0)
    assert isinstance(decoded.weight, float)


def _decode_or_refuse(frame: bytes) -> None:
    try:
        message = wire.decode_untrusted(frame)
    except MalformedFrame:
        return
    # What decodes is one of ours, and one that we could have sent.
    assert type(message) in KINDS.values()
    assert wire.decode_untrusted(wire.encode(message)) == message or "nan" in repr(message)


@given(frame=st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_random_bytes_raise_nothing_but_malformed_frame(frame: bytes) -> None:
    _decode_or_refuse(frame)


msgpack_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@given(
    tag=st.sampled_from(sorted(kind.__struct_config__.tag for kind in KINDS.values())),
    fields=st.lists(msgpack_values, max_size=4),
)
@settings(max_examples=25, deadline=None)
def test_random_fields_raise_nothing_but_malformed_frame(tag: int, fields: list[Any]) -> None:
    _decode_or_refuse(msgspec.msgpack.encode([tag, *fields]))


@given(
    case=st.sampled_from(CASES),
    changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 20),
    more=st.binary(max_size=4),
)
@settings(max_examples=150, deadline=None)
def test_mutated_frames_raise_nothing_but_malformed_frame(
    case: dict[str, Any], changes: list[tuple[int, int]], cut: int, more: bytes
) -> None:
    frame = bytearray(_bytes(case["frame"]))
    for place, value in changes:
        frame[place % len(frame)] = value
    _decode_or_refuse(bytes(frame[: len(frame) - cut]) + more)


def test_messages_are_values() -> None:
    assert Status(3) == Status(3)
    with pytest.raises(AttributeError):
        Status(3).round = 4  # type: ignore[misc]
