"""Every way to forge a message, worked out from its definition.

A new message, or a new field of one, has forgeries at once; the tables of what must come of them
then lack rows, and their tests fail.
"""

import math
from collections.abc import Iterator
from typing import Any

import msgspec

import p2pfl_gossip.masked_sum.journal
import p2pfl_gossip.wire
from p2pfl_gossip.records import Message

UINT32_MAX = 2**32 - 1

RECORDS: dict[str, str] = {
    "JournalRecord": "lies on our own disk and never travels",
    "KeptArrays": "lies on our own disk and never travels",
    "Departure": "travels within Evidence",
    "AdvertAndHead": "travels within Evidence",
    "Charter": "travels as bytes, within a Closing; its forgeries are in tests/unit/gossip/ledger",
    "Entry": "travels within an EntryCertificate",
    "RecordEnd": "lies in a file; its forgeries are in tests/unit/gossip/ledger",
    "RecordGap": "lies in a file; its forgeries are in tests/unit/gossip/ledger",
    "StandingRecord": "lies on our own disk and never travels",
    "TwoAdverts": "travels within Evidence",
    "Accused": "travels within Evidence",
    "FalseScalar": "travels within Evidence",
    "FalseShares": "travels within Evidence",
    "OutvotedSum": "travels within Evidence",
    "FalseProof": "travels within Evidence",
    "TwoEntries": "travels within Evidence",
    "TwoStatements": "travels within Evidence",
    "TwoSeen": "travels within Evidence",
    "TwoSums": "travels within Evidence",
    "Certificate": "travels within a ModelHeader; its forgeries are in tests/masked_sum",
}
"""Messages in form only: each with the reason why nobody can forge it."""


def all_messages(kind: type[Message] = Message) -> dict[str, type[Message]]:
    """Every message that has a tag, by name: all that `gossip` defines."""
    found: dict[str, type[Message]] = {}
    for one in kind.__subclasses__():
        if one.__struct_config__.tag is not None and one.__module__.startswith("p2pfl_gossip."):
            found[one.__name__] = one
        found |= all_messages(one)
    return {name: found[name] for name in sorted(found) if name not in RECORDS}


def forgeries(message: Message, but: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Give each change of one field that still decodes: its name, and the changed message."""
    for field in msgspec.structs.fields(type(message)):
        if field.name in but:
            continue
        value = getattr(message, field.name)
        if value is None:
            continue  # A part that may be missing, and is.
        for name, forged in _forged(value, field.type):
            changed = msgspec.structs.replace(message, **{field.name: forged})
            if _decodes(changed):
                yield f"{field.name}{name}", changed


def _forged(value: Any, kind: Any) -> Iterator[tuple[str, Any]]:
    if value is None or value == ():
        return  # A part that may be missing, and is.
    match value:
        case bool():
            yield " negated", not value
        case int():
            yield " another", value - 1 if value else 1
            yield " huge", UINT32_MAX
        case float():
            for name, forged in (
                ("nan", math.nan),
                ("infinite", math.inf),
                ("zero", 0.0),
                ("negative", -value),
                ("huge", 1e300),
            ):
                yield f" {name}", forged
        case bytes():
            yield from _forged_bytes(value)
        case msgspec.Struct():
            for field in msgspec.structs.fields(type(value)):
                for name, forged in _forged(getattr(value, field.name), field.type):
                    yield (
                        f".{field.name}{name}",
                        msgspec.structs.replace(value, **{field.name: forged}),
                    )
        case str():
            yield " other", value + "x"
        case tuple():
            yield from _forged_list(value, kind)
        case _:
            raise NotImplementedError(f"nobody has thought of how to forge a {kind}")


def _forged_list(value: tuple[Any, ...], kind: Any) -> Iterator[tuple[str, Any]]:
    yield " empty", ()
    yield " twice", (*value, *value)
    for name, forged in _forged(value[0], kind):
        yield f"[0]{name}", (forged, *value[1:])


def _forged_bytes(value: bytes) -> Iterator[tuple[str, bytes]]:
    if value:
        yield " low bit", bytes([value[0] ^ 1]) + value[1:]
        yield " high bit", value[:-1] + bytes([value[-1] ^ 128])
        yield " short", value[:-1]
    yield " long", value + b"\0"


def _decodes(message: Message) -> bool:
    """Whether it passes the wire: what does not is refused there."""
    try:
        frame = p2pfl_gossip.wire.encode(message)
        p2pfl_gossip.wire.decode_untrusted(frame)
    except ValueError:
        return False
    return True
