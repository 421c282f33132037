# mypy: disable-error-code="arg-type"
"""The jobs of a masked sum by themselves: whose keys and dealings are refused, what comes out."""

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest

from p2pfl_crypto.encoding import Encoding
from p2pfl_crypto.key_agreement import agreement_secret_of, public_key_of
from p2pfl_crypto.masks import MaskStreams
from p2pfl_crypto.sealing import open_sealed
from p2pfl_crypto.transcripts import seed_commitment, share_digests
from p2pfl_gossip.actions import Job, LocalProtocolError
from p2pfl_gossip.masked_sum.jobs import (
    Deal,
    Dealt,
    DecodeSum,
    MaskChunk,
    Rebuild,
    Secrets,
    make_secrets,
    perform,
)
from p2pfl_gossip.records import Record

TAU1, TAU2 = b"1" * 32, b"2" * 32
MEMBERS, THRESHOLD = (0, 1, 3, 4, 5), 4
"""Member 2 is not listed."""


def drawn(size: int, name: str) -> bytes:
    return hashlib.shake_256(name.encode()).digest(size)


def secrets_of(rank: int) -> Secrets:
    parts = iter(range(4))
    return make_secrets(lambda size: drawn(size, f"{rank}/{next(parts)}"))


def key_of(scalar: bytes) -> bytes:
    return public_key_of(agreement_secret_of(scalar))


@dataclass
class Keys:
    """What members advertise, by rank."""

    share: dict[int, bytes]
    mask: dict[int, bytes]


@pytest.fixture
def keys() -> Keys:
    secrets = {rank: secrets_of(rank) for rank in MEMBERS}
    return Keys(
        {rank: key_of(it.share_scalar) for rank, it in secrets.items()},
        {rank: key_of(it.mask_scalar) for rank, it in secrets.items()},
    )


def deal(rank: int, keys: Keys) -> Dealt:
    job = Deal(
        rank=rank,
        threshold=THRESHOLD,
        tau1=TAU1,
        secrets=secrets_of(rank),
        members=MEMBERS,
        share_keys=tuple(keys.share[it] for it in MEMBERS),
        mask_keys=tuple(keys.mask[it] for it in MEMBERS),
        entropy=drawn(Deal.entropy_bytes(THRESHOLD, len(MEMBERS)), f"{rank}/deal"),
    )
    dealt = perform(job)
    assert isinstance(dealt, Dealt)
    return dealt


def test_what_is_dealt_is_what_the_others_open(keys: Keys) -> None:
    dealt = {rank: deal(rank, keys) for rank in MEMBERS}
    for dealer, it in dealt.items():
        assert it.refused == {}
        assert it.liars == ()
        others = [rank for rank in MEMBERS if rank != dealer]
        assert list(it.sealed) == list(it.opening_keys) == list(it.pair_keys) == others
        assert len({nonce for nonce, _ in it.sealed.values()}) == len(others)
        shares = {
            rank: open_sealed(dealt[rank].opening_keys[dealer], *sealed)
            for rank, sealed in it.sealed.items()
        } | {dealer: it.own_shares}
        assert it.commitment == seed_commitment(TAU1, dealer, secrets_of(dealer).seed)
        digests = [
            digest
            for kind, place in ((b"b", slice(0, 32)), (b"s", slice(32, 64)))
            for digest in share_digests(
                TAU1, kind, dealer, MEMBERS, [shares[rank][place] for rank in MEMBERS]
            )
        ]
        assert it.share_digests == b"".join(digests)
        for rank in others:
            assert it.pair_keys[rank] == dealt[rank].pair_keys[dealer]
            assert it.opening_keys[rank] != dealt[rank].opening_keys[dealer]


@pytest.mark.parametrize("kind", ["share", "mask"])
def test_members_with_twin_keys_get_nothing_and_neither_is_called_a_liar(
    keys: Keys, kind: str
) -> None:
    """Who copied whom is not to be known."""
    getattr(keys, kind)[4] = getattr(keys, kind)[1]
    dealt = deal(0, keys)
    assert dealt.refused == dict.fromkeys((1, 4), "members [1, 4] have twin keys")
    assert dealt.liars == ()
    assert list(dealt.sealed) == list(dealt.opening_keys) == list(dealt.pair_keys) == [3, 5]


@pytest.mark.parametrize("kind", ["share", "mask"])
def test_a_member_with_a_key_of_low_order_gets_nothing_and_is_a_liar(keys: Keys, kind: str) -> None:
    getattr(keys, kind)[3] = bytes(32)
    dealt = deal(0, keys)
    assert list(dealt.refused) == [3]
    assert dealt.refused[3]
    assert dealt.liars == (3,)
    assert list(dealt.sealed) == list(dealt.opening_keys) == list(dealt.pair_keys) == [1, 4, 5]


# --- rebuilding ----------------------------------------------------------------------------------

SUMMED, DROPPED = (0, 1, 4), (3, 5)


