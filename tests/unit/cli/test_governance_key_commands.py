"""`p2pfl charter key | card`, as an operator calls them."""

import sys
from functools import partial
from pathlib import Path

import pytest
from calling import Ended, P2pfl

from p2pfl.charter.cards import FOUNDING, read_member_card
from p2pfl.charter.keys import key_text, make_key, read_public
from p2pfl.cli import governance_keys, passphrases
from p2pfl.store.passphrases import SealCost


@pytest.fixture(autouse=True)
def passphrase(p2pfl: P2pfl, monkeypatch: pytest.MonkeyPatch) -> None:
    del p2pfl  # It has made the folder the present one.
    cheap = SealCost(1, 8192)  # The least that Argon2id takes: tests need not be slow.
    monkeypatch.setattr(governance_keys, "make_key", partial(make_key, cost=cheap))
    path = Path("passphrase")
    path.touch(0o600)
    path.write_text("correct horse\n")


BASE_X = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
"""Of P-256's base point."""


def make(p2pfl: P2pfl, *arguments: str) -> Ended:
    return p2pfl("charter", "key", *arguments, "--passphrase-file", "passphrase")


def fails(ended: Ended, said: str) -> None:
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_a_key_is_made_and_its_public_half_shown(p2pfl: P2pfl, kind: str) -> None:
    made = make(p2pfl, "director.key", "--kind", kind)
    assert made.code == 0, made.err
    key, is_sealed = read_public(Path("director.key"))
    assert is_sealed
    assert key.kind == kind
    assert f"wrote director.key: {key_text(key)}\n" in made.out
    fails(make(p2pfl, "director.key"), "director.key is there already")


def test_a_passphrase_is_asked_twice(p2pfl: P2pfl, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(
        p2pfl("charter", "key", "a.key"),
        "no terminal to ask at for a new passphrase",
    )
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    typed = iter(["one", "other"])
    monkeypatch.setattr(passphrases, "getpass", lambda _: next(typed))
    fails(p2pfl("charter", "key", "a.key"), "the two passphrases differ; nothing was made")
    assert not Path("a.key").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--kind", "rsa"], "--kind rsa: there are ed25519 and p256"),
        (["--pkcs11", "module.so"], "--pkcs11 needs --id"),
        (["--command", "sign"], "--command and --public go together"),
        (["--public", "ed25519:00"], "--command and --public go together"),
        (["--pkcs11", "m", "--command", "c"], "--pkcs11 and --command exclude each other"),
        (["--command", "sign", "--public", "ed25519:00"], "is no governance key"),
        (["--command", "'", "--public", "p256:03" + BASE_X], "No closing quotation"),
    ],
)
def test_what_does_not_fit_is_refused(p2pfl: P2pfl, arguments: list[str], said: str) -> None:
    fails(make(p2pfl, "a.key", *arguments), said)
    assert not Path("a.key").exists()


def test_without_pkcs11_tool_it_says_what_to_install(
    p2pfl: P2pfl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    ended = make(p2pfl, "a.key", "--pkcs11", "module.so", "--id", "05")
    fails(ended, "there is no pkcs11-tool here; install OpenSC")


def test_a_card_says_who_approves(p2pfl: P2pfl) -> None:
    assert p2pfl("peer", "init", "berlin", "--listen", "/ip4/127.0.0.1/tcp/4001").code == 0
    for name in ("a.key", "b.key"):
        assert make(p2pfl, name).code == 0
    made = p2pfl(
        "charter", "card", "berlin", "--key", "a.key", "--key", "b.key", "--threshold", "2",
        "--controller", "Berlin Hospital", "--weight", "320", "--contact", "Dr. Ada, 030 1234",
    )  # fmt: skip
    assert made.code == 0, made.err
    assert "berlin for Berlin Hospital, weight 320" in made.out
    card = read_member_card(Path("berlin/member.toml"))
    assert card.governance.threshold == 2
    assert card.governance.keys == tuple(
        key_text(read_public(Path(name))[0]) for name in ("a.key", "b.key")
    )
    assert card.contact == "Dr. Ada, 030 1234"
    assert (Path("berlin") / FOUNDING).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threshold", "2"], "threshold is 2, and there are 1 keys"),
        (["--threshold", "0"], "threshold"),
        (["--key", "a.key"], "a governance key is there twice"),
        (["--weight", "0"], "weight: Input should be greater than 0, not 0.0"),
        (["--key", "none.key"], "cannot read the governance key none.key"),
    ],
)
def test_a_card_that_cannot_be_is_refused(p2pfl: P2pfl, arguments: list[str], said: str) -> None:
    assert p2pfl("peer", "init", "berlin", "--listen", "/ip4/127.0.0.1/tcp/4001").code == 0
    assert make(p2pfl, "a.key").code == 0
    fails(p2pfl("charter", "card", "berlin", "--key", "a.key", *arguments), said)
    assert not Path("berlin/member.toml").exists()
