"""`p2pfl peer init`: a whole peer or nothing, and one line for what is wrong."""

import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from calling import P2pfl

from p2pfl.daemon.config import PeerFolder, read_config
from p2pfl.store.keys import read_keys, read_public_keys

COMMAND = [sys.executable, "-m", "p2pfl.cli.main"]


def secret_file(name: str, content: bytes = b"correct horse\n") -> str:
    path = Path(name)
    path.write_bytes(content)
    path.chmod(0o600)
    return name


def test_init_makes_a_peer_and_says_what_to_do_next(p2pfl: P2pfl) -> None:
    ended = p2pfl("peer", "init", "berlin", "--address", "/dns4/berlin.example/tcp/4001")
    assert (ended.code, ended.err) == (0, "")
    folder = PeerFolder(Path("berlin"))
    keys = read_keys(folder.key)
    config = read_config(folder.path)
    assert config.name == "berlin"
    assert config.addresses == ("/dns4/berlin.example/tcp/4001",)
    assert config.listen == ("/ip4/0.0.0.0/tcp/4001",)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    for shown in (
        keys.identity.peer_id,
        "charter card berlin",
        "berlin/charters",
        "p2pfl peer run berlin",
    ):
        assert shown in ended.out
    assert keys.identity.seed.hex() not in ended.out
    assert "as far as this machine knows" not in ended.out


def test_an_empty_folder_is_used_and_named_after(p2pfl: P2pfl) -> None:
    Path("Oslo").mkdir()
    assert p2pfl("peer", "init", "Oslo").code == 0
    assert read_config(Path("Oslo")).name == "oslo"
    Path("here").mkdir()
    os.chdir("here")
    assert p2pfl("peer", "init", ".").code == 0
    assert read_config(Path()).name == "here"


@pytest.mark.parametrize(
    ("listen", "reached"),
    [
        ([], [f"/dns/{socket.gethostname()}/tcp/4001"]),
        (["/ip4/127.0.0.1/tcp/5"], ["/ip4/127.0.0.1/tcp/5"]),
        (["/ip4/0.0.0.0/tcp/5", "/ip6/::/tcp/5"], [f"/dns/{socket.gethostname()}/tcp/5"]),
    ],
)
def test_addresses_are_guessed_aloud(p2pfl: P2pfl, listen: list[str], reached: list[str]) -> None:
    options = [option for address in listen for option in ("--listen", address)]
    ended = p2pfl("peer", "init", "oslo", *options)
    assert ended.code == 0, ended.err
    assert list(read_config(Path("oslo")).addresses) == reached
    assert "as far as this machine knows" in ended.out


def test_a_passphrase_file_seals_the_key_and_is_remembered(p2pfl: P2pfl) -> None:
    ended = p2pfl("peer", "init", "oslo", "--passphrase-file", secret_file("p"))
    assert ended.code == 0, ended.err
    assert read_public_keys(Path("oslo/key")).is_sealed
    config = read_config(Path("oslo"))
    assert config.passphrase_file == Path("p").resolve()
    keys = read_keys(Path("oslo/key"), passphrase=b"correct horse")
    assert keys.identity.peer_id == read_public_keys(Path("oslo/key")).peer_id


