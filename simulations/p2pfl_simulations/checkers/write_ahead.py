"""Nothing leaves before the record that it promises: by then it is durable, or a crash unsays it.

`PROMISES` names, for each message, the records that must be on the disk of whoever sends it. What
a peer passes on for others promises nothing of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from p2pfl_gossip.actions import Action, Persist, Send, SendBulk, Vector
from p2pfl_gossip.averaging.age_gossip import AgedModelHeader
from p2pfl_gossip.averaging.cohort_averaging import MeanHeader, PartHeader
from p2pfl_gossip.averaging.fedavg import GlobalModelHeader
from p2pfl_gossip.averaging.neighbour_averaging import VectorHeader
from p2pfl_gossip.averaging.push_sum import RunningSumHeader
from p2pfl_gossip.catch_up import (
    ModelHeader,
    ModelRequest,
    NoUpdate,
    Status,
    StatusRequest,
    Wait,
)
from p2pfl_gossip.comparison import DescriptionRequest, Present
from p2pfl_gossip.description import DescriptionPage
from p2pfl_gossip.ledger.charter import NONE
from p2pfl_gossip.ledger.messages import (
    AdvertRequest,
    CertificateRequest,
    Closing,
    EntryCertificate,
    EntrySignature,
    Evidence,
    EvidenceRequest,
    Finality,
    GroupAdvert,
    GroupList,
    HeldOfAsker,
    HeldRequest,
    Parcel,
    ParcelRequest,
    ParcelsHeld,
    Progress,
)
from p2pfl_gossip.ledger.parcels import PARCEL_PREFIX
from p2pfl_gossip.ledger.standing import (
    STANDING_RECORD,
    StandingRecord,
    model_key,
    read_standing,
)
from p2pfl_gossip.ledger.state_messages import (
    ChunksCancel,
    ChunksRequest,
    StateChunkDigests,
    StateChunks,
    StateRefusal,
    StateRequest,
)
from p2pfl_gossip.masked_sum.journal import KEY_PREFIX, Step, read_record
from p2pfl_gossip.masked_sum.messages import (
    Accusation,
    Ack,
    Advert,
    AdvertList,
    AuditProof,
    Ballot,
    ChunkHeader,
    Coin,
    CoinShares,
    CoinSum,
    DisputeStatement,
    Fetch,
    Header,
    Held,
    Manifest,
    MeanSignature,
    MeanSignatures,
    PairShown,
    Proposal,
    Receipt,
    Reveal,
    SessionMessage,
    Share,
    StatementsHeld,
    SumDigest,
    SumHeader,
    SumsSeen,
    Vote,
)
from p2pfl_gossip.opening import Begun, Ready
from p2pfl_gossip.records import Message
from p2pfl_simulations.checkers.base import Checker, Violation


@dataclass(slots=True)
class _Disk:
    """What one peer has made durable, and what it has said since its process started.

    Attributes:
        records: by key, as they stand.
        steps: what was said at each step of a session, by (round, attempt).
        unused: the session that was begun last, until its first message names it.
        sessions: (round, attempt) of each session that it speaks in.
        ranks: its own rank in each.
        has_incarnation: whether this life has a number of its own on the disk.
        rank_in: returns whose it is, in an epoch of a group: its rank.
        standing: what a member of a group has said, as its disk has it.
    """

    rank_in: Callable[[int], int] = lambda _epoch: 0
    standing: StandingRecord | None = None
    records: dict[str, bytes | Vector] = field(default_factory=dict)
    steps: dict[tuple[int, int], dict[int, bytes]] = field(default_factory=dict)
    unused: tuple[int, int] | None = None
    sessions: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    ranks: dict[bytes, int] = field(default_factory=dict)
    has_incarnation: bool = False

    def keep(self, records: dict[str, bytes | Vector | None]) -> None:
        """Make records durable."""
        for key, value in records.items():
            if value is None:
                self.records.pop(key, None)
                continue
            if key == "incarnation":
                self.has_incarnation = self.records.get(key) != value
            self.records[key] = value
            if key == STANDING_RECORD and isinstance(value, bytes):
                self.standing = read_standing(value)
            if key.startswith(KEY_PREFIX) and isinstance(value, bytes):
                record = read_record(value)
                place = (record.round, record.attempt)
                if record.step == Step.BEGUN:
                    self.unused = place
                self.steps.setdefault(place, {})[record.step] = record.said

    def said(self, session: bytes, step: Step) -> bytes | None:
        """Return what the record of a step of a session holds, or None if there is none."""
        place = self.sessions.get(session)
        return None if place is None else self.steps.get(place, {}).get(step)


@dataclass(frozen=True, slots=True)
class Promise:
    """A record that a message promises: in words, and how to tell that the disk holds it."""

    record: str
    is_kept: Callable[[_Disk, Any], bool]


def _is_own(disk: _Disk, message: Any) -> bool:
    return bool(disk.ranks.get(message.session) == message.member)


def _is_among(disk: _Disk, message: MeanSignatures) -> bool:
    signers = int.from_bytes(message.signers, "little")
    return bool(signers >> disk.ranks.get(message.session, 0) & 1)


def _of_own(step: Step, said: Callable[[Any], bytes], record: str) -> Promise:
    def is_kept(disk: _Disk, message: Any) -> bool:
        return not _is_own(disk, message) or disk.said(message.session, step) == said(message)

    return Promise(record, is_kept)


def _is_begun(disk: _Disk, message: SessionMessage) -> bool:
    """Whether the session was begun in this life.

    Its first message is our own advert; in a group, whose ledger has the adverts, our own share.
    """
    if message.session in disk.sessions:
        return True
    if disk.unused is None or not isinstance(message, Advert | Share):
        return False
    disk.sessions[message.session], disk.unused = disk.unused, None
    rank = message.member if isinstance(message, Advert) else message.header.dealer
    disk.ranks[message.session] = rank
    return True


def _is_advertised(disk: _Disk, advert: GroupAdvert) -> bool:
    own = disk.standing.advert if disk.standing else None
    return advert.member != disk.rank_in(advert.epoch) or advert == own


def _is_named_kept(disk: _Disk, advert: GroupAdvert) -> bool:
    """Whether the disk has the charter that we name, for those that are to follow it."""
    if advert.member != disk.rank_in(advert.epoch) or advert.charter == NONE:
        return True
    return f"{PARCEL_PREFIX}{advert.charter.hex()}" in disk.records


def _is_entry_kept(disk: _Disk, message: EntrySignature) -> bool:
    """Whether the disk has what we signed, and the model that it leads to."""
    if message.member != disk.rank_in(message.epoch):
        return True
    for signed in disk.standing.signed if disk.standing else ():
        if signed.said == message:
            return model_key(signed.entry.state[0].digest) in disk.records
    return False


def _is_counted(disk: _Disk, message: ChunkHeader) -> bool:
    """Whether a group's member has counted the update that this is a part of."""
    place = disk.sessions.get(message.session)
    if disk.standing is None or place is None or not _is_own(disk, message):
        return True
    return disk.standing.spent_round >= place[0]


