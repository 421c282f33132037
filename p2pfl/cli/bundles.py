"""`p2pfl task pack | show | approve`."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from p2pfl.charter.approved_bundles import approve, differences, last_approved
from p2pfl.charter.bundles import (
    MANIFEST,
    REQUIREMENTS,
    Bundle,
    bundle_of,
    pack,
    read_bundle,
)
from p2pfl.charter.chain import read_folder
from p2pfl.charter.papers import CHARTERS
from p2pfl.cli.errors import BadInput, peer_errors
from p2pfl.cli.overrides import parse_overrides
from p2pfl.cli.quantities import count, data_size
from p2pfl.cli.task_trying import try_bundle
from p2pfl.daemon.config import read_config
from p2pfl.store.errors import StoreError
from p2pfl.store.files import SHARED, create_file

DIGITS_MIN = 16
"""Of a digest that somebody types: 64 bits, of bytes that the typer has seen."""


def pack_bundle(folder: Path, file: Path, task: str) -> None:
    """Pack a folder into a new file."""
    if file.suffix != ".bundle":
        raise BadInput(f"{file}: call it NAME.bundle")
    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder}")
    with peer_errors():
        content = pack(folder, task)
        bundle = bundle_of(content)
    try:
        create_file(file, content, mode=SHARED)
    except FileExistsError:
        raise BadInput(f"{file} is there already; name a new file") from None
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror}") from None
    _show(bundle)
    print(f"wrote {file}: {bundle.digest}")


def show_bundle(path: Path, peer: Path | None, *, name: str | None, as_json: bool) -> None:
    """Show a bundle, one of its files, or what differs from the last one that was approved."""
    with peer_errors():
        bundle = read_bundle(path)
        if name is not None:
            _print_file(path, bundle, name)
            return
        before = None if peer is None else _last_approved(peer)
    changes = [] if peer is None else list(differences(before, bundle))
    if as_json:
        print(
            json.dumps(
                {
                    "digest": bundle.digest,
                    "task": bundle.manifest.task,
                    "files": {name: len(content) for name, content in bundle.files.items()},
                    "approved_before": before.digest if before else None,
                    "differences": changes,
                },
                indent=2,
            )
        )
        return
    _show(bundle)
    print(f"digest     {bundle.digest}")
    if peer is None:
        return
    if before is None:
        print("nothing was approved here before: all of it is new")
    elif before.digest == bundle.digest:
        print("it is the one that was approved here last")
    else:
        print(f"since {before.digest[:16]}, which was approved here last:")
    if before is not None:
        print("\n".join(_printable(line) for line in changes))


def approve_bundle(path: Path, peer: Path, *, digest: str | None, options: Sequence[str]) -> None:
    """Try a bundle on its made-up rows, with the options of its charter; keep it as approved."""
    with peer_errors():
        read_config(peer)  # There must be a peer.
        bundle = read_bundle(path)
        before = _last_approved(peer)
        given = _ask_digest(bundle, before) if digest is None else digest
        if len(given) < DIGITS_MIN or not bundle.digest.startswith(given.lower()):
            raise BadInput(
                f"{path} has the digest {bundle.digest}, which is not {given!r}: it is not what you"
                " meant to approve"
            )
        tried = [parse_overrides(options)] if options else _chartered_options(peer, bundle)
        for given_options in tried:
            told = try_bundle(bundle, path, data=None, options=given_options)
        try:
            approve(peer, bundle, datetime.now(UTC))
        except StoreError as error:
            raise BadInput(str(error)) from None
    print(f"tried on its made-up rows: it runs, and {count(told['entries'])} numbers travel")
    print(f"approved for {peer}: {bundle.manifest.task}, {bundle.digest}")


def _chartered_options(peer: Path, bundle: Bundle) -> list[dict[str, Any]]:
    """Return the options that charters in a peer's folder give this bundle; none but defaults else.

    Raises:
        PaperError: a charter there cannot be read.
    """
    folder = peer / CHARTERS
    found: list[dict[str, Any]] = []
    for file in read_folder(folder) if folder.is_dir() else []:
        task = file.terms.task
        if task.bundle == bundle.digest and task.options not in found:
            found.append(task.options)
    return found or [{}]


def _ask_digest(bundle: Bundle, before: Bundle | None) -> str:
    if not sys.stdin.isatty():
        raise BadInput(
            f"say which bundle you approve: --digest and the first {DIGITS_MIN} digits, or more"
        )
    _show(bundle)
    print("\n".join(_printable(line) for line in differences(before, bundle)))
    return input(f"The first {DIGITS_MIN} digits of the digest in the charter: ").strip()


def _last_approved(peer: Path) -> Bundle | None:
    try:
        return last_approved(peer)
    except StoreError as error:
        raise BadInput(str(error)) from None


def _print_file(path: Path, bundle: Bundle, name: str) -> None:
    content = bundle.files.get(name)
    if content is None:
        raise BadInput(f"{path} has no file {name}; p2pfl task show {path} lists them")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise BadInput(f"{name} is no text") from None
    print("\n".join(_printable(line) for line in text.splitlines()))


def _show(bundle: Bundle) -> None:
    print(f"task       {bundle.manifest.task}")
    names = [name for name in bundle.files if name != MANIFEST]
    for place, name in enumerate(names):
        size = data_size(len(bundle.files[name]))
        print(f"{'' if place else 'files':<11}{size:>8}  {name}")
    if REQUIREMENTS not in bundle.files:
        print("libraries  none beyond p2pfl's own")
    if not bundle.has_mock_rows:
        print("mock rows  none: nobody can try it before it sees real rows")


def _printable(line: str) -> str:
    """Show what a terminal would otherwise obey, such as colours and cursor moves."""
    return "".join(it if it.isprintable() or it == "\t" else repr(it)[1:-1] for it in line)