def at_a_terminal(folder: Path, typed: list[bytes]) -> tuple[int, str]:
    """Call `p2pfl peer init --passphrase` at a terminal of its own; answer each question."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "peer", "init", "oslo", "--passphrase"],
        cwd=folder,
        stdin=its,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # No terminal but the one on its standard input.
    ) as process:
        os.close(its)
        assert process.stdout is not None
        shown = b""
        for line in typed:
            while not shown.endswith(b": ") and (byte := process.stdout.read(1)):
                shown += byte
            os.write(ours, line + b"\n")
            shown += b"\n"
        shown += process.stdout.read()
    os.close(ours)
    return process.returncode, shown.decode()


def test_a_passphrase_is_asked_for_twice_and_not_shown(tmp_path: Path) -> None:
    code, shown = at_a_terminal(tmp_path, [b"correct horse", b"correct horse"])
    assert code == 0, shown
    assert "correct horse" not in shown
    assert read_keys(tmp_path / "oslo" / "key", passphrase=b"correct horse")


@pytest.mark.parametrize(
    ("typed", "said"),
    [([b"one", b"two"], "the two passphrases differ"), ([b""], "1 to 1024 bytes")],
)
def test_passphrases_that_are_none(tmp_path: Path, typed: list[bytes], said: str) -> None:
    code, shown = at_a_terminal(tmp_path, typed)
    assert code == 2
    assert said in shown
    assert not (tmp_path / "oslo").exists()


WRONG = [
    (("Oslo!",), "name: 'oslo!' is no name: that is 1 to 64 of a-z"),
    (("oslo", "--name", ""), "name: '' is no name"),
    (("oslo", "--name", "Oslo"), "name: 'Oslo' is no name"),
    (("oslo", "--name", "a" * 65), "is no name"),
    (("oslo", "--listen", "4001"), "--listen: '4001' is not /ip4|ip6|dns"),
    (("oslo", "--listen", "/ip4/1.2.3.4/tcp/0"), "has no port that others could know"),
    (("oslo", "--listen", "x", "--address", "/dns/a/tcp/1"), "listen: 'x' is not /ip4"),
    (("oslo", "--address", "oslo.example:4001"), "addresses: 'oslo.example:4001' is not /ip4"),
    (("oslo", "--address", "/ip4/0.0.0.0/tcp/4001"), "addresses: /ip4/0.0.0.0/tcp/4001 is where"),
    (("oslo", "--address", "/dns/a/tcp/1", "--address", "/dns/a/tcp/1"), "an address is there tw"),
    (
        (
            "oslo",
            "--address",
            "/dns/a/tcp/1/p2p/12D3KooWM18EvxAyrcXdyrzu1VyKt8Jo2e2repMa3B3ysbg5aBKP",
        ),
        "addresses name another peer than",
    ),
    (("oslo", "--passphrase-file", "nowhere"), "cannot read the passphrase file nowhere"),
    (("oslo", "--passphrase-file", "open"), "other users may read the passphrase file"),
    (("oslo", "--passphrase-file", "empty"), "empty: a passphrase has 1 to 1024 bytes, not 0"),
    (("oslo", "--passphrase-file", "p", "--passphrase"), "exclude each other"),
    (("oslo", "--passphrase"), "no terminal to ask at for a new passphrase: use --passphrase-file"),
    (("full",), "full is not empty, and an identity is never overwritten"),
    (("full/file",), "cannot use full/file: Not a directory"),
    (("full/file/oslo",), "Not a directory"),
    ((), "missing argument 'DIR'"),
    (("oslo", "bergen"), "unexpected extra argument"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_wrong_input_is_one_line_and_makes_nothing(
    p2pfl: P2pfl, arguments: tuple[str, ...], said: str
) -> None:
    Path("full").mkdir()
    Path("full/file").write_text("mine")
    secret_file("p")
    secret_file("empty", b"")
    Path("open").write_text("x")
    Path("open").chmod(0o644)
    before = sorted(Path().rglob("*"))
    ended = p2pfl("peer", "init", *arguments)
    assert ended.code == 2
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert ended.out == ""
    assert sorted(Path().rglob("*")) == before


def test_a_second_init_changes_nothing(p2pfl: P2pfl) -> None:
    assert p2pfl("peer", "init", "oslo").code == 0
    before = {path: path.read_bytes() for path in Path("oslo").iterdir() if path.is_file()}
    ended = p2pfl("peer", "init", "oslo", "--name", "other")
    assert ended.code == 2
    now = {path: path.read_bytes() for path in Path("oslo").iterdir() if path.is_file()}
    assert now == before


def test_a_disk_that_fills_up_leaves_nothing(p2pfl: P2pfl, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, calls = os.fsync, 0

    def fail_later(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:  # Of the key; the settings are there already.
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_later)
    Path("empty").mkdir()
    ended = p2pfl("peer", "init", "empty")
    assert calls == 3
    assert ended.code == 2
    assert "No space left on device" in ended.err
    assert list(Path("empty").iterdir()) == []


@pytest.mark.parametrize("command", [(), ("peer",), ("charter",)])
def test_without_a_command_the_help_is_all(p2pfl: P2pfl, command: tuple[str, ...]) -> None:
    ended = p2pfl(*command)
    assert ended.code == 2
    assert ended.err == ""
    assert "Usage: p2pfl" in ended.out
