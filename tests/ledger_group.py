"""A group of members with their keys, and all that they may say in their ledger.

No machines: a test says what is signed by whom. Messages are right unless the test asks for wrong
ones; `Bench` is the seat of one member, with its timers.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np

from p2pfl_crypto.governance import GovernanceKey
from p2pfl_crypto.hashing import hash_parts
from p2pfl_crypto.identity import Identity
from p2pfl_gossip.actions import (
    Action,
    CancelTimer,
    Event,
    Persist,
    Report,
    Send,
    SetTimer,
    Vector,
)
from p2pfl_gossip.desk import Desk
from p2pfl_gossip.ledger.approvals import Approval, Says, approval_of, in_order
from p2pfl_gossip.ledger.certificates import gather, sign
from p2pfl_gossip.ledger.charter import (
    FOREVER,
    NONE,
    Bounds,
    Charter,
    CharterMember,
    Epoch,
    Governance,
    encode_charter,
    peer_governance_key,
)
from p2pfl_gossip.ledger.entries import (
    VERSION,
    Entry,
    EntryStep,
    Head,
    Kind,
    empty_entry,
    first_entry,
    out_of,
    weight_in_force,
)
from p2pfl_gossip.ledger.history import History
from p2pfl_gossip.ledger.messages import (
    Closing,
    EntryCertificate,
    EntrySignature,
    Finality,
    GroupAdvert,
    GroupList,
    Named,
    Parcel,
    Rest,
    entry_statement,
    head_statement,
    list_statement,
)
from p2pfl_gossip.ledger.seat import Seat
from p2pfl_gossip.ledger.standing import MODEL_PREFIX, SignedEntry, Standing
from p2pfl_gossip.ledger.states import StateItem, digest_state
from p2pfl_gossip.records import Message, replaced

LENGTH = 6
PATIENCE_S, RELAY_S, PROGRESS_S = 20.0, 2.0, 0.5


def model_of(value: float) -> Vector:
    """A model, all entries of which have one value."""
    return np.full(LENGTH, value, np.float32)


def item_of(value: float) -> StateItem:
    """The same model as an item of a state."""
    return digest_state("model", model_of(value)).item


@cache
def identity_of(number: int) -> Identity:
    """The identity of a number."""
    return Identity(number.to_bytes(32, "little"))


@cache
def governor_of(number: int, place: int = 0) -> Identity:
    """The governance keys of a number; it may have several."""
    named = number.to_bytes(1 + (number > 255)) + bytes([place])
    return Identity(hash_parts(b"p2pfl/test-gov", named))


def governance_of(number: int, *, keys: int = 1, threshold: int | None = None) -> Governance:
    """A member's governance keys in a charter."""
    public = [governor_of(number, place).public_key for place in range(keys)]
    encoded = tuple(GovernanceKey("ed25519", key).encoded for key in public)
    return Governance(keys if threshold is None else threshold, encoded)


def member_of(number: int) -> CharterMember:
    """The member of a number."""
    key, governance = identity_of(number).public_key, governance_of(number)
    return CharterMember(key, f"m{number}", f"c{number}", 1.0 + number, governance)


def bounds_of() -> Bounds:
    """Bounds that allow running changes of `charter_of`."""
    return Bounds(30, 4.0, 8.0, 40.0, 1.0, 4.0, running=True)


def approval_by(
    signer: Identity, charter: Charter, *, says: int = Says.APPROVE, until: int = FOREVER
) -> Approval:
    """What a key, a peer's or a governance one, says of a charter."""
    key = GovernanceKey("ed25519", signer.public_key)
    return approval_of(charter.digest(), says, key, until, signer.sign)


def approvals_by(charter: Charter, numbers: Iterable[int]) -> list[Approval]:
    """Approvals by the first governance keys of members."""
    return [approval_by(governor_of(number), charter) for number in numbers]


