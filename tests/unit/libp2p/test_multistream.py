"""multistream-select between its two machines and against hand-made bytes."""

import pytest

from p2pfl.libp2p.errors import LocalFault, MalformedBytes, RemoteFault
from p2pfl.libp2p.multistream import (
    PROPOSALS_MAX,
    PROTOCOL_NAME_BYTES_MAX,
    MultistreamDialer,
    MultistreamListener,
    encode_message,
)

HEADER = b"\x13/multistream/1.0.0\n"


def converse(dialer: MultistreamDialer, listener: MultistreamListener, pieces: int) -> None:
    """Let both talk, their bytes cut into `pieces` bytes, until neither has more to say."""
    to_listener, to_dialer = dialer.start(), b""
    while to_listener or to_dialer:
        while to_listener and listener.protocol is None:
            to_dialer += listener.receive_untrusted(to_listener[:pieces])
            to_listener = to_listener[pieces:]
        while to_dialer:
            to_listener += dialer.receive_untrusted(to_dialer[:pieces])
            to_dialer = to_dialer[pieces:]


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
@pytest.mark.parametrize("wanted", [["/b"], ["/x", "/b"], ["/x", "/y", "/a", "/b"]])
def test_both_agree_on_the_first_proposal_that_is_spoken(wanted: list[str], pieces: int) -> None:
    dialer, listener = MultistreamDialer(wanted), MultistreamListener({"/a", "/b"}.__contains__)
    converse(dialer, listener, pieces)
    expected = next(name for name in wanted if name in ("/a", "/b"))
    assert dialer.protocol == listener.protocol == expected


def test_a_dialer_knows_when_all_its_proposals_are_refused() -> None:
    dialer, listener = MultistreamDialer(["/x", "/y"]), MultistreamListener(lambda _: False)
    converse(dialer, listener, 1000)
    assert dialer.refused
    assert dialer.protocol is listener.protocol is None
    with pytest.raises(RemoteFault, match=r"^multistream_unexpected$"):
        dialer.receive_untrusted(b"\x03na\n")


def test_the_bytes_are_those_of_the_specification_and_the_rest_is_the_protocols() -> None:
    dialer = MultistreamDialer(["/echo"])
    assert dialer.start() == HEADER + b"\x06/echo\n"
    assert dialer.receive_untrusted(HEADER + b"\x06/echo\nHELLO") == b""
    assert (dialer.protocol, dialer.rest) == ("/echo", b"HELLO")
    listener = MultistreamListener("/echo".__eq__)
    assert listener.receive_untrusted(HEADER + b"\x03ls\n") == HEADER + b"\x03na\n"
    assert listener.receive_untrusted(b"\x06/echo\nHI") == b"\x06/echo\n"
    assert (listener.protocol, listener.rest) == ("/echo", b"HI")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x14/multistream/1.0.1\n"[:20].replace(b"\x14", b"\x13"), "multistream_header"),
        (b"\x03na\n", "multistream_header"),
        (b"\x00", "multistream_message_length"),
        (b"\xff\x7f", "multistream_message_length"),
        (b"\x80\x00", "varint_not_minimal"),
        (b"\xff" * 9, "varint_too_long"),
        (b"\x02ab", "multistream_no_newline"),
        (b"\x03\xff\xfe\n", "multistream_not_utf8"),
    ],
)
def test_malformed_input_is_refused_by_both(data: bytes, reason: str) -> None:
    for machine in (MultistreamDialer(["/a"]), MultistreamListener(lambda _: True)):
        with pytest.raises(RemoteFault, match=f"^{reason}$"):
            machine.receive_untrusted(data)


def test_a_dialer_takes_no_other_answer() -> None:
    with pytest.raises(RemoteFault, match=r"^multistream_unexpected$"):
        MultistreamDialer(["/a"]).receive_untrusted(HEADER + b"\x03/b\n")


def test_a_listener_is_not_asked_for_ever() -> None:
    listener = MultistreamListener(lambda _: False)
    listener.receive_untrusted(HEADER + b"\x03/a\n" * PROPOSALS_MAX)
    with pytest.raises(RemoteFault, match=r"^multistream_too_many_proposals$"):
        listener.receive_untrusted(b"\x03/a\n")


def test_an_endless_name_is_refused_before_it_is_there() -> None:
    listener = MultistreamListener(lambda _: True)
    with pytest.raises(MalformedBytes):
        listener.receive_untrusted(HEADER + b"\x82\x02")  # 258 = one byte more than allowed.
    longest = "/" + "a" * (PROTOCOL_NAME_BYTES_MAX - 1)
    listener = MultistreamListener(lambda _: True)
    listener.receive_untrusted(HEADER + encode_message(longest))
    assert listener.protocol == longest


@pytest.mark.parametrize("name", ["", "a\nb", "a" * (PROTOCOL_NAME_BYTES_MAX + 1)])
def test_names_that_cannot_be_sent_are_our_callers_bug(name: str) -> None:
    with pytest.raises(LocalFault):
        MultistreamDialer([name])


def test_proposals_are_bounded() -> None:
    for names in ([], ["/a"] * (PROPOSALS_MAX + 1)):
        with pytest.raises(LocalFault):
            MultistreamDialer(names)
