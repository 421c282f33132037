"""What a dataset's ledger holds: one line a record, `DIGEST JSON`, each digest over all before.

The digest of a line is that of the line before and of this one's text. So no line can be changed,
left out or put in without changing all after it. Text is in one spelling only: the one that
`encode` gives.
"""

from typing import TypeAlias

import msgspec

from p2pfl.privacy.errors import PrivacyError
from p2pfl_crypto.hashing import DIGEST_BYTES, hash_parts

LINE_BYTES_MAX = 1024  # The longest record, with a name of 200 characters of 4 bytes, is shorter.
NAME_CHARACTERS_MAX = 200
START = bytes(DIGEST_BYTES)
"""What stands before the first line."""

Digest: TypeAlias = str
"""64 hexadecimal digits."""


class _Record(msgspec.Struct, frozen=True, tag_field="record", forbid_unknown_fields=True):
    """Common to all: immutable, tagged by `record`, no unknown fields."""


class BudgetOpened(_Record, frozen=True, tag="opened"):
    """The first record.

    Attributes:
        ledger: 32 hexadecimal digits, drawn once; the anchor has them too.
        dataset: what it is of, for people.
        epsilon: what the owner allows, over all charters.
        delta: of epsilon.
        order: of the Renyi divergences that are added up.
    """

    ledger: str
    dataset: str
    epsilon: float
    delta: float
    order: int


class Reserved(_Record, frozen=True, tag="reserved"):
    """A charter was joined: all of its rounds are counted from now on.

    Attributes:
        charter: its digest.
        rate_units: p as a multiple of 2^-32.
        noise: z that is counted on.
        steps: releases a round.
        rounds: T.
        epsilon: of all of them, by loss distributions.
        alone: it fits as the only charter that this data set is ever used for, and not otherwise.
    """

    charter: Digest
    rate_units: int
    noise: float
    steps: int
    rounds: int
    epsilon: float
    alone: bool


class Spent(_Record, frozen=True, tag="spent"):
    """A vector may leave: written before its first byte does.

    Attributes:
        charter: its digest.
        epoch: of the group.
        round: of the group.
        session: of the round, from 0: a round may be tried again.
    """

    charter: Digest
    epoch: int
    round: int
    session: int


class Presumed(_Record, frozen=True, tag="presumed"):
    """Vectors that may have left, though no record of them is here: the journal was behind.

    Attributes:
        charter: its digest.
        epoch: of the group.
        first: round, the first after the last that is known.
        last: round that was entered again.
        count: how many of these rounds are charged.
    """

    charter: Digest
    epoch: int
    first: int
    last: int
    count: int


class Returned(_Record, frozen=True, tag="returned"):
    """A vector is in no sum: a certificate names the members, and we are not among them.

    Attributes:
        charter: its digest.
        epoch: as in `Spent`.
        round: as in `Spent`.
        session: as in `Spent`.
        proof: digest of the certificate.
    """

    charter: Digest
    epoch: int
    round: int
    session: int
    proof: Digest


class Closed(_Record, frozen=True, tag="closed"):
    """A charter has ended for good: what it has not spent is free.

    Attributes:
        charter: its digest.
        proof: digest of the proof of finality.
    """

    charter: Digest
    proof: Digest


class Forfeited(_Record, frozen=True, tag="forfeited"):
    """The ledger was not where its anchor says: every charter counts in full and is over.

    Attributes:
        divergence: of the ledger's order, at least what all charters ever joined could spend.
    """

    divergence: float


Record: TypeAlias = BudgetOpened | Reserved | Spent | Presumed | Returned | Closed | Forfeited

_DECODER: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class DamagedLedger(PrivacyError):
    """A ledger is not as it was written; nothing of it was changed."""


def encode(record: Record, before: bytes) -> tuple[bytes, bytes]:
    """Write a record as a line, behind the digest of the line before.

    Returns:
        The line with its end, and its digest.
    """
    text = msgspec.json.encode(record)
    digest = hash_parts(b"p2pfl/budget", before, text)
    line = digest.hex().encode() + b" " + text + b"\n"
    if len(line) > LINE_BYTES_MAX:
        raise PrivacyError(f"a record takes {len(line)} bytes, more than {LINE_BYTES_MAX}")
    return line, digest


def read_line(line: bytes, before: bytes, number: int) -> tuple[Record, bytes]:
    """Read a line, without its end.

    Args:
        line: as `encode` wrote it.
        before: digest of the line before.
        number: of the line, from 1, for messages.

    Raises:
        DamagedLedger: it is not what was written there.
    """
    digest, _, text = line.partition(b" ")
    found = hash_parts(b"p2pfl/budget", before, text)
    if digest != found.hex().encode():
        raise DamagedLedger(f"line {number} is not what was written there: its digest is another")
    try:
        record = _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedLedger(f"line {number} is no record: {error}") from error
    if msgspec.json.encode(record) != text:
        raise DamagedLedger(f"line {number} is a record in another spelling")
    return record, found
