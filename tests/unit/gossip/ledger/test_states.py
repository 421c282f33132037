"""Items of a state: what their digests bind, and how they are cut."""

# mypy: disable-error-code="arg-type"

import hashlib

import numpy as np
import pytest
from blake3 import blake3

from p2pfl.daemon.building import make_work
from p2pfl_gossip.actions import Job, LocalProtocolError
from p2pfl_gossip.ledger import jobs
from p2pfl_gossip.ledger.states import (
    CHUNK_ENTRIES,
    STATE_CHUNK_BYTES,
    ChunksDigested,
    DigestChunks,
    DigestState,
    StateDigested,
    StateItem,
    bytes_of_vector,
    digest_chunks,
    digest_state,
    digests_of,
    item_digest,
    perform,
)
from p2pfl_gossip.records import Codec, MalformedFrame
from p2pfl_simulations.masking import MaskingWorker


def model(length: int) -> np.ndarray:
    return np.arange(length, dtype=np.float32) / 3


def test_a_digest_is_what_the_page_says() -> None:
    """Worked out anew with hashlib and blake3 alone: the form never changes."""
    vector = model(CHUNK_ENTRIES + 3)
    body = vector.astype("<f4").tobytes()
    chunks = blake3(body[: 2**20]).digest() + blake3(body[2**20 :]).digest()
    text = b""
    for part in (b"model", b"float32", (CHUNK_ENTRIES + 3).to_bytes(8, "little"), chunks):
        text += len(part).to_bytes(8, "little") + part
    expected = hashlib.blake2b(text, digest_size=32, person=b"p2pfl/state").digest()

    found = digest_state("model", vector)

    assert found.chunk_digests == chunks
    assert found.item == StateItem("model", "float32", CHUNK_ENTRIES + 3, expected)
    assert expected.hex() == "239ed91040f6b042bf874b4b8bf0252d644bf6c43562473b9654bc74053fb2d9"


def test_every_part_is_bound() -> None:
    digests = bytes(range(64))
    known = item_digest("model", "float32", 300_000, digests)
    others = [
        item_digest("momentum", "float32", 300_000, digests),
        item_digest("model", "float64", 300_000, digests),
        item_digest("model", "float32", 300_001, digests),
        item_digest("model", "float32", 300_000, digests[32:] + digests[:32]),
        item_digest("model", "float32", 300_000, digests[:32]),
    ]
    assert len({known, *others}) == 6


def test_a_chunk_digest_is_of_its_bytes_alone() -> None:
    vector = np.tile(model(CHUNK_ENTRIES), 2)
    first, second = digests_of(digest_chunks(vector))
    assert first == second
    assert digests_of(digest_chunks(vector[:CHUNK_ENTRIES])) == [first]


@pytest.mark.parametrize(
    ("length", "chunks", "last"),
    [
        (1, 1, 4),
        (CHUNK_ENTRIES - 1, 1, STATE_CHUNK_BYTES - 4),
        (CHUNK_ENTRIES, 1, STATE_CHUNK_BYTES),
        (CHUNK_ENTRIES + 1, 2, 4),
        (3 * CHUNK_ENTRIES, 3, STATE_CHUNK_BYTES),
    ],
)
def test_an_item_is_cut_into_whole_chunks_but_for_the_last(
    length: int, chunks: int, last: int
) -> None:
    item = digest_state("model", model(length)).item
    assert item.chunk_count == chunks
    where = item.bytes_of(chunks - 1)
    assert (where.start, where.stop) == ((chunks - 1) * STATE_CHUNK_BYTES, 4 * length)
    assert where.stop - where.start == last
    assert item.bytes_of(0, chunks) == slice(0, 4 * length)


def test_a_list_is_known_by_the_item() -> None:
    found = digest_state("model", model(2 * CHUNK_ENTRIES))
    assert found.item.is_list(found.chunk_digests)
    swapped = found.chunk_digests[32:] + found.chunk_digests[:32]
    for false in (swapped, found.chunk_digests[:32], found.chunk_digests + bytes(32), b""):
        assert not found.item.is_list(false)


@pytest.mark.parametrize(
    "vector",
    [np.zeros(4), np.zeros((2, 2), np.float32), np.zeros(8, np.float32)[::2], np.zeros(4, ">f4")],
)
def test_what_is_no_vector_of_float32_is_refused(vector: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no float32 vector in one piece"):
        bytes_of_vector(vector)
    with pytest.raises(ValueError, match="no float32 vector in one piece"):
        digest_state("model", vector)


def test_jobs_are_done_by_daemons_and_simulations_alike() -> None:
    vector = model(CHUNK_ENTRIES + 1)
    job = DigestState("momentum", vector)
    chunks = DigestChunks(
        (bytes_of_vector(vector)[:STATE_CHUNK_BYTES], bytes_of_vector(vector)[-4:])
    )

    class NoLearner:
        def run(self, asked: object) -> list[StateDigested]:
            raise LocalProtocolError(str(asked))

    daemon = make_work(NoLearner(), 0)
    digested, of_chunks = MaskingWorker(NoLearner(), jobs.perform).run([(0, job), (1, chunks)])

    assert digested == daemon(job) == perform(job) == digest_state("momentum", vector)
    assert isinstance(of_chunks, ChunksDigested)
    assert b"".join(of_chunks.digests) == digest_chunks(vector)
    assert daemon(chunks) == of_chunks
    assert "0." not in repr(chunks)  # A model does not belong in a log.


def test_a_job_of_others_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="is no job of states"):
        perform(Job())


CODEC = Codec(StateItem, frame_bytes_max=1024)


def test_an_item_travels_as_an_array() -> None:
    item = StateItem("model", "float32", 25_000_000, bytes(range(32)))
    frame = CODEC.encode(item)
    assert CODEC.decode_untrusted(frame) == item
    assert frame.hex() == ("94a56d6f64656ca7666c6f61743332ce017d7840c420" + bytes(range(32)).hex())


@pytest.mark.parametrize(
    "item",
    [
        StateItem("Model", "float32", 1, bytes(32)),
        StateItem("", "float32", 1, bytes(32)),
        StateItem("m" * 33, "float32", 1, bytes(32)),
        StateItem("model\n", "float32", 1, bytes(32)),
        StateItem("model", "float64", 1, bytes(32)),
        StateItem("model", "float32", -1, bytes(32)),
        StateItem("model", "float32", 1, bytes(31)),
        StateItem("model", "float32", 1, bytes(33)),
    ],
)
def test_what_no_entry_may_say_is_refused(item: StateItem) -> None:
    with pytest.raises(MalformedFrame):
        CODEC.decode_untrusted(CODEC.encode(item))
