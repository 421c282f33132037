"""Member cards, and the random bytes that founders commit to."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from p2pfl.charter.cards import (
    FOUNDING,
    MEMBER_CARD,
    GovernanceTable,
    MemberForm,
    commit,
    founders_nonce,
    read_member_card,
    reveal,
    write_member_card,
)
from p2pfl.charter.errors import PaperError
from p2pfl.charter.keys import key_text
from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.ledger.charter import KEYS_OF_ONE_MAX

PEER = Identity(bytes(32)).peer_id
OTHER = Identity(bytes(31) + b"\1").peer_id
KEYS = tuple(
    key_text(GovernanceKey("ed25519", Identity(bytes([number]) * 32).public_key))
    for number in range(8)
)
FORM: dict[str, Any] = {
    "name": "berlin",
    "peer_id": PEER,
    "addresses": ["/dns4/berlin.example/tcp/4001"],
    "governance": {"threshold": 1, "keys": KEYS[:1]},
}
DRAFT, OTHER_DRAFT = bytes(32), bytes([1]) * 32


def test_a_card_comes_back(tmp_path: Path) -> None:
    form = MemberForm.model_validate(FORM | {"contact": "Dr. Ada"})
    card = write_member_card(tmp_path, form)
    assert read_member_card(tmp_path / MEMBER_CARD) == card
    assert card.form() == form
    assert card.votes_as == "berlin"


def test_a_card_commits_to_bytes_that_it_does_not_show(tmp_path: Path) -> None:
    card = write_member_card(tmp_path, MemberForm.model_validate(FORM), entropy=bytes)
    assert (
        card.commitment
        == commit(PEER, bytes(16)).hex()
        == "0f66e23e52983a7adc30a155e22c7d993fcea5dfd60dbbf5383d0edf40a1f4c2"
    )
    assert (tmp_path / FOUNDING).stat().st_mode & 0o777 == 0o600
    assert commit(OTHER, bytes(16)) != commit(PEER, bytes(16))
    assert commit(PEER, bytes(15) + b"\1") != commit(PEER, bytes(16))
    fresh = write_member_card(tmp_path, MemberForm.model_validate(FORM))
    assert fresh.commitment != card.commitment


def test_bytes_are_shown_for_one_draft_only(tmp_path: Path) -> None:
    with pytest.raises(PaperError, match="has no random bytes for a founding"):
        reveal(tmp_path, DRAFT)
    card = write_member_card(tmp_path, MemberForm.model_validate(FORM))
    secret = reveal(tmp_path, DRAFT)
    assert commit(PEER, secret).hex() == card.commitment
    assert reveal(tmp_path, DRAFT) == secret
    with pytest.raises(PaperError, match="were shown for another draft: make a new card"):
        reveal(tmp_path, OTHER_DRAFT)
    write_member_card(tmp_path, MemberForm.model_validate(FORM))
    assert reveal(tmp_path, OTHER_DRAFT) != secret


@pytest.mark.parametrize("content", [b"", b"\xff", b"format = 1\nsecret = 'zz'\n", b"x = ["])
def test_damaged_bytes_are_told_without_being_shown(tmp_path: Path, content: bytes) -> None:
    write_member_card(tmp_path, MemberForm.model_validate(FORM))
    (tmp_path / FOUNDING).write_bytes(content)
    with pytest.raises(PaperError, match="founding is damaged; make a new card") as caught:
        reveal(tmp_path, DRAFT)
    assert "zz" not in str(caught.value)


def test_bytes_that_others_may_read_are_refused(tmp_path: Path) -> None:
    write_member_card(tmp_path, MemberForm.model_validate(FORM))
    (tmp_path / FOUNDING).chmod(0o644)
    with pytest.raises(PaperError, match="chmod 600"):
        reveal(tmp_path, DRAFT)


def test_the_nonce_takes_all_bytes_in_order() -> None:
    secrets = [bytes([number]) * 16 for number in range(5)]
    nonce = founders_nonce(DRAFT, secrets)
    assert nonce.hex() == "962d7d98f57242dd3d7526c58cf4527b355053c727967c688c3ec9ff1a4caa83"
    assert founders_nonce(OTHER_DRAFT, secrets) != nonce
    assert founders_nonce(DRAFT, secrets[::-1]) != nonce
    assert founders_nonce(DRAFT, [*secrets[:4], bytes(16)]) != nonce


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"peer_id": "12D3"}, "is not the peer id"),
        ({"addresses": []}, "at least 1 item"),
        ({"addresses": ["/ip4/0.0.0.0/tcp/1"]}, "berlin: "),
        ({"name": "Berlin"}, "is no name"),
        ({"weight": 0}, "greater than 0"),
        ({"weight": float("inf")}, "finite number"),
        ({"weight": float("nan")}, "finite number"),
        ({"controller": " x"}, "controller"),
        ({"controller": "x" * 65}, "at most 64"),
        ({"governance": {"threshold": 1, "keys": []}}, "at least 1 item"),
        ({"governance": {"threshold": 2, "keys": KEYS[:1]}}, "threshold is 2"),
        ({"governance": {"threshold": 1, "keys": [KEYS[0], KEYS[0]]}}, "is there twice"),
        ({"governance": {"threshold": 1, "keys": ["rsa:00"]}}, "is no governance key"),
        ({"more": 1}, "Extra inputs"),
    ],
)
def test_a_member_that_cannot_be_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        MemberForm.model_validate(FORM | changes)


def test_governance_keys_of_a_member() -> None:
    most = KEYS_OF_ONE_MAX
    assert GovernanceTable(threshold=most, keys=KEYS[:most]).threshold == 7
    with pytest.raises(ValidationError, match="at most 7 items"):
        GovernanceTable(threshold=1, keys=KEYS[: most + 1])
