"""What a member remembers over a restart, so that it never says two things in one session.

All keys of a session live in memory only. So a restarted member cannot go on, and it must not
start again: it is silent in every session up to the last that it began. What is kept serves this
rule, and the rule that a vector is never sent twice.
"""

from enum import IntEnum

from msgspec.structs import replace

from p2pfl_gossip.actions import Persist, Vector
from p2pfl_gossip.records import Codec, Digest, MalformedFrame, Message, UInt63

KEY_PREFIX = "masked_sum/"
_RECORD_BYTES_MAX = 256  # Three numbers and two digests.


class Step(IntEnum):
    """How far a member went in the last session that it began."""

    BEGUN = 0
    ACKED = 1
    SPENT = 2
    VOTED = 3
    SIGNED = 4
    SEEN = 5
    """In a record of its own: it may come after the next session was begun."""


class JournalRecord(Message, frozen=True, tag=127):
    """The last session of a group.

    Attributes:
        round: its round.
        attempt: its attempt.
        step: how far the member went.
        spent_rounds: 1 + the last round whose vector was sent in any session; 0 for none.
        said: what was acknowledged (tau2), voted for (the ballot's digest) or signed (the mean's,
            or that of all sums), zeros before.
    """

    round: UInt63
    attempt: UInt63
    step: UInt63
    spent_rounds: UInt63
    said: Digest


_CODEC = Codec(JournalRecord | None, frame_bytes_max=_RECORD_BYTES_MAX)


def read_record(stored: bytes) -> JournalRecord:
    """Read a record that a journal asked to persist.

    Raises:
        MalformedFrame: it is none.
    """
    record = _CODEC.decode_untrusted(stored)
    if not isinstance(record, JournalRecord):
        raise MalformedFrame("not a masked sum's record")
    return record


class Refused(Exception):
    """The journal forbids this session; `reason` is one word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SessionJournal:
    """One group's record, written before what it tells of is done.

    Args:
        group: bytes that name the group.
        records: what earlier incarnations asked to persist, by key.
    """

    def __init__(self, group: bytes, records: dict[str, bytes | Vector]) -> None:
        self._key = KEY_PREFIX + group.hex()
        self._begun: JournalRecord | None = None
        self._last: JournalRecord | None = None
        stored = records.get(self._key)
        if stored is not None:
            if not isinstance(stored, bytes):
                raise MalformedFrame("a masked sum's record is bytes")
            self._last = read_record(stored)

    def begin(self, round_: int, attempt: int) -> Persist:
        """Begin a session.

        Raises:
            Refused: ``"replayed"``: this session or a later one was begun before; ``"spent"``: the
                vector of this round was sent already.
        """
        last = self._last
        if last is not None:
            if (round_, attempt) <= (last.round, last.attempt):
                raise Refused("replayed")
            if round_ < last.spent_rounds:
                raise Refused("spent")
        spent = last.spent_rounds if last else 0
        self._begun = JournalRecord(round_, attempt, Step.SEEN, spent, bytes(32))
        return self._write(JournalRecord(round_, attempt, Step.BEGUN, spent, bytes(32)))

    def advance(self, step: Step, said: bytes) -> Persist:
        """Note a step of the session that was begun; each once, in order."""
        last = self._last
        assert last is not None
        assert step > last.step
        spent = last.round + 1 if step == Step.SPENT else last.spent_rounds
        return self._write(JournalRecord(last.round, last.attempt, step, spent, said))

    def see(self, sums: bytes) -> Persist:
        """Note the digest of all sums that we sign, of the session that was begun."""
        assert self._begun is not None
        record = replace(self._begun, said=sums)
        return Persist({f"{self._key}/seen": _CODEC.encode(record)})

    def _write(self, record: JournalRecord) -> Persist:
        self._last = record
        return Persist({self._key: _CODEC.encode(record)})
