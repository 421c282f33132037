"""`p2pfl peer init`."""

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

from p2pfl.cli.errors import BadInput, peer_errors
from p2pfl.cli.passphrases import ask_new_passphrase
from p2pfl.daemon.config import PeerConfig, PeerFolder, write_config
from p2pfl.group.cards import dialled_addresses, is_unspecified
from p2pfl.group.documents import check_document
from p2pfl.libp2p.multiaddr import InvalidMultiaddr, Multiaddr, parse_multiaddr
from p2pfl.store.keys import generate_keys, write_keys
from p2pfl.store.passphrases import read_passphrase
from p2pfl_crypto.identity import PeerId


def make_peer_folder(
    path: Path,
    *,
    name: str | None,
    listen: Sequence[str],
    addresses: Sequence[str],
    rows: int | None,
    passphrase_file: Path | None,
    ask: bool,
) -> None:
    """Make a peer in a new folder, all of it or nothing, and tell what to do next."""
    _require_empty(path)
    if passphrase_file is not None and ask:
        raise BadInput("--passphrase and --passphrase-file exclude each other; give one")
    config = _make_config(path, name, listen, addresses, rows, passphrase_file)
    passphrase = None
    with peer_errors():
        if passphrase_file is not None:
            passphrase = read_passphrase(passphrase_file)
        elif ask:
            passphrase = ask_new_passphrase()
        peer_id = _write_all(PeerFolder(path), config, passphrase)
    _tell(path, config, peer_id, guessed=not addresses)


def _require_empty(path: Path) -> None:
    try:
        if next(path.iterdir(), None) is None:
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadInput(f"cannot use {path}: {error.strerror}") from None
    raise BadInput(f"{path} is not empty, and an identity is never overwritten: name a new folder")


def _make_config(
    path: Path,
    name: str | None,
    listen: Sequence[str],
    addresses: Sequence[str],
    rows: int | None,
    passphrase_file: Path | None,
) -> PeerConfig:
    document = {"name": path.resolve().name.lower() if name is None else name}
    given = {
        "listen": list(listen),
        "rows": rows,
        "passphrase_file": passphrase_file and str(passphrase_file.resolve()),
    }
    settings = document | {key: value for key, value in given.items() if value}
    listened = listen or PeerConfig.model_fields["listen"].default
    settings["addresses"] = list(addresses) or _reached_at(listened)
    return check_document(settings, PeerConfig, BadInput, source="peer init")


def _reached_at(listen: Sequence[str]) -> list[str]:
    """Say where others reach what listens so: there, or at this machine's name."""
    found: dict[str, None] = {}
    for text in listen:
        try:
            address = parse_multiaddr(text)
            if address.port == 0:
                raise BadInput(
                    f"{text} has no port that others could know; give one with --address"
                )
            if is_unspecified(address):
                address = Multiaddr("dns", socket.gethostname(), address.port)
        except InvalidMultiaddr as error:
            raise BadInput(f"--listen: {error}; give --address too") from None
        found[str(address)] = None
    return list(found)


def _write_all(folder: PeerFolder, config: PeerConfig, passphrase: bytes | None) -> PeerId:
    was_there = folder.path.exists()
    keys = generate_keys()
    peer_id = keys.identity.peer_id
    try:
        dialled_addresses(config.addresses, peer_id)
    except ValueError:
        raise BadInput(f"addresses name another peer than {peer_id}: leave out /p2p") from None
    try:
        folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make {folder.path}: {error.strerror}") from None
    try:
        write_config(folder.path, config)
        write_keys(folder.key, keys, passphrase=passphrase)
        folder.charters.mkdir(mode=0o700)
    except BaseException:
        with contextlib.suppress(OSError):
            for file in (folder.key, folder.config):
                file.unlink(missing_ok=True)
            folder.charters.rmdir()
        with contextlib.suppress(OSError):
            if not was_there:
                folder.path.rmdir()
        raise
    return peer_id


def _tell(path: Path, config: PeerConfig, peer_id: PeerId, *, guessed: bool) -> None:
    folder = PeerFolder(path)
    print(f"made the peer {config.name} in {path}")
    print(f"  peer id    {peer_id}")
    print(f"  listens    {', '.join(config.listen)}")
    print(f"  reached    {', '.join(config.addresses)}")
    if guessed:
        print(
            "             as far as this machine knows; if that is wrong, correct addresses in"
            f" {folder.config}"
        )
    print("next")
    print("  1. make governance keys (p2pfl charter key) and this member's card:")
    print(f"       p2pfl charter card {path} --key KEY")
    print("  2. found a group with others, or have one admit you: docs/consortium.md")
    print(f"  3. put its charters and its first state into {folder.charters}, approve the task:")
    print(f"       p2pfl task approve BUNDLE {path}")
    print(f"  4. p2pfl peer run {path}")
    print(f"keep {folder.key} to yourself, and a copy of it in a safe place: it is this peer")