INCARNATION = Promise("the number of this life", lambda disk, _: disk.has_incarnation)
OPENED = Promise("the draw seed", lambda disk, _: "draw_seed" in disk.records)
BEGUN = Promise("the session's beginning", _is_begun)
ACKED = _of_own(Step.ACKED, lambda it: bytes(it.tau2), "what was acknowledged")
SPENT = _of_own(Step.SPENT, lambda it: bytes(it.tau2), "that the vector is spent")
VOTED = _of_own(Step.VOTED, lambda it: bytes(it.ballot), "what was voted for")
ADVERTISED = Promise("its advert", _is_advertised)
NAMED = Promise("the charter that it names", _is_named_kept)
ENTRY_KEPT = Promise("the entry that it signs, and its model", _is_entry_kept)
COUNTED = Promise("that it gives an update", _is_counted)
SIGNED = _of_own(Step.SIGNED, lambda it: bytes(it.digest), "which mean was signed")
SEEN = _of_own(Step.SEEN, lambda it: bytes(it.sums), "which sums it has")
COINED = Promise(
    "which sums it has",
    lambda disk, it: disk.said(it.session, Step.SEEN) == bytes(it.sums),
)
GATHERED = Promise(
    "which mean was signed",
    lambda disk, it: (
        not _is_among(disk, it) or disk.said(it.session, Step.SIGNED) == bytes(it.digest)
    ),
)

