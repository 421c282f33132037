"""What liars forge: copies with other fields, and good signatures of their own."""

from random import Random
from typing import Any, get_args

import pytest

from p2pfl_crypto.audit.disputes import LIFTS_BYTES, SHOWN_BYTES
from p2pfl_crypto.audit.shared_points import POSSESSION_BYTES
from p2pfl_crypto.audit.shortness import PROOF_BYTES
from p2pfl_crypto.identity import Identity, InvalidIdentity, public_key_of
from p2pfl_crypto.statements import verify_statement
from p2pfl_gossip import wire
from p2pfl_gossip.masked_sum import messages as sums
from p2pfl_gossip.records import MalformedFrame
from p2pfl_simulations.liars.forging import mutated, replaced, signed_again, stated_by

LIAR = Identity(b"\7" * 32)
SIGNED = [
    kind for kind in get_args(sums.MASKED_SUM_MESSAGES) if "signature" in kind.__struct_fields__
]
FIELDS = {
    "session": b"s" * 32,
    "turn": 1,
    "members": b"\x1f",
    "owners": b"\1",
    "bitmaps": b"\x1f",
    "chunk_digests": b"d" * 32,
    "share_digests": b"d" * 64,
    "digests": b"d" * 160,
    "header_digests": b"d" * 160,
    "manifest_digests": b"d" * 160,
    "proof": b"p" * PROOF_BYTES,
    "possession": b"p" * POSSESSION_BYTES,
    "sketch": b"v" * SHOWN_BYTES,
    "lifts": b"l" * LIFTS_BYTES,
    "signature": bytes(64),
}


def message_of(kind: type) -> Any:
    ranks = ("accuser", "member", "dealer", "owner", "chunk", "turn")
    return kind(
        *(
            FIELDS.get(name, 1 if name in ranks else b"x" * 32)
            for name in kind.__struct_fields__  # type: ignore[attr-defined]
        )
    )


@pytest.mark.parametrize("kind", SIGNED)
def test_every_signed_message_can_be_signed_again(kind: type) -> None:
    message = signed_again(message_of(kind), LIAR, 3)
    stated = stated_by(message)
    assert stated is not None, "a liar cannot sign this: add it to forging.py"
    name, body = stated
    verify_statement(
        public_key_of(LIAR.peer_id),
        name,
        3,
        message.signature,
        message.session,
        *body,
    )
    changed = replaced(message, session=b"t" * 32)
    with pytest.raises(InvalidIdentity):
        verify_statement(
            public_key_of(LIAR.peer_id),
            name,
            3,
            changed.signature,
            changed.session,
            *body,
        )


@pytest.mark.parametrize("kind", SIGNED)
def test_a_mutation_changes_one_field_and_often_passes_the_decoder(kind: type) -> None:
    message, passed = message_of(kind), 0
    for seed in range(40):
        other = mutated(message, Random(seed))
        fields = kind.__struct_fields__  # type: ignore[attr-defined]
        assert sum(getattr(other, it) != getattr(message, it) for it in fields) <= 1
        try:
            wire.decode_untrusted(wire.encode(signed_again(other, LIAR, 3)))
            passed += 1
        except MalformedFrame:
            continue
    assert passed > 10
