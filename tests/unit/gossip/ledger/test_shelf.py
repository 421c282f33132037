"""What a member gives to others of its states, and how much of it."""

from typing import Any

import numpy as np
import pytest
from fetch_world import a_model

from p2pfl_gossip.actions import (
    Action,
    CancelSend,
    LocalProtocolError,
    PeerId,
    RemoteProtocolError,
    Send,
    SendBulk,
)
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.ledger.shelf import (
    GIVEN_CHUNKS_MIN,
    GIVEN_MAX,
    GIVING_MAX,
    GIVING_PERIOD_S,
    Shelf,
)
from p2pfl_gossip.ledger.state_messages import (
    CHUNKS_PER_REQUEST_MAX,
    PAGE_CHUNKS_MAX,
    ChunksCancel,
    ChunksRequest,
    StateChunkDigests,
    StateChunks,
    StateMessage,
    StateRefusal,
    StateRequest,
)
from p2pfl_gossip.ledger.states import (
    CHUNK_ENTRIES,
    STATE_CHUNK_BYTES,
    StateItem,
    digest_state,
    item_digest,
)
from p2pfl_gossip.wire import decode_untrusted, encode

ASKER, OTHER = PeerId("asker"), PeerId("other")
CHUNKS = 9
MODEL = a_model(CHUNKS - 0.5)
STATE = digest_state("model", MODEL)
DIGEST = STATE.item.digest


