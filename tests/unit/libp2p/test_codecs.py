"""Varints, protobuf fields, multiaddrs: strict both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pfl.libp2p.errors import MalformedBytes
from p2pfl.libp2p.identify import (
    Identification,
    decode_identification_untrusted,
    encode_identification,
)
from p2pfl.libp2p.multiaddr import (
    InvalidMultiaddr,
    Multiaddr,
    decode_multiaddr_untrusted,
    parse_multiaddr,
)
from p2pfl.libp2p.protobuf import FIELDS_MAX, decode_fields_untrusted, encode_fields
from p2pfl.libp2p.varint import decode_varint_untrusted, encode_varint
from p2pfl_crypto.identity import Identity

PEER = Identity(bytes(32)).peer_id


@given(st.integers(0, (1 << 63) - 1), st.binary(max_size=5))
def test_varints_survive_the_round_trip(number: int, rest: bytes) -> None:
    encoded = encode_varint(number)
    assert decode_varint_untrusted(encoded + rest, 0) == (number, len(encoded))
    for end in range(len(encoded)):
        assert decode_varint_untrusted(encoded[:end], 0) is None


@pytest.mark.parametrize(
    ("encoded", "number"), [("00", 0), ("7f", 127), ("8001", 128), ("ac02", 300), ("808001", 16384)]
)
def test_varints_of_the_multiformats_specification(encoded: str, number: int) -> None:
    assert encode_varint(number).hex() == encoded


@pytest.mark.parametrize("encoded", ["8000", "ff00", "808000", "ff" * 9, "80" * 8 + "8001"])
def test_varints_that_are_not_minimal_or_too_long_are_refused(encoded: str) -> None:
    with pytest.raises(MalformedBytes):
        decode_varint_untrusted(bytes.fromhex(encoded), 0)


@given(st.lists(st.tuples(st.integers(1, 4), st.binary(max_size=40)), max_size=20))
def test_protobuf_fields_survive_the_round_trip(fields: list[tuple[int, bytes]]) -> None:
    decoded = decode_fields_untrusted(encode_fields(fields), {1: 20, 2: 20, 3: 20, 4: 20})
    for number in range(1, 5):
        assert decoded[number] == [content for tag, content in fields if tag == number]


def test_unknown_protobuf_fields_of_every_wire_type_are_skipped() -> None:
    unknown = bytes.fromhex("28ff01" + "31" + "11" * 8 + "3a03616263" + "45" + "22" * 4)
    message = unknown + encode_fields([(1, b"known")]) + unknown
    assert decode_fields_untrusted(message, {1: 1}) == {1: [b"known"]}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("0a", "protobuf_truncated"),
        ("0a05aabb", "protobuf_truncated"),
        ("0a0161" * 2, "protobuf_field_repeated"),
        ("0801", "protobuf_wire_type"),
        ("0a8000", "varint_not_minimal"),
        ("02", "protobuf_field_number"),
        ("2b2c", "protobuf_wire_type"),
        ("31aa", "protobuf_truncated"),
        ("2801" * (FIELDS_MAX + 1), "protobuf_too_many_fields"),
    ],
)
def test_malformed_protobuf_is_refused(message: str, reason: str) -> None:
    with pytest.raises(MalformedBytes, match=reason):
        decode_fields_untrusted(bytes.fromhex(message), {1: 1})


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("/ip4/127.0.0.1/tcp/4001", "047f000001060fa1"),
        ("/ip6/::1/tcp/80", "29" + "00" * 15 + "01060050"),
        ("/dns/example.com/tcp/443", "350b" + b"example.com".hex() + "0601bb"),
        ("/dns4/a/tcp/1", "3601610600" + "01"),
        ("/dns6/a/tcp/1", "3701610600" + "01"),
    ],
)
def test_multiaddrs_have_one_text_and_one_encoding(text: str, encoded: str) -> None:
    address = parse_multiaddr(text)
    assert str(address) == text
    assert address.encode().hex() == encoded
    assert decode_multiaddr_untrusted(bytes.fromhex(encoded)) == address
    named = address.with_peer(PEER)
    assert str(named) == f"{text}/p2p/{PEER}"
    assert parse_multiaddr(str(named)) == named
    assert decode_multiaddr_untrusted(named.encode()) == named


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/udp/1",
        "/ip4/127.0.0.1/udp/1/quic-v1",
        "/ip4/127.0.0.1/tcp/65536",
        "/ip4/127.0.0.1/tcp/-1",
        "/ip4/127.0.0.1/tcp/1/ws",
        "/ip4/127.0.0.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "/ip4/::1/tcp/1",
        "/ip6/127.0.0.1/tcp/1",
        "/ip6/fe80::1%eth0/tcp/1",
        "/dns/-a/tcp/1",
        "/dns/a..b/tcp/1",
        "/dns/" + "a" * 300 + "/tcp/1",
        "/onion/a/tcp/1",
        "/dns/a/tcp/1/" + "x" * 400,
    ],
)
def test_other_multiaddrs_are_refused(text: str) -> None:
    with pytest.raises(InvalidMultiaddr):
        parse_multiaddr(text)


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "04",
        "047f0000",
        "047f000001",
        "047f00000106",
        "047f000001060f",
        "047f000001060fa1ff",
        "047f00000191020fa1",
        "047f000001060fa1a50300",
        "047f000001060fa1a503260024",
        "350161060001" + "00",
        "3502ff61060001",
        "35022d61060001",
        "cc03" + "00",
        "35" + "ff7f" + "61" * 10,
        "04" * 401,
    ],
)
def test_other_binary_multiaddrs_are_refused(encoded: str) -> None:
    with pytest.raises(MalformedBytes):
        decode_multiaddr_untrusted(bytes.fromhex(encoded))


def test_an_identification_survives_the_round_trip() -> None:
    told = Identification(
        public_key=Identity(bytes(32)).public_key,
        protocols=("/a/1", "/b/1"),
        listens_on=(parse_multiaddr("/ip4/10.0.0.1/tcp/1"), parse_multiaddr("/dns/a.b/tcp/2")),
        observed=parse_multiaddr("/ip6/::1/tcp/3"),
        agent_version="agent/1",
        protocol_version="version/1",
    )
    assert decode_identification_untrusted(encode_identification(told)) == told
    assert told.peer_id == PEER
    nothing = Identification(public_key=None)
    assert decode_identification_untrusted(encode_identification(nothing)) == nothing
    assert nothing.peer_id is None


def test_addresses_of_other_transports_are_left_out_of_an_identification() -> None:
    quic = bytes.fromhex("047f000001910200" + "01cd03")
    tcp = Multiaddr("ip4", "127.0.0.1", 1)
    message = encode_fields([(2, quic), (2, tcp.encode()), (4, quic), (8, b"a signed record")])
    told = decode_identification_untrusted(message)
    assert told.listens_on == (tcp,)
    assert told.observed is None


@pytest.mark.parametrize(
    "message",
    [
        encode_fields([(1, b"\x08\x00\x12\x01a")]),
        encode_fields([(3, b"\xff")]),
        encode_fields([(6, b"a" * 1000)]),
        encode_fields([(5, b"a"), (5, b"b")]),
        encode_fields([(3, b"/a")] * 200),
        b"\x12",
    ],
)
def test_malformed_identifications_are_refused(message: bytes) -> None:
    with pytest.raises(MalformedBytes):
        decode_identification_untrusted(message)
