"""Identities against the examples of the libp2p peer-id specification and RFC 8032."""

import hashlib
import json
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pfl_crypto.hashing import body_digest, hash_parts
from p2pfl_crypto.identity import (
    Identity,
    InvalidIdentity,
    decode_public_key,
    encode_public_key,
    peer_id_of,
    public_key_of,
    verify,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "peer_ids.json").read_text())
SEED = bytes(range(32))


@pytest.mark.parametrize("vector", VECTORS["keys"])
def test_key_messages_of_the_specification(vector: dict[str, str]) -> None:
    private = bytes.fromhex(vector["private_key_message"])
    identity = Identity(private[4:36])
    assert encode_public_key(identity.public_key).hex() == vector["public_key_message"]
    assert decode_public_key(bytes.fromhex(vector["public_key_message"])) == identity.public_key


@pytest.mark.parametrize("peer_id", VECTORS["ed25519_peer_ids"])
def test_peer_ids_of_the_specification_survive_the_round_trip(peer_id: str) -> None:
    assert peer_id_of(public_key_of(peer_id)) == peer_id


@pytest.mark.parametrize("peer_id", [*VECTORS["other_peer_ids"], "", "12D3KooW0OIl", "1" * 1000])
def test_other_ids_are_refused(peer_id: str) -> None:
    with pytest.raises(InvalidIdentity):
        public_key_of(peer_id)


@pytest.mark.parametrize(("kind", "name"), [(0, "RSA"), (2, "Secp256k1"), (3, "ECDSA")])
@pytest.mark.parametrize("rest", [b"", b"\x12", b"\x12\x20" + bytes(32)])
def test_keys_of_other_types_are_refused_by_name(kind: int, name: str, rest: bytes) -> None:
    with pytest.raises(InvalidIdentity, match=f"^{name} keys are not supported"):
        decode_public_key(bytes([0x08, kind]) + rest)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x08",
        b"\x09\x00",  # A field of another number.
        b"\x08\x01\x12\x20" + bytes(31),
        b"\x08\x01\x12\x20" + bytes(33),
        b"\x08\x01\x12\x21" + bytes(32),
        b"\x08\x04\x12\x20" + bytes(32),
        b"\x09\x01\x12\x20" + bytes(32),
    ],
)
def test_other_key_messages_are_not_canonical(message: bytes) -> None:
    with pytest.raises(InvalidIdentity, match=r"^not a canonical libp2p Ed25519"):
        decode_public_key(message)


@pytest.mark.parametrize(
    "binary",
    [
        b"\x00\x24\x08\x01\x12\x20" + bytes(31),
        b"\x00\x24\x08\x01\x12\x20" + bytes(33),
        b"\x00\x24\x08\x02\x12\x20" + bytes(32),
        b"\x00\x25\x08\x01\x12\x20" + bytes(32),
        b"\x80" + bytes(37),
    ],
)
def test_ids_of_another_length_or_prefix_are_refused(binary: bytes) -> None:
    number, text = int.from_bytes(binary, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"[digit] + text
    text = "1" * (len(binary) - len(binary.lstrip(b"\0"))) + text
    with pytest.raises(InvalidIdentity, match="is not the peer id of an Ed25519 key"):
        public_key_of(text)


def test_rfc_8032_test_1() -> None:
    identity = Identity(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    )
    assert identity.public_key.hex() == (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    )
    assert identity.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )


def test_verification_raises_for_a_changed_statement_key_or_signature() -> None:
    identity = Identity(SEED)
    signature = identity.sign(b"statement")
    verify(identity.public_key, b"statement", signature)
    for key, statement, signed in [
        (identity.public_key, b"statemenT", signature),
        (Identity(bytes(32)).public_key, b"statement", signature),
        (identity.public_key, b"statement", signature[:-1] + bytes([signature[-1] ^ 1])),
        (identity.public_key, b"statement", signature[:-1]),
        (identity.public_key[:-1], b"statement", signature),
    ]:
        with pytest.raises(InvalidIdentity):
            verify(key, statement, signed)


@given(st.binary(min_size=32, max_size=32))
def test_every_seed_names_a_peer_whose_key_its_id_holds(seed: bytes) -> None:
    identity = Identity(seed)
    assert identity.peer_id.startswith("12D3KooW")
    assert len(identity.peer_id) == 52
    assert public_key_of(identity.peer_id) == identity.public_key


@given(st.binary(max_size=40))
def test_only_the_canonical_key_message_decodes(message: bytes) -> None:
    try:
        key = decode_public_key(message)
    except InvalidIdentity:
        return
    assert encode_public_key(key) == message


@given(st.text(max_size=60))
def test_any_text_is_a_peer_id_or_refused(text: str) -> None:
    try:
        key = public_key_of(text)
    except InvalidIdentity:
        return
    assert peer_id_of(key) == text


def test_the_seed_is_not_shown() -> None:
    assert "seed" not in repr(Identity(SEED))


def test_hashes_differ_by_label_key_and_split() -> None:
    digests = {
        hash_parts(b"p2pfl/a", b"ab", b"c"),
        hash_parts(b"p2pfl/a", b"a", b"bc"),
        hash_parts(b"p2pfl/a", b"abc"),
        hash_parts(b"p2pfl/b", b"abc"),
        hash_parts(b"p2pfl/a", b"abc", key=b"key"),
    }
    assert len(digests) == 5
    with pytest.raises(ValueError, match="label"):
        hash_parts(b"", b"x")
    with pytest.raises(ValueError, match="label"):
        hash_parts(b"a label of 17 byt", b"x")


def test_a_label_may_be_one_byte_and_a_part_a_view_of_longer_items() -> None:
    numbers = memoryview(array("I", [1, 2, 3]))
    text = (numbers.nbytes).to_bytes(8, "little") + bytes(numbers)
    assert hash_parts(b"x", numbers) == hashlib.blake2b(text, digest_size=32, person=b"x").digest()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_parts_may_be_any_buffer(kind: type[bytes | bytearray | memoryview]) -> None:
    text = (3).to_bytes(8, "little") + b"abc" + (70_000).to_bytes(8, "little") + bytes(70_000)
    expected = hashlib.blake2b(text, digest_size=32, person=b"p2pfl/a", key=b"key").digest()
    assert hash_parts(b"p2pfl/a", b"abc", kind(bytes(70_000)), key=b"key") == expected


@pytest.mark.parametrize(
    ("length", "digest"),
    [  # BLAKE3's published vectors, whose input counts 0 to 250 again and again.
        (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
        (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
        (1023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11"),
        (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
        (1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"),
        (2049, "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030"),
        (102_400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"),
    ],
)
def test_bodies_are_digested_by_blake3(length: int, digest: str) -> None:
    body = bytes(place % 251 for place in range(length))
    for part in (body, bytearray(body), memoryview(body)):
        assert body_digest(part).hex() == digest
