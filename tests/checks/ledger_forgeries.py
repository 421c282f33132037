"""What a member makes of each message of the ledger, forged in each field, repeated, or too late.

`ledger_forgeries.toml` says what must come of each row. It is made by::

    PYTHONPATH=tests:tests/masked_sum:tests/checks .venv/bin/python \
        tests/checks/ledger_forgeries.py > tests/checks/ledger_forgeries.toml

Review the difference before it is committed: a row that says *taken* is a claim. Where a message is
signed each forgery comes twice: as somebody on the way could make it, and signed anew by its
author, who lies.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from fingerprints import fingerprint
from forging import all_messages, forgeries
from ledger_group import approvals_by, identity_of
from one_member import EMPTY, GROUP, LEADER, PEERS, OneMember

from p2pfl_gossip.actions import Action, Command, Disconnect, PeerId, RemoteProtocolError, Send
from p2pfl_gossip.ledger.approvals import in_order
from p2pfl_gossip.ledger.charter import (
    charter_digest,
    encode_charter,
    running_digest,
    terms_digest,
)
from p2pfl_gossip.ledger.evidence import evidence_digest, evidence_of_adverts
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
    HeldParcel,
    HeldRequest,
    LedgerMessage,
    Parcel,
    ParcelRequest,
    ParcelsHeld,
    Progress,
    entry_statement,
    head_statement,
    list_statement,
)
from p2pfl_gossip.records import Message, replaced

SENDER, OTHER = 1, 2
MANY = 20
EVERYBODY = tuple(range(1, PEERS))


@dataclass
class Rig:
    """A member at the point where a message is about to reach it."""

    one: OneMember
    message: Any
    sender: int = SENDER


def _all_here() -> OneMember:
    return OneMember().advertised(*EVERYBODY)


def _holding_evidence() -> OneMember:
    one = OneMember().advertised(OTHER)
    one.message(OTHER, GROUP.advert(OTHER, 1, key=b"k" * 32))
    return one


CHARTER = GROUP.next_charter(
    rounds=30, terms=terms_digest(b"terms"), running=running_digest(b"running")
)
LAST = GROUP.empty_entry(GROUP.first, 1, CHARTER.digest())
PROOF = evidence_of_adverts(
    GROUP.epoch, GROUP.advert(OTHER, 1), GROUP.advert(OTHER, 1, key=b"k" * 32)
)
SUM = GROUP.sum_entry(GROUP.first, 1)

PARCEL = Parcel(
    encode_charter(CHARTER), b"terms", b"running", in_order(approvals_by(CHARTER, (2, 3)))
)


def _asking() -> OneMember:
    one = OneMember().advertised()
    held = tuple(
        HeldParcel(charter_digest(charter), bytes(32))
        for charter in (PARCEL.charter, *(it.charter for _, it in forgeries(PARCEL)))
    )
    one.message(SENDER, ParcelsHeld(0, tuple(dict.fromkeys(held))))
    return one


def _holding_parcel() -> OneMember:
    one = OneMember().advertised()
    one.do(one.member.propose(one.now_s, PARCEL))
    return one


RIGS: dict[type[LedgerMessage], Callable[[], Rig]] = {
    AdvertRequest: lambda: Rig(_all_here(), AdvertRequest(0, 1, b"\x03")),
    CertificateRequest: lambda: Rig(OneMember().raised(), CertificateRequest(GROUP.first.head)),
    Closing: lambda: Rig(OneMember().advertised(), GROUP.closing(LAST, CHARTER)),
    EntryCertificate: lambda: Rig(OneMember().advertised(), GROUP.certificate(SUM)),
    EntrySignature: lambda: Rig(OneMember().advertised(), GROUP.entry_signature(SENDER, SUM)),
    Evidence: lambda: Rig(OneMember().advertised(), PROOF),
    EvidenceRequest: lambda: Rig(
        _holding_evidence(), EvidenceRequest(0, (evidence_digest(GROUP.epoch, PROOF),))
    ),
    Finality: lambda: Rig(OneMember().raised(), GROUP.finality(EMPTY.head)),
    GroupAdvert: lambda: Rig(OneMember().advertised(), GROUP.advert(SENDER, 1)),
    GroupList: lambda: Rig(
        _all_here(),
        GROUP.listed(LEADER, [GROUP.advert(rank, 1) for rank in EVERYBODY]),
        sender=LEADER,
    ),
    HeldOfAsker: lambda: Rig(
        OneMember().start(),  # type: ignore[arg-type]
        HeldOfAsker(0, GROUP.advert(0, 3), GROUP.entry_signature(0, SUM)),
    ),
    HeldRequest: lambda: Rig(OneMember().advertised(SENDER), HeldRequest(0, GROUP.first.head)),
    Parcel: lambda: Rig(_asking(), PARCEL),
    ParcelRequest: lambda: Rig(_holding_parcel(), ParcelRequest(CHARTER.digest())),
    ParcelsHeld: lambda: Rig(
        OneMember().advertised(), ParcelsHeld(0, (HeldParcel(CHARTER.digest(), bytes(32)),))
    ),
    Progress: lambda: Rig(OneMember().advertised(), Progress(0, 1)),
}


def _signed(message: Any, sender: int) -> Any:
    """The same message, signed anew by its author; None where nobody signs it as a whole."""
    epoch = GROUP.epoch
    match message:
        case GroupAdvert():
            head = GROUP.sign(sender, b"head", head_statement(epoch, message.round, message.head))
            message = replaced(message, head_signature=head)
            return message.signed(GROUP.sign(sender, b"advert", message.digest(epoch)))
        case GroupList():
            return message.signed(GROUP.sign(sender, b"list", list_statement(epoch, message)))
        case EntrySignature():
            statement = entry_statement(epoch, message.round, message.entry)
            return replaced(message, signature=GROUP.sign(sender, b"entry", statement))
    return None


@dataclass(frozen=True)
class Case:
    """One thing that is done: the last of `said` is looked at."""

    said: list[tuple[PeerId, Message]]
    has_left: bool = False


@cache
def cases(kind: type[LedgerMessage]) -> dict[str, Case]:
    """Everything that is done to a message of a kind, by name."""
    return dict(_cases(RIGS[kind]()))


def _cases(rig: Rig) -> Iterator[tuple[str, Case]]:
    message, peers = rig.message, rig.one.roster.peers
    author = peers[rig.sender]

    def say(*said: Any, **where: bool) -> Case:
        return Case([it if isinstance(it, tuple) else (author, it) for it in said], **where)

    yield "as it is", say(message)
    for name, changed in forgeries(message):
        yield name, say(changed)
        if name.startswith(("signature", "head_signature")):
            continue
        anew = _signed(changed, rig.sender)
        if anew is not None:
            yield f"{name}, signed", say(anew)
    yield "sender a stranger", say((identity_of(99).peer_id, message))
    yield "sender ourselves", say((peers[0], message))
    yield "sender another member", say((peers[OTHER if rig.sender != OTHER else 3], message))
    yield "replayed", say(message, message)
    yield "too late", say(message, has_left=True)
    yield "too many", say(*[message] * MANY)


def what_comes_of(kind: type[LedgerMessage], case: Case) -> str:
    """Do it to a real member, and say in a few words what it made of it."""
    one = RIGS[kind]().one
    if case.has_left:
        one.command(Command.LEAVE)
    for peer, message in case.said[:-1]:
        _give(one, peer, message)
    before, state, events = fingerprint(one.machine), one.member.state, len(one.events)
    actions, reason = _give(one, *case.said[-1])
    is_changed = fingerprint(one.machine) != before
    if reason:
        assert not is_changed, f"refused as {reason}, yet something changed"
        return f"refused: {reason}"
    words = "taken" if is_changed else "ignored" if not actions else "not taken"
    ended = [action.reason for action in actions if isinstance(action, Disconnect)]
    said = [type(it.message).__name__ for it in actions if isinstance(it, Send)]
    told = [type(event).__name__ for event in one.events[events:]]
    goes = [] if one.member.state == state else [str(one.member.state)]
    for verb, what in (("disconnects", ended), ("goes", goes), ("reports", told), ("says", said)):
        words += f", {verb}: {' '.join(sorted(dict.fromkeys(what)))}" if what else ""
    return words


def _give(one: OneMember, peer: PeerId, message: Message) -> tuple[list[Action], str]:
    """Tell a member of a message: what it asks for, or why it refuses."""
    try:
        actions = one.machine.on_message(one.now_s, peer, message)
    except RemoteProtocolError as error:
        return [], error.reason
    one.do(actions)
    return actions, ""


def kinds() -> dict[str, type[LedgerMessage]]:
    """The messages that this is about, by name."""
    return {name: kind for name, kind in all_messages().items() if issubclass(kind, LedgerMessage)}


def main() -> None:
    for name, kind in kinds().items():
        print(f"[{name}]")
        for case_name, case in cases(kind).items():
            print(f'"{case_name}" = "{what_comes_of(kind, case)}"')
        print()


if __name__ == "__main__":
    main()
