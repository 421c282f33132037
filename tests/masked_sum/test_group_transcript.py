"""A group's session worked out again from primitives alone: its name, its ring, chunks and sums."""

import math
import struct
from functools import cache

import nacl.bindings as sodium
import numpy as np
import pytest
from group_driver import GroupDriver, make_epoch
from test_transcript import digest, le32, stream

N, ENTRIES = 5, 12
SUITE = b"p2pfl/2 Ed25519 X25519 XChaCha20-Poly1305 AES-256-CTR BLAKE2b-256 BLAKE3"


@cache
def session() -> GroupDriver:
    cohort, people = make_epoch(N, ENTRIES)
    return GroupDriver(cohort, people, 5).run(until_s=20.0)


def encoded(rank: int, chunk: int) -> list[int]:
    """The fixed-point entries of a member's chunk, before masking; nothing else is in it."""
    driver = session()
    cohort, q_max = driver.epoch_cohort, (2**31 - 1) // N
    bound = (cohort.weights[rank] / max(cohort.weights)) * q_max
    scale = bound / cohort.clip
    secret = driver.secrets[rank].rounding
    key = digest(b"p2pfl/rounding", cohort.session, le32(rank), key=secret)
    entries = driver.vectors[rank][cohort.entries_of(chunk)]
    words = stream(key, chunk, len(entries))
    return [
        min(max(math.floor(float(x) * scale + r / 2**32), -q_max), q_max)
        for x, r in zip(entries, words, strict=True)
    ]


def test_the_session_is_named_by_epoch_and_charter_and_the_ring_by_the_session() -> None:
    driver = session()
    cohort = driver.epoch_cohort
    seeds = [person.seed for person in driver.people]
    keys = b"".join(sodium.crypto_sign_seed_keypair(seed)[0] for seed in seeds)
    name = digest(
        b"p2pfl/group-sid",
        SUITE,
        b"test",
        struct.pack("<Q", 2),
        b"c" * 32,
        struct.pack("<Q", 7),
        keys,
        struct.pack("<QQI", ENTRIES, cohort.chunk_count, 2),
    )
    assert cohort.session == name
    places = {rank: digest(b"p2pfl/ring", name, le32(rank)) for rank in range(N)}
    assert cohort.ring((0, 1, 3, 4)) == tuple(sorted((0, 1, 3, 4), key=places.__getitem__))


@pytest.mark.parametrize("rank", range(N))
def test_masked_chunks_follow_from_the_secrets(rank: int) -> None:
    driver = session()
    tau1, tau2 = driver.tau1, driver.machines[0]._agreement.tau2
    secrets = driver.secrets[rank]
    own = digest(b"p2pfl/x25519", secrets.mask_scalar)
    for chunk in range(driver.cohort.chunk_count):
        body = encoded(rank, chunk)
        masks = [(1, digest(b"p2pfl/self", tau2, le32(rank), key=secrets.seed))]
        for other in range(N):
            if other != rank:
                shared = sodium.crypto_scalarmult(own, driver.mask_keys[other])
                pair = (le32(min(rank, other)), le32(max(rank, other)))
                secret = digest(b"p2pfl/audit-pair", tau1, *pair, key=shared)
                key = digest(b"p2pfl/pair", tau2, *pair, key=secret)
                masks.append((1 if other > rank else -1, key))
        for sign, key in masks:
            words = stream(key, chunk, len(body))
            body = [(value + sign * word) % 2**32 for value, word in zip(body, words, strict=True)]
        assert driver.bodies[rank, chunk][0] == struct.pack(f"<{len(body)}I", *body)


def test_sums_and_model_follow_from_the_plain_numbers() -> None:
    driver = session()
    cohort, sums = driver.epoch_cohort, driver.summed()[0]
    model = driver.model_of(sums)
    factor = (cohort.clip * max(cohort.weights)) / (
        float((2**31 - 1) // N) * math.fsum(cohort.weights)
    )
    for chunk, summed in enumerate(sums.chunks):
        columns = zip(*(encoded(rank, chunk) for rank in range(N)), strict=True)
        total = [sum(column) for column in columns]
        assert summed.body.view(np.int32).tolist() == total
        entries = cohort.entries_of(chunk)
        for value, base, moved in zip(total, driver.base[entries], model[entries], strict=True):
            assert struct.pack("<f", float(base) + value * factor) == struct.pack("<f", moved)
