"""Cards: what a member may say of itself."""

from pathlib import Path
from typing import Any

import pytest
from rosters import identity, member, member_document

from p2pfl.group.cards import CardError, Member, read_card, write_card

OTHER = str(identity(1).peer_id)


def test_a_card_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    write_card(path, member(0))
    assert read_card(path) == member(0)
    assert path.read_text().startswith('name = "berlin"\n')
    assert "format = 1" in path.read_text()


def test_addresses_name_whom_to_expect() -> None:
    document = member_document(0)
    document["addresses"] = [
        "/dns4/peer.example/tcp/4001",
        f"/ip6/2001:db8:0:0::1/tcp/1/p2p/{document['peer_id']}",
    ]
    known = Member.model_validate(document)
    assert [str(address) for address in known.multiaddrs()] == [
        f"/dns4/peer.example/tcp/4001/p2p/{known.peer_id}",
        f"/ip6/2001:db8::1/tcp/1/p2p/{known.peer_id}",
    ]


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
    import tomli_w

    path = tmp_path / "card.toml"
    path.write_text(tomli_w.dumps(member_document(0) | change))
    with pytest.raises(CardError) as told:
        read_card(path)
    assert str(told.value).startswith(f"{path}: ")
    assert said in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("key", ["name", "peer_id", "addresses"])
def test_what_is_missing_is_told(tmp_path: Path, key: str) -> None:
    import tomli_w

    document = member_document(0)
    del document[key]
    path = tmp_path / "card.toml"
    path.write_text(tomli_w.dumps(document))
    with pytest.raises(CardError, match=f"{key} is missing"):
        read_card(path)


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
    path = tmp_path / "card.toml"
    path.write_bytes(content)
    with pytest.raises(CardError, match=said):
        read_card(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"cannot read .*: No such file"):
        read_card(tmp_path / "nobody.toml")
    with pytest.raises(CardError, match=r"cannot read .*: Is a directory"):
        read_card(tmp_path)
    with pytest.raises(CardError, match=r"cannot write .*: No such file"):
        write_card(tmp_path / "nowhere" / "card.toml", member(0))