def rebuilding(keys: Keys) -> Rebuild:
    """Of all shares of all dealers: who is summed, and who is not."""
    dealt = {rank: deal(rank, keys) for rank in MEMBERS}

    def shares(dealer: int, place: slice) -> dict[int, bytes]:
        own = {dealer + 1: dealt[dealer].own_shares[place]}
        return own | {
            rank + 1: open_sealed(dealt[rank].opening_keys[dealer], *sealed)[place]
            for rank, sealed in dealt[dealer].sealed.items()
        }

    return Rebuild(
        threshold=THRESHOLD,
        tau1=TAU1,
        tau2=TAU2,
        seeds={rank: shares(rank, slice(0, 32)) for rank in SUMMED},
        scalars={rank: shares(rank, slice(32, 64)) for rank in DROPPED},
        commitments={rank: dealt[rank].commitment for rank in SUMMED},
        mask_keys=dict(keys.mask),
    )


def rebuilt(job: Rebuild) -> Any:
    return perform(job)


def test_the_masks_that_a_sum_bears_are_one_of_each_summed_and_of_each_pair(keys: Keys) -> None:
    result = rebuilt(rebuilding(keys))
    assert result.liars == ()
    assert len(result.masks) == len(SUMMED) + len(SUMMED) * len(DROPPED)
    assert len(dict.fromkeys(mask.key for mask in result.masks)) == len(result.masks)
    # Those of seeds are taken away. Of a pair, the lower of the two added, and the higher took.
    signs = [-1 if rank > other else 1 for rank in DROPPED for other in SUMMED]
    assert [mask.sign for mask in result.masks] == [-1] * len(SUMMED) + signs


@pytest.mark.parametrize(
    ("changes", "liars"),
    [
        pytest.param(["commitment of 0"], (0,), id="another seed than was committed to"),
        pytest.param(["key of 3"], (3,), id="another scalar than that of the key"),
        pytest.param(["share of 1"], (1,), id="a seed's share on no polynomial"),
        pytest.param(["share of 5"], (5,), id="a scalar's share on no polynomial"),
        pytest.param(["commitment of 0", "key of 3"], (0, 3), id="one of each"),
        pytest.param(["share of 1", "share of 5"], (1, 5), id="one of each, on no polynomial"),
        pytest.param(["share of 1", "key of 3"], (1, 3), id="a share, and a key"),
        pytest.param(["commitment of 0", "commitment of 4"], (0, 4), id="two seeds"),
        pytest.param(["key of 3", "key of 5"], (3, 5), id="two scalars"),
    ],
)
def test_all_that_dealt_wrongly_are_named_and_no_mask_is_told(
    keys: Keys, changes: list[str], liars: tuple[int, ...]
) -> None:
    job = rebuilding(keys)
    for change in changes:
        what, _, rank = change.partition(" of ")
        dealer = int(rank)
        if what == "commitment":
            job.commitments[dealer] = bytes(32)
        elif what == "key":
            job.mask_keys[dealer] = key_of(drawn(32, "another")[:31] + b"\0")
        else:
            shares = (job.seeds if dealer in job.seeds else job.scalars)[dealer]
            shares[2] = shares[1]
    result = rebuilt(job)
    assert sorted(result.liars) == sorted(liars)
    assert result.masks == ()


# --- masking and decoding ------------------------------------------------------------------------

ENCODING = Encoding(5, 8.0, 100.0)


def test_a_masked_chunk_may_not_be_written_to() -> None:
    values = np.array([0.5, 9.0, -9.0], np.float32)
    job = MaskChunk(ENCODING, values, 50.0, bytes(32), MaskStreams([]), TAU2, 1, 0)
    masked: Any = perform(job)
    assert masked.clipped == 2
    with pytest.raises(ValueError, match="read-only"):
        masked.body[0] = 1


def test_a_sum_that_cannot_be_one_has_no_mean_and_says_why() -> None:
    weight = ENCODING.encode_weight(50.0)
    body = np.array([0, 2 * weight, weight], np.uint32)
    refused: Any = perform(DecodeSum(ENCODING, 5, body))
    assert refused.mean is None
    assert refused.weight_total == weight
    assert refused.refusal
    body[1] = weight // 2
    decoded: Any = perform(DecodeSum(ENCODING, 5, body))
    assert decoded.mean.tolist() == [0.0, 4.0]
    assert (decoded.weight_total, decoded.refusal) == (weight, "")


def test_what_is_no_job_of_a_masked_sum_is_not_done() -> None:
    class Other(Job, frozen=True):
        pass

    with pytest.raises(LocalProtocolError, match="Other is no job of a masked sum"):
        perform(Other())


def test_secrets_are_four_draws() -> None:
    sizes: list[int] = []

    def entropy(size: int) -> bytes:
        sizes.append(size)
        return drawn(size, f"{len(sizes)}")

    secrets = make_secrets(entropy)
    assert sizes == [64, 64, 64, 32]
    assert isinstance(secrets, Record)
    assert len({*msgspec.structs.astuple(secrets)}) == 4
