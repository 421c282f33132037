"""Each named limit of the daemon and its store: what reaches it passes, one more is refused."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from daemon_links import GROUP, Nobody, identity
from pydantic import ValidationError
from rich.console import Console
from scripted import IDS

from p2pfl.charter.errors import PaperError
from p2pfl.charter.form import read_form
from p2pfl.cli import peer_check
from p2pfl.daemon import config, control, incarnations, links, view_messages
from p2pfl.daemon.config import PeerConfig
from p2pfl.daemon.errors import ControlError
from p2pfl.daemon.incarnations import Incarnation, Incarnations
from p2pfl.daemon.links import Links
from p2pfl.group import cards, documents
from p2pfl.group.cards import Member
from p2pfl.libp2p import Host
from p2pfl.libp2p.errors import StreamReset
from p2pfl.store import lock, passphrases
from p2pfl.store.errors import FolderLocked, KeyFileError
from p2pfl.store.lock import FolderLock
from p2pfl.store.passphrases import read_passphrase, require_passphrase
from p2pfl_gossip import wire
from p2pfl_gossip.actions import SendBulk
from p2pfl_gossip.catch_up import ModelHeader
from p2pfl_gossip.records import MalformedFrame

NOWHERE = ["/ip4/127.0.0.1/tcp/1"]
FRAME = bytes(wire.FRAME_BYTES_MAX)


def test_threads_of_a_peer() -> None:
    settings: dict[str, Any] = {"name": "berlin", "addresses": ["/dns4/a.example/tcp/1"]}
    assert PeerConfig(**settings, threads=config.THREADS_MAX).threads == config.THREADS_MAX
    with pytest.raises(ValidationError, match="threads"):
        PeerConfig(**settings, threads=config.THREADS_MAX + 1)


def test_bytes_of_a_sockets_path() -> None:
    control.require_short(Path("x" * control.PATH_BYTES_MAX))
    with pytest.raises(ControlError, match="too long for a Unix socket"):
        control.require_short(Path("x" * (control.PATH_BYTES_MAX + 1)))


def test_bytes_of_a_passphrase() -> None:
    require_passphrase(b"x" * passphrases._PASSPHRASE_BYTES_MAX)
    with pytest.raises(ValueError, match="a passphrase has 1 to 1024 bytes, not 1025"):
        require_passphrase(b"x" * (passphrases._PASSPHRASE_BYTES_MAX + 1))


def test_bytes_of_a_key_file(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.touch(0o600)
    path.write_bytes(b"x" * passphrases.PRIVATE_FILE_BYTES_MAX)
    with pytest.raises(KeyFileError, match="a passphrase has 1 to 1024 bytes"):
        read_passphrase(path)
    path.write_bytes(b"x" * (passphrases.PRIVATE_FILE_BYTES_MAX + 1))
    with pytest.raises(KeyFileError, match="is too long for a"):
        read_passphrase(path)


def test_digits_of_a_process_in_a_lock(tmp_path: Path) -> None:
    held = FolderLock(tmp_path / "lock")
    (tmp_path / "lock").write_text("9" * (lock._PID_DIGITS_MAX + 1))
    with pytest.raises(FolderLocked, match=rf"in use by process 9{{{lock._PID_DIGITS_MAX}}};"):
        FolderLock(tmp_path / "lock")
    held.release()


def member(addresses: int) -> Member:
    return Member(
        name="berlin",
        peer_id=str(identity(0).peer_id),
        addresses=tuple(f"/ip4/192.0.2.1/tcp/{port + 1}" for port in range(addresses)),
    )


def test_addresses_of_a_member() -> None:
    assert len(member(cards.ADDRESSES_MAX).addresses) == cards.ADDRESSES_MAX
    with pytest.raises(ValidationError, match="addresses"):
        member(cards.ADDRESSES_MAX + 1)


def test_bytes_of_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "DOCUMENT_BYTES_MAX", 64)
    path = tmp_path / "group.toml"
    path.write_text("#" * 64)
    with pytest.raises(PaperError, match="name"):
        read_form(path)
    path.write_text("#" * 65)
    with pytest.raises(PaperError, match="is longer than 64 bytes"):
        read_form(path)


def test_bytes_of_what_incarnations_say() -> None:
    codec = incarnations._CODEC
    with pytest.raises(MalformedFrame) as looked_at:
        codec.decode_untrusted(bytes(incarnations.FRAME_BYTES_MAX))
    assert "more than" not in str(looked_at.value)
    with pytest.raises(MalformedFrame, match="257 bytes, more than 256"):
        codec.decode_untrusted(bytes(incarnations.FRAME_BYTES_MAX + 1))


def test_pairs_of_processes_that_are_remembered_as_told() -> None:
    """After as many others the first is news again; before, it is not."""

    async def main() -> None:
        async with Host(identity(0)) as host:
            own = Incarnation(identity(0), GROUP, bytes(32), 0)
            made = Incarnations(
                host, own, prefix="/x", on_twice=lambda _: None, on_other=lambda _: None
            )
            assert all(made._is_news(number) for number in range(incarnations.TOLD_MAX))
            assert not made._is_news(0)
            assert made._is_news("one more")
            assert made._is_news(0)
            await made.close()

    asyncio.run(main())


# --- links ---------------------------------------------------------------------------------------


@asynccontextmanager
async def end(members: int = 1) -> AsyncIterator[tuple[Host, Links, Nobody]]:
    """One end, with members that cannot be reached."""
    async with Host(identity(0)) as host:
        told = Nobody()
        addresses = dict.fromkeys(IDS[1 : members + 1], NOWHERE)
        made = Links(host, addresses=addresses, group_id=GROUP, receiver=told)
        try:
            yield host, made, told
        finally:
            await made.close()


def test_bytes_that_wait_for_one_peer() -> None:
    async def main() -> None:
        async with end() as (_, made, told):
            fitting = links.OUTBOX_BYTES_MAX // len(FRAME)
            for _ in range(fitting):
                made.send(IDS[1], FRAME, None)
            assert made.counters["disconnected.does_not_read"] == 0
            made.send(IDS[1], b"x", 7)
            assert made.counters["disconnected.does_not_read"] == 1
            assert told.sent == [(7, False)]

    asyncio.run(main())


@pytest.mark.parametrize("more", [0, 1])
def test_links_that_are_kept_ahead_of_need(more: int) -> None:
    async def main() -> None:
        async with end(links.LINKS_KEPT_MAX + more) as (_, made, _told):
            made.start()
            kept = len(list(made._keeper.kept()))
            assert kept == (0 if more else links.LINKS_KEPT_MAX)

    asyncio.run(main())


@asynccontextmanager
async def two_ends() -> AsyncIterator[tuple[Host, Links, Links, Nobody]]:
    async with Host(identity(0)) as one, Host(identity(1)) as two:
        told = Nobody()
        addresses = [str(it) for it in await two.listen("/ip4/127.0.0.1/tcp/0")]
        first = Links(one, addresses={IDS[1]: addresses}, group_id=GROUP, receiver=Nobody())
        second = Links(two, addresses={IDS[0]: NOWHERE}, group_id=GROUP, receiver=told)
        second.start()
        try:
            yield one, first, second, told
        finally:
            await first.close()
            await second.close()


def test_streams_of_frames_from_one_peer() -> None:
    async def main() -> None:
        async with two_ends() as (one, first, _, told):
            connection = await one.dial(IDS[1], first._addresses[IDS[1]])
            streams = []
            for _ in range(links.FRAME_STREAMS_MAX):
                stream = await connection.open_stream([first._frames])
                await stream.write_message(b"x")
                streams.append(stream)
            await told.until(lambda: len(told.frames) == links.FRAME_STREAMS_MAX)

            async def read_one_more() -> None:
                one_more = await connection.open_stream([first._frames])
                await one_more.read_message(1, timeout_s=10.0)

            with pytest.raises(StreamReset):
                await read_one_more()

    asyncio.run(main())


def test_bodies_to_one_peer_at_once() -> None:
    async def main() -> None:
        async with two_ends() as (_, first, _second, _told):
            under_way, most = 0, 0

            def parts() -> Iterator[bytes]:
                nonlocal under_way, most
                under_way += 1
                most = max(most, under_way)
                yield bytes(2**20)
                yield bytes(2**20)
                under_way -= 1

            header = wire.encode(ModelHeader(1))
            tasks = [
                first.send_bulk(SendBulk(IDS[1], ModelHeader(1), parts(), 2 * 2**20), header)
                for _ in range(6)
            ]
            await asyncio.wait(tasks)
            assert first.counters["bodies_sent"] == 6
            assert most == links.BODIES_TO_RECEIVER_MAX

    asyncio.run(main())


def test_members_that_a_view_names() -> None:
    seen = view_messages.Seen("12D3KooW", "up", "ok", None)

    def view(count: int) -> bytes:
        said = view_messages.View("1", "/p2pfl/1", GROUP, 0, True, False, (seen,) * count)
        return view_messages.encode(said)

    most = view_messages.decode_untrusted(view(view_messages.MEMBERS_MAX))
    assert isinstance(most, view_messages.View)
    assert len(most.seen) == view_messages.MEMBERS_MAX
    with pytest.raises(MalformedFrame):
        view_messages.decode_untrusted(view(view_messages.MEMBERS_MAX + 1))


@pytest.mark.parametrize("surplus", [0, 1])
def test_members_of_whom_all_pairs_are_shown(
    surplus: int, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [
        {
            "name": f"m{number}",
            "dial": "ok",
            "dials_us": "ok",
            "link": "up",
            "round_trip_ms": None,
            "is_heard": False,
        }
        for number in range(1, peer_check.PAIRS_SHOWN_MAX + surplus)
    ]
    found = {
        "name": "m0",
        "is_running": True,
        "software": "1",
        "protocol": "/p2pfl/1",
        "group": "00" * 32,
        "members": others,
        "pairs": [],
        "problems": [],
        "notes": [],
        "ok": True,
    }
    peer_check._show(Console(width=200), found)
    assert ("who says what" in capsys.readouterr().out) == (surplus == 0)
