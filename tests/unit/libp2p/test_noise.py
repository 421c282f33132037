"""Noise XX against a vector made by others, and libp2p's payload and framing on top of it."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from p2pfl.libp2p.errors import LocalFault, MalformedBytes, RemoteFault
from p2pfl.libp2p.noise import (
    PLAINTEXT_BYTES_MAX,
    HandshakePayload,
    NoiseChannel,
    NoiseHandshake,
    decode_payload_untrusted,
    encode_payload,
    sealed_bytes,
    sign_payload,
)
from p2pfl.libp2p.noise_xx import TAG_BYTES, CipherState, HandshakeXX
from p2pfl.libp2p.protobuf import encode_fields
from p2pfl_crypto.identity import Identity, PeerId

VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "noise_xx.json").read_text())
ALICE, BOB = Identity(b"a" * 32), Identity(b"b" * 32)
YAMUX = "/yamux/1.0.0"


def key(number: int) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def vector_key(name: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(VECTOR[name]))


def anybody(_: PeerId) -> None:
    """Admit every peer."""


def handshake(
    who: Identity, *, initiator: bool, muxers: tuple[str, ...] = (YAMUX,)
) -> NoiseHandshake:
    offset = 0 if initiator else 10
    return NoiseHandshake(
        who,
        initiator=initiator,
        static=key(1 + offset),
        ephemeral=key(2 + offset),
        muxers=muxers,
        admit=anybody,
    )


def converse(initiator: NoiseHandshake, responder: NoiseHandshake, pieces: int = 10_000) -> None:
    data, turn = initiator.start(), responder
    while data:
        answer = b""
        for start in range(0, len(data), pieces):
            answer += turn.receive_untrusted(data[start : start + pieces])
        data, turn = answer, initiator if turn is responder else responder


def test_the_vector_of_cacophony() -> None:
    prologue = bytes.fromhex(VECTOR["prologue"])
    ends = [
        HandshakeXX(
            initiator=name == "init",
            static=vector_key(f"{name}_static"),
            ephemeral=vector_key(f"{name}_ephemeral"),
            prologue=prologue,
        )
        for name in ("init", "resp")
    ]
    messages = [(bytes.fromhex(m["payload"]), m["ciphertext"]) for m in VECTOR["messages"]]
    for turn, (payload, ciphertext) in enumerate(messages[:3]):
        sender, receiver = ends[turn % 2], ends[1 - turn % 2]
        assert sender.write_message(payload).hex() == ciphertext
        assert receiver.read_message_untrusted(bytes.fromhex(ciphertext)) == payload
    assert {end.handshake_hash.hex() for end in ends} == {VECTOR["handshake_hash"]}
    ciphers = [end.split() for end in ends]
    for turn, (payload, ciphertext) in enumerate(messages[3:], start=3):
        out = bytearray(len(payload) + TAG_BYTES)
        ciphers[turn % 2][0].encrypt_into(payload, memoryview(out))
        assert out.hex() == ciphertext
        opened = bytearray(len(payload))
        ciphers[1 - turn % 2][1].decrypt_into_untrusted(bytes(out), memoryview(opened))
        assert opened == payload


def test_messages_out_of_turn_are_refused() -> None:
    initiator = HandshakeXX(initiator=True, static=key(1), ephemeral=key(2))
    with pytest.raises(LocalFault):
        initiator.split()
    with pytest.raises(RemoteFault, match=r"^noise_unexpected_message$"):
        initiator.read_message_untrusted(bytes(32))
    initiator.write_message(b"")
    with pytest.raises(LocalFault):
        initiator.write_message(b"")


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_points_of_low_order_are_refused(point: bytes) -> None:
    responder = HandshakeXX(initiator=False, static=key(1), ephemeral=key(2))
    responder.read_message_untrusted(point)
    with pytest.raises(RemoteFault, match=r"^noise_weak_key$"):
        responder.write_message(b"")


@pytest.mark.parametrize("pieces", [1, 3, 10_000])
def test_both_learn_who_the_other_is_and_can_talk(pieces: int) -> None:
    initiator, responder = handshake(ALICE, initiator=True), handshake(BOB, initiator=False)
    converse(initiator, responder, pieces)
    assert initiator.remote_peer_id == BOB.peer_id
    assert responder.remote_peer_id == ALICE.peer_id
    assert initiator.agreed_muxer() == responder.agreed_muxer() == YAMUX
    there, back = NoiseChannel(*initiator.split()), NoiseChannel(*responder.split())
    for sender, receiver in ((there, back), (back, there)):
        for length in (0, 1, PLAINTEXT_BYTES_MAX, PLAINTEXT_BYTES_MAX + 1, 300_000):
            plaintext = bytes(i & 0xFF for i in range(length))
            sealed = memoryview(bytearray(sealed_bytes(length)))
            assert sender.seal_into(memoryview(plaintext), sealed) == len(sealed)
            opened = memoryview(bytearray(len(sealed)))
            used, filled = receiver.open_into_untrusted(sealed, opened)
            assert (used, bytes(opened[:filled])) == (len(sealed), plaintext)


def test_whole_messages_are_opened_and_the_rest_is_left() -> None:
    initiator, responder = handshake(ALICE, initiator=True), handshake(BOB, initiator=False)
    converse(initiator, responder)
    there, back = NoiseChannel(*initiator.split()), NoiseChannel(*responder.split())
    sealed = bytearray(sealed_bytes(5))
    there.seal_into(memoryview(b"hello"), memoryview(sealed))
    opened = memoryview(bytearray(100))
    for end in range(len(sealed)):
        assert back.open_into_untrusted(memoryview(sealed[:end]), opened) == (0, 0)
    assert back.open_into_untrusted(memoryview(sealed + b"\x00"), opened) == (len(sealed), 5)


@pytest.mark.parametrize("position", range(23))
def test_a_changed_bit_of_a_message_is_noticed(position: int) -> None:
    initiator, responder = handshake(ALICE, initiator=True), handshake(BOB, initiator=False)
    converse(initiator, responder)
    there, back = NoiseChannel(*initiator.split()), NoiseChannel(*responder.split())
    sealed = bytearray(sealed_bytes(5))
    there.seal_into(memoryview(b"hello"), memoryview(sealed))
    sealed[position] ^= 1
    data = memoryview(bytes(sealed) + bytes(300))
    with pytest.raises(RemoteFault, match=r"^noise_decrypt$"):
        back.open_into_untrusted(data, memoryview(bytearray(len(data))))


def test_a_replayed_message_is_noticed() -> None:
    initiator, responder = handshake(ALICE, initiator=True), handshake(BOB, initiator=False)
    converse(initiator, responder)
    there, back = NoiseChannel(*initiator.split()), NoiseChannel(*responder.split())
    sealed = bytearray(sealed_bytes(5))
    there.seal_into(memoryview(b"hello"), memoryview(sealed))
    with pytest.raises(RemoteFault, match=r"^noise_decrypt$"):
        back.open_into_untrusted(memoryview(sealed * 2), memoryview(bytearray(100)))


def test_a_message_too_short_for_a_tag_is_refused() -> None:
    initiator, responder = handshake(ALICE, initiator=True), handshake(BOB, initiator=False)
    converse(initiator, responder)
    with pytest.raises(MalformedBytes, match=r"^noise_message_length$"):
        NoiseChannel(*responder.split()).open_into_untrusted(
            memoryview(b"\x00\x0f" + bytes(15)), memoryview(bytearray(17))
        )


def completes_with_a_flipped_bit(corrupted_turn: int, position: int) -> bool:
    """Whether both ends take a handshake for complete of which one byte was changed on its way."""
    initiator, responder = handshake(ALICE, initiator=True), handshake(BOB, initiator=False)
    data, turn = bytearray(initiator.start()), 0
    try:
        while data:
            if turn == corrupted_turn:
                data[position % len(data)] ^= 0x40
            reader = responder if turn % 2 == 0 else initiator
            data = bytearray(reader.receive_untrusted(bytes(data)))
            turn += 1
    except RemoteFault:
        return False
    return initiator.complete and responder.complete


@pytest.mark.parametrize(("turn", "length"), [(0, 34), (1, 300), (2, 300)])
def test_any_changed_bit_of_a_handshake_ends_it(turn: int, length: int) -> None:
    assert completes_with_a_flipped_bit(-1, 0)
    for position in range(0, length, 7):
        assert not completes_with_a_flipped_bit(turn, position)


def test_admit_is_asked_before_the_initiator_tells_who_it_is() -> None:
    asked: list[PeerId] = []

    def refuse(peer_id: PeerId) -> None:
        asked.append(peer_id)
        raise RemoteFault("not_allowed")

    initiator = NoiseHandshake(
        ALICE, initiator=True, static=key(1), ephemeral=key(2), muxers=[YAMUX], admit=refuse
    )
    responder = handshake(BOB, initiator=False)
    answer = responder.receive_untrusted(initiator.start())
    with pytest.raises(RemoteFault, match=r"^not_allowed$"):
        initiator.receive_untrusted(answer)
    assert asked == [BOB.peer_id]


def test_a_signature_of_another_key_is_refused() -> None:
    for forged in (
        HandshakePayload(BOB.public_key, ALICE.sign(b"anything"), ()),
        sign_payload(BOB, key(99).public_key().public_bytes_raw(), ()),
    ):
        initiator, responder = handshake(ALICE, initiator=True), handshake(BOB, initiator=False)
        responder._payload = encode_payload(forged)
        answer = responder.receive_untrusted(initiator.start())
        with pytest.raises(RemoteFault, match=r"^noise_identity_signature$"):
            initiator.receive_untrusted(answer)


def test_a_payload_in_the_first_message_is_refused() -> None:
    responder = handshake(BOB, initiator=False)
    with pytest.raises(RemoteFault, match=r"^noise_early_payload$"):
        responder.receive_untrusted(b"\x00\x21" + key(5).public_key().public_bytes_raw() + b"x")


def test_a_giant_handshake_message_is_refused_at_its_length() -> None:
    with pytest.raises(MalformedBytes, match=r"^noise_handshake_length$"):
        handshake(BOB, initiator=False).receive_untrusted(b"\xff\xff")
    with pytest.raises(RemoteFault, match=r"^noise_truncated$"):
        handshake(BOB, initiator=False).receive_untrusted(b"\x00\x05hello")


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        ((YAMUX,), (), None),
        ((), (YAMUX,), None),
        ((YAMUX, "/mplex/6.7.0"), ("/mplex/6.7.0", YAMUX), YAMUX),
        (("/mplex/6.7.0", YAMUX), (YAMUX,), YAMUX),
    ],
)
def test_the_initiators_order_of_muxers_counts(
    ours: tuple[str, ...], theirs: tuple[str, ...], agreed: str | None
) -> None:
    initiator = handshake(ALICE, initiator=True, muxers=ours)
    responder = handshake(BOB, initiator=False, muxers=theirs)
    converse(initiator, responder)
    assert initiator.agreed_muxer() == responder.agreed_muxer() == agreed


def test_only_the_initiator_begins() -> None:
    assert handshake(BOB, initiator=False).start() == b""
    assert len(handshake(ALICE, initiator=True).start()) == 2 + 32


def test_no_muxer_in_common_ends_the_handshake() -> None:
    initiator = handshake(ALICE, initiator=True, muxers=("/mplex/6.7.0",))
    responder = handshake(BOB, initiator=False)
    converse(initiator, responder)
    for end in (initiator, responder):
        with pytest.raises(RemoteFault, match=r"^no_common_muxer$"):
            end.agreed_muxer()


def test_payloads_survive_the_round_trip_and_take_unknown_extensions() -> None:
    payload = sign_payload(ALICE, bytes(32), (YAMUX, "/mplex/6.7.0"))
    assert decode_payload_untrusted(encode_payload(payload)) == payload
    extensions = encode_fields([(1, b"hash"), (2, YAMUX.encode()), (7, b"new")])
    encoded = encode_payload(payload).replace(
        encode_fields([(4, encode_fields([(2, m.encode()) for m in payload.muxers]))]),
        encode_fields([(4, extensions)]),
    )
    assert decode_payload_untrusted(encoded).muxers == (YAMUX,)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(1, b"key")],
        [(1, b"\x08\x02\x12\x00"), (2, bytes(64))],
        [(1, b"x" * 36), (2, bytes(64))],
        [(1, b"x" * 36), (2, bytes(64)), (4, b"\x12\x01\xff")],
    ],
)
def test_malformed_payloads_are_refused(fields: list[tuple[int, bytes]]) -> None:
    with pytest.raises(MalformedBytes):
        decode_payload_untrusted(encode_fields(fields))


def reason_of(error: pytest.ExceptionInfo[RemoteFault]) -> str:
    return str(error.value)


def test_a_key_seals_and_opens_one_message_less_than_there_are_nonces() -> None:
    sealing, opening = CipherState(b"k" * 32), CipherState(b"k" * 32)
    sealing._count = opening._count = 2**64 - 2  # The last that may be used (Noise, section 5.1).
    sealed, opened = bytearray(21), bytearray(5)
    sealing.encrypt_into(b"hello", memoryview(sealed))
    opening.decrypt_into_untrusted(sealed, memoryview(opened))
    assert opened == b"hello"
    with pytest.raises(LocalFault, match="as many messages as it may"):
        sealing.encrypt_into(b"hello", memoryview(sealed))
    reserved = ChaCha20Poly1305(b"k" * 32).encrypt(bytes(4) + b"\xff" * 8, b"hello", None)
    with pytest.raises(RemoteFault) as refused:
        opening.decrypt_into_untrusted(reserved, memoryview(opened))
    assert reason_of(refused) == "noise_decrypt"


@pytest.mark.parametrize("length", [0, 1, 15, 16])
def test_what_holds_no_tag_of_this_key_is_not_opened(length: int) -> None:
    with pytest.raises(RemoteFault) as refused:
        CipherState(b"k" * 32).decrypt_into_untrusted(bytes(length), memoryview(bytearray()))
    assert reason_of(refused) == "noise_decrypt"


def test_each_handshake_fault_has_its_reason() -> None:
    def responder() -> HandshakeXX:
        return HandshakeXX(initiator=False, static=key(1), ephemeral=key(2))

    with pytest.raises(RemoteFault) as refused:
        responder().read_message_untrusted(bytes(31))
    assert reason_of(refused) == "noise_truncated"
    low_order = responder()
    low_order.read_message_untrusted(bytes(32))
    with pytest.raises(RemoteFault) as refused:
        low_order.write_message(b"")
    assert reason_of(refused) == "noise_weak_key"
    initiator = HandshakeXX(initiator=True, static=key(3), ephemeral=key(4))
    with pytest.raises(RemoteFault) as refused:
        initiator.read_message_untrusted(bytes(32))
    assert reason_of(refused) == "noise_unexpected_message"
    first = initiator.write_message(b"")
    answering = responder()
    answering.read_message_untrusted(first)
    second = bytearray(answering.write_message(b""))
    second[-1] ^= 1
    with pytest.raises(RemoteFault) as refused:
        initiator.read_message_untrusted(bytes(second))
    assert reason_of(refused) == "noise_decrypt"


def test_a_handshake_message_fits_into_a_noise_message() -> None:
    longest = 65535 - 32
    assert (
        len(
            HandshakeXX(initiator=True, static=key(1), ephemeral=key(2)).write_message(
                bytes(longest)
            )
        )
        == 65535
    )
    with pytest.raises(LocalFault, match="too long for a Noise message"):
        HandshakeXX(initiator=True, static=key(1), ephemeral=key(2)).write_message(
            bytes(longest + 1)
        )


@pytest.mark.parametrize("length", [4096, 4097])
def test_a_handshake_message_of_the_largest_length_is_waited_for(length: int) -> None:
    waiting = handshake(BOB, initiator=False)
    if length == 4096:
        assert waiting.receive_untrusted(length.to_bytes(2, "big")) == b""
        return
    with pytest.raises(MalformedBytes) as refused:
        waiting.receive_untrusted(length.to_bytes(2, "big"))
    assert str(refused.value) == "noise_handshake_length"


def test_what_follows_the_handshake_is_the_channels() -> None:
    initiator, responder = handshake(ALICE, initiator=True), handshake(BOB, initiator=False)
    second = responder.receive_untrusted(initiator.start())
    third = initiator.receive_untrusted(second + b"and more")
    assert (initiator.rest, initiator.complete) == (b"and more", True)
    assert responder.receive_untrusted(third + b"\xff\xff") == b""
    assert responder.rest == b"\xff\xff"
    assert initiator.remote_incarnation == key(11).public_key().public_bytes_raw()


def test_an_empty_message_is_opened_and_a_short_length_refused_as_soon_as_it_is_there() -> None:
    sealed = bytearray(2 + TAG_BYTES)
    sealed[1] = TAG_BYTES
    CipherState(b"r" * 32).encrypt_into(b"", memoryview(sealed)[2:])
    channel = NoiseChannel(CipherState(b"s" * 32), CipherState(b"r" * 32))
    room = memoryview(bytearray(18))
    assert channel.open_into_untrusted(memoryview(sealed), room) == (18, 0)
    with pytest.raises(MalformedBytes, match=r"^noise_message_length$"):
        channel.open_into_untrusted(memoryview(b"\x00\x00"), room)


KEY_FIELD = (1, b"\x08\x01\x12\x20" + ALICE.public_key)
SIGNATURE_FIELD = (2, bytes(64))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ([], "noise_payload_incomplete"),
        ([KEY_FIELD], "noise_payload_incomplete"),
        ([SIGNATURE_FIELD], "noise_payload_incomplete"),
        ([(1, b"\x08\x01\x12\x20" + bytes(31)), SIGNATURE_FIELD], "noise_identity_key"),
    ],
)
def test_a_payload_lacks_nothing(fields: list[tuple[int, bytes]], reason: str) -> None:
    with pytest.raises(MalformedBytes) as refused:
        decode_payload_untrusted(encode_fields(fields))
    assert str(refused.value) == reason


@pytest.mark.parametrize("twice", [KEY_FIELD, SIGNATURE_FIELD, (4, b"")])
def test_no_field_of_a_payload_comes_twice(twice: tuple[int, bytes]) -> None:
    whole = [KEY_FIELD, SIGNATURE_FIELD, (4, b"")]
    assert decode_payload_untrusted(encode_fields(whole)).muxers == ()
    with pytest.raises(MalformedBytes):
        decode_payload_untrusted(encode_fields([*whole, twice]))


def test_a_payload_without_extensions_names_no_muxer() -> None:
    payload = decode_payload_untrusted(encode_fields([KEY_FIELD, SIGNATURE_FIELD]))
    assert payload == HandshakePayload(ALICE.public_key, bytes(64), ())


@pytest.mark.parametrize("field", [1, 2])
def test_extensions_list_at_most_sixteen_of_a_kind(field: int) -> None:
    def payload(count: int) -> bytes:
        extensions = encode_fields([(field, b"/m")] * count)
        return encode_fields([KEY_FIELD, SIGNATURE_FIELD, (4, extensions)])

    assert len(decode_payload_untrusted(payload(16)).muxers) == (16 if field == 2 else 0)
    with pytest.raises(MalformedBytes):
        decode_payload_untrusted(payload(17))


def test_before_the_handshake_nobody_has_proved_anything_and_nothing_is_left_over() -> None:
    fresh = handshake(BOB, initiator=False)
    assert (fresh.remote, fresh.rest, fresh.complete) == (None, b"", False)


def test_the_prologue_is_empty_unless_it_is_said() -> None:
    unsaid = HandshakeXX(initiator=True, static=key(1), ephemeral=key(2))
    empty = HandshakeXX(initiator=True, static=key(1), ephemeral=key(2), prologue=b"")
    assert unsaid.handshake_hash == empty.handshake_hash
