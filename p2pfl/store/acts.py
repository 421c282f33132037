"""What an operator did, as a file in which nothing is changed later without being seen.

One act a line, as JSON with sorted keys. Each line names the digest of the line before it, so that
a line that is changed, left out or moved breaks the chain. Lines cut off at the end do not show:
the last digest goes into each anchor (a time stamp), which shows that too.

    {"act": "task approved", "at": "2026-12-01T09:30:00Z", "before": "00...", "facts": {...}}
"""

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from p2pfl.store.errors import StoreError
from p2pfl.store.files import PRIVATE, sync_folder
from p2pfl_crypto.hashing import hash_parts

ACTS_FILE = "acts.jsonl"
"""What it is called in a peer's folder."""

ACTS_BYTES_MAX = 64 * 2**20  # A hundred acts a day for a decade.
_START = bytes(32).hex()


@dataclass(frozen=True, slots=True)
class Act:
    """One act.

    Attributes:
        name: what was done: "task approved", "charter signed".
        at: when, by this machine's clock.
        facts: on what: names, digests; no free text, no person, no secret.
    """

    name: str
    at: datetime
    facts: Mapping[str, str]


def add_act(folder: Path, act: Act) -> str:
    """Add an act to a peer's file, on the disk when this returns; return the chain's new digest.

    Raises:
        StoreError: the file is damaged, or cannot be written; nothing was added.
    """
    path = folder / ACTS_FILE
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, PRIVATE), "rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            _, before = _read(path, file.read(ACTS_BYTES_MAX + 1))
            line = _line(act, before)
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(folder)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from None
    return _digest(line)


def read_acts(folder: Path) -> tuple[list[Act], str]:
    """Return a peer's acts, and the digest of the last; zeros where there are none.

    Raises:
        StoreError: the file cannot be read, or a line was changed, left out or moved.
    """
    path = folder / ACTS_FILE
    try:
        with path.open("rb") as file:
            return _read(path, file.read(ACTS_BYTES_MAX + 1))
    except FileNotFoundError:
        return [], _START
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None


def chain_digests(folder: Path) -> list[str]:
    """Return the chain's digest before the first act, and after each.

    Raises:
        StoreError: as of `read_acts`.
    """
    acts, _ = read_acts(folder)
    digests = [_START]
    for act in acts:
        digests.append(_digest(_line(act, digests[-1])))
    return digests


def _line(act: Act, before: str) -> bytes:
    document = {
        "act": act.name,
        "at": act.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "before": before,
        "facts": dict(act.facts),
    }
    return json.dumps(document, sort_keys=True).encode()


def _digest(line: bytes) -> str:
    return hash_parts(b"p2pfl/act", line).hex()


def _read(path: Path, content: bytes) -> tuple[list[Act], str]:
    if len(content) > ACTS_BYTES_MAX:
        raise StoreError(f"{path} is longer than {ACTS_BYTES_MAX} bytes; move it away")
    acts, before = [], _START
    *lines, rest = content.split(b"\n")
    if rest:
        raise StoreError(f"{path}: line {len(lines) + 1} is cut off")
    for number, line in enumerate(lines, 1):
        try:
            document = json.loads(line)
            at = datetime.strptime(document["at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
            act = Act(document["act"], at, document["facts"])
            is_whole = _line(act, document["before"]) == line
        except (ValueError, KeyError, TypeError, RecursionError):
            is_whole = False
        if not is_whole or document["before"] != before:
            raise StoreError(
                f"{path}: line {number} is not what was written, or one before it is missing"
            )
        acts.append(act)
        before = _digest(line)
    return acts, before