class Holding:
    """A shelf with one item, and what it sends."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.desk = Desk()
        self.shelf = Shelf(self.desk)
        self.shelf.hold(STATE.item, MODEL, STATE.chunk_digests)

    def ask(self, message: StateMessage, peer: PeerId = ASKER) -> list[Action]:
        return self.shelf.on_message(self.now_s, peer, message)

    def body(self, first: int, count: int, peer: PeerId = ASKER) -> SendBulk:
        (sending,) = self.ask(ChunksRequest(DIGEST, first, count), peer)
        assert isinstance(sending, SendBulk)
        return sending

    def sent(self, sending: SendBulk, *, ok: bool = True) -> None:
        assert sending.ticket is not None
        assert self.desk.on_sent(self.now_s, sending.ticket, ok) == []


REFUSED = [Send(ASKER, StateRefusal(DIGEST))]


def test_it_tells_the_chunk_digests() -> None:
    told = StateChunkDigests(DIGEST, 0, STATE.chunk_digests)
    assert Holding().ask(StateRequest(DIGEST, 0)) == [Send(ASKER, told)]


@pytest.mark.parametrize(("first", "count"), [(0, 1), (3, 4), (8, 1), (0, 9)])
def test_it_gives_chunks_straight_from_the_vector(first: int, count: int) -> None:
    sending = Holding().body(first, count)
    (part,) = sending.parts
    assert sending.receiver == ASKER
    assert sending.header == StateChunks(DIGEST, first, count)
    assert np.shares_memory(part, MODEL)
    start = first * STATE_CHUNK_BYTES
    expected = MODEL.tobytes()[start : start + count * STATE_CHUNK_BYTES]
    assert bytes(part) == expected
    assert sending.size_bytes == len(expected)


def test_what_is_not_held_is_refused_by_a_word() -> None:
    holding, digest = Holding(), bytes(32)
    for message in (StateRequest(digest, 0), ChunksRequest(digest, 0, 1)):
        assert holding.ask(message) == [Send(ASKER, StateRefusal(digest))]
    assert holding.ask(ChunksCancel(digest, 0)) == []


def test_what_was_dropped_is_held_no_more_and_what_is_on_its_way_goes_on() -> None:
    holding = Holding()
    sending = holding.body(0, 4)
    assert holding.shelf.holds(DIGEST)
    holding.shelf.drop(DIGEST)
    assert not holding.shelf.holds(DIGEST)
    assert holding.ask(StateRequest(DIGEST, 0)) == REFUSED
    assert holding.ask(ChunksRequest(DIGEST, 0, 1)) == REFUSED
    holding.sent(sending)
    holding.shelf.drop(DIGEST)


def test_all_but_some_are_dropped() -> None:
    holding = Holding()
    holding.shelf.keep_only((bytes(32), DIGEST))
    assert holding.shelf.holds(DIGEST)
    holding.shelf.keep_only((bytes(32),))
    assert not holding.shelf.holds(DIGEST)


def test_what_is_held_must_be_the_item() -> None:
    shelf = Shelf(Desk())
    with pytest.raises(LocalProtocolError, match="not the item"):
        shelf.hold(STATE.item, MODEL[:-1], STATE.chunk_digests)
    with pytest.raises(LocalProtocolError, match="not the item"):
        shelf.hold(STATE.item, MODEL, STATE.chunk_digests[::-1])


@pytest.mark.parametrize(("first", "count"), [(9, 1), (8, 2), (0, 10), (2**32 - 1, 64)])
def test_chunks_that_are_none_are_refused(first: int, count: int) -> None:
    holding = Holding()
    with pytest.raises(RemoteProtocolError, match="no_such_chunk"):
        holding.ask(ChunksRequest(DIGEST, first, count))


@pytest.mark.parametrize("page", [1, 2**32 - 1])
def test_pages_that_are_none_are_refused(page: int) -> None:
    with pytest.raises(RemoteProtocolError, match="no_such_page"):
        Holding().ask(StateRequest(DIGEST, page))


@pytest.mark.parametrize("message", [StateRefusal(DIGEST), StateChunks(DIGEST, 0, 1)])
def test_what_nobody_asks_is_refused(message: StateMessage) -> None:
    with pytest.raises(RemoteProtocolError, match="unexpected_message"):
        Holding().ask(message)


@pytest.mark.parametrize("count", [0, CHUNKS_PER_REQUEST_MAX + 1, 2**32 - 1])
def test_a_request_leads_to_a_bounded_number_of_chunks(count: int) -> None:
    decode_untrusted(encode(ChunksRequest(DIGEST, 0, CHUNKS_PER_REQUEST_MAX)))
    for kind in (ChunksRequest, StateChunks):
        with pytest.raises(ValueError, match="Expected `int`"):
            decode_untrusted(encode(kind(DIGEST, 0, count)))


def test_a_page_is_bounded() -> None:
    decode_untrusted(encode(StateChunkDigests(DIGEST, 0, bytes(32 * PAGE_CHUNKS_MAX))))
    with pytest.raises(ValueError, match="Expected `bytes`"):
        decode_untrusted(encode(StateChunkDigests(DIGEST, 0, bytes(32 * PAGE_CHUNKS_MAX + 1))))


def test_a_long_list_is_given_in_pages() -> None:
    length = (PAGE_CHUNKS_MAX + 8) * CHUNK_ENTRIES
    digests = bytes(range(256)) * (32 * (PAGE_CHUNKS_MAX + 8) // 256)
    digest = item_digest("model", "float32", length, digests)
    holding = Holding()
    # Zeros that nobody reads take no memory.
    holding.shelf.hold(
        StateItem("model", "float32", length, digest), np.zeros(length, np.float32), digests
    )
    said: list[Any] = []
    for page in (0, 1):
        (send,) = holding.ask(StateRequest(digest, page))
        assert isinstance(send, Send)
        said.append(send.message)
    assert b"".join(message.chunk_digests for message in said) == digests
    assert len(said[1].chunk_digests) == 8 * 32


def test_a_few_requests_of_one_member_are_under_way() -> None:
    holding = Holding()
    sendings = [holding.body(first, 1) for first in range(GIVING_MAX)]
    assert holding.ask(ChunksRequest(DIGEST, 8, 1)) == REFUSED
    assert holding.ask(ChunksRequest(DIGEST, 8, 1), OTHER) != []  # Another gets its own.
    holding.sent(sendings[0], ok=False)
    holding.body(8, 1)


def test_what_is_on_its_way_is_not_sent_twice() -> None:
    holding = Holding()
    sending = holding.body(2, 3)
    assert holding.ask(ChunksRequest(DIGEST, 2, 3)) == []
    assert holding.ask(ChunksRequest(DIGEST, 2, 1)) == []
    holding.body(2, 3, OTHER)
    holding.sent(sending)
    holding.body(2, 3)


def test_a_sending_is_stopped_when_the_asker_says_so() -> None:
    holding = Holding()
    sending = holding.body(2, 3)
    assert sending.ticket is not None
    assert holding.ask(ChunksCancel(DIGEST, 3)) == []
    assert holding.ask(ChunksCancel(DIGEST, 2), OTHER) == []
    assert holding.ask(ChunksCancel(DIGEST, 2)) == [CancelSend(sending.ticket)]
    holding.sent(sending, ok=False)
    assert holding.ask(ChunksCancel(DIGEST, 2)) == []


def given(holding: Holding) -> int:
    """Ask for all of the item until it is refused; return how many chunks and pages came."""
    count = 0
    for first in [*range(CHUNKS)] * (GIVEN_MAX + 2):
        (action,) = holding.ask(ChunksRequest(DIGEST, first, 1))
        if not isinstance(action, SendBulk):
            return count
        count += 1
        holding.sent(action)
    return count


def test_one_member_gets_each_item_a_few_times_in_a_period() -> None:
    holding = Holding()
    assert given(holding) == GIVEN_MAX * (CHUNKS + 1)
    assert holding.ask(StateRequest(DIGEST, 0)) == REFUSED
    assert holding.ask(StateRequest(DIGEST, 0), OTHER) != REFUSED
    holding.now_s = GIVING_PERIOD_S - 1
    assert given(holding) == 0
    holding.now_s = GIVING_PERIOD_S
    assert given(holding) == GIVEN_MAX * (CHUNKS + 1)


def test_pages_count_as_what_is_given() -> None:
    holding = Holding()
    for _ in range(GIVEN_MAX * (CHUNKS + 1)):
        (send,) = holding.ask(StateRequest(DIGEST, 0))
        assert send.message != StateRefusal(DIGEST)  # type: ignore[union-attr]
    assert holding.ask(StateRequest(DIGEST, 0)) == REFUSED


def test_of_a_small_item_a_member_gets_some_more() -> None:
    """It has one chunk and one page; who asks for both again and again may have lost them."""
    model = a_model(0.1)
    state = digest_state("model", model)
    shelf = Shelf(Desk())
    shelf.hold(state.item, model, state.chunk_digests)
    asked = StateRequest(state.item.digest, 0)
    refused = [Send(ASKER, StateRefusal(state.item.digest))]
    for _ in range(GIVEN_CHUNKS_MIN):
        assert shelf.on_message(0.0, ASKER, asked) != refused
    assert shelf.on_message(0.0, ASKER, asked) == refused
