"""Governance keys in files: what a passphrase seals, and what is refused."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w

from p2pfl.charter import keys
from p2pfl.charter.errors import PaperError
from p2pfl.charter.keys import (
    Kind,
    key_text,
    make_key,
    read_key_text,
    read_public,
    read_signer,
    write_command,
)
from p2pfl.store.passphrases import SealCost
from p2pfl_crypto.governance import InvalidGovernance, verify

CHEAP = SealCost(1, 8192)  # The least that Argon2id takes: tests need not be slow.
PASSPHRASE = b"correct horse"
BASE_POINT = "p256:036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
"""The P-256 key of the scalar 1."""

KINDS: list[Kind] = ["ed25519", "p256"]


def passphrase() -> bytes:
    return PASSPHRASE


def nobody() -> bytes:
    raise AssertionError("nobody is to be asked")


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_comes_back_and_signs(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "gov.key"
    key = make_key(path, kind, PASSPHRASE, cost=CHEAP)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_public(path) == (key, True)
    signer = read_signer(path, passphrase)
    assert signer.key == key
    signature = signer.sign(b"message")
    assert len(signature) == 64
    verify(key, signature, b"message")
    with pytest.raises(InvalidGovernance):
        verify(key, signature, b"massage")
    assert "secret" not in repr(signer)


@pytest.mark.parametrize("kind", KINDS)
def test_the_secret_is_sealed(tmp_path: Path, kind: Kind) -> None:
    path, drawn = tmp_path / "gov.key", bytes(range(1, 33))

    def entropy(size: int) -> bytes:
        return drawn[:size]

    make_key(path, kind, PASSPHRASE, cost=CHEAP, entropy=entropy)
    sealed = tomllib.loads(path.read_text())["sealed"]
    assert drawn.hex() not in sealed["text"]
    with pytest.raises(PaperError, match="the passphrase is wrong, or the file is damaged"):
        read_signer(path, lambda: b"correct house")


def test_new_keys_are_new(tmp_path: Path) -> None:
    assert make_key(tmp_path / "a", "p256", PASSPHRASE, cost=CHEAP) != make_key(
        tmp_path / "b", "p256", PASSPHRASE, cost=CHEAP
    )


def test_a_scalar_beyond_the_order_is_drawn_again(tmp_path: Path) -> None:
    drawn = [bytes(32), b"\xff" * 32, bytes(31) + b"\1"]
    secrets = iter(drawn)

    def entropy(size: int) -> bytes:
        return next(secrets, bytes(32))[:size]

    path = tmp_path / "gov.key"
    key = make_key(path, "p256", PASSPHRASE, cost=CHEAP, entropy=entropy)
    assert key_text(key) == BASE_POINT


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "gov.key"
    make_key(path, "ed25519", PASSPHRASE, cost=CHEAP)
    before = path.read_bytes()
    with pytest.raises(PaperError, match="is there already, and a key is never overwritten"):
        make_key(path, "ed25519", PASSPHRASE, cost=CHEAP)
    assert path.read_bytes() == before


def test_a_command_needs_no_passphrase(tmp_path: Path) -> None:
    key = make_key(tmp_path / "gov.key", "p256", PASSPHRASE, cost=CHEAP)
    path = tmp_path / "hsm.key"
    write_command(path, key, ["sign-it", "--slot", "3"], deadline_s=5.0)
    assert read_public(path) == (key, False)
    assert read_signer(path, nobody).key == key


Damage = Callable[[dict[str, object]], object]


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda it: it.update(format=2), "is damaged at format"),
        (lambda it: it.update(key="rsa:00"), "'rsa:00' is no governance key"),
        (lambda it: it.update(key="ed25519:00"), "the digits are no ed25519 key"),
        (lambda it: it.update(key=str(it["key"]).upper()), "is no governance key"),
        (lambda it: it.pop("sealed"), "it takes one table, sealed or command"),
        (lambda it: it.update(more=1), "is damaged at more"),
        (
            lambda it: it.update(command={"words": ["sign"], "deadline_s": 1.0}),
            "it takes one table, sealed or command",
        ),
        (
            lambda it: it.update(
                key="p256:03" + "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
            ),
            "the passphrase is wrong, or the file is damaged",
        ),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Damage, fault: str) -> None:
    path = tmp_path / "gov.key"
    make_key(path, "ed25519", PASSPHRASE, cost=CHEAP)
    document = tomllib.loads(path.read_text())
    damage(document)
    path.write_text(tomli_w.dumps(document))
    with pytest.raises(PaperError, match=fault):
        read_signer(path, passphrase)


def test_a_secret_of_another_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gov.key"
    make_key(path, "ed25519", PASSPHRASE, cost=CHEAP)
    monkeypatch.setattr(keys, "open_text", lambda *_: bytes(32))
    with pytest.raises(PaperError, match="its secret is not that of its key"):
        read_signer(path, passphrase)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gov.key"
    make_key(path, "ed25519", PASSPHRASE, cost=CHEAP)
    path.chmod(0o640)
    with pytest.raises(PaperError, match=f"run chmod 600 {path}"):
        read_public(path)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gov.key"
    with pytest.raises(PaperError, match="cannot read the governance key"):
        read_public(path)
    path.touch(0o600)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PaperError, match="is no governance key"):
        read_public(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_public_key_is_text(tmp_path: Path, kind: Kind) -> None:
    key = make_key(tmp_path / "gov.key", kind, PASSPHRASE, cost=CHEAP)
    assert read_key_text(key_text(key)) == key


@pytest.mark.parametrize("text", ["", "ed25519", "ed25519:", "p256:zz", "ED25519:00", "p256:00 "])
def test_other_text_is_no_public_key(text: str) -> None:
    with pytest.raises(ValueError, match="is no governance key"):
        read_key_text(text)


def test_words_of_a_command(tmp_path: Path) -> None:
    key = make_key(tmp_path / "gov.key", "ed25519", PASSPHRASE, cost=CHEAP)
    write_command(tmp_path / "most", key, ["w"] * keys.COMMAND_WORDS_MAX, deadline_s=1.0)
    for words in ([], ["w"] * (keys.COMMAND_WORDS_MAX + 1)):
        with pytest.raises(PaperError, match=r"the command of a key cannot be: command\.words"):
            write_command(tmp_path / "none", key, words, deadline_s=1.0)
        assert not (tmp_path / "none").exists()
