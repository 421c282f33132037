"""How messages are forged: a copy with other fields, signed again with the liar's own key."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

from p2pfl_crypto.identity import Identity
from p2pfl_crypto.statements import sign_statement
from p2pfl_crypto.transcripts import tau1_of
from p2pfl_gossip.ledger import messages as ledger
from p2pfl_gossip.ledger.charter import Epoch
from p2pfl_gossip.masked_sum import messages as sums
from p2pfl_gossip.records import Message, Record

R = TypeVar("R", bound=Record | Message)
M = TypeVar("M", bound=Message)


def replaced(record: R, **changes: Any) -> R:
    """Return a copy of a message, or of an action, with other values in some fields."""
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return type(record)(**{**fields, **changes})


def mutated(message: M, rng: Random) -> M:
    """Return a copy of a message with one field changed at random; itself if it has none."""
    names = message.__struct_fields__
    if not names:
        return message
    name = rng.choice(names)
    return replaced(message, **{name: _changed(getattr(message, name), rng)})


def _changed(value: Any, rng: Random) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return rng.choice([value + 1, max(0, value - 1), value ^ 1, 0, 2**32 - 1, 2**63 - 1])
        case float():
            return rng.choice([-value, value * 1e30, 0.0, float("nan"), float("inf")])
        case bytes():
            return _changed_bytes(value, rng)
        case tuple():
            return value[:-1] if value else value
        case Message():
            return mutated(value, rng)
    return value


def _changed_bytes(value: bytes, rng: Random) -> bytes:
    if not value or rng.random() < 0.1:
        return value + bytes([rng.randrange(256)])
    if rng.random() < 0.1:
        return value[:-1]
    place = rng.randrange(len(value))
    return value[:place] + bytes([value[place] ^ 1 << rng.randrange(8)]) + value[place + 1 :]


def signed_again(message: M, identity: Identity, rank: int, members: bytes = b"") -> M:
    """Return a message with a good signature of one's own, if it is one that is signed.

    Args:
        message: whatever was made of it.
        identity: the liar's.
        rank: the liar's place in the cohort.
        members: U3 as the last ballot had it, which the signature of a mean covers.
    """
    if isinstance(message, sums.Share):
        return replaced(message, header=signed_again(message.header, identity, rank))
    try:
        stated = stated_by(message, members)
    except OverflowError:  # A number that is too large to be stated; nobody decodes it, either.
        return message
    if stated is None or not isinstance(message, sums.SessionMessage):
        return message
    kind, body = stated
    return replaced(message, signature=sign_statement(identity, kind, rank, message.session, *body))


def stated_again(message: M, identity: Identity, epoch: Epoch, rank: int) -> M:
    """Return a message of a ledger with good signatures of one's own, if it is signed.

    Args:
        message: whatever was made of it.
        identity: the liar's.
        epoch: that it is in.
        rank: the liar's place in it.
    """

    def sign(kind: bytes, body: bytes) -> bytes:
        return sign_statement(identity, kind, rank, body)

    try:
        match message:
            case ledger.GroupAdvert():
                head = ledger.head_statement(epoch, message.round, message.head)
                message = replaced(message, head_signature=sign(b"head", head))
                return replaced(message, signature=sign(b"advert", message.digest(epoch)))
            case ledger.GroupList():
                stated = ledger.list_statement(epoch, message)
                return replaced(message, signature=sign(b"list", stated))
            case ledger.EntrySignature():
                stated = ledger.entry_statement(epoch, message.round, message.entry)
                return replaced(message, signature=sign(b"entry", stated))
    except OverflowError:  # A number that is too large to be stated; nobody decodes it, either.
        pass
    return message


def stated_by(message: Message, members: bytes = b"") -> tuple[bytes, Sequence[bytes]] | None:
    """Return the kind and body of what a message states; None if it states nothing."""
    if isinstance(message, sums.MeanSignature):
        return b"mean", [members, message.digest]
    found = _STATED.get(type(message))
    return None if found is None else (found[0], found[1](message))


def _tau1(message: sums.AdvertList) -> bytes:
    digests = [message.digests[at : at + 32] for at in range(0, len(message.digests), 32)]
    return tau1_of(message.session, message.members, digests)


def _turn(turn: int) -> bytes:
    return (turn % 2**32).to_bytes(4, "little")


def _chunk(chunk: int) -> bytes:
    return (chunk % 2**64).to_bytes(8, "little")


_STATED: dict[type[Message], tuple[bytes, Callable[[Any], Sequence[bytes]]]] = {
    sums.Advert: (b"advert", lambda it: [it.digest()]),
    sums.AdvertList: (b"adverts", lambda it: [_turn(it.turn), _tau1(it)]),
    sums.Header: (b"header", lambda it: [it.digest()]),
    sums.Proposal: (b"proposal", lambda it: [_turn(it.turn), it.tau2()]),
    sums.Ack: (b"ack", lambda it: [it.tau2]),
    sums.ChunkHeader: (b"chunk", lambda it: [it.tau2, _chunk(it.chunk), it.digest]),
    sums.Manifest: (b"manifest", lambda it: [it.digest()]),
    sums.Receipt: (b"receipt", lambda it: [it.tau2, it.bitmaps]),
    sums.Ballot: (b"ballot", lambda it: [_turn(it.turn), it.digest()]),
    sums.Vote: (b"vote", lambda it: [it.ballot]),
    sums.SumHeader: (b"sum", lambda it: [it.ballot, _chunk(it.chunk), it.digest]),
    sums.SumsSeen: (b"seen", lambda it: [it.ballot, it.sums]),
    sums.AuditProof: (b"proof", lambda it: [it.digest()]),
    sums.DisputeStatement: (b"statement", lambda it: [it.digest()]),
    sums.Accusation: (b"accuse", lambda it: [it.member.to_bytes(4, "little")]),
    sums.SumDigest: (b"sum", lambda it: [it.ballot, _chunk(it.chunk), it.digest]),
}
"""Kind and body of each message that is signed, but the mean's, whose members it does not name."""
