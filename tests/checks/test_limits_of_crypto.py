"""Each named limit of crypto: what reaches it passes, one more is refused."""

import numpy as np
import pytest

from p2pfl_crypto import encoding, hashing, identity, masks, shamir, statements
from p2pfl_crypto.encoding import Encoding
from p2pfl_crypto.identity import InvalidIdentity


def test_members_of_an_encoding() -> None:
    Encoding(encoding.MEMBERS_MAX, 1.0, 1.0)
    with pytest.raises(ValueError, match="1 to 4096 members, not 4097"):
        Encoding(encoding.MEMBERS_MAX + 1, 1.0, 1.0)


@pytest.mark.parametrize("members", [1, 2, 7, 128, encoding.MEMBERS_MAX])
def test_the_largest_sum_of_encoded_values_has_its_sign(members: int) -> None:
    """All at the clip with the largest weight: one more quantum each would pass 2^31 - 1."""
    quantum = Encoding(members, 1.0, 1.0).quantum_max
    assert members * quantum <= encoding._SUM_MAX < members * (quantum + 1)
    largest = np.full(1, members * quantum, np.int64).astype(np.uint32).view(np.int32)
    assert largest[0] > 0


def test_label_bytes() -> None:
    hashing.hash_parts(b"x" * hashing.LABEL_BYTES_MAX)
    with pytest.raises(ValueError, match="a label has 1 to 16 bytes, not 17"):
        hashing.hash_parts(b"x" * (hashing.LABEL_BYTES_MAX + 1))


def test_characters_of_a_peer_id() -> None:
    """Of 64 the number is looked at, of 65 nothing."""
    longest = "1" * identity._PEER_ID_TEXT_MAX
    with pytest.raises(InvalidIdentity) as looked_at:
        identity.public_key_of(longest)
    assert "too long" not in str(looked_at.value)
    with pytest.raises(InvalidIdentity, match="a peer id of 65 characters is too long"):
        identity.public_key_of(longest + "1")


def test_entries_of_a_masked_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real limit is the end of a stream: its counter has 32 bits and counts 64 bytes."""
    assert masks.CHUNK_ENTRIES_MAX * 4 == 2**32 * 16
    monkeypatch.setattr(masks, "CHUNK_ENTRIES_MAX", 8)
    masks.add_masks(np.zeros(8, np.uint32), [masks.Mask(bytes(32))], 0)
    with pytest.raises(ValueError, match="a chunk has at most 8 entries"):
        masks.add_masks(np.zeros(9, np.uint32), [masks.Mask(bytes(32))], 0)


def test_holders_of_shares() -> None:
    secret, entropy = (7).to_bytes(32, "little"), bytes(shamir.entropy_bytes_for(2))
    holders = range(1, shamir.SHARE_COUNT_MAX + 1)
    (shares,) = shamir.share_secrets([secret], 2, holders, entropy)
    assert len(shares) == shamir.SHARE_COUNT_MAX
    with pytest.raises(ValueError, match="at most 255 shares, not 256"):
        shamir.share_secrets([secret], 2, range(1, shamir.SHARE_COUNT_MAX + 2), entropy)


def test_bytes_of_a_statements_kind() -> None:
    statements.statement_digest(b"x" * statements.KIND_BYTES_MAX, 0)
    with pytest.raises(ValueError, match="a kind has 1 to 32 bytes, not 33"):
        statements.statement_digest(b"x" * (statements.KIND_BYTES_MAX + 1), 0)
