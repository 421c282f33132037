"""The committed session, and the same numbers worked out from primitives alone."""

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import msgspec
import nacl.bindings as sodium
import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from transcript import run, transcript

PATH = Path(__file__).parents[1] / "vectors" / "masked_sum_session.json"
VECTOR: dict[str, Any] = json.loads(PATH.read_text())
MEMBERS: list[dict[str, Any]] = VECTOR["members"]
SESSION = bytes.fromhex(VECTOR["session"])
TAU1 = bytes.fromhex(VECTOR["tau1"])
TAU2 = bytes.fromhex(VECTOR["tau2"])
ORDER = 2**252 + 27742317777372353535851937790883648493


def digest(label: bytes, *parts: bytes, key: bytes = b"") -> bytes:
    """BLAKE2b-256 with a personal label; each part behind its length as LE64."""
    text = b"".join(struct.pack("<Q", len(part)) + part for part in parts)
    return hashlib.blake2b(text, digest_size=32, person=label, key=key).digest()


def le32(number: int) -> bytes:
    return struct.pack("<I", number)


def stream(key: bytes, chunk: int, words: int) -> list[int]:
    blocks = b"".join(struct.pack(">QQ", chunk, block) for block in range(words // 4 + 1))
    text = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks)
    return list(struct.unpack(f"<{words}I", text[: 4 * words]))


def x25519_secret(scalar: str) -> bytes:
    return digest(b"p2pfl/x25519", bytes.fromhex(scalar))


def entries_of(chunk: int) -> range:
    d, k = VECTOR["vector_entries"], VECTOR["chunk_count"]
    return range(chunk * d // k, (chunk + 1) * d // k)


def encoded_chunk(rank: int, chunk: int) -> list[int]:
    """The member's fixed-point entries and weight, before masking."""
    member, q_max = MEMBERS[rank], (2**31 - 1) // 5
    bound = (member["weight"] / VECTOR["weight_max"]) * q_max
    scale = bound / VECTOR["clip"]
    key = digest(b"p2pfl/rounding", SESSION, le32(rank), key=bytes.fromhex(member["rounding"]))
    entries = entries_of(chunk)
    rounding = stream(key, chunk, len(entries))
    encoded = []
    for entry, r in zip(entries, rounding, strict=True):
        scaled = min(max(member["vector"][entry] * scale, -bound), bound)
        encoded.append(min(max(math.floor(scaled + r / 2**32), -q_max), q_max))
    return [*encoded, math.floor(bound + 0.5)]


def masked_chunk(rank: int, chunk: int) -> bytes:
    member = MEMBERS[rank]
    body = encoded_chunk(rank, chunk)
    seed = bytes.fromhex(member["b"])
    masks = [(1, digest(b"p2pfl/self", TAU2, le32(rank), key=seed))]
    for other in range(5):
        if other != rank:
            peer_key = bytes.fromhex(MEMBERS[other]["mask_key"])
            shared = sodium.crypto_scalarmult(x25519_secret(member["s"]), peer_key)
            low, high = sorted((rank, other))
            pair = digest(b"p2pfl/audit-pair", TAU1, le32(low), le32(high), key=shared)
            key = digest(b"p2pfl/pair", TAU2, le32(low), le32(high), key=pair)
            masks.append((1 if other > rank else -1, key))
    for sign, key in masks:
        words = stream(key, chunk, len(body))
        body = [(value + sign * word) % 2**32 for value, word in zip(body, words, strict=True)]
    return struct.pack(f"<{len(body)}I", *(value % 2**32 for value in body))


def test_the_session_still_runs_as_it_was_committed() -> None:
    assert json.loads(json.dumps(transcript(run()))) == VECTOR


def test_member_4_dropped_out_after_its_first_chunk() -> None:
    assert VECTOR["in_the_mean"] == [0, 1, 2, 3]
    assert VECTOR["kept"] == {}
    assert len(MEMBERS[4]["masked_chunks"]) == 1


def test_the_names_of_session_and_transcripts_follow_from_what_was_said() -> None:
    seeds = [bytes.fromhex(member["identity_seed"]) for member in MEMBERS]
    keys = b"".join(sodium.crypto_sign_seed_keypair(seed)[0] for seed in seeds)
    parameters = struct.pack("<QQIdd", 12, 5, 2, VECTOR["clip"], VECTOR["weight_max"])
    suite = b"p2pfl/2 Ed25519 X25519 XChaCha20-Poly1305 AES-256-CTR BLAKE2b-256 BLAKE3"
    session = digest(
        b"p2pfl/sid",
        suite,
        bytes.fromhex(VECTOR["group"]),
        struct.pack("<Q", VECTOR["round"]),
        struct.pack("<Q", VECTOR["attempt"]),
        parameters,
        keys,
        b"",
    )
    assert session.hex() == VECTOR["session"]
    adverts = b"".join(
        digest(
            b"p2pfl/advert",
            session,
            le32(rank),
            bytes.fromhex(member["share_key"]),
            bytes.fromhex(member["mask_key"]),
        )
        for rank, member in enumerate(MEMBERS)
    )
    assert digest(b"p2pfl/tau1", session, b"\x1f", adverts).hex() == VECTOR["tau1"]


@pytest.mark.parametrize("rank", range(5))
def test_keys_and_masked_chunks_follow_from_the_secrets(rank: int) -> None:
    member = MEMBERS[rank]
    for scalar, key in ((member["s"], "mask_key"), (member["c"], "share_key")):
        assert sodium.crypto_scalarmult_base(x25519_secret(scalar)).hex() == member[key]
    for chunk, body in member["masked_chunks"].items():
        assert masked_chunk(rank, int(chunk)).hex() == body


@pytest.mark.parametrize("rank", range(5))
def test_shares_are_points_of_polynomials_through_the_secrets(rank: int) -> None:
    for offset, secret in ((0, "b"), (64, "s")):
        points = {
            holder + 1: int.from_bytes(
                bytes.fromhex(MEMBERS[holder]["shares_received"][str(rank)][offset : offset + 64]),
                "little",
            )
            for holder in range(VECTOR["threshold"])
        }
        value = 0
        for x, y in points.items():
            for other in points:
                if other != x:
                    y = y * other * pow(other - x, -1, ORDER) % ORDER  # noqa: PLW2901
            value += y
        expected = int.from_bytes(bytes.fromhex(MEMBERS[rank][secret]), "little")
        assert value % ORDER == expected


def test_sums_and_mean_are_those_of_the_plain_fixed_point_numbers() -> None:
    mean = struct.unpack("<12f", bytes.fromhex(VECTOR["mean_of_member_0"]))
    for chunk in range(VECTOR["chunk_count"]):
        columns = zip(*(encoded_chunk(rank, chunk) for rank in VECTOR["in_the_mean"]), strict=True)
        total = [sum(column) for column in columns]
        body = bytes.fromhex(VECTOR["sums"][str(chunk)])
        assert list(struct.unpack(f"<{len(total)}i", body)) == total
        factor = VECTOR["clip"] / total[-1]
        for entry, value in zip(entries_of(chunk), total[:-1], strict=True):
            assert struct.pack("<f", value * factor) == struct.pack("<f", mean[entry])


def test_the_mean_is_signed_by_a_digest_of_its_chunks() -> None:
    mean = bytes.fromhex(VECTOR["mean_of_member_0"])
    chunks = [entries_of(chunk) for chunk in range(VECTOR["chunk_count"])]
    digests = [blake3(mean[4 * it.start : 4 * it.stop]).digest() for it in chunks]
    found = digest(b"p2pfl/mean", b"".join(digests))
    assert found == bytes.fromhex(VECTOR["mean_digest"])
    members = bytes([sum(1 << rank for rank in VECTOR["in_the_mean"])])
    signed = VECTOR["frames"]["MeanSignature"]
    # Member 3 gathers them: it sends its own with the others'.
    assert sorted(frame.split(":")[0] for frame in signed) == ["0", "1", "2"]
    signatures: dict[int, bytes] = {}
    for frame in signed:
        _tag, session, rank, said, signature = msgspec.msgpack.decode(bytes.fromhex(frame[3:]))
        assert (session, said) == (SESSION, found)
        signatures[rank] = signature
    (gathered,) = VECTOR["frames"]["MeanSignatures"]
    _tag, session, said, signers, joined = msgspec.msgpack.decode(bytes.fromhex(gathered[3:]))
    assert (session, said) == (SESSION, found)
    ranks = [rank for rank in range(5) if signers[0] >> rank & 1]
    assert len(ranks) == 4
    for place, rank in enumerate(ranks):
        signature = joined[64 * place : 64 * place + 64]
        assert signatures.setdefault(rank, signature) == signature
        key, _ = sodium.crypto_sign_seed_keypair(bytes.fromhex(MEMBERS[rank]["identity_seed"]))
        stated = digest(b"p2pfl/sig", b"mean", le32(rank), SESSION, members, found)
        sodium.crypto_sign_open(signature + stated, key)