def charter_of(numbers: Iterable[int], **fields: Any) -> Charter:
    """A charter of members with the identities of these numbers."""
    known: dict[str, Any] = {
        "version": 2,
        "nonce": bytes(31) + b"n",
        "present": NONE,
        "members": tuple(member_of(number) for number in numbers),
        "rounds": 20,
        "clip": 8.0,
        "patience_s": PATIENCE_S,
        "relay_s": RELAY_S,
        "progress_s": PROGRESS_S,
        "retries": 8,
        "state": (item_of(0.0),),
        "not_before": 0,
        "until": FOREVER,
        "notice_s": 7 * 86400,
        "bounds": Bounds(),
        "start": None,
        "succeeds": None,
        "terms": bytes(32),
        "running": bytes(32),
    }
    return Charter(**known | fields)


@cache
def _signers() -> dict[bytes, Identity]:
    """All keys that a test may have in a charter, by their encoding."""
    identities = [identity_of(number) for number in range(300)]
    identities += [governor_of(number, place) for number in range(160) for place in range(5)]
    return {
        GovernanceKey("ed25519", identity.public_key).encoded: identity for identity in identities
    }


def approved_by_all(present: Charter, charter: Charter) -> tuple[Approval, ...]:
    """Approvals of a charter by every key that it, or the one before it, has."""
    keys: dict[bytes, None] = {}
    for member in (*present.members, *charter.members):
        keys |= dict.fromkeys(member.governance.keys)
        keys[peer_governance_key(member.key).encoded] = None
    return in_order([approval_by(_signers()[key], charter) for key in keys])


