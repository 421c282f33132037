"""What a peer's log at level debug tells: its lives, and the frames it sent, by session."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


@dataclass(frozen=True)
class Sent:
    """A frame, or a body's header, that a peer gave to its links.

    Attributes:
        life: which of the peer's processes, from 0.
        round: the try that it is of: as it says, or that of its session; -1 if it has none.
        chunk: the number of a masked chunk.
        author: the rank of whose vector a chunk is part, or who voted, said an advert or signed an
            entry.
    """

    at_s: float
    life: int
    kind: str
    session: str
    round: int
    digest: str
    chunk: int | None
    author: int | None


def is_torn(line: bytes) -> bool:
    """Whether a kill ended a line: the next process began another one behind it."""
    return not line.rstrip(b"\n").endswith(b"}")


class Tail:
    """Reads a log as it grows; a line that is not whole yet waits."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def fresh(self) -> Iterator[Entry]:
        """Yield the entries that have come since the last call."""
        with self._path.open("rb") as lines:
            lines.seek(self._read)
            for line in lines:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                if not is_torn(line):
                    yield json.loads(line)


@dataclass(frozen=True)
class PeerLog:
    """All that a peer's processes logged.

    Attributes:
        entries: in order.
        sent: frames, in order.
        lives: how many processes have come to listen.
    """

    entries: list[Entry]
    sent: list[Sent]
    lives: int

    def heard(self, frame: Sent) -> bool:
        """Tell whether a statement that another peer sent has come here."""
        return any(
            it["event"] == "frame"
            and it["direction"] == "in"
            and it["message_type"] == frame.kind
            and it["digest"] == frame.digest
            for it in self.entries
        )


def read_log(path: Path) -> PeerLog:
    """Read a whole log, of one file; a kill may tear a line at the end of a page."""
    text = path.read_bytes()
    assert text.endswith(b"\n"), f"{path} ends in half a line"
    entries = [json.loads(line) for line in text.splitlines() if not is_torn(line)]
    sent, life, round_ = [], -1, -1
    rounds: dict[str, int] = {}
    for entry in entries:
        match entry["event"]:
            case "listening":
                life += 1
            case "frame" if entry["direction"] == "out":
                session = entry.get("session", "")
                if entry["message_type"] == "GroupAdvert":
                    round_ = max(round_, entry["round"])
                if session:  # Begun by the list of the try that we advertised for last.
                    rounds.setdefault(session, round_)
                sent.append(
                    Sent(
                        entry["monotonic_s"],
                        life,
                        entry["message_type"],
                        session,
                        rounds[session] if session else entry.get("round", -1),
                        entry["digest"],
                        entry.get("chunk"),
                        entry.get("author"),
                    )
                )
    return PeerLog(entries, sent, life + 1)