PROMISES: dict[type[Message], tuple[Promise, ...]] = {
    # The opening.
    Present: (),
    DescriptionRequest: (),
    DescriptionPage: (),
    Ready: (),
    Begun: (OPENED,),
    # Of a peer: its streams of randomness hang on the life's number, so that no key comes twice.
    Status: (INCARNATION,),
    StatusRequest: (INCARNATION,),
    ModelRequest: (INCARNATION,),
    ModelHeader: (INCARNATION,),
    Wait: (INCARNATION,),
    NoUpdate: (INCARNATION,),
    PartHeader: (INCARNATION,),
    MeanHeader: (INCARNATION,),
    VectorHeader: (INCARNATION,),
    RunningSumHeader: (INCARNATION,),
    AgedModelHeader: (INCARNATION,),
    GlobalModelHeader: (INCARNATION,),
    # Of states: what is asked for and given is known by its digest, whoever says it.
    StateRequest: (),
    StateChunkDigests: (),
    StateRefusal: (),
    ChunksRequest: (),
    StateChunks: (),
    ChunksCancel: (),
    # Of a group's ledger.
    GroupAdvert: (INCARNATION, ADVERTISED, NAMED),
    EntrySignature: (INCARNATION, ENTRY_KEPT),
    GroupList: (INCARNATION,),
    AdvertRequest: (INCARNATION,),
    Progress: (INCARNATION,),
    EntryCertificate: (INCARNATION,),
    CertificateRequest: (INCARNATION,),
    Closing: (INCARNATION,),
    HeldRequest: (INCARNATION,),
    HeldOfAsker: (INCARNATION,),
    Evidence: (INCARNATION,),
    EvidenceRequest: (INCARNATION,),
    Finality: (INCARNATION,),
    Parcel: (INCARNATION,),
    ParcelRequest: (INCARNATION,),
    ParcelsHeld: (INCARNATION,),
    # Of a masked sum.
    Advert: (INCARNATION, BEGUN),
    AdvertList: (BEGUN,),
    Header: (BEGUN,),
    Share: (BEGUN,),
    Held: (BEGUN,),
    Proposal: (BEGUN,),
    Ack: (BEGUN, ACKED),
    ChunkHeader: (BEGUN, SPENT, COUNTED),
    Manifest: (BEGUN, SPENT),
    Receipt: (BEGUN,),
    Ballot: (BEGUN,),
    Vote: (BEGUN, VOTED),
    Reveal: (BEGUN,),
    SumHeader: (BEGUN,),
    SumDigest: (BEGUN,),
    MeanSignature: (BEGUN, SIGNED),
    MeanSignatures: (BEGUN, GATHERED),
    SumsSeen: (BEGUN, SEEN),
    Coin: (BEGUN, COINED),
    CoinShares: (BEGUN, COINED),
    AuditProof: (BEGUN, COINED),
    CoinSum: (BEGUN, COINED),
    DisputeStatement: (BEGUN, COINED),
    PairShown: (BEGUN,),
    Accusation: (BEGUN,),
    StatementsHeld: (BEGUN,),
    Fetch: (BEGUN,),
}
"""What each message promises; a message that promises nothing is here all the same."""


class WriteAhead(Checker):
    """No message of an honest peer leaves before the records that it promises are durable."""

    actions = (Persist, Send, SendBulk)

    def __init__(self) -> None:
        self._disks: dict[int, _Disk] = {}

    def on_input(self, now_s: float, host: int, name: str, arguments: tuple[Any, ...]) -> None:
        """Begin a life with the records that it finds; what earlier ones said is over."""
        if name == "on_start":
            before = self._disks.get(host, _Disk())
            disk = _Disk(
                records=dict(arguments[0]),
                steps=before.steps,
                rank_in=partial(self.watched.rank_of, host),
            )
            stored = disk.records.get(STANDING_RECORD)
            if isinstance(stored, bytes):
                disk.standing = read_standing(stored)
            self._disks[host] = disk

    def on_action(self, now_s: float, host: int, action: Action) -> None:
        """Note a record, or hold a message against the records."""
        if not self.watched.is_honest(host):
            return
        disk = self._disks[host]
        if isinstance(action, Persist):
            disk.keep(action.records)
        elif isinstance(action, Send):
            self._check(host, disk, action.message)
        elif isinstance(action, SendBulk):
            self._check(host, disk, action.header)

    def _check(self, host: int, disk: _Disk, message: Message) -> None:
        for promise in PROMISES.get(type(message), ()):
            if not promise.is_kept(disk, message):
                raise Violation(
                    f"peer {host} sends {type(message).__name__} before it has recorded"
                    f" {promise.record}"
                )