class LedgerGroup:
    """The members of one epoch, and what they sign.

    `following` gives the same group in its next epoch.
    """

    def __init__(self, size: int = 5, *, epoch: Epoch | None = None, **fields: Any) -> None:
        self.epoch = epoch or Epoch.founded(charter_of(range(1, size + 1), **fields))
        known = {identity_of(number).public_key: identity_of(number) for number in range(1, 300)}
        self.identities = [known[key] for key in self.epoch.keys]
        self.first = EntryStep(first_entry(self.epoch))

    @property
    def size(self) -> int:
        """n."""
        return self.epoch.size

    @property
    def quorum(self) -> tuple[int, ...]:
        """The first t ranks."""
        return tuple(range(self.epoch.threshold))

    def following(self, charter: Charter) -> "LedgerGroup":
        """The group in the epoch that follows with a charter."""
        return LedgerGroup(epoch=self.epoch.followed_by(charter))

    def next_charter(self, numbers: Iterable[int] | None = None, **fields: Any) -> Charter:
        """A charter that replaces the present one, with other members or settings."""
        charter: Charter = replaced(self.epoch.charter, present=self.epoch.digest, **fields)
        if numbers is None:
            return charter
        return replaced(charter, members=charter_of(numbers).members)

    # --- what members say -------------------------------------------------------------------

    def sign(self, rank: int, kind: bytes, body: bytes) -> bytes:
        """Sign something as a member."""
        return sign(self.identities[rank], rank, kind, body)

    def advert(
        self,
        rank: int,
        round_: int,
        head: Head | None = None,
        *,
        rest: int = Rest.NONE,
        charter: bytes = NONE,
        named: tuple[Named, ...] = (),
        key: bytes = bytes(32),
        **fields: Any,
    ) -> GroupAdvert:
        """A member's advert of a round; by default its head is the first entry."""
        head = head or self.first.head
        advert = GroupAdvert(
            epoch=self.epoch.number,
            round=round_,
            member=rank,
            head=head,
            head_signature=self.sign(rank, b"head", head_statement(self.epoch, round_, head)),
            charter=charter,
            rest=rest,
            spends=0,
            named=named,
            share_key=key,
            mask_key=key,
            signature=bytes(64),
        )
        advert = replaced(advert, **fields)
        return advert.signed(self.sign(rank, b"advert", advert.digest(self.epoch)))

    def listed(
        self,
        leader: int,
        adverts: Iterable[GroupAdvert],
        *,
        turn: int = 0,
        kind: int = Kind.SUM,
        **fields: Any,
    ) -> GroupList:
        """A leader's list of adverts of one round."""
        chosen = sorted(adverts, key=lambda advert: advert.member)
        message = GroupList(
            epoch=self.epoch.number,
            round=chosen[0].round,
            turn=turn,
            kind=kind,
            members=self.epoch.pack(advert.member for advert in chosen),
            digests=b"".join(advert.digest(self.epoch) for advert in chosen),
            signature=bytes(64),
        )
        message = replaced(message, **fields)
        return message.signed(self.sign(leader, b"list", list_statement(self.epoch, message)))

    def entry_signature(self, rank: int, entry: Entry) -> EntrySignature:
        """A member's signature of an entry."""
        digest = entry.digest()
        statement = entry_statement(self.epoch, entry.round, digest)
        return EntrySignature(
            entry.epoch, entry.round, rank, digest, self.sign(rank, b"entry", statement)
        )

    def signed_entry(self, rank: int, entry: Entry) -> SignedEntry:
        """The same with the entry, as a standing notes it."""
        return SignedEntry(entry, self.entry_signature(rank, entry))

    # --- history ----------------------------------------------------------------------------

    def sum_entry(
        self,
        base: EntryStep,
        round_: int,
        *,
        value: float | None = None,
        members: Iterable[int] | None = None,
        **fields: Any,
    ) -> Entry:
        """An entry of a sum over `members` (all that are not out) on a base."""
        epoch, entry = self.epoch, base.entry
        same = entry.epoch == epoch.number
        out = out_of(epoch, entry)
        chosen = [rank for rank in range(epoch.size) if rank not in out]
        known: dict[str, Any] = {
            "version": VERSION,
            "kind": Kind.SUM,
            "group": epoch.group,
            "epoch": epoch.number,
            "charter": epoch.digest,
            "round": round_,
            "height": entry.height + 1,
            "base": base.head,
            "listed": b"l" * 32,
            "ballot": b"b" * 32,
            "sums": b"s" * 32,
            "members": epoch.pack(chosen if members is None else members),
            "weight": weight_in_force(epoch, out),
            "state": (item_of(float(round_) if value is None else value),),
            "next_charter": NONE,
            "out": entry.out if same else epoch.pack(()),
            "strikes": entry.strikes if same else (),
        }
        return Entry(**known | fields)

    def empty_entry(self, base: EntryStep, round_: int, next_charter: bytes = NONE) -> Entry:
        """An entry without a sum."""
        return empty_entry(self.epoch, round_, base, next_charter)

    def certificate(self, entry: Entry, signers: Iterable[int] | None = None) -> EntryCertificate:
        """The certificate of an entry, by t members or these."""
        ranks = self.quorum if signers is None else tuple(signers)
        statement = entry_statement(self.epoch, entry.round, entry.digest())
        signed = b"".join(self.sign(rank, b"entry", statement) for rank in ranks)
        return EntryCertificate(entry, self.epoch.pack(ranks), signed)

    def finality(self, head: Head, signers: Iterable[int] | None = None) -> Finality:
        """The proof that an entry is final."""
        statement = head_statement(self.epoch, head.round + 1, head)
        ranks = self.quorum if signers is None else tuple(signers)
        signatures = {rank: self.sign(rank, b"head", statement) for rank in ranks}
        if signers is None:
            return Finality(head, *gather(self.epoch, signatures))
        return Finality(head, self.epoch.pack(ranks), b"".join(signatures.values()))

    def approvals(self, charter: Charter) -> tuple[Approval, ...]:
        """Approvals of a charter that follows, by all keys that it or the present one has."""
        return approved_by_all(self.epoch.charter, charter)

    def parcel(self, charter: Charter, **fields: Any) -> Parcel:
        """A charter that follows, with all approvals, or with other fields."""
        known: dict[str, Any] = {
            "charter": encode_charter(charter),
            "terms": b"",
            "running": b"",
            "approvals": self.approvals(charter),
        }
        return Parcel(**known | fields)

    def closing(self, entry: Entry, charter: Charter) -> Closing:
        """The end of the epoch, by an entry that carries this charter."""
        proof = self.finality(EntryStep(entry).head)
        return Closing(
            self.certificate(entry),
            encode_charter(charter),
            self.approvals(charter),
            entry.round + 1,
            proof.signers,
            proof.signatures,
        )

    def history(self, *rounds: int) -> History:
        """A history with a sum in each of these rounds; the last is the head."""
        history = History(self.epoch)
        for round_ in rounds:
            self.extend(history, self.sum_entry(history.head, round_))
        return history

    def extend(self, history: History, entry: Entry) -> EntryStep:
        """Add an entry to a history, as its head."""
        certificate = self.certificate(entry)
        step = history.check(certificate)
        history.add(step, certificate)
        history.head = step
        return step


