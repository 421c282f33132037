"""Key files: what they refuse, what a passphrase seals, and what is never shown."""

import os
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pfl.store.errors import KeyFileError, StoreError
from p2pfl.store.keys import (
    PeerKeys,
    PublicKeys,
    generate_keys,
    read_keys,
    read_public_keys,
    write_keys,
)
from p2pfl.store.passphrases import INTERACTIVE, SealCost, read_passphrase
from p2pfl_crypto.identity import Identity

KEYS = PeerKeys(Identity(bytes(range(32))))
SECRETS = [KEYS.identity.seed.hex()]
CHEAP = SealCost(1, 8192)  # The least that Argon2id takes: tests need not be slow.


BEFORE = """\
format = 1
peer_id = "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"
commitment = "1a8a2f71b94dc82e45fdb112881e191f0425701d177b09907267a80e580a93a2"
"""
PLAIN_BEFORE = f"""{BEFORE}
[secret]
seed = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
draw_secret = "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
"""
SEALED_BEFORE = f"""{BEFORE}
[sealed]
passes = 1
memory_bytes = 8192
salt = "216e43f752554675905dca1d710dc4e9"
nonce = "ace4bb572b433c89de025105708958ad458c5df89faeb147"
text = "19404a83f18d583bbf26f406c3f7583299b5a29608f577d92171b6c55bdce05da382ee6941bb3289d50c510d4f5\
538bf8e5a74593978c94545d7c86208eeb6dac645ffd6feb6f40bfec19da177335c92"
"""
"""Files of format 1, as they were written: there was a second secret."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "key"


def test_keys_come_back_and_only_the_owner_may_read_them(path: Path) -> None:
    write_keys(path, KEYS)
    assert read_keys(path) == KEYS
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_public_keys(path) == PublicKeys(KEYS.identity.peer_id, is_sealed=False)


@pytest.mark.parametrize(("content", "passphrase"), [(PLAIN_BEFORE, None), (SEALED_BEFORE, b"p")])
def test_keys_of_an_earlier_format_are_read(
    path: Path, content: str, passphrase: bytes | None
) -> None:
    path.write_text(content)
    path.chmod(0o600)
    assert read_keys(path, passphrase=passphrase) == KEYS
    assert read_public_keys(path).peer_id == KEYS.identity.peer_id
    for name in ("commitment", "draw_secret") if passphrase is None else ("commitment",):
        path.write_text(without(name)(content))
        with pytest.raises(KeyFileError, match="damaged"):
            read_keys(path, passphrase=passphrase)


def test_new_keys_are_new() -> None:
    one, other = generate_keys(), generate_keys()
    assert one.identity != other.identity
    assert one.identity.seed != other.identity.seed


@pytest.mark.parametrize("cost", [CHEAP, INTERACTIVE])
def test_a_passphrase_seals_them(path: Path, cost: SealCost) -> None:
    write_keys(path, KEYS, passphrase=b"correct horse", cost=cost)
    content = path.read_text()
    assert not any(secret in content for secret in SECRETS)
    assert read_keys(path, passphrase=b"correct horse") == KEYS
    assert read_public_keys(path) == PublicKeys(KEYS.identity.peer_id, is_sealed=True)
    assert f"memory_bytes = {cost.memory_bytes}" in content


def test_sealing_twice_gives_other_bytes(path: Path) -> None:
    write_keys(path, KEYS, passphrase=b"p", cost=CHEAP)
    write_keys(path.with_name("other"), KEYS, passphrase=b"p", cost=CHEAP)
    assert path.read_text() != path.with_name("other").read_text()


@pytest.mark.parametrize("passphrase", [b"wrong", b"correct horse ", b"Correct horse"])
def test_a_wrong_passphrase_is_one_line(path: Path, passphrase: bytes) -> None:
    write_keys(path, KEYS, passphrase=b"correct horse", cost=CHEAP)
    with pytest.raises(KeyFileError, match="does not open: the passphrase is wrong") as told:
        read_keys(path, passphrase=passphrase)
    assert "\n" not in str(told.value)


def test_a_passphrase_is_given_where_it_belongs_and_only_there(path: Path) -> None:
    write_keys(path, KEYS)
    with pytest.raises(KeyFileError, match="is not sealed"):
        read_keys(path, passphrase=b"x")
    sealed = path.with_name("sealed")
    write_keys(sealed, KEYS, passphrase=b"x", cost=CHEAP)
    with pytest.raises(KeyFileError, match="is sealed: give its passphrase"):
        read_keys(sealed)


@pytest.mark.parametrize("passphrase", [b"", b"x" * 1025])
def test_a_passphrase_has_a_length(path: Path, passphrase: bytes) -> None:
    with pytest.raises(ValueError, match="1 to 1024 bytes"):
        write_keys(path, KEYS, passphrase=passphrase)
    assert not path.exists()


def test_salt_and_nonce_are_drawn_from_what_is_given(path: Path) -> None:
    asked: list[int] = []

    def entropy(count: int) -> bytes:
        asked.append(count)
        return bytes([len(asked)]) * count

    write_keys(path, KEYS, passphrase=b"p", cost=CHEAP, entropy=entropy)
    sealed = tomllib.loads(path.read_text())["sealed"]
    assert asked == [16, 24]
    assert (sealed["salt"], sealed["nonce"]) == ("01" * 16, "02" * 24)


def test_a_key_is_never_overwritten(path: Path) -> None:
    write_keys(path, KEYS)
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="never overwritten"):
        write_keys(path, generate_keys())
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_what_others_may_read_is_refused_with_the_remedy(path: Path, mode: int) -> None:
    write_keys(path, KEYS)
    path.chmod(mode)
    for read in (read_keys, read_public_keys, read_passphrase):
        with pytest.raises(KeyFileError, match=f"chmod 600 {path}"):
            read(path)


def flip_hex(name: str) -> Callable[[str], str]:
    def change(content: str) -> str:
        before, _, after = content.partition(f'{name} = "')
        return f'{before}{name} = "{"0" if after[0] != "0" else "1"}{after[1:]}'

    return change


def without(name: str) -> Callable[[str], str]:
    return lambda content: "".join(
        line for line in content.splitlines(keepends=True) if not line.startswith(name)
    )


DAMAGES: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "cut": lambda content: content[: len(content) // 2],
    "no toml": lambda _: "{not toml",
    "another format": lambda content: content.replace("format = 2", "format = 3"),
    "an earlier format": lambda content: content.replace("format = 2", "format = 1"),
    "a commitment": lambda content: f'commitment = "{"0" * 64}"\n{content}',
    "a number for a peer id": lambda content: content.replace('peer_id = "12', 'peer_id = 12 # "'),
    "one more key": lambda content: f"more = 1\n{content}",
    "no peer id": without("peer_id"),
    "another peer id": lambda content: content.replace(
        KEYS.identity.peer_id, Identity(bytes(32)).peer_id
    ),
}
PLAIN = {
    "another seed": flip_hex("seed"),
    "a second secret": lambda content: f'{content}draw_secret = "{"0" * 64}"\n',
    "capitals": lambda content: content.replace(SECRETS[0], SECRETS[0].upper()),
    "a short seed": lambda content: content.replace('seed = "00', 'seed = "'),
    "a newline after the seed": lambda content: content.replace('1e1f"', '1e1f\\n"'),
    "no seed": without("seed"),
    "no table": lambda content: content.partition("[secret]")[0],
}
SEALED = {
    "another salt": flip_hex("salt"),
    "another nonce": flip_hex("nonce"),
    "another text": flip_hex("text"),
    "no passes": lambda content: content.replace("passes = 1", "passes = 0"),
    "more passes": lambda content: content.replace("passes = 1", "passes = 2"),
    "endless passes": lambda content: content.replace("passes = 1", "passes = 4000000000"),
    "all memory": lambda content: content.replace("= 8192", "= 99999999999"),
    "little memory": lambda content: content.replace("= 8192", "= 1"),
    "both tables": lambda content: f'{content}\n[secret]\nseed = "{SECRETS[0]}"\n',
}


@pytest.mark.parametrize(
    ("passphrase", "change"),
    [
        *(pytest.param(None, change, id=name) for name, change in (DAMAGES | PLAIN).items()),
        *(pytest.param(b"p", change, id=name) for name, change in (DAMAGES | SEALED).items()),
    ],
)
def test_damage_is_one_line_without_a_secret(
    path: Path, passphrase: bytes | None, change: Callable[[str], str]
) -> None:
    write_keys(path, KEYS, passphrase=passphrase, cost=CHEAP)
    content = path.read_text()
    changed = change(content)
    assert changed != content
    path.write_text(changed)
    with pytest.raises(KeyFileError) as told:
        read_keys(path, passphrase=passphrase)
    message = str(told.value)
    assert str(path) in message
    assert "\n" not in message
    shown = "".join(traceback.format_exception(told.value))
    assert not any(secret[2:] in shown for secret in SECRETS)


@pytest.mark.parametrize(
    ("change", "where"),
    [(without("peer_id"), "peer_id"), (without("seed"), "secret.seed")],
)
def test_damage_is_told_by_its_place(path: Path, change: Callable[[str], str], where: str) -> None:
    write_keys(path, KEYS)
    path.write_text(change(path.read_text()))
    with pytest.raises(KeyFileError, match=f"is damaged at {where};"):
        read_keys(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"cannot read the key file .*: No such file"):
        read_keys(tmp_path / "nowhere")
    with pytest.raises(KeyFileError, match="Is a directory"):
        read_keys(tmp_path)
    long = tmp_path / "long"
    long.write_bytes(b"#" * 5000)
    long.chmod(0o600)
    with pytest.raises(KeyFileError, match="too long"):
        read_keys(long)
    with pytest.raises(KeyFileError, match=r"cannot write .*: No such file"):
        write_keys(tmp_path / "nowhere" / "key", KEYS)
    assert issubclass(KeyFileError, StoreError)


def test_a_key_file_that_cannot_be_written_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyFileError, match="No space left"):
        write_keys(path, KEYS)
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "passphrase"),
    [(b"a b c\n", b"a b c"), (b"x", b"x"), (b"x\r\n", b"x"), ("pä\n".encode(), "pä".encode())],
)
def test_a_passphrase_file_is_one_line(path: Path, content: bytes, passphrase: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    assert read_passphrase(path) == passphrase


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "1 to 1024"), (b"\n", "1 to 1024"), (b"a\nb\n", "more than one line")],
)
def test_a_passphrase_file_that_holds_none(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=said):
        read_passphrase(path)


def test_a_public_half_that_is_no_peer_id_is_damage(path: Path) -> None:
    write_keys(path, KEYS)
    path.write_text(path.read_text().replace(KEYS.identity.peer_id, "12D3KooNobody"))
    with pytest.raises(KeyFileError, match=f"{path} is damaged"):
        read_public_keys(path)


def test_no_repr_shows_a_secret() -> None:
    shown = f"{KEYS!r} {KEYS} {KEYS.identity!r}"
    assert not any(secret in shown for secret in SECRETS)


def test_a_key_file_may_begin_with_the_mark_of_an_editor(path: Path) -> None:
    write_keys(path, KEYS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_keys(path) == KEYS
