# mypy: disable-error-code="arg-type"
"""Bodies under way: whole, bounded, and however they are cut."""

from itertools import count, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfl_gossip.actions import PeerId, RemoteProtocolError
from p2pfl_gossip.catch_up import ModelHeader
from p2pfl_gossip.inbound import BODIES_PER_SENDER_MAX, Inbound

ANN, BEN = PeerId("ann"), PeerId("ben")
HEADER = ModelHeader(3)
VECTOR = np.arange(5, dtype=np.float32)
CONTENT = VECTOR.tobytes()


def _inbound() -> Inbound:
    return Inbound(np.float32)


def _take(inbound: Inbound, chunks: list[Any], bulk: int = 1, size: int = len(CONTENT)) -> Any:
    inbound.begin(ANN, bulk, HEADER, size)
    for chunk in chunks:
        inbound.chunk(bulk, chunk)
    header, vector = inbound.end(bulk)
    assert header is HEADER
    return vector


@pytest.mark.parametrize("first", range(len(CONTENT) + 1))
def test_a_body_may_be_cut_at_every_byte(first: int) -> None:
    for second in range(first, len(CONTENT) + 1):
        chunks = [CONTENT[:first], CONTENT[first:second], CONTENT[second:]]
        vector = _take(_inbound(), chunks)
        assert vector.tobytes() == CONTENT
        assert vector.dtype == np.float32
        assert not vector.flags.writeable


def test_a_body_may_come_byte_by_byte() -> None:
    vector = _take(_inbound(), [CONTENT[place : place + 1] for place in range(len(CONTENT))])
    assert vector.tolist() == VECTOR.tolist()


@pytest.mark.parametrize(
    "chunk",
    [VECTOR, memoryview(CONTENT), bytearray(CONTENT), memoryview(VECTOR), VECTOR.view(np.uint8)],
    ids=["array", "view of bytes", "bytearray", "view of array", "array of bytes"],
)
def test_a_chunk_may_be_any_buffer(chunk: Any) -> None:
    assert _take(_inbound(), [chunk]).tolist() == VECTOR.tolist()


def test_a_body_of_one_chunk_is_not_copied() -> None:
    assert np.shares_memory(_take(_inbound(), [VECTOR]), VECTOR)


def test_a_body_may_begin_at_an_odd_address() -> None:
    vector = _take(_inbound(), [memoryview(b"x" + CONTENT)[1:]])
    assert vector.tolist() == VECTOR.tolist()


@pytest.mark.parametrize("chunks", [[], [b""], [CONTENT[:-1]], [CONTENT[:4], CONTENT[4:-1]]])
def test_a_body_that_is_too_short_is_refused(chunks: list[bytes]) -> None:
    inbound = _inbound()
    with pytest.raises(RemoteProtocolError, match=r"^body_too_short$"):
        _take(inbound, chunks)
    assert _take(inbound, [CONTENT]).tolist() == VECTOR.tolist()  # It no longer counts.


@pytest.mark.parametrize(
    "chunks", [[CONTENT + b"x"], [CONTENT, b"x"], [CONTENT[:4], CONTENT], [b"x", CONTENT]]
)
def test_a_body_that_is_too_long_is_refused_and_forgotten(chunks: list[bytes]) -> None:
    inbound = _inbound()
    with pytest.raises(RemoteProtocolError, match=r"^body_too_long$"):
        _take(inbound, chunks)
    for bulk in range(2, 2 + BODIES_PER_SENDER_MAX):
        inbound.begin(ANN, bulk, HEADER, 4)


def test_an_empty_chunk_after_the_whole_body_is_nothing() -> None:
    assert _take(_inbound(), [CONTENT, b""]).tolist() == VECTOR.tolist()


@pytest.mark.parametrize("chunks", [[], [b""], [b"", b""]])
def test_an_empty_body_is_whole_without_a_chunk(chunks: list[bytes]) -> None:
    assert _take(_inbound(), chunks, size=0).tolist() == []


def test_bodies_from_one_sender_are_bounded_and_others_have_their_own_bound() -> None:
    inbound, bulks = _inbound(), count(1)
    for _ in range(BODIES_PER_SENDER_MAX):
        inbound.begin(ANN, next(bulks), HEADER, 4)
    with pytest.raises(RemoteProtocolError, match=r"^too_many_bodies$"):
        inbound.begin(ANN, 99, HEADER, 4)
    inbound.begin(BEN, next(bulks), HEADER, 4)
    inbound.lost(2)
    inbound.begin(ANN, 100, HEADER, 4)
    with pytest.raises(RemoteProtocolError, match=r"^too_many_bodies$"):
        inbound.begin(ANN, 101, HEADER, 4)


def test_bodies_under_way_at_once_do_not_mix() -> None:
    inbound = _inbound()
    inbound.begin(ANN, 1, HEADER, 8)
    inbound.begin(BEN, 2, HEADER, 8)
    for _place in range(8):
        inbound.chunk(1, b"\x01")
        inbound.chunk(2, b"\x02")
    assert inbound.end(2)[1].tobytes() == b"\x02" * 8
    assert inbound.end(1)[1].tobytes() == b"\x01" * 8


@given(
    values=st.lists(st.floats(width=32), min_size=1, max_size=20),
    cuts=st.lists(st.integers(0, 80), max_size=6),
)
@settings(max_examples=100, deadline=None)
def test_what_comes_is_what_was_sent(values: list[float], cuts: list[int]) -> None:
    content = np.array(values, np.float32).tobytes()
    places = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    chunks = [content[start:end] for start, end in pairwise(places)]
    assert _take(_inbound(), chunks, size=len(content)).tobytes() == content


def test_float64_bodies_are_float64() -> None:
    inbound = Inbound(np.float64)
    inbound.begin(ANN, 1, HEADER, 16)
    inbound.chunk(1, np.array([1.5, 2.5]))
    assert inbound.end(1)[1].tolist() == [1.5, 2.5]


@pytest.mark.parametrize("cut", [1, 3, len(CONTENT) - 1])
def test_a_body_in_pieces_is_written_to_the_room_that_is_given(cut: int) -> None:
    inbound, room = _inbound(), np.zeros(7, np.float32)
    inbound.begin(ANN, 1, HEADER, len(CONTENT), lambda: room[1:6])
    for chunk in (CONTENT[:cut], CONTENT[cut:]):
        inbound.chunk(1, chunk)
    _, vector = inbound.end(1)
    assert np.shares_memory(vector, room)
    assert room.tolist() == [0.0, *VECTOR.tolist(), 0.0]
    assert not vector.flags.writeable


def test_no_room_is_asked_for_a_body_that_comes_whole() -> None:
    inbound, content = _inbound(), np.array([1.5, 2.5], np.float32)
    inbound.begin(ANN, 1, HEADER, content.nbytes, lambda: pytest.fail("asked for"))
    for chunk in (b"", content, b""):
        inbound.chunk(1, chunk)
    assert np.shares_memory(inbound.end(1)[1], content)


def test_room_that_is_gone_by_then_is_done_without() -> None:
    inbound = _inbound()
    inbound.begin(ANN, 1, HEADER, len(CONTENT), lambda: None)
    for chunk in (CONTENT[:3], CONTENT[3:]):
        inbound.chunk(1, chunk)
    assert inbound.end(1)[1].tolist() == VECTOR.tolist()