def two_epochs(size: int = 5, **fields: Any) -> tuple[LedgerGroup, LedgerGroup, History]:
    """A group in two epochs: sums in rounds 1 and 3, the charter in 4, then sums in 6 and 8."""
    old = LedgerGroup(size)
    history = old.history(1, 3)
    charter = old.next_charter((*range(1, size), size + 1), **fields)
    entry = old.empty_entry(history.head, 4, charter.digest())
    history.close_epoch(old.closing(entry, charter))
    step = history.step(EntryStep(entry).head)
    assert step is not None
    history.head = step
    new = old.following(charter)
    for round_ in (6, 8):
        new.extend(history, new.sum_entry(history.head, round_))
    return old, new, history


class LedgerDisk:
    """The journal of member 0; `standing` is made of it anew by `restart`."""

    def __init__(self, group: LedgerGroup) -> None:
        self.group = group
        self.records: dict[str, Any] = {}
        self.restart()

    def restart(self) -> None:
        """Put a fresh process in place of the old one."""
        self.standing = Standing(self.records)

    def write(self, action: Persist) -> None:
        """Carry out what a change asks for."""
        for key, value in action.records.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value

    @property
    def models(self) -> list[str]:
        """Names of the models that are kept."""
        return sorted(key for key in self.records if key.startswith(MODEL_PREFIX))

    def sign(self, step: EntryStep) -> None:
        """Sign an entry."""
        signed = self.group.signed_entry(0, step.entry)
        self.write(self.standing.sign(signed, model_of(float(step.entry.round))))

    def certify(self, step: EntryStep) -> None:
        """Take an entry as our head."""
        self.write(self.standing.certify(step, model_of(float(step.entry.round)), {}))


class Bench:
    """One member's seat: what it sent, persisted and set timers for; a test lets time pass."""

    def __init__(self, group: LedgerGroup, rank: int = 0, now_s: float = 100.0) -> None:
        self.group, self.rank = group, rank
        self.desk = Desk()
        self.seat = Seat(group.epoch, group.identities[rank], bytes, self.desk)
        self.now_s = now_s
        self.timers: dict[int, float] = {}
        self.sent: list[tuple[int, Message]] = []
        self.persisted: list[Persist] = []
        self.events: list[Event] = []
        self.seat.begin(now_s)

    def do(self, act: Callable[[], object]) -> None:
        """Give the member an input, now."""
        self.seat.begin(self.now_s)
        act()
        self._carry_out(self.seat.take())

    def pass_until(self, at_s: float) -> None:
        """Let time pass, with the timers that come due."""
        while self.timers and min(self.timers.values()) <= at_s:
            ticket = min(self.timers, key=lambda ticket: (self.timers[ticket], ticket))
            self.now_s = self.timers.pop(ticket)
            self._carry_out(self.desk.on_timer(self.now_s, ticket))
        self.now_s = at_s

    def take_sent(self, kind: type[Message]) -> list[tuple[int, Any]]:
        """Return messages of a kind that were sent, with their receivers, and forget them."""
        taken = [(rank, message) for rank, message in self.sent if isinstance(message, kind)]
        self.sent = [item for item in self.sent if not isinstance(item[1], kind)]
        return taken

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, SetTimer):
                self.timers[action.ticket] = action.at_s
            elif isinstance(action, CancelTimer):
                self.timers.pop(action.ticket, None)
            elif isinstance(action, Send):
                rank = self.group.epoch.rank_of(action.receiver)
                assert rank is not None
                self.sent.append((rank, action.message))
            elif isinstance(action, Persist):
                self.persisted.append(action)
            elif isinstance(action, Report):
                self.events.append(action.event)
            else:
                raise AssertionError(f"not foreseen: {action}")
