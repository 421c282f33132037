"""Tells damage in SQLite's write-ahead log from the end that a crash leaves.

SQLite takes the log up to its first broken frame and is silent about the rest: so one flipped bit
forgets all that was kept after it, votes among it. A crash can break the transaction that was under
way, and no other. So whoever finds more than one transaction behind the first broken frame knows
that the log is damaged.

What is not told apart is damage in the very last transaction: it looks like a crash amid its write.

Format: https://www.sqlite.org/fileformat2.html#walformat
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}  # Byte order of the words that are summed.
_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_WORDS = 2**32 - 1


class _Frame(NamedTuple):
    is_whole: bool
    is_commit: bool


def is_damaged(path: Path) -> bool:
    """Tell whether a log lost more than a crash can take.

    Args:
        path: of the log; a log that is not there, or is empty, is whole.

    Raises:
        OSError: it cannot be read.
    """
    try:
        log = path.read_bytes()
    except FileNotFoundError:
        return False
    if len(log) <= _HEADER.size:
        return False  # Begun, and nothing was kept in it.
    magic, _, page_bytes, _, *salts, first, second = _HEADER.unpack_from(log)
    order = _MAGIC.get(magic)
    if order is None or _checksum(log[: _HEADER.size - 8], order, (0, 0)) != (first, second):
        return True
    frames = list(_frames(log, page_bytes, order, tuple(salts), (first, second)))
    broken = next((at for at, frame in enumerate(frames) if not frame.is_whole), len(frames))
    return sum(frame.is_commit for frame in frames[broken:]) > 1


def _frames(
    log: bytes, page_bytes: int, order: str, salts: tuple[int, ...], running: tuple[int, int]
) -> Iterator[_Frame]:
    """Read all frames that belong to this log; others are left from its earlier use."""
    is_whole = True
    size = _FRAME.size + page_bytes
    for at in range(_HEADER.size, len(log) - size + 1, size):
        _, pages, *frame_salts, first, second = _FRAME.unpack_from(log, at)
        belongs = tuple(frame_salts) == salts
        if is_whole and belongs:
            page = log[at + _FRAME.size : at + size]
            running = _checksum(log[at : at + 8] + page, order, running)
        is_whole = is_whole and belongs and running == (first, second)
        yield _Frame(is_whole, belongs and pages > 0)


def _checksum(content: bytes, order: str, start: tuple[int, int]) -> tuple[int, int]:
    """Go on with the running checksum of the format."""
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    first, second = start
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & _WORDS
        second = (second + other + first) & _WORDS
    return first, second
