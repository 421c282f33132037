"""Member cards as files: what cannot be is one line, with the file and the place."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from test_member_cards import FORM, OTHER

from p2pfl.charter.cards import read_member_card
from p2pfl.charter.errors import PaperError

DOCUMENT: dict[str, Any] = {"format": 1, **FORM, "commitment": "5e" * 32}

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name: "),
    ({"name": "Berlin"}, "name: "),
    ({"name": "a b"}, "name: "),
    ({"name": ".."}, "name: "),
    ({"name": "../x"}, "name: "),
    ({"name": "a\n"}, "name: "),
    ({"name": "a" * 65}, "name: "),
    ({"name": 7}, "name: "),
    ({"peer_id": "12D3KooW"}, "berlin: '12D3KooW' is not the peer id of an Ed25519 key"),
    ({"peer_id": ""}, "berlin: '' is not the peer id"),
    ({"peer_id": "0OIl"}, "is not base58btc"),
    ({"peer_id": "Q" * 100}, "too long"),
    ({"addresses": []}, "addresses: "),
    ({"addresses": "/ip4/192.0.2.1/tcp/1"}, "addresses: "),
    ({"addresses": ["192.0.2.1:4001"]}, "berlin: '192.0.2.1:4001' is not /ip4|ip6|dns"),
    ({"addresses": ["/ip4/192.0.2.256/tcp/1"]}, "berlin: '192.0.2.256' is not an IP address"),
    ({"addresses": ["/ip4/192.0.2.1/udp/1/quic-v1"]}, "is not /ip4|ip6|dns"),
    ({"addresses": ["/ip4/192.0.2.1/tcp/0"]}, "has port 0, which nobody can dial"),
    ({"addresses": ["/ip4/192.0.2.1/tcp/65536"]}, "65536 is not a TCP port"),
    ({"addresses": ["/ip4/0.0.0.0/tcp/4001"]}, "is where a peer listens"),
    ({"addresses": ["/ip6/::/tcp/4001"]}, "is where a peer listens"),
    ({"addresses": [f"/ip4/192.0.2.1/tcp/1/p2p/{OTHER}"]}, "names another peer than"),
    ({"addresses": ["/ip6/::1/tcp/1", "/ip6/0:0::1/tcp/1"]}, "an address is there twice"),
    ({"addresses": [f"/ip4/192.0.2.1/tcp/{port}" for port in range(1, 18)]}, "addresses: "),
    ({"commitment": "00"}, "commitment: "),
    ({"commitment": "AB" * 32}, "commitment: "),
    ({"commitment": "ab" * 32 + "\n"}, "commitment: "),
    ({"key": "secret"}, "key is not a known key"),
    ({"adresses": []}, "adresses is not a known key; did you mean 'addresses'?"),
    ({"format": 2}, "format: "),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_what_cannot_be_is_told_with_the_file_and_the_place(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "member.toml"
    path.write_text(tomli_w.dumps(DOCUMENT | change))
    with pytest.raises(PaperError) as told:
        read_member_card(path)
    assert str(told.value).startswith(f"{path}: ")
    assert said in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("key", ["name", "peer_id", "addresses", "governance", "commitment"])
def test_what_is_missing_is_told(tmp_path: Path, key: str) -> None:
    document = {name: value for name, value in DOCUMENT.items() if name != key}
    path = tmp_path / "member.toml"
    path.write_text(tomli_w.dumps(document))
    with pytest.raises(PaperError, match=f"{key} is missing"):
        read_member_card(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", "is not TOML: it is no UTF-8 text"),
        (b"name =", "is not TOML"),
        (b"", "name is missing"),
        (b"a = " + b"[" * 5000, "is not TOML"),
    ],
)
def test_what_is_no_card(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "member.toml"
    path.write_bytes(content)
    with pytest.raises(PaperError, match=said):
        read_member_card(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(PaperError, match=r"cannot read .*: No such file"):
        read_member_card(tmp_path / "nobody.toml")
    with pytest.raises(PaperError, match=r"cannot read .*: Is a directory"):
        read_member_card(tmp_path)
