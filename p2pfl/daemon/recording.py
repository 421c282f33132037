"""Keeps every event and the model of every round, where a report is to be made of them.

`p2pfl launch` asks for it; a peer that an operator runs has its log, and its last model.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from p2pfl.store.files import end_torn_line
from p2pfl_gossip import events
from p2pfl_gossip.actions import Event

EVENTS, MODELS = "events.jsonl", "models"


class Sent(NamedTuple):
    """What a process has sent since it began.

    Attributes:
        frames: and bodies.
        bytes: of both.
        bytes_by_message: by the name of a message's type, with what still waits for a link.
    """

    frames: int
    bytes: int
    bytes_by_message: Mapping[str, int]


class Recorded(NamedTuple):
    """One event of a peer.

    Attributes:
        monotonic_s: when, on the clock that all processes of a machine share.
        event: what; a model is read back only if it is asked for.
        sent: up to then.
    """

    monotonic_s: float
    event: Event
    sent: Sent


def recorder(folder: Path, sent: Callable[[], Sent]) -> Callable[[Event], None]:
    """Return what records an event in a folder; later processes go on in the same files."""
    (folder / MODELS).mkdir(exist_ok=True)
    if (folder / EVENTS).exists():
        end_torn_line(folder / EVENTS)

    def record(event: Event) -> None:
        if isinstance(event, events.RoundEnded):
            np.save(_model(folder, event.round), event.vector)
            own_state: dict[str, Any] = dict(event.own_state)
            np.savez(_own_state(folder, event.round), **own_state)
        line = {
            "monotonic_s": time.monotonic(),
            "event": type(event).__name__,
            "fields": fields_of(event),
            "sent": sent()._asdict(),
        }
        with (folder / EVENTS).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line, separators=(",", ":")) + "\n")

    return record


class Recording:
    """Reads what a peer records, as it grows."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._read = folder, 0

    def fresh(self) -> Iterator[Recorded]:
        """Yield the events that have come since the last call; a half-written line waits.

        What a kill left of a line is passed over: its process went no further.
        """
        try:
            with (self._folder / EVENTS).open("rb") as lines:
                lines.seek(self._read)
                for line in lines:
                    if not line.endswith(b"\n"):
                        return
                    self._read += len(line)
                    if line.endswith(b"}\n"):
                        yield self._parse(json.loads(line))
        except FileNotFoundError:
            return

    def _parse(self, line: dict[str, Any]) -> Recorded:
        kind = getattr(events, line["event"])
        fields: dict[str, Any] = {
            name: bytes.fromhex(value) if kind.__annotations__[name] is bytes else value
            for name, value in line["fields"].items()
        }
        if kind is events.RoundEnded:
            fields["vector"] = np.load(_model(self._folder, fields["round"]))
            with np.load(_own_state(self._folder, fields["round"])) as own_state:
                fields["own_state"] = dict(own_state)
        return Recorded(line["monotonic_s"], kind(**fields), Sent(**line["sent"]))


def fields_of(event: Event) -> dict[str, Any]:
    """Return an event's fields by name, as JSON has them: bytes in hexadecimal, and no model."""
    named = [name for name in event.__struct_fields__ if name not in ("vector", "own_state")]
    fields = {name: getattr(event, name) for name in named}
    return {
        name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()
    }


def _model(folder: Path, round_: int) -> Path:
    return folder / MODELS / f"{round_}.npy"


def _own_state(folder: Path, round_: int) -> Path:
    return folder / MODELS / f"{round_}.npz"
